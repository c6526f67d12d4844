"""Videos frame by frame, through PyAV; imported only where a video is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import av
import numpy as np
from av.codec.context import CodecContext
from av.packet import Packet
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from voxelcast.core.arrays import ByteArray, IntArray
from voxelcast.core.errors import StimulusError
from voxelcast.stimuli.broken import REMEDY, reason, shown_name
from voxelcast.stimuli.container import REPORT_DAMAGE, open_container, video_stream
from voxelcast.stimuli.images import on_mid_grey
from voxelcast.stimuli.stimulus import Stimulus

# FFmpeg's own decoders of these ignore the transparency that WebM and Matroska store beside the picture.
_WITH_ALPHA = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
_STRAIGHT = 0.02  # sine of the angle up to which a picture counts as upright, as players have it (1 degree)


@dataclass(frozen=True)
class ShownFrame:
    """A decoded frame, with its time and duration in seconds: NaN and 0 where the file does not say."""

    frame: VideoFrame
    decoder: FrameDecoder

    @property
    def time(self) -> float:
        """When it comes on, on the container's clock."""
        return np.nan if self.frame.time is None else float(self.frame.time)

    @property
    def duration(self) -> float:
        """How long it stays."""
        frame = self.frame
        return float(frame.duration * frame.time_base) if frame.duration and frame.time_base else 0.0

    def picture(self) -> ByteArray:
        """Return it as a player shows it, ndarray of uint8, shape (height, width, 3)."""
        return self.decoder.picture(self.frame)


class FrameDecoder:
    """Decode a stream's packets on one thread, refuse what is damaged, and convert frames to upright RGB."""

    def __init__(self, stream: VideoStream, stimulus: Stimulus) -> None:
        context: Any = stream.codec_context
        alpha = stream.metadata.get("alpha_mode", stream.metadata.get("ALPHA_MODE")) == "1"
        if alpha and context.name in _WITH_ALPHA:
            context = CodecContext.create(_WITH_ALPHA[context.name], "r")
            context.extradata = stream.codec_context.extradata
        context.thread_count = 1
        context.options = dict(REPORT_DAMAGE)
        self.n_decoded = 0
        self._context, self._stimulus = context, stimulus
        self._pixel_width = float(stream.sample_aspect_ratio or 1)
        self._reformatter = VideoReformatter()  # keeps FFmpeg's conversion tables

    def decode(self, packet: Packet[Any]) -> Iterator[ShownFrame]:
        """Give the frames that a packet completes; the empty packet at the end of a stream gives the last.

        Raises ``av.FFmpegError`` where the decoder stops at damage, StimulusError where it only marks a frame.
        """
        for frame in self._context.decode(packet):
            if frame.is_corrupt:
                raise StimulusError(f"{shown_name(self._stimulus)}: frame {self.n_decoded} is damaged; {REMEDY}")
            self.n_decoded += 1
            yield ShownFrame(frame, self)

    def picture(self, frame: VideoFrame) -> ByteArray:
        """Convert a frame to RGB with square pixels, turned and mirrored as the file says, on mid-grey."""
        transparent = any(component.is_alpha for component in frame.format.components)
        converted = self._reformatter.reformat(
            frame,
            width=max(round(frame.width * self._pixel_width), 1),
            format="rgba" if transparent else "rgb24",
            interpolation=Interpolation.BILINEAR,
            threads=1,
        )
        picture = cast(ByteArray, converted.to_ndarray())
        if transparent:
            picture = on_mid_grey(picture)
        matrix: Any = frame.side_data.get(cast(str, Type.DISPLAYMATRIX))
        return picture if matrix is None else self._placed(picture, np.frombuffer(bytes(matrix), np.int32))

    def _placed(self, picture: ByteArray, matrix: IntArray) -> ByteArray:
        """Turn and mirror a picture: x' = a x + c y, y' = b x + d y; the matrix begins a, b, 0, c, d."""
        a, b, c, d = (float(matrix[place]) for place in (0, 1, 3, 4))
        if not any((a, b, c, d)):  # written by some programs; players show the picture as it is
            return picture
        if max(abs(b), abs(c)) < _STRAIGHT * min(abs(a), abs(d)):
            across, down = a, d
        elif max(abs(a), abs(d)) < _STRAIGHT * min(abs(b), abs(c)):
            picture, across, down = picture.transpose(1, 0, 2), c, b
        else:
            raise StimulusError(
                f"{shown_name(self._stimulus)}: a video may be turned by 90, 180 or 270 degrees or mirrored; got the "
                f"display matrix {a / 65536:g}, {b / 65536:g}, {c / 65536:g}, {d / 65536:g}; encode it anew, upright, "
                "or go on without it: broken_stimuli=skip"
            )
        return np.ascontiguousarray(picture[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1])


def decode_video(stimulus: Stimulus, tolerate_shortfall: int, index: int | None) -> Iterator[ShownFrame]:
    """Decode every frame of a video; arguments and errors are those of :func:`voxelcast.stimuli.decode.iter_frames`."""
    with open_container(stimulus) as container:
        stream = video_stream(container, stimulus, index)
        decoder = FrameDecoder(stream, stimulus)
        claimed, claimed_s = stream.frames, None
        # Matroska stores no number of frames but a duration, over all streams; a file that was cut off only shows
        # there. Other containers' durations are FFmpeg's estimates and claim nothing.
        if not claimed and container.format.name == "matroska,webm" and container.duration:
            claimed_s = container.duration / av.time_base
        n_discarded, end_s = 0, 0.0
        try:
            for packet in container.demux() if claimed_s else container.demux(stream):
                if packet.pts is not None and packet.time_base is not None:
                    end_s = max(end_s, float((packet.pts + (packet.duration or 0)) * packet.time_base))
                if packet.stream.index != stream.index:
                    continue
                # Frames that an edit list hides are stored, hence claimed, but never shown.
                n_discarded += packet.is_discard
                yield from decoder.decode(packet)
        except StimulusError:
            raise
        except Exception as error:  # FFmpeg's own, and what damaged numbers lead PyAV to
            raise StimulusError(_short(stimulus, claimed, claimed_s, decoder.n_decoded, reason(error))) from error
        if decoder.n_decoded == 0:
            raise StimulusError(_short(stimulus, claimed, claimed_s, 0, "no frame could be decoded"))
        frame_s = float(1 / stream.average_rate) if stream.average_rate else 0.04
        missing = claimed - n_discarded - decoder.n_decoded if claimed_s is None else (claimed_s - end_s) / frame_s - 1
        if missing > tolerate_shortfall:
            why = "the file ends too early" if claimed_s is None else f"the file ends after {end_s:.2f} s"
            raise StimulusError(_short(stimulus, claimed, claimed_s, decoder.n_decoded, why))


def _short(stimulus: Stimulus, claimed: int, claimed_s: float | None, n_decoded: int, why: str) -> str:
    in_seconds = "no number of frames" if claimed_s is None else f"{claimed_s:.2f} s"
    claim = f"{claimed} frames" if claimed else in_seconds
    return f"{shown_name(stimulus)}: container claims {claim}, {n_decoded} decoded ({why}); {REMEDY}"
