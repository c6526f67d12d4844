"""Part of a video, such as what was on the screen during one volume of a scan; imported only where a video is read."""

from __future__ import annotations

from collections.abc import Iterator

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from voxelcast.core.errors import OptionError, StimulusError
from voxelcast.stimuli.broken import REMEDY, reason, shown_name
from voxelcast.stimuli.container import open_container, video_stream
from voxelcast.stimuli.sampling import CLOCK_S, FrameSampling, at_rate
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.stimuli.video import FrameDecoder, ShownFrame

LONGEST_AFTER_S = 30.0
"""Seconds after the last frame for which that frame still counts as being on the screen: scans outlast movies a bit."""


def sampled_segment(
    stimulus: Stimulus, sampling: FrameSampling, stream: int | None
) -> Iterator[tuple[ShownFrame, int, float]]:
    """Sample the frames of a part of a video.

    The part (``stimulus.seconds``) begins with the frame that is on the screen at its first moment and ends before the
    frame that comes on at its last. A part after the video's end is its last frame.

    Yields (frame, index, moment): the frame, its index in the part, and when it is looked at, in seconds after the
    video's first frame. Raises StimulusError where the file is broken, its frames have no times, or it ends long before
    the part begins.
    """
    start, stop = stimulus.seconds or (0.0, 0.0)
    if not 0 <= start < stop:
        raise OptionError(f"a part of a video must have 0 <= start < end; got {start} to {stop} s")
    frames = _on_screen(stimulus, stream, start, stop)
    if sampling.hz is not None:
        yield from at_rate(((frame, time, stop - time) for frame, time in frames), sampling.hz)
    elif sampling.n is not None:
        listed = list(frames)
        times = np.array([time for _, time in listed])
        for index, moment in zip(*sampling.choose(times, stop), strict=True):
            yield listed[int(index)][0], int(index), float(moment)
    else:
        for index, (frame, time) in enumerate(frames):
            if sampling.counts(index):
                yield frame, index, time


def _on_screen(stimulus: Stimulus, index: int | None, start: float, stop: float) -> Iterator[tuple[ShownFrame, float]]:
    """Give the frames on the screen from ``start`` to ``stop``, each with when it came on, the first at ``start``."""
    held: tuple[ShownFrame, float] | None = None
    for frame, time in _timed_frames(stimulus, index, start):
        if time >= stop - CLOCK_S:
            break
        if held is not None and time > start + CLOCK_S:
            yield held[0], max(held[1], start)
        held = frame, time
    if held is None:
        raise StimulusError(f"{shown_name(stimulus)}: no frame could be decoded before {stop:g} s; {REMEDY}")
    if held[1] + LONGEST_AFTER_S < start:
        raise StimulusError(
            f"{shown_name(stimulus)}: the video must last until {start:g} s, and its last frame comes on at "
            f"{held[1]:.2f} s; is it of another run?"
        )
    yield held[0], max(held[1], start)


def _timed_frames(stimulus: Stimulus, index: int | None, start: float) -> Iterator[tuple[ShownFrame, float]]:
    """Decode from the last key frame that comes on at ``start`` or before.

    Frames right after it may need some from before it; where the decoder misses those, it starts at the beginning.
    """
    reached = False
    try:
        for frame, time in _decoded(stimulus, index, start):
            reached = reached or time >= start - CLOCK_S
            yield frame, time
        return
    except StimulusError:
        if reached or start <= 0:
            raise
    yield from _decoded(stimulus, index, 0.0)


def _decoded(stimulus: Stimulus, index: int | None, start: float) -> Iterator[tuple[ShownFrame, float]]:
    with open_container(stimulus) as container:
        stream = video_stream(container, stimulus, index)
        decoder = FrameDecoder(stream, stimulus)
        zero = float((stream.start_time or 0) * (stream.time_base or 0))
        _seek(container, stream, start + zero)
        try:
            for packet in container.demux(stream):
                for frame in decoder.decode(packet):
                    if np.isnan(frame.time):
                        raise StimulusError(
                            f"{shown_name(stimulus)}: parts of a video need frames with times; remux the file"
                        )
                    yield frame, frame.time - zero
        except StimulusError:
            raise
        except Exception as error:  # FFmpeg's own, and what damaged numbers lead PyAV to
            raise StimulusError(f"{shown_name(stimulus)}: decoding fails ({reason(error)}); {REMEDY}") from error


def _seek(container: InputContainer, stream: VideoStream, seconds: float) -> None:
    """Go to the last key frame before a moment; a file without an index is decoded from its beginning."""
    if not stream.time_base or seconds <= 0:
        return
    try:
        container.seek(int(seconds / stream.time_base), stream=stream, backward=True)
    except av.FFmpegError:
        container.seek(0)
