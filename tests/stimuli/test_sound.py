"""Sound is resampled exactly, heard where it is, and never ahead."""

from __future__ import annotations

import os
from pathlib import Path

import av
import numpy as np
import pytest
from scipy.io import wavfile

from voxelcast.core.errors import OptionError, StimulusError
from voxelcast.stimuli import sound
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.stimuli.sampling import SoundSampling
from voxelcast.stimuli.sound import SilentError, decode_sound, read_sound, resample, sound_windows
from voxelcast.stimuli.stimulus import VIDEO_SUFFIXES, Stimulus

RATE = 16_000


def sine(hz, rate, seconds, phase=0.3):
    return np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate + phase)


def written(path, samples, rate=RATE):
    """Write a sound of floats, (n_samples,) or (n_samples, n_channels)."""
    wavfile.write(path, rate, samples.astype(np.float32))
    return Stimulus(path.stem, path)


def all_windows(stimulus, sampling, rate=RATE, chunk=16):
    parts = list(sound_windows(stimulus, sampling, rate, chunk=chunk))
    return np.concatenate([windows for windows, _ in parts]), np.concatenate([times for _, times in parts])


@pytest.mark.parametrize(("rate", "new"), [(44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (8_000, 16_000)])
@pytest.mark.parametrize("hz", [50, 440, 3500])
def test_a_sine_resampled_is_the_same_sine(rate, new, hz):
    n = rate + 7
    samples = sine(hz, rate, 2)[:n]
    found = resample(samples[None], rate, new)[0]
    assert len(found) == -(-n * new // rate)
    inside = slice(new // 20, -new // 20)
    expected = np.sin(2 * np.pi * hz * np.arange(len(found)) / new + 0.3)
    np.testing.assert_allclose(found[inside], expected[inside], atol=2e-4)


def test_what_is_above_the_new_nyquist_frequency_goes():
    found = resample(sine(9_000, 44_100, 1)[None], 44_100, RATE)[0]
    assert np.abs(found[800:-800]).max() < 2e-4


@pytest.mark.parametrize("chunk", [1, 3, 16])
def test_windows_end_at_their_moments(tmp_path, chunk):
    samples = np.random.default_rng(0).uniform(-1, 1, 36_000).astype(np.float32)  # 2.25 s
    stimulus = written(tmp_path / "noise.wav", samples)
    windows, times = all_windows(stimulus, SoundSampling(hz=2, look_back=1.5), chunk=chunk)
    np.testing.assert_allclose(times, [0.5, 1, 1.5, 2, 2.5])
    padded = np.concatenate([np.zeros(24_000), samples, np.zeros(24_000)])
    for window, end in zip(windows, (8_000, 16_000, 24_000, 32_000, 40_000), strict=True):
        np.testing.assert_array_equal(window[0], padded[end : end + 24_000].astype(np.float32))
    ahead, _ = all_windows(stimulus, SoundSampling(hz=2, look_back=1.5, look_ahead=0.25))
    np.testing.assert_array_equal(ahead[0, 0], padded[8_000 : 8_000 + 28_000].astype(np.float32))
    np.testing.assert_array_equal(ahead[..., :24_000], windows)


def test_a_part_of_a_movie_looks_back_into_the_movie(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, 64_000)
    whole = written(tmp_path / "noise.wav", samples)
    part = Stimulus("part", whole.path, seconds=(2.0, 3.5))
    sampling = SoundSampling(hz=1, look_back=2)
    windows, times = all_windows(part, sampling)
    np.testing.assert_allclose(times, [3, 4])
    np.testing.assert_array_equal(windows, all_windows(whole, sampling)[0][2:4])
    with pytest.raises(StimulusError, match=r"must last until 60 s; it ends at 4.00 s"):
        all_windows(Stimulus("late", whole.path, seconds=(60.0, 61.0)), sampling)


def test_the_sound_of_a_movie_is_decoded_once_for_all_its_parts(tmp_path, monkeypatch):
    path = written(tmp_path / "movie.wav", sine(100, RATE, 2)).path
    decoded = []
    monkeypatch.setattr(sound, "decode_sound", lambda stimulus: decoded.append(stimulus) or decode_sound(stimulus))
    for part in range(4):
        stimulus = Stimulus(f"movie/tr{part}", path, seconds=(part / 2, part / 2 + 0.5))
        assert all_windows(stimulus, SoundSampling(hz=2, look_back=1))[0].shape == (1, 1, RATE)
    assert len(decoded) == 1


def test_what_is_written_with_a_video_is_heard_from_its_first_frame_on(tmp_path):
    samples = 0.5 * sine(440, RATE, 1)  # of 36 samples a period
    write_video(tmp_path / "a.mp4", np.zeros((10, 32, 32, 3), np.uint8), 10, (samples, RATE))
    found, rate = decode_sound(Stimulus("a", tmp_path / "a.mp4"))
    assert rate == RATE
    assert RATE <= found.shape[1] < RATE + 1024  # AAC fills its last frame up
    shifted = [np.corrcoef(found[0, 2000 + k : 14_000 + k], samples[2000:14_000])[0, 1] for k in (-9, 0, 9)]
    assert shifted[1] > 0.95 > max(shifted[0], shifted[2])


def test_channels_are_averaged_or_kept(tmp_path):
    left, right = sine(300, RATE, 1), sine(500, RATE, 1)
    both = written(tmp_path / "both.wav", np.stack([left, right], 1))
    one = written(tmp_path / "one.wav", left)
    np.testing.assert_allclose(read_sound(both, RATE)[0], (left + right) / 2, atol=1e-6)
    np.testing.assert_allclose(read_sound(both, RATE, "stereo"), [left, right], atol=1e-6)
    np.testing.assert_allclose(read_sound(one, RATE, "stereo"), [left, left], atol=1e-6)
    six = written(tmp_path / "six.wav", np.zeros((RATE, 6)))
    with pytest.raises(StimulusError, match="must have 1 or 2 channels for stereo; got 6"):
        read_sound(six, RATE, "stereo")


def write_movie(path, samples, rate, delay=0.0):
    """Write 2 s of grey frames with a sound, (n,), that begins ``delay`` seconds after them."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=10)
        video.width = video.height = 64
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=rate, layout="mono")
        for _ in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 128, np.uint8), format="rgb24")
            container.mux(video.encode(frame.reformat(format="yuv420p")))
        container.mux(video.encode())
        for start in range(0, len(samples), 1024):
            piece = np.round(samples[start : start + 1024] * 32767).astype(np.int16)
            frame = av.AudioFrame.from_ndarray(piece[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = rate, round(delay * rate) + start
            container.mux(audio.encode(frame))
        container.mux(audio.encode())
    return Stimulus(path.stem, path)


@pytest.mark.parametrize("delay", [0.0, 0.5])
def test_the_track_of_a_video_begins_with_its_frames(tmp_path, delay):
    stimulus = write_movie(tmp_path / "movie.mkv", 0.5 * sine(400, 44_100, 2), 44_100, delay)
    sound = read_sound(stimulus, RATE)[0]
    begin = round(delay * RATE)
    assert np.abs(sound[: max(begin - 100, 0)]).max(initial=0) < 1e-3
    expected = 0.5 * np.sin(2 * np.pi * 400 * np.arange(len(sound) - begin) / RATE + 0.3)
    # Matroska rounds times to a millisecond.
    np.testing.assert_allclose(sound[begin + 200 : -200], expected[200:-200], atol=2e-3)


def test_a_stimulus_without_sound_stops_or_is_silent(tmp_path):
    write_video(tmp_path / "mute.mp4", np.zeros((30, 32, 32, 3), np.uint8), 15)
    mute = Stimulus("mute", tmp_path / "mute.mp4")
    with pytest.raises(SilentError, match=r"there is no sound in this file; set sound: \{missing: silence\}"):
        all_windows(mute, SoundSampling())
    windows, times = all_windows(mute, SoundSampling(missing="silence"))
    np.testing.assert_allclose(times, [0.5, 1, 1.5, 2])
    assert not windows.any()


def test_a_track_that_ends_early_is_broken(tmp_path):
    stimulus = written(tmp_path / "cut.wav", sine(400, RATE, 4))
    content = stimulus.path.read_bytes()
    stimulus.path.write_bytes(content[: len(content) // 2])
    with pytest.raises(StimulusError, match=r"container claims 4\.00 s of sound, 2\.00 s decoded"):
        read_sound(stimulus, RATE)
    stimulus.path.write_bytes(b"no sound at all" * 10)
    with pytest.raises(StimulusError, match="cannot be opened"):
        read_sound(stimulus, RATE)


def test_sound_between_moments_is_never_left_out():
    with pytest.raises(OptionError, match="look_back must be at least 1/hz = 1 s"):
        SoundSampling(hz=1, look_back=0.5)


def test_a_folder_of_sounds_has_them_as_stimuli(tmp_path):
    written(tmp_path / "b.wav", np.zeros(100))
    written(tmp_path / "a.wav", np.zeros(100))
    assert [stimulus.stimulus_id for stimulus in list_stimuli(tmp_path)] == ["a", "b"]
    write_video(tmp_path / "a.mp4", np.zeros((2, 32, 32, 3), np.uint8), 15)
    assert [stimulus.name for stimulus in list_stimuli(tmp_path)] == ["a.mp4"]  # sounds beside videos are not stimuli


DATA = Path(os.environ.get("VOXELCAST_TEST_DATA", Path(__file__).resolve().parents[2].parent / "shared" / "data"))


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / "videos").is_dir(), reason="no real videos; set VOXELCAST_TEST_DATA")
def test_the_sound_of_real_videos_is_read_or_said_to_be_broken():
    lengths, broken = {}, []
    for path in sorted((DATA / "videos").rglob("*")):
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        stimulus = Stimulus(path.stem, path)
        try:
            samples, rate = decode_sound(stimulus)
        except SilentError:
            continue
        except StimulusError as error:
            if "cannot be opened" not in str(error):
                broken.append(path.name)
            continue
        assert np.isfinite(samples).all()
        lengths[f"{path.parent.name}/{path.name}"] = samples.shape[1] / rate
    assert len(lengths) == 24
    # Of these only the headers are there.
    assert broken == ["bipbop_nonfragment_header.mp4", "invalid_userdata.mp4", "zero_empty_stsc.mp4"]
    for clip in ("crystal", "elf", "frog", "monster", "pig", "rabbit"):
        both = [lengths[f"mdn+learning-area/{clip}.{suffix}"] for suffix in ("mp4", "webm")]
        assert abs(both[0] - both[1]) < 0.05
        one, other = (
            read_sound(Stimulus(clip, DATA / "videos" / "mdn+learning-area" / f"{clip}.{suffix}"), 8_000)[0]
            for suffix in ("mp4", "webm")
        )
        n = min(len(one), len(other))
        spectra = np.fft.rfft(one[:n], 2 * n) * np.conj(np.fft.rfft(other[:n], 2 * n))
        agreement = np.fft.irfft(spectra) / np.linalg.norm(one[:n]) / np.linalg.norm(other[:n])
        lag = int(agreement.argmax())
        assert agreement[lag] > 0.95  # two codecs, of which each may begin with up to 30 ms of silence
        assert min(lag, 2 * n - lag) / 8_000 < 0.03
