"""Sound: the audio track of a video or an audio file, resampled, and cut into windows that look back.

Imported only where sound is heard.

At each moment 1/hz, 2/hz, ... after a stimulus' beginning the window ends that holds what was heard in the
``look_back`` seconds before it (and in the ``look_ahead`` seconds after it, where that is asked for). Before a sound
begins and after it ends there is silence; a part of a movie looks back into the movie.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import ceil, gcd
from typing import Any, Literal

import av
import numpy as np
from scipy.signal import firwin, resample_poly

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import StimulusError
from voxelcast.stimuli.broken import REMEDY, reason, shown_name
from voxelcast.stimuli.container import REPORT_DAMAGE, claimed_seconds, open_container
from voxelcast.stimuli.sampling import SoundSampling
from voxelcast.stimuli.stimulus import Stimulus

_CROSSINGS = 64  # zero crossings of the resampling filter on each side
_ATTENUATION = 9.0  # of its Kaiser window: 90 dB
_PASSED = 0.95  # of the lower of both Nyquist frequencies
_GAP_S = 0.05  # by which times of packets may differ from the samples before them
_SHORTFALL_S = 0.1  # by which a track may be shorter than its container claims
_LONGEST_AFTER_S = 30.0  # scans outlast movies a bit


def sound_windows(
    stimulus: Stimulus, sampling: SoundSampling, rate: int, *, chunk: int = 16
) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Cut a stimulus' sound into windows, at most ``chunk`` at a time.

    Yields windows, float32 (n_windows, n_channels, n_samples) in -1 to 1 at ``rate`` samples per second, and the
    moments that they belong to, (n_windows,), in seconds after the video's or the sound's beginning. Raises
    StimulusError where there is no sound (unless silence is asked for), or it is damaged.
    """
    try:
        sound = read_sound(stimulus, rate, sampling.channels)
    except SilentError:
        if sampling.missing == "stop":
            raise
        seconds = None if stimulus.is_image or stimulus.pictures() else claimed_seconds(stimulus)
        sound = np.zeros((1 if sampling.channels == "mono" else 2, round((seconds or 0) * rate)), np.float32)
    length = sound.shape[1] / rate
    start, stop = stimulus.seconds or (0.0, length)
    if start > length + _LONGEST_AFTER_S:
        raise StimulusError(f"{shown_name(stimulus)}: sound must last until {start:g} s; it ends at {length:.2f} s")
    n = max(ceil((stop - start) * sampling.hz - 1e-3), 1)
    moments = start + (np.arange(n) + 1) / sampling.hz
    size, back = round(sampling.seconds * rate), round(sampling.look_back * rate)
    for first in range(0, n, chunk):
        some = moments[first : first + chunk]
        windows = np.zeros((len(some), len(sound), size), np.float32)
        for window, begin in zip(windows, np.round(some * rate).astype(int) - back, strict=True):
            there = sound[:, max(begin, 0) : max(begin + size, 0)]
            window[:, max(-begin, 0) : max(-begin, 0) + there.shape[1]] = there
        yield windows, some


class SilentError(StimulusError):
    """A stimulus has no sound."""


def read_sound(stimulus: Stimulus, rate: int, channels: Literal["mono", "stereo"] = "mono") -> FloatArray:
    """Read the whole sound of a file at a rate: float32, (1 or 2, n_samples), from the video's first frame on.

    Of n samples at another rate come ``ceil(n * rate / other)``, by a polyphase filter without delay. The last file
    read is kept, for the parts of one movie. Raises StimulusError where the file has no sound or is damaged.
    """
    # Parts of one movie have ids of their own.
    whole = Stimulus(stimulus.stimulus_id if stimulus.seconds is None else "", stimulus.path, stimulus.member)
    stamp = stimulus.path.stat().st_mtime_ns if stimulus.path.is_file() else 0
    return _read_sound(whole, stamp, rate, channels)


@lru_cache(maxsize=2)
def _read_sound(stimulus: Stimulus, stamp: int, rate: int, channels: str) -> FloatArray:
    if stimulus.is_image or stimulus.pictures():
        raise SilentError(f"{shown_name(stimulus)}: a picture has no sound; set sound: {{missing: silence}}, {REMEDY}")
    samples, own_rate = decode_sound(stimulus)
    if channels == "mono":
        samples = samples.mean(axis=0, keepdims=True)
    elif len(samples) > 2:
        raise StimulusError(f"{shown_name(stimulus)}: sound must have 1 or 2 channels for stereo; got {len(samples)}")
    elif len(samples) == 1:
        samples = np.repeat(samples, 2, axis=0)
    sound = resample(samples, own_rate, rate)
    sound.flags.writeable = False
    return sound


def resample(samples: FloatArray, rate: int, new_rate: int) -> FloatArray:
    """Resample (n_channels, n) to ``ceil(n * new_rate / rate)`` samples, float32; what is above both Nyquists goes."""
    if rate == new_rate or samples.shape[1] == 0:
        return np.array(samples, dtype=np.float32)
    common = gcd(rate, new_rate)
    up, down = new_rate // common, rate // common
    widest = max(up, down)
    taps = firwin(2 * _CROSSINGS * widest + 1, _PASSED / widest, window=("kaiser", _ATTENUATION))
    window: Any = taps
    return np.asarray(resample_poly(samples.astype(np.float64), up, down, axis=1, window=window), dtype=np.float32)


def decode_sound(stimulus: Stimulus) -> tuple[FloatArray, int]:
    """Decode the first audio track as it is: float32 (n_channels, n_samples), and samples per second.

    The first sample is heard with the first frame of the video, where there is one. Gaps in the track are silence.
    """
    with open_container(stimulus) as container:
        if not container.streams.audio:
            raise SilentError(
                f"{shown_name(stimulus)}: there is no sound in this file; set sound: {{missing: silence}}, {REMEDY}"
            )
        stream = container.streams.audio[0]
        videos = [one for one in container.streams.video if not one.disposition & one.disposition.attached_pic]
        zero = _start(videos[0]) if videos else None
        try:
            pieces, rate = _decode_all(container.demux(stream), stream, stimulus, zero)
            claimed = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else 0.0
        except StimulusError:
            raise
        except Exception as error:  # FFmpeg's own, and what damaged numbers lead PyAV to
            raise StimulusError(
                f"{shown_name(stimulus)}: its sound cannot be decoded ({reason(error)}); {REMEDY}"
            ) from error
    seconds = sum(piece.shape[1] for piece in pieces) / max(rate, 1)
    if not seconds or claimed - seconds > _SHORTFALL_S:
        raise StimulusError(
            f"{shown_name(stimulus)}: container claims {claimed:.2f} s of sound, {seconds:.2f} s decoded; {REMEDY}"
        )
    return np.concatenate(pieces, axis=1), rate


def _start(stream: Any) -> float:
    return float((stream.start_time or 0) * (stream.time_base or 0))


def _decode_all(packets: Any, stream: Any, stimulus: Stimulus, zero: float | None) -> tuple[list[FloatArray], int]:
    """Decode packets to pieces of (n_channels, n), from the moment ``zero`` on the container's clock."""
    stream.codec_context.options = dict(REPORT_DAMAGE)
    pieces: list[FloatArray] = []
    rate, heard, resampler = 0, 0, None
    for packet in packets:
        for frame in packet.decode():
            layout = (frame.sample_rate, frame.layout.nb_channels)
            if resampler is None:
                rate, known = frame.sample_rate, layout
                resampler = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate)
                zero = (frame.time or 0.0) if zero is None else zero
            if frame.is_corrupt or layout != known:
                raise StimulusError(f"{shown_name(stimulus)}: its sound is damaged, or changes its format; {REMEDY}")
            late = 0.0 if frame.time is None else frame.time - zero - heard / rate
            if late < -_GAP_S and heard:
                raise StimulusError(f"{shown_name(stimulus)}: the times of its sound go back; remux the file")
            if late > _GAP_S or not heard:
                missing = max(round(late * rate), 0)
                pieces.append(np.zeros((layout[1], missing), np.float32))
                heard += missing
            values = np.concatenate([part.to_ndarray() for part in resampler.resample(frame)], axis=1)
            early = min(max(round(-late * rate), 0), values.shape[1]) if not heard else 0
            pieces.append(values[:, early:].astype(np.float32))
            heard += values.shape[1] - early
    return pieces, rate
