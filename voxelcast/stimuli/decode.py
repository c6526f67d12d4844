"""Decode stimuli into frames, a chunk at a time, and say what is wrong with those that cannot be decoded whole."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

from voxelcast.core.arrays import ByteArray, FloatArray, IntArray
from voxelcast.core.checks import optional_package
from voxelcast.core.errors import OptionError, StimulusError
from voxelcast.stimuli.broken import shown_name
from voxelcast.stimuli.images import read_image
from voxelcast.stimuli.sampling import FrameSampling, SoundSampling, at_rate
from voxelcast.stimuli.stimulus import Stimulus


@dataclass(frozen=True)
class FrameChunk:
    """Some consecutive sampled frames of one stimulus.

    Parameters
    ----------
    frames : ndarray of shape (k, h, w, 3), uint8
        RGB, as a player shows them: upright, with square pixels, on mid-grey where they are transparent.
    indices : ndarray of shape (k,), int64
        Index of each frame in the video, from 0.
    times : ndarray of shape (k,), float64
        When each is looked at (see :class:`voxelcast.stimuli.sampling.FrameSampling`), in seconds on the container's
        clock; NaN where the file has none.
    """

    frames: ByteArray
    indices: IntArray
    times: FloatArray


def iter_frames(
    stimulus: Stimulus,
    sampling: FrameSampling,
    *,
    chunk: int = 16,
    tolerate_shortfall: int = 1,
    stream: int | None = None,
) -> Iterator[FrameChunk]:
    """Decode the sampled frames, never holding more than one chunk.

    Colours are converted by the file's own colour space and range with FFmpeg's plain conversion (BT.601 where the
    file does not say), as torchcodec and OpenCV do; it truncates, so values lie up to 3 of 255 below the exact ones.
    One native thread decodes and converts, so that the same file always gives the same bits. ``n`` sampling needs the
    true number of frames and their times and therefore decodes twice.

    Of a part of a video (``stimulus.seconds``) only what is on the screen in that time counts, from the frame that is
    on at its beginning; see :mod:`voxelcast.stimuli.segment`.

    Raises StimulusError where the file is broken: it cannot be opened, decoding fails, a frame is found damaged, no
    frame is decoded, or ``tolerate_shortfall`` is passed; or where it is to be shown at an odd angle.
    Damage is what the decoder sees: holes in all formats but VP9 and Windows Media, single wrong bytes in about half.
    A file that ends too early is found out after its last frame, so chunks already given are to be thrown away.

    Parameters
    ----------
    stimulus : Stimulus
        A video; an image, which is one frame at 0 s; or a folder of pictures, each a frame without a time.
    chunk : int
        The most frames per chunk. A chunk is also closed where the size of the frames changes.
    tolerate_shortfall : int
        How many frames fewer than the container claims may be decoded.
    stream : int or None
        Index of the video stream among all streams; None takes the first video stream.
    """
    if chunk < 1 or tolerate_shortfall < 0:
        raise OptionError(f"chunk must be >= 1 and tolerate_shortfall >= 0; got {chunk} and {tolerate_shortfall}")
    if stimulus.is_image:
        yield FrameChunk(read_image(stimulus)[np.newaxis], np.zeros(1, np.int64), np.zeros(1))
        return
    if pictures := stimulus.pictures():
        yield from _of_pictures(pictures, sampling, chunk)
        return
    video = _needs_pyav("video")
    kept: list[tuple[ByteArray, int, float]] = []
    for frame, index, time in _sampled(video, stimulus, sampling, tolerate_shortfall, stream):
        # A frame that stays on the screen may be sampled several times; it is converted once.
        picture = kept[-1][0] if kept and kept[-1][1] == index else frame.picture()
        if kept and (len(kept) == chunk or kept[0][0].shape != picture.shape):
            yield _as_chunk(kept)
            kept = []
        kept.append((picture, index, time))
    if not kept:
        raise StimulusError(
            f"{shown_name(stimulus)}: frames.first must be below the number of frames; got {sampling.first}; lower it"
        )
    yield _as_chunk(kept)


def _of_pictures(pictures: Sequence[Stimulus], sampling: FrameSampling, chunk: int) -> Iterator[FrameChunk]:
    """Give the sampled pictures of a folder."""
    indices, times = sampling.choose(np.full(len(pictures), np.nan), np.nan)
    kept: list[tuple[ByteArray, int, float]] = []
    for index, time in zip(indices, times, strict=True):
        picture = read_image(pictures[int(index)])
        if kept and (len(kept) == chunk or kept[0][0].shape != picture.shape):
            yield _as_chunk(kept)
            kept = []
        kept.append((picture, int(index), float(time)))
    if kept:
        yield _as_chunk(kept)


def iter_sound(stimulus: Stimulus, sampling: SoundSampling, rate: int) -> Iterator[tuple[FloatArray, FloatArray]]:
    """Give windows of a stimulus' sound and their moments; see :func:`voxelcast.stimuli.sound.sound_windows`."""
    yield from _needs_pyav("sound").sound_windows(stimulus, sampling, rate)


def _sampled(
    video: ModuleType, stimulus: Stimulus, sampling: FrameSampling, tolerate_shortfall: int, stream: int | None
) -> Iterator[tuple[Any, int, float]]:
    """Decode a video and give each sampled frame with its index and time."""
    if stimulus.seconds is not None:
        yield from _needs_pyav("segment").sampled_segment(stimulus, sampling, stream)
        return
    if sampling.hz is not None:
        timed = (
            (frame, frame.time, frame.duration) for frame in video.decode_video(stimulus, tolerate_shortfall, stream)
        )
        yield from at_rate(_rising(timed, stimulus), sampling.hz)
        return
    wanted: dict[int, list[float]] | None = None
    if sampling.n is not None:
        frames = video.decode_video(stimulus, tolerate_shortfall, stream)
        clock = np.array([(frame.time, frame.duration) for frame in frames])
        times, last = clock[:, 0], clock[-1, 1] or float(np.diff(clock[-2:, 0]).sum())
        wanted = defaultdict(list)
        for index, moment in zip(*sampling.choose(times, times[-1] + last), strict=True):
            wanted[int(index)].append(float(moment))
    for index, frame in enumerate(video.decode_video(stimulus, tolerate_shortfall, stream)):
        if wanted is not None:
            yield from ((frame, index, moment) for moment in wanted.get(index, ()))
        elif sampling.counts(index):
            yield frame, index, frame.time


def _rising(timed: Iterator[tuple[Any, float, float]], stimulus: Stimulus) -> Iterator[tuple[Any, float, float]]:
    """Pass frames on as long as each comes on no earlier than the one before."""
    before = -np.inf
    for frame, time, duration in timed:
        if not time >= before:
            got = "no time" if np.isnan(time) else f"{time} s after {before} s"
            raise StimulusError(
                f"{shown_name(stimulus)}: frames.hz needs frames with times that do not fall; got {got}; "
                "set frames.every or frames.n, or remux the file"
            )
        before = time
        yield frame, time, duration


def _as_chunk(kept: list[tuple[ByteArray, int, float]]) -> FrameChunk:
    frames, indices, times = zip(*kept, strict=True)
    return FrameChunk(np.stack(frames), np.array(indices, dtype=np.int64), np.array(times, dtype=np.float64))


def _needs_pyav(name: str) -> Any:
    """Import the module of that name, which needs PyAV."""
    needs = "reading videos and sound needs PyAV ({error}); install it: pip install av"
    return optional_package(f"voxelcast.stimuli.{name}", needs)
