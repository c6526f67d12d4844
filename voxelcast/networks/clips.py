"""Videos as clips of a fixed number of frames, for networks that look at several frames at once.

Clips begin every ``stride`` sampled frames. A last clip that would not be full is moved back until it ends with the
last frame; a video shorter than one clip is filled up by repeating its last frame. So that every moment counts once,
a clip adds only what is new: the steps of a layer whose middle lies after the end of the clip before and, of a video
that was filled up, before the end of its own frames (but always one step at least). The times of a layer's steps are
therefore increasing, and the steps of all clips together cover the video once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError


@dataclass(frozen=True)
class Clip:
    """A clip and which part of it is new.

    Parameters
    ----------
    frames : tensor of shape (clip_length, 3, height, width)
    times : ndarray of shape (clip_length,)
        When each frame is shown, in seconds.
    first_new : int
        Frames before this one were in the clip before.
    n_shown : int
        Frames from this one on are repeats of the video's last.
    """

    frames: torch.Tensor
    times: FloatArray
    first_new: int
    n_shown: int

    def new_steps(self, n_steps: int) -> tuple[slice, FloatArray]:
        """Say which of a layer's ``n_steps`` steps in one clip this clip adds, and when their middles are, in seconds.

        Step k of n in a clip of L frames covers the frames from ``k L / n`` to ``(k + 1) L / n``.
        """
        middles = (np.arange(n_steps) + 0.5) * len(self.times) / n_steps
        start = min(int((middles <= self.first_new).sum()), n_steps - 1)
        stop = max(int((middles < self.n_shown).sum()), start + 1)
        positions = middles[start:stop] - 0.5
        return slice(start, stop), np.interp(positions, np.arange(self.n_shown), self.times[: self.n_shown])


class ClipCutter:
    """Cuts the frames of one stimulus into clips as they come, never holding more than two clips and a chunk.

    A clip has ``length`` frames; from the beginning of one to that of the next are ``stride`` frames, at most
    ``length``.
    """

    def __init__(self, length: int, stride: int) -> None:
        self._length = length
        self._stride = stride
        self._frames: torch.Tensor | None = None
        self._times: FloatArray = np.empty(0)
        self._offset = 0  # index in the stimulus of the first frame held
        self._next = 0  # index of the next clip's first frame
        self._covered = 0  # frames that were in a clip

    def feed(self, frames: torch.Tensor, times: FloatArray) -> list[Clip]:
        """Take in frames of shape (n_frames, 3, height, width); return the clips that are now full."""
        self._frames = frames if self._frames is None else torch.cat([self._frames, frames])
        self._times = np.concatenate([self._times, times])
        total = self._offset + len(self._times)
        clips = []
        while self._next + self._length <= total:
            clips.append(self._cut(self._next))
            self._next += self._stride
        spare = len(self._times) - self._length
        if spare > 0:
            # What may still be part of the last clip is kept. A copy, so that the frames before it can be freed.
            self._frames, self._times = self._frames[spare:].clone(), self._times[spare:]
            self._offset += spare
        return clips

    def end(self) -> list[Clip]:
        """Return the last clip, if frames are left over."""
        total = self._offset + len(self._times)
        if self._covered == total or self._frames is None:
            return []
        if total >= self._length:
            return [self._cut(total - self._length)]
        missing = self._length - total
        padding = self._frames[-1:].expand(missing, *self._frames.shape[1:])
        times = np.concatenate([self._times, np.full(missing, self._times[-1])])
        return [Clip(torch.cat([self._frames, padding]), times, 0, total)]

    def _cut(self, start: int) -> Clip:
        assert self._frames is not None
        inside = slice(start - self._offset, start - self._offset + self._length)
        clip = Clip(self._frames[inside], self._times[inside], max(self._covered - start, 0), self._length)
        self._covered = start + self._length
        return clip


def check_clips(network: str, length: int, stride: int) -> None:
    """Raise OptionError unless clips of ``length`` frames that begin every ``stride`` frames miss no frame."""
    if length < 1 or not 1 <= stride <= length:
        raise OptionError(
            f"clips of '{network}' need clip_length of at least 1 and clip_stride from 1 to clip_length; "
            f"got clip_length={length}, clip_stride={stride}"
        )
