from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.networks.clips import ClipCutter
from voxelcast.networks.extract import extract
from voxelcast.networks.families.own_network import network_from_module
from voxelcast.networks.hooks import capture
from voxelcast.networks.registry import find_family, load_network
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.decode import iter_frames

EVERY_1 = ExtractionSettings()


def _cut(n_frames, length, stride, chunk):
    cutter = ClipCutter(length, stride)
    frames, times = torch.arange(float(n_frames))[:, None, None, None], np.arange(n_frames) / 10
    clips = []
    for start in range(0, n_frames, chunk):
        clips += cutter.feed(frames[start : start + chunk], times[start : start + chunk])
        assert len(cutter._times) <= length  # what is held does not grow with the video
    return [*clips, *cutter.end()]


@pytest.mark.parametrize("chunk", [1, 3, 16, 100])
@pytest.mark.parametrize(("length", "stride"), [(4, 4), (4, 2), (5, 3), (1, 1), (8, 8)])
@pytest.mark.parametrize("n_frames", [1, 2, 4, 7, 8, 9, 20, 33])
def test_clips_follow_the_rule_and_cover_each_frame_once(n_frames, length, stride, chunk):
    clips = _cut(n_frames, length, stride, chunk)
    got = [clip.frames.flatten().int().tolist() for clip in clips]
    starts = list(range(0, n_frames - length + 1, stride))
    if not starts:
        expected = [[min(k, n_frames - 1) for k in range(length)]]
    else:
        if starts[-1] + length < n_frames:
            starts.append(n_frames - length)
        expected = [list(range(start, start + length)) for start in starts]
    assert got == expected
    # A layer without temporal stride: every frame once, at its own time.
    seen = [frame for clip, frames in zip(clips, got, strict=True) for frame in frames[clip.new_steps(length)[0]]]
    assert seen == list(range(n_frames))
    np.testing.assert_allclose(np.concatenate([clip.new_steps(length)[1] for clip in clips]), np.arange(n_frames) / 10)


@pytest.mark.parametrize("n_steps", [1, 2, 4])
@pytest.mark.parametrize("n_frames", [1, 3, 8, 9, 13, 16, 31])
def test_times_of_strided_layers_increase_and_stay_inside_the_video(n_frames, n_steps):
    clips = _cut(n_frames, 8, 4, 5)
    times = np.concatenate([clip.new_steps(n_steps)[1] for clip in clips])
    assert (np.diff(times) > 0).all()
    assert times[0] >= 0
    assert times[-1] <= (n_frames - 1) / 10 + 1e-12
    # Each clip but the last adds the steps behind the clip before; a step's time is the middle of its frames.
    first = clips[0].new_steps(n_steps)[1]
    full = (np.arange(n_steps) + 0.5) * 8 / n_steps / 10 - 0.05
    if n_frames >= 8:
        np.testing.assert_allclose(first, full)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("torchvision/r3d_18", {"clip_length": 0}, OptionError, "clip_length must be at least 1; got 0"),
        (
            "torchvision/r3d_18",
            {"clip_length": 8, "clip_stride": 9},
            OptionError,
            "from 1 to clip_length; got clip_leng",
        ),
        ("torchvision/mvit_v2_s", {"clip_length": 8}, OptionError, "must be 16"),
        ("torchvision/mvit_v1_b", {"input_size": 64}, OptionError, "cannot take clips of 16 frames of input_size 64"),
        ("torchvision/resnet18", {"clip_length": 8}, OptionError, "clip_length is for networks that take clips"),
        ("torchvision/r3d_19", {}, UnknownNameError, "did you mean torchvision/r3d_18"),
    ],
)
def test_clips_that_cannot_be_are_refused(name, options, error, message):
    with pytest.raises(error) as raised:
        load_network(name, **{"weights": "random", "layers": ["all"], **options})
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_video_cards_carry_the_kinetics_preprocessing():
    settings = NetworkSettings("torchvision/r3d_18", "fc")
    recipe = find_family(settings).recipe(settings)
    assert recipe.clip is not None
    assert (recipe.input_size, recipe.clip.length, recipe.clip.stride) == (112, 16, 16)
    assert recipe.mean == (0.43216, 0.394666, 0.37645)
    assert recipe.std == (0.22803, 0.22145, 0.216989)


@pytest.mark.slow
def test_the_card_of_a_video_network():
    card = load_network("torchvision/r3d_18", weights="random", layers=["fc"]).card
    assert (card.takes, card.input_size, card.clip_length, card.clip_stride) == ("clip", 112, 16, 16)
    assert card.mean == (0.43216, 0.394666, 0.37645)
    assert card.std == (0.22803, 0.22145, 0.216989)


@pytest.fixture(scope="module")
def r3d():
    layers = ["stem", "layer2.0", "layer4", "fc"]
    return load_network(
        "torchvision/r3d_18", weights="random", layers=layers, input_size=32, clip_length=8, clip_stride=6
    )


@pytest.mark.parametrize("batch", [None, 1, 40])
def test_pooled_features_are_those_of_the_clips_one_by_one(r3d, make_video, make_picture, batch):
    stimuli = [make_video("clip23", 23, 0), make_picture("still", 1), make_video("clip8", 8, 3), make_video("c5", 5, 2)]
    results = list(extract(r3d, stimuli, EVERY_1, batch=batch))
    assert [result.n_frames for result in results] == [23, 1, 8, 5]
    for result, stimulus in zip(results, stimuli, strict=True):
        frames = r3d.prepare(np.concatenate([chunk.frames for chunk in iter_frames(stimulus, EVERY_1.sampling)]))
        whole = r3d.activations(frames)
        for layer in r3d.layers:
            expected = whole[layer].double().mean(0).flatten().numpy()
            assert np.abs(result.features[layer] - expected).max() <= 1e-5 * np.abs(expected).max(), layer


def test_layers_are_torchvisions_own_output_with_time_first(r3d):
    assert r3d.card.takes == "clip"
    frames = r3d.prepare(np.random.default_rng(0).integers(0, 256, (14, 40, 30, 3), dtype=np.uint8))
    activations = r3d.activations(frames)
    assert {layer: tuple(values.shape) for layer, values in activations.items()} == {
        "stem": (14, 64, 16, 16),
        "layer2.0": (7, 128, 8, 8),
        "layer4": (2, 512, 2, 2),
        "fc": (2, 400),
    }
    clips = torch.stack([frames[:8], frames[6:]]).transpose(1, 2)
    with torch.inference_mode(), capture(r3d.module, ["stem", "layer2.0"]) as plain:
        logits = r3d.module(clips)
    torch.testing.assert_close(activations["fc"], logits, rtol=1e-4, atol=1e-5)
    stem, second = plain["stem"], plain["layer2.0"]
    expected = torch.cat([stem[0].transpose(0, 1), stem[1].transpose(0, 1)[2:]])
    torch.testing.assert_close(activations["stem"], expected, rtol=1e-4, atol=1e-5)
    # Of the second clip's four steps of two frames, the first shows frames 6 and 7, which the first clip had.
    expected = torch.cat([second[0].transpose(0, 1), second[1].transpose(0, 1)[1:]])
    torch.testing.assert_close(activations["layer2.0"], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["torchvision/mvit_v1_b", "torchvision/mvit_v2_s"])
def test_tokens_of_mvit_lie_where_their_pixels_are(name):
    """The tokens before the first block are the convolution's output, by time and place, plus embeddings."""
    network = load_network(name, weights="random", layers=["conv_proj", "pos_encoding", "blocks.0"])
    frames = network.prepare(np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8))
    found = network.activations(frames)
    encoding = network.module.pos_encoding
    expected = found["conv_proj"]
    if encoding.spatial_pos is not None:
        places = encoding.spatial_pos.reshape(56, 56, -1).permute(2, 0, 1)
        expected = expected + places + encoding.temporal_pos[:, :, None, None]
    torch.testing.assert_close(found["pos_encoding"], expected)
    assert found["blocks.0"].shape[0] == 8


class Mixing(nn.Module):
    """The mean of each colour over time, weighted by frame, and the clip itself."""

    def __init__(self) -> None:
        super().__init__()
        self.same = nn.Identity()
        self.last = nn.Flatten()

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        weights = torch.arange(clips.shape[2], dtype=torch.float32)
        return self.last((self.same(clips).mean((3, 4)) * weights).sum(2))


def test_an_own_network_sees_its_clips_in_order(make_video):
    network = network_from_module(
        Mixing(),
        "mixing",
        layers=["same", "last"],
        input_size=16,
        mean=(0.0,) * 3,
        std=(1.0,) * 3,
        takes="clip",
        clip_length=4,
    )
    frames = torch.rand(10, 3, 16, 16)
    found = network.activations(frames)
    torch.testing.assert_close(found["same"], frames)
    means = frames.mean((2, 3))
    expected = torch.stack([sum(means[start + k] * k for k in range(4)) for start in (0, 4, 6)])
    torch.testing.assert_close(found["last"], expected)
