"""Videos as clips of a fixed number of frames, for networks that look at several frames at once.

Clips begin every ``stride`` sampled frames. A last clip that would not be full is moved back until it ends with the
last frame; a video shorter than one clip is filled up by repeating its last frame. So that every moment counts once,
a clip adds only what is new: the steps of a layer whose middle lies after the end of the clip before and, of a video
that was filled up, before the end of its own frames (but always one step at least). The times of a layer's steps are
therefore increasing, and the steps of all clips together cover the video once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.networks.base import Network, NetworkCard
from voxelcast.networks.hooks import View
from voxelcast.networks.module_network import ModuleNetwork


@dataclass(frozen=True)
class Clip:
    """A clip, of shape (clip_length, 3, height, width), when each frame is shown in seconds, and which part is new.

    Frames before ``first_new`` were in the clip before; those from ``n_shown`` on are repeats of the video's last.
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


def channels_first(module: nn.Module, output: object) -> torch.Tensor | str:
    """Read a layer's output for clips as convolutional networks lay it out.

    Of a tensor (n_clips, n_channels, n_times, height, width) or, without time, (n_clips, n_features), gives (n_clips,
    n_times, n_channels, height, width) or (n_clips, 1, n_features); of anything else a text that says what is wrong.
    """
    if not isinstance(output, torch.Tensor):
        return f"puts out a {type(output).__name__} instead of one tensor"
    if output.ndim == 5:
        return output.permute(0, 2, 1, 3, 4)
    if output.ndim == 2:
        return output.unsqueeze(1)
    return f"puts out {output.ndim} axes, of which time is not known"


class ClipNetwork(ModuleNetwork):
    """A torch module in eval mode that takes clips of shape (n_clips, 3, clip_length, input_size, input_size).

    Its card has ``clip_length`` and ``clip_stride``; its view gives tensors of shape (n_clips, n_times, ...), or one
    sentence that tells why a layer cannot be asked for. The rest is as of `ModuleNetwork`.
    """

    def __init__(
        self,
        card: NetworkCard,
        module: nn.Module,
        layers: Sequence[str],
        device: torch.device,
        view: View = channels_first,
    ) -> None:
        assert card.clip_length is not None
        assert card.clip_stride is not None
        self.clip_length, self.clip_stride = card.clip_length, card.clip_stride
        super().__init__(card, module, layers, device, view)

    def cutter(self) -> ClipCutter:
        """Begin to cut one stimulus into clips."""
        return ClipCutter(self.clip_length, self.clip_stride)

    def clip_activations(self, clips: Sequence[Clip]) -> Mapping[str, torch.Tensor]:
        """Run one forward pass over clips; return each layer's activations, of shape (n_clips, n_times, ...)."""
        return self._forward(torch.stack([clip.frames for clip in clips]).transpose(1, 2))

    def activations(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run over all frames of one stimulus, clip by clip; give the steps of all clips in time, each moment once."""
        cutter = self.cutter()
        parts: dict[str, list[torch.Tensor]] = {layer: [] for layer in self.layers}
        for clip in (*cutter.feed(prepared, np.arange(float(len(prepared)))), *cutter.end()):
            for layer, values in self.clip_activations([clip]).items():
                parts[layer].append(values[0, clip.new_steps(values.shape[1])[0]])
        return {layer: torch.cat(steps) for layer, steps in parts.items()}

    stream = Network.stream

    def _taken(self) -> str:
        return f"clips of {self.clip_length} frames of input_size {self.card.input_size}"

    def _example(self) -> torch.Tensor:
        size = self.card.input_size
        return torch.zeros(2, 3, self.clip_length, size, size, device=self.device)
