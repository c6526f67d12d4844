"""Decode stimuli into frames, a chunk at a time, and say what is wrong with those that cannot be decoded whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from voxelcast.core.arrays import ByteArray, FloatArray, IntArray
from voxelcast.core.errors import OptionError, StimulusError
from voxelcast.stimuli.broken import REMEDY, reason, shown_name
from voxelcast.stimuli.container import open_container, video_stream
from voxelcast.stimuli.images import on_mid_grey, read_image
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
    convert = _Converter()
    kept: list[tuple[ByteArray, int, float]] = []
    for index, frame in enumerate(_decode(stimulus, tolerate_shortfall, stream)):
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
    return sum(1 for _ in _decode(stimulus, tolerate_shortfall, stream))


def _as_chunk(kept: list[tuple[ByteArray, int, float]]) -> FrameChunk:
    frames, indices, times = zip(*kept, strict=True)
    return FrameChunk(np.stack(frames), np.array(indices, dtype=np.int64), np.array(times, dtype=np.float64))


def _decode(stimulus: Stimulus, tolerate_shortfall: int, index: int | None) -> Iterator[VideoFrame]:
    """Decode every frame of a video; raise StimulusError where fewer come than the container claims."""
    with open_container(stimulus) as container:
        stream = video_stream(container, stimulus, index)
        stream.codec_context.thread_count = 1
        claimed, claimed_s = stream.frames, None
        # Matroska stores no number of frames but a duration, over all streams; a file that was cut off only shows
        # there. Other containers' durations are FFmpeg's estimates and claim nothing.
        if not claimed and container.format.name == "matroska,webm" and container.duration:
            claimed_s = container.duration / av.time_base
        n_decoded, n_discarded, end_s = 0, 0, 0.0
        try:
            for packet in container.demux() if claimed_s else container.demux(stream):
                if packet.pts is not None and packet.time_base is not None:
                    end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index != stream.index:
                    continue
                # Frames that an edit list hides are stored, hence claimed, but never shown.
                n_discarded += packet.is_discard
                for frame in packet.decode():
                    n_decoded += 1
                    yield cast(VideoFrame, frame)
        except av.FFmpegError as error:
            raise StimulusError(_short(stimulus, claimed, claimed_s, n_decoded, reason(error))) from error
        if n_decoded == 0:
            raise StimulusError(_short(stimulus, claimed, claimed_s, 0, "no frame could be decoded"))
        frame_s = float(1 / stream.average_rate) if stream.average_rate else 0.04
        missing = claimed - n_discarded - n_decoded if claimed_s is None else (claimed_s - end_s) / frame_s - 1
        if missing > tolerate_shortfall:
            why = "the file ends too early" if claimed_s is None else f"the file ends after {end_s:.2f} s"
            raise StimulusError(_short(stimulus, claimed, claimed_s, n_decoded, why))


def _short(stimulus: Stimulus, claimed: int, claimed_s: float | None, n_decoded: int, why: str) -> str:
    in_seconds = "no number of frames" if claimed_s is None else f"{claimed_s:.2f} s"
    claim = f"{claimed} frames" if claimed else in_seconds
    return f"{shown_name(stimulus)}: container claims {claim}, {n_decoded} decoded ({why}); {REMEDY}"


class _Converter:
    """Turn decoded frames into upright RGB arrays; one per video, since it keeps FFmpeg's conversion tables."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> ByteArray:
        transparent = any(component.is_alpha for component in frame.format.components)
        converted = self._reformatter.reformat(
            frame, format="rgba" if transparent else "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        picture = cast(ByteArray, converted.to_ndarray())
        if transparent:
            picture = on_mid_grey(picture)
        # FFmpeg's angle is counterclockwise, as np.rot90's is.
        return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))
