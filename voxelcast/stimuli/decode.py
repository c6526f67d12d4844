"""Decode stimuli into frames, a chunk at a time, and say what is wrong with those that cannot be decoded whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from voxelcast.core.arrays import ByteArray, FloatArray, IntArray
from voxelcast.core.errors import MissingPackageError, OptionError
from voxelcast.stimuli.images import read_image
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus


@dataclass(frozen=True)
class FrameChunk:
    """Some consecutive sampled frames of one stimulus.

    Parameters
    ----------
    frames : ndarray of shape (k, h, w, 3), uint8
        RGB, upright, at the size of the file.
    indices : ndarray of shape (k,), int64
        Place of each frame in the video, from 0.
    times : ndarray of shape (k,), float64
        Presentation times in seconds on the container's clock; NaN where the file has none.
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
    true number of frames and therefore decodes twice.

    Parameters
    ----------
    stimulus : Stimulus
        A video, or an image, which is one frame at 0 s.
    sampling : FrameSampling
        Which frames are kept.
    chunk : int
        The most frames per chunk. A chunk is also closed where the size of the frames changes.
    tolerate_shortfall : int
        How many frames fewer than the container claims may be decoded.
    stream : int or None
        Place of the video stream among all streams; None takes the first video stream.

    Yields
    ------
    chunk : FrameChunk

    Raises
    ------
    StimulusError
        Where the file is broken: it cannot be opened, decoding fails, no frame is decoded, or more than
        ``tolerate_shortfall`` fewer than claimed. A file that ends too early is found out after its last frame, so
        chunks already given are to be thrown away.
    """
    if chunk < 1 or tolerate_shortfall < 0:
        raise OptionError(f"chunk must be >= 1 and tolerate_shortfall >= 0; got {chunk} and {tolerate_shortfall}")
    if stimulus.is_image:
        yield FrameChunk(read_image(stimulus)[np.newaxis], np.zeros(1, np.int64), np.zeros(1))
        return
    if sampling.every is not None:
        step, wanted = sampling.every, None
    else:
        n_frames = count_frames(stimulus, tolerate_shortfall=tolerate_shortfall, stream=stream)
        step, wanted = 0, frozenset(sampling.indices(n_frames).tolist())
    video = _video()
    convert = video.RGBConverter()
    kept: list[tuple[ByteArray, int, float]] = []
    for index, frame in enumerate(video.decode_video(stimulus, tolerate_shortfall, stream)):
        if index % step if wanted is None else index not in wanted:
            continue
        picture = convert(frame)
        if kept and (len(kept) == chunk or kept[0][0].shape != picture.shape):
            yield _as_chunk(kept)
            kept = []
        kept.append((picture, index, np.nan if frame.time is None else float(frame.time)))
    if kept:
        yield _as_chunk(kept)


def count_frames(stimulus: Stimulus, *, tolerate_shortfall: int = 1, stream: int | None = None) -> int:
    """Count the frames that decode, by decoding them all.

    Raises
    ------
    StimulusError
        Where the file is broken; see :func:`iter_frames`.
    """
    if stimulus.is_image:
        return len(read_image(stimulus)[np.newaxis])
    return sum(1 for _ in _video().decode_video(stimulus, tolerate_shortfall, stream))


def _as_chunk(kept: list[tuple[ByteArray, int, float]]) -> FrameChunk:
    frames, indices, times = zip(*kept, strict=True)
    return FrameChunk(np.stack(frames), np.array(indices, dtype=np.int64), np.array(times, dtype=np.float64))


def _video() -> ModuleType:
    try:
        from voxelcast.stimuli import video
    except ImportError as error:
        raise MissingPackageError(f"reading videos needs PyAV ({error}); install it: pip install av") from error
    return video
