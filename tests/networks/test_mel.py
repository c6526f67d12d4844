from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.io import wavfile

from voxelcast.core.errors import OptionError
from voxelcast.networks.extract import extract
from voxelcast.networks.families.mel import RATE, RATES_HZ, mel_bank
from voxelcast.networks.registry import describe_layers, list_networks, load_network
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.sampling import SoundSampling
from voxelcast.stimuli.stimulus import Stimulus

SOUND = SoundSampling(hz=4, look_back=1.0)


@pytest.fixture(scope="module")
def mel():
    return load_network("voxelcast/mel", layers="all", sound=SOUND)


def sine(hz, seconds, amplitude=1.0):
    return amplitude * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def windows_of(*samples):
    return torch.tensor(np.stack(samples)[:, None].astype(np.float32))


def test_the_spectrogram_is_that_of_another_implementation(mel):
    audio = pytest.importorskip("transformers.audio_utils")
    noise = np.random.default_rng(0).normal(scale=0.1, size=RATE)
    bank = audio.mel_filter_bank(257, 64, 0, RATE / 2, RATE, norm=None, mel_scale="htk")
    np.testing.assert_allclose(mel_bank(), bank, atol=1e-6)
    # Frames that end with the window: the first 80 samples are in none.
    expected = audio.spectrogram(
        noise[80:],
        audio.window_function(400, "hann"),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        mel_filters=bank,
        mel_floor=1e-10,
        log_mel="log10",
    )
    found = mel.log_mel(windows_of(noise)[0])[0]
    np.testing.assert_allclose(found, expected.T, atol=2e-4)
    features = mel.activations(windows_of(noise))["mel"]
    np.testing.assert_allclose(features[0], expected[:, -24:].mean(1), atol=2e-4)  # middles in the last 0.25 s


@pytest.mark.parametrize("hz", [250, 1000, 4000])
def test_a_tone_is_loudest_in_its_band(mel, hz):
    centres = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 66)[1:-1] / 2595) - 1)
    (loud,) = mel.activations(windows_of(sine(hz, 1)))["mel"]
    assert abs(int(loud.argmax()) - int(np.abs(centres - hz).argmin())) <= 1
    (soft,) = mel.activations(windows_of(sine(hz, 1, 0.1)))["mel"]
    band = int(loud.argmax())
    np.testing.assert_allclose(float(loud[band] - soft[band]), 2, atol=1e-4)  # 20 dB


@pytest.mark.parametrize("rate", RATES_HZ[:4])
def test_the_modulation_of_a_tone_has_its_rate_and_depth(mel, rate):
    """log10 of the power of a tone with amplitude 10^(d/2 cos) is a wave of amplitude d."""
    times = np.arange(RATE) / RATE
    depth = 0.2
    tone = sine(1000, 1) * 10 ** (depth / 2 * np.cos(2 * np.pi * rate * times))
    found = mel.activations(windows_of(tone))
    band = int(found["mel"][0].argmax())
    waves = found["modulation"][0].reshape(64, len(RATES_HZ))[band]
    own = RATES_HZ.index(rate)
    assert int(waves.argmax()) == own
    taper = np.hanning(401) ** 2  # power is averaged over a frame of 25 ms, which smooths faster waves a little
    smoothed = (taper * np.cos(2 * np.pi * rate * (np.arange(401) - 200) / RATE)).sum() / taper.sum()
    np.testing.assert_allclose(float(waves[own]), depth * smoothed, rtol=0.02)
    silence = mel.activations(windows_of(np.zeros(RATE)))["modulation"]
    assert float(silence.abs().max()) < 1e-6


@pytest.fixture
def noises(tmp_path):
    stimuli = []
    for number, seconds in enumerate((1.0, 2.0, 1.5)):
        samples = np.random.default_rng(number).normal(scale=0.1, size=round(seconds * RATE))
        wavfile.write(tmp_path / f"{number}.wav", RATE, samples.astype(np.float32))
        stimuli.append(Stimulus(str(number), tmp_path / f"{number}.wav"))
    return stimuli


def test_features_are_the_same_whatever_the_batch_and_never_look_ahead(mel, noises, tmp_path):
    kept = ExtractionSettings(pools=("none",))
    first = list(extract(mel, noises, kept, batch=1))
    for batch in (3, None):
        for one, other in zip(first, extract(mel, noises, kept, batch=batch), strict=True):
            for layer in mel.layers:
                np.testing.assert_allclose(one.features[layer], other.features[layer], atol=1e-6)
    _, samples = wavfile.read(noises[1].path)
    samples = samples.copy()
    samples[RATE:] = 0
    wavfile.write(tmp_path / "cut.wav", RATE, samples)
    (cut,) = extract(mel, [Stimulus("cut", tmp_path / "cut.wav")], kept)
    for layer in mel.layers:
        before, after = first[1].features[layer], cut.features[layer]
        assert before.shape == (8, 64 if layer == "mel" else 320)
        np.testing.assert_array_equal(before[:4], after[:4])
        assert (np.abs(before[4:] - after[4:]).max(1) > 0.1).all()


def test_stereo_has_the_bands_of_both_channels(noises):
    network = load_network("voxelcast/mel", layers="mel", sound=SoundSampling(hz=4, look_back=1, channels="stereo"))
    mono = load_network("voxelcast/mel", layers="mel", sound=SOUND)
    for one, other in zip(extract(network, noises), extract(mono, noises), strict=True):
        np.testing.assert_allclose(one.features["mel"], np.tile(other.features["mel"], 2), atol=1e-6)


def test_its_card_and_layers_say_what_it_is(mel):
    assert list_networks("voxelcast/*") == ("voxelcast/mel", "voxelcast/motion_energy")
    assert [(layer.name, layer.shape) for layer in describe_layers("voxelcast/mel")] == [
        ("mel", (64,)),
        ("modulation", (320,)),
    ]
    assert mel.card.code == "sound: 4 Hz, 1 s back, 0 s ahead, mono, without sound stop"
    assert mel.card.takes == "sound"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sound": SoundSampling(hz=4, look_back=0.4)}, "must be at least 0.5 s long; got 0.4"),
        ({"input_size": 64}, "takes sound .* leave out .* got input_size"),
        ({"precision": "bfloat16"}, "computes in float32"),
        ({"clip_length": 4}, "clip_length is for networks that take clips"),
    ],
)
def test_settings_that_it_has_not_are_refused(options, message):
    with pytest.raises(OptionError, match=message):
        load_network("voxelcast/mel", layers="all", **options)


def test_a_network_of_frames_hears_nothing():
    with pytest.raises(OptionError, match="sound is for networks that take sound"):
        load_network("torchvision/resnet18", layers="fc", weights="random", sound=SOUND)
