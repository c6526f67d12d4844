"""A torch module that takes clips of a fixed number of frames, as a network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from voxelcast.networks.base import Network, NetworkCard
from voxelcast.networks.clips import Clip, ClipCutter, check_clips
from voxelcast.networks.hooks import View
from voxelcast.networks.module_network import ModuleNetwork


def channels_first(module: nn.Module, output: object) -> torch.Tensor | str:
    """Read a layer's output for clips as convolutional networks lay it out.

    Parameters
    ----------
    output : object
        A tensor of shape (n_clips, n_channels, n_times, height, width), or without time (n_clips, n_features).

    Returns
    -------
    activations : tensor of shape (n_clips, n_times, n_channels, height, width) or (n_clips, 1, n_features), or str
        What is wrong, where it is neither.
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
        length, stride = card.clip_length, card.clip_stride
        assert length is not None
        assert stride is not None
        check_clips(card.name, length, stride)
        self.clip_length, self.clip_stride = length, stride
        super().__init__(card, module, layers, device, view)

    def cutter(self) -> ClipCutter:
        """Begin to cut one stimulus into clips."""
        return ClipCutter(self.clip_length, self.clip_stride)

    def clip_activations(self, clips: Sequence[Clip]) -> Mapping[str, torch.Tensor]:
        """Run one forward pass over clips; return each layer's activations, of shape (n_clips, n_times, ...)."""
        return self._forward(torch.stack([clip.frames for clip in clips]).transpose(1, 2))

    def activations(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run over all frames of one stimulus, clip by clip.

        Returns
        -------
        activations : mapping from layer to tensor of shape (n_times, ...)
            The steps of all clips in the order of time, each moment once.
        """
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
