"""Containers of videos and sound, opened safely."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from voxelcast.core.errors import OptionError, StimulusError, VoxelcastError
from voxelcast.stimuli.broken import REMEDY, check_there, reason, shown_name
from voxelcast.stimuli.stimulus import Stimulus

# FFmpeg goes by content, not by suffix: a playlist or script that is named .mp4 could make it open other files or
# network addresses. Only containers that hold their own frames are admitted, and only local files.
_FORMATS = (
    "mov,matroska,avi,gif,mpeg,mpegvideo,mpegts,m4v,h264,hevc,asf,ivf,obu,ogg"  # and of sound alone:
    ",wav,w64,mp3,flac,aac,aiff"
)
# Without this FFmpeg conceals what is damaged: the frame is grey, or a mixture of others.
REPORT_DAMAGE = {"err_detect": "crccheck+bitstream+buffer+explode"}
_SAFE_OPTIONS = {"format_whitelist": _FORMATS, "protocol_whitelist": "file", **REPORT_DAMAGE}


@contextmanager
def open_container(stimulus: Stimulus) -> Iterator[InputContainer]:
    """Open a video for demuxing; decoding inside the ``with`` may raise ``av.FFmpegError``, which is left alone.

    Raises MissingFileError where the file is not there; StimulusError where it is not a video that FFmpeg can open.
    """
    check_there(stimulus)
    # The prefix keeps a name such as "http:x.mp4" from being taken for an address.
    source: str | BinaryIO = f"file:{stimulus.path}" if stimulus.member is None else stimulus.open()
    try:
        container = av.open(source, mode="r", options=dict(_SAFE_OPTIONS), metadata_errors="replace")
    except Exception as error:  # FFmpeg's own, and what damaged numbers and texts lead PyAV to
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
    if videos[0].codec_context is None:
        raise StimulusError(
            f"{shown_name(stimulus)}: the video's codec is not known to FFmpeg, 0 frames decoded; {REMEDY}"
        )
    return videos[0]


def claimed_seconds(stimulus: Stimulus) -> float | None:
    """Return how long a video lasts by what its container claims; None where it cannot be opened or claims nothing."""
    try:
        with open_container(stimulus) as container:
            stream = video_stream(container, stimulus)
            if stream.duration and stream.time_base:
                return float(stream.duration * stream.time_base)
            return container.duration / av.time_base if container.duration else None
    except VoxelcastError:
        return None
