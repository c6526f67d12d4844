"""Videos frame by frame, through PyAV; imported only where a video is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from voxelcast.core.arrays import ByteArray
from voxelcast.core.errors import StimulusError
from voxelcast.stimuli.broken import REMEDY, reason, shown_name
from voxelcast.stimuli.container import open_container, video_stream
from voxelcast.stimuli.images import on_mid_grey
from voxelcast.stimuli.stimulus import Stimulus


def decode_video(stimulus: Stimulus, tolerate_shortfall: int, index: int | None) -> Iterator[VideoFrame]:
    """Decode every frame of a video; arguments and errors are those of :func:`voxelcast.stimuli.decode.iter_frames`."""
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


class RGBConverter:
    """Turn decoded frames into upright RGB arrays; one per video, since it keeps FFmpeg's conversion tables."""

    def __init__(self) -> None:
        self._reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame) -> ByteArray:
        """Convert one frame to ndarray of uint8, shape (height, width, 3)."""
        transparent = any(component.is_alpha for component in frame.format.components)
        converted = self._reformatter.reformat(
            frame, format="rgba" if transparent else "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        picture = cast(ByteArray, converted.to_ndarray())
        if transparent:
            picture = on_mid_grey(picture)
        # FFmpeg's angle is counterclockwise, as np.rot90's is.
        return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))
