"""A network's chosen layers with gradients, for training end to end."""

from __future__ import annotations

import copy
import math

import torch
from torch import nn

from voxelcast.core.errors import DataError, OptionError
from voxelcast.features.spatial_pool import averaging
from voxelcast.networks.clips import ClipNetwork
from voxelcast.networks.hooks import read_layers
from voxelcast.networks.module_network import ModuleNetwork


class TrainableBackbone(nn.Module):
    """A copy of a network that takes pixels and gives the maps of its chosen layers, batch norms and dropout frozen.

    ``side``: maps of layers with rows and columns are averaged to so many a side; None: as they are. Raises OptionError
    for a network that is no torch module.
    """

    def __init__(self, network: object, side: int | None) -> None:
        super().__init__()
        if not isinstance(network, ModuleNetwork):
            raise OptionError("finetuned needs a network that is a torch module; take readout for this one")
        self._card, self._clips, self._layers = network.card, isinstance(network, ClipNetwork), network.layers
        self._view = network._view
        self.module = copy.deepcopy(network.module).float()
        self._calls = dict(network._calls)
        shapes = {seen.name: seen.shape for seen in network.layer_traces()}
        self._pooled: list[bool] = []
        for k, layer in enumerate(self._layers):
            pooled = side is not None and len(shapes[layer]) == 3 and shapes[layer][1:] != (side, side)
            self._pooled.append(pooled)
            for name, size in zip(("rows", "columns"), shapes[layer][1:], strict=False) if pooled else ():
                matrix = torch.tensor(averaging(size, side or size), dtype=torch.float32)
                self.register_buffer(f"{name}{k}", matrix, persistent=False)
        self.mean: torch.Tensor
        self.std: torch.Tensor
        mean, std = (torch.tensor(values).view(3, 1, 1) * 255 for values in (self._card.mean, self._card.std))
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

    def forward(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """Return each layer's maps, (n, n_times, c, h, w); without the axis of time where there is one frame.

        ``pixels``: float of 0 to 255, (n, n_times, side, side, 3).
        """
        n, n_times = pixels.shape[:2]
        frames = (pixels.permute(0, 1, 4, 2, 3) - self.mean) / self.std
        if self._clips:
            inputs = frames.transpose(1, 2)
        else:
            inputs = frames.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        found: dict[str, torch.Tensor] = {}

        def keep(layer: str, values: torch.Tensor) -> None:
            found[layer] = values.clone()  # a later operation may overwrite it

        with read_layers(self.module, self._layers, keep, self._calls, self._view):
            self.module(inputs)
        maps = []
        for k, layer in enumerate(self._layers):
            values = found[layer]
            values = values if self._clips else values.reshape(n, n_times, *values.shape[1:])
            values = as_maps(values.float())
            if self._pooled[k]:
                values = self.get_buffer(f"rows{k}") @ values @ self.get_buffer(f"columns{k}").T
            maps.append(values[:, 0] if values.shape[1] == 1 else values)
        return maps

    def stages(self) -> list[list[nn.Parameter]]:
        """Return the parameters that each chosen layer needs beyond those of the layers before it, in order.

        Modules count in the order in which they are listed, up to the last one inside the layer.
        """
        modules = list(self.module.named_modules())
        last = {
            max(k for k, (name, _) in enumerate(modules) if name == layer or name.startswith(f"{layer}."))
            for layer in self._layers
        }
        stages, start = [], 0
        for stop in sorted(last):
            inside = modules[start : stop + 1]
            stages.append([parameter for _, part in inside for parameter in part.parameters(recurse=False)])
            start = stop + 1
        return [stage for stage in stages if stage]


def map_shape(shape: tuple[int, ...], side: int | None) -> tuple[int, int, int]:
    """Return channels, rows and columns of a layer's maps; tokens are rows, and features without places have one."""
    if len(shape) == 3:
        return (shape[0], side or shape[1], side or shape[2])
    if len(shape) == 2:
        return (shape[1], shape[0], 1)
    return (math.prod(shape), 1, 1)


def as_maps(values: torch.Tensor) -> torch.Tensor:
    """Give activations (n, n_times, ...) the shape (n, n_times, c, h, w); see `map_shape`."""
    if values.ndim == 5:
        return values
    if values.ndim == 4:
        return values.transpose(2, 3)[..., None]
    if values.ndim == 3:
        return values[..., None, None]
    raise DataError(f"maps have channels, rows and columns; got activations of shape {tuple(values.shape[2:])}")
