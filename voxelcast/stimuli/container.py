"""Video containers: opening them safely, what their headers claim, and what to say of a broken one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from voxelcast.core.errors import OptionError, StimulusError
from voxelcast.stimuli.broken import REMEDY, check_there, reason, shown_name
from voxelcast.stimuli.images import image_facts
from voxelcast.stimuli.stimulus import Stimulus

# FFmpeg goes by content, not by suffix: a playlist or script that is named .mp4 could make it open other files or
# network addresses. Only containers that hold their own frames are admitted, and only local files.
_FORMATS = "mov,matroska,avi,gif,mpeg,mpegvideo,mpegts,m4v,h264,hevc,asf,ivf,obu,ogg"
_SAFE_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file"}


@dataclass(frozen=True)
class VideoFacts:
    """What a file's headers say; nothing is decoded for it.

    Parameters
    ----------
    codec : str
        E.g. ``"h264"``; of an image, its format.
    width, height : int
        Size in pixels as stored, before any rotation.
    fps : float or None
        Average frames per second, None where unknown and for images.
    duration_s : float or None
        Duration in seconds, None where the headers do not say and for images.
    claimed_frames : int or None
        Number of frames that the headers claim, None where they do not say; 1 for images.
    """

    codec: str
    width: int
    height: int
    fps: float | None
    duration_s: float | None
    claimed_frames: int | None


def probe_video(stimulus: Stimulus) -> VideoFacts:
    """Read what a video's (or image's) headers say, without decoding it.

    Raises StimulusError where the file cannot be opened as a video or image.
    """
    if stimulus.is_image:
        codec, width, height = image_facts(stimulus)
        return VideoFacts(codec, width, height, None, None, 1)
    with open_container(stimulus) as container:
        stream = video_stream(container, stimulus)
        if stream.duration is not None and stream.time_base is not None:
            duration: float | None = float(stream.duration * stream.time_base)
        else:
            duration = None if container.duration is None else container.duration / av.time_base
        return VideoFacts(
            codec=stream.codec_context.name,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            fps=None if stream.average_rate is None else float(stream.average_rate),
            duration_s=duration,
            claimed_frames=stream.frames or None,
        )


@contextmanager
def open_container(stimulus: Stimulus) -> Iterator[InputContainer]:
    """Open a video for demuxing; decoding inside the ``with`` may raise ``av.FFmpegError``, which is left alone.

    Raises MissingFileError where the file is not there; StimulusError where it is not a video that FFmpeg can open.
    """
    check_there(stimulus)
    # The prefix keeps a name such as "http:x.mp4" from being taken for an address.
    source: str | BinaryIO = f"file:{stimulus.path}" if stimulus.member is None else stimulus.open()
    try:
        container = av.open(source, mode="r", options=dict(_SAFE_OPTIONS))
    except av.FFmpegError as error:
        raise StimulusError(
            f"{shown_name(stimulus)}: cannot be opened as a video ({reason(error)}), 0 frames decoded; {REMEDY}"
        ) from error
    with container:
        yield container


def video_stream(container: InputContainer, stimulus: Stimulus, index: int | None = None) -> VideoStream:
    """Return the first video stream, or the one at ``index`` among all streams.

    Cover pictures (attached to sound files) are not videos and are passed over.
    """
    videos = [stream for stream in container.streams.video if not stream.disposition & stream.disposition.attached_pic]
    if index is not None:
        videos = [stream for stream in videos if stream.index == index]
        if not videos:
            indices = [stream.index for stream in container.streams.video]
            raise OptionError(
                f"{shown_name(stimulus)}: stream must be one of {indices}, the video streams; got {index}"
            )
    if not videos:
        raise StimulusError(f"{shown_name(stimulus)}: container claims no video stream, 0 frames decoded; {REMEDY}")
    return videos[0]
