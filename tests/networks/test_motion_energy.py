from __future__ import annotations

import numpy as np
import pytest
import torch

from voxelcast.networks.families.motion_energy import (
    N_ORIENTATIONS,
    TEMPORAL_FREQUENCIES,
    spatial_filters,
    temporal_filters,
)

SIZE = 96


def _grating(scale: int, direction: float, frequency: float, n_frames: int = 40) -> torch.Tensor:
    """Make a grey grating that drifts towards ``direction`` (degrees, clockwise from rightwards), contrast 0.8."""
    y, x = np.mgrid[:SIZE, :SIZE]
    angle = np.deg2rad(direction)
    place = (x * np.cos(angle) + y * np.sin(angle)) / (4 * 2 ** (scale - 1))
    phase = place[None] - frequency * np.arange(n_frames)[:, None, None]
    frames = 0.5 + 0.4 * np.cos(2 * np.pi * phase)
    return torch.from_numpy(np.repeat(frames[:, None], 3, axis=1)).float()


def _channels(network, clip, kind: str) -> dict[str, np.ndarray]:
    """Mean over the middle of the clip and of the picture, per channel."""
    return {
        layer: values[8:-8, :, 2:-2, 2:-2].mean((0, 2, 3)).numpy()
        for layer, values in network.activations(clip).items()
        if layer.startswith(kind)
    }


@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("orientation", [0, 2, 5])
def test_a_grating_drives_its_scale_and_orientation(motion_energy, scale, orientation):
    responses = _channels(motion_energy, _grating(scale, 22.5 * orientation, 0.0, 20), "static")
    assert max(responses, key=lambda layer: responses[layer].max()) == f"static.{scale}"
    matching = responses[f"static.{scale}"]
    assert matching.argmax() == orientation
    # Amplitude 0.4, less what the halving of the image takes from the coarser scales.
    assert 0.25 < matching[orientation] < 0.42
    assert matching[(orientation + 4) % 8] < 0.05 * matching[orientation]


@pytest.mark.parametrize("scale", [1, 2, 3])
@pytest.mark.parametrize("direction", [0, 3, 8, 13])
@pytest.mark.parametrize("place", [0, 1])
def test_a_drifting_grating_drives_its_direction_and_speed(motion_energy, scale, direction, place):
    clip = _grating(scale, 22.5 * direction, TEMPORAL_FREQUENCIES[place])
    responses = _channels(motion_energy, clip, "motion")
    matching = responses[f"motion.{scale}"].reshape(2, 16)
    assert np.unravel_index(matching.argmax(), matching.shape) == (place, direction)
    assert max(responses, key=lambda layer: responses[layer].max()) == f"motion.{scale}"
    opposite = matching[place, (direction + 8) % 16]
    assert opposite < 0.1 * matching[place, direction]


def test_played_backwards_the_directions_swap(motion_energy):
    clip = torch.from_numpy(np.random.default_rng(0).random((21, 3, SIZE, SIZE))).float()
    forward, backward = motion_energy.activations(clip), motion_energy.activations(clip.flip(0))
    for layer in ("motion.1", "motion.3"):
        swapped = backward[layer].flip(0).reshape(21, 2, 2, 8, 6, 6).flip(2).reshape(forward[layer].shape)
        torch.testing.assert_close(swapped, forward[layer], rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(backward["static.2"].flip(0), forward["static.2"])


def test_motion_equals_the_written_definition(motion_energy):
    """Compute M+ and M- of the coarsest scale by loops over frames from the even and odd images."""
    clip = torch.from_numpy(np.random.default_rng(1).random((9, 3, SIZE, SIZE))).float()
    image = torch.tensordot(clip, torch.tensor([0.299, 0.587, 0.114]), dims=([1], [0]))[:, None]
    for _ in range(4):
        size = (image.shape[-1] // 2,) * 2
        image = torch.nn.functional.interpolate(image, size=size, mode="bilinear", antialias=True)
    padded = np.pad(image[:, 0].double().numpy(), ((0, 0), (6, 6), (6, 6)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (13, 13), axis=(1, 2))
    filters = spatial_filters().astype(np.float64)[:, 0]
    pair = np.einsum("txyij,oij->toxy", windows, filters)
    response = pair[:, :N_ORIENTATIONS] + 1j * pair[:, N_ORIENTATIONS:]
    expected = []
    for cosine, sine in temporal_filters().astype(np.float64):
        for kernel in (cosine + 1j * sine, cosine - 1j * sine):
            past = [[response[np.clip(t - s, 0, 8)] * kernel[6 + s] for s in range(-6, 7)] for t in range(9)]
            expected.append(np.abs(np.sum(past, axis=1)))
    got = motion_energy.activations(clip)["motion.5"].numpy()
    np.testing.assert_allclose(got, np.concatenate(expected, axis=1), atol=1e-5)


def test_uniform_light_and_pictures(motion_energy):
    flicker = torch.rand(30, 1, 1, 1).expand(30, 3, SIZE, SIZE).contiguous()
    for layer, values in motion_energy.activations(flicker).items():
        if layer != "colour":
            assert values.max() < 1e-4, layer
    picture = torch.rand(1, 3, SIZE, SIZE)
    still = motion_energy.activations(picture.expand(5, -1, -1, -1))
    once = motion_energy.activations(picture)
    for layer in motion_energy.layers:
        torch.testing.assert_close(still[layer][2:3], once[layer])
        if layer.startswith("motion"):
            assert not still[layer].any()


def test_colour_is_mean_luminance_and_opponents(motion_energy):
    clip = torch.tensor([0.9, 0.3, 0.1]).view(1, 3, 1, 1).expand(2, 3, SIZE, SIZE)
    colour = motion_energy.activations(clip)["colour"]
    expected = torch.tensor([0.299 * 0.9 + 0.587 * 0.3 + 0.114 * 0.1, 0.6, 0.1 - 0.6])
    torch.testing.assert_close(colour, expected.view(1, 3, 1, 1).expand(2, 3, 8, 8))


def test_long_clips_are_cut_without_a_seam(motion_energy):
    clip = torch.from_numpy(np.random.default_rng(2).random((150, 3, SIZE, SIZE))).float()
    whole = motion_energy.activations(clip)
    middle = motion_energy.activations(clip[50:90])
    for layer in motion_energy.layers:
        torch.testing.assert_close(whole[layer][58:82], middle[layer][8:32], rtol=1e-3, atol=1e-6)


def test_layers_are_distinguishable_and_of_full_rank(motion_energy):
    """Neighbouring layers must not say the same of natural-like (1/f) pictures."""
    rng = np.random.default_rng(3)
    frequency = np.hypot(np.fft.fftfreq(SIZE)[:, None], np.fft.fftfreq(SIZE)[None])
    spectrum = 1 / np.maximum(frequency, 1 / SIZE)
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((150, SIZE, SIZE))) * spectrum).real
    noise = np.clip(0.5 + 0.15 * noise / noise.std(), 0, 1)
    frames = torch.from_numpy(np.repeat(noise[:, None], 3, axis=1)).float()
    activations = motion_energy.activations(frames)
    features = {}
    for k in range(1, 6):
        values = activations[f"static.{k}"].flatten(1).numpy()
        features[k] = values - values.mean(0)
        assert np.linalg.matrix_rank(features[k]) == 149
    for k in range(1, 5):
        similar = [
            np.corrcoef((features[j] @ features[j].T).ravel(), (features[k] @ features[k].T).ravel())[0, 1]
            for j in (k, k + 1)
        ]
        assert similar[0] == pytest.approx(1)
        assert similar[1] < 0.95
