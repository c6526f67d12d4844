"""Small clips for the tests of this room, made on the spot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream

from voxelcast.core.arrays import ByteArray, IntArray
from voxelcast.stimuli.container import open_container, video_stream
from voxelcast.stimuli.decode import FrameChunk, iter_frames
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus


def ramp(n: int, height: int = 32, width: int = 48) -> ByteArray:
    """Frame k is plain grey of value 10 + 5 k, so that a frame tells its own number."""
    levels = (10 + 5 * np.arange(n)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (n, height, width, 3)).copy()


def numbers(frames: ByteArray) -> list[int]:
    """Frame numbers read back from a ramp."""
    return np.rint((frames.reshape(len(frames), -1).mean(axis=1) + 1 - 10) / 5).astype(int).tolist()


def as_stimulus(path: Path) -> Stimulus:
    return Stimulus(path.stem, path)


def chunks(path: Path, **options: Any) -> list[FrameChunk]:
    sampling = FrameSampling(**{key: options.pop(key) for key in ("every", "n", "hz", "first") if key in options})
    return list(iter_frames(as_stimulus(path), sampling, **options))


def kept_of(sampling: FrameSampling, n_frames: int) -> IntArray:
    """Frames kept of a video whose times are not known."""
    return sampling.choose(np.full(n_frames, np.nan), np.nan)[0]


def count(path: Path, **options: Any) -> int:
    """Number of frames that decode."""
    return sum(len(chunk.indices) for chunk in chunks(path, every=1, **options))


def header(path: Path) -> VideoStream:
    """What the headers say of the first video stream."""
    with open_container(as_stimulus(path)) as container:
        return video_stream(container, as_stimulus(path))


def remux(source: Path, target: Path, *, shift_s: float = 0.0, **options: str) -> None:
    """Copy packets into another container without encoding; a negative shift makes an edit list that hides frames."""
    with av.open(str(source)) as read, av.open(str(target), "w", options=options) as write:
        stream = read.streams.video[0]
        copied = write.add_stream_from_template(stream)
        for packet in read.demux(stream):
            if packet.dts is not None:
                packet.pts += round(shift_s / packet.time_base)
                packet.dts += round(shift_s / packet.time_base)
                packet.stream = copied
                write.mux(packet)
