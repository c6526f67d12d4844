"""Write frames as a video: what the simulation shows to its subjects."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError, UnwritableError
from voxelcast.stimuli.broken import reason

_QUALITY = "18"
# x264's decisions that rest on its half-size look ahead differ from call to call for small pictures, even with one
# thread (seen at 32 to 64 pixels: up to 33 results in 60 calls). Without them the same frames give the same bytes.
_SAME_BYTES = "mbtree=0:rc-lookahead=0:sync-lookahead=0:b-adapt=0:bframes=0:scenecut=0:weightp=0"


def write_video(path: Path, frames: ByteArray, fps: int, sound: tuple[FloatArray, int] | None = None) -> None:
    """Write RGB frames (n, h, w, 3) as an H.264 mp4 (yuv420p, BT.601 limited range, constant quality 18).

    ``sound``: samples (n_samples,) in [-1, 1], mono, and how many there are in a second; they become AAC.

    Height and width are even, since colour is stored at half resolution. One encoder thread, no look ahead and no time
    stamp: the same frames give the same bytes. What is at ``path`` is replaced.

    Raises ShapeError where ``frames`` has another shape, no frame, or an odd size; DataError where it is not uint8;
    OptionError where ``fps`` is below 1; UnwritableError where the file cannot be written.
    """
    if frames.ndim != 4 or frames.shape[-1] != 3 or 0 in frames.shape:
        raise ShapeError(f"frames must have shape (n >= 1, h, w, 3); got {frames.shape}")
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ShapeError(
            f"frames must have even height and width for H.264 video; got {frames.shape[1]} x {frames.shape[2]}; "
            "crop or pad them"
        )
    if frames.dtype != np.uint8:
        raise DataError(f"frames must be uint8 in 0..255; got {frames.dtype}")
    if fps < 1:
        raise OptionError(f"fps must be >= 1; got {fps}")
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    try:
        with av.open(str(path), "w", format="mp4", options=options) as container:
            encoding = {"crf": _QUALITY, "threads": "1", "x264-params": _SAME_BYTES}
            stream = container.add_stream("libx264", rate=Fraction(fps), options=encoding)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            stream.codec_context.thread_count = 1
            audio = None if sound is None else container.add_stream("aac", rate=sound[1], layout="mono")
            for frame in frames:
                picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
                container.mux(stream.encode(picture.reformat(format="yuv420p", threads=1)))
            container.mux(stream.encode())
            if sound is not None and audio is not None:
                samples = np.asarray(sound[0], dtype=np.float32)[None]
                heard = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
                heard.sample_rate, heard.pts = sound[1], 0
                container.mux(audio.encode(heard))
                container.mux(audio.encode())
    except (av.FFmpegError, OSError) as error:
        raise UnwritableError(
            f"cannot write the video {path} ({reason(error)}); choose a folder that can be written to"
        ) from error
