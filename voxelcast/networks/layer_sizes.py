"""How many features a network's layers have, and what they take on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from voxelcast.networks.hooks import LayerTrace

_BYTES = 4  # float32


@dataclass(frozen=True)
class LayerSize:
    """A layer as it is listed.

    Parameters
    ----------
    name, kind : str
    shape : str
        For one frame, e.g. ``"64 x 56 x 56"``; of a network that takes clips with its steps of time.
    n_features : int
        Of one stimulus, pooled over time.
    """

    name: str
    kind: str
    shape: str
    n_features: int

    def n_bytes(self, n_stimuli: int) -> int:
        """Size on disk of the features of a data set, in float32."""
        return _BYTES * self.n_features * n_stimuli


def layer_sizes(layers: Sequence[LayerTrace], grid: int | None = None) -> list[LayerSize]:
    """Say how large each layer is.

    Parameters
    ----------
    layers : sequence of LayerTrace
    grid : int or None
        Cells per side over which each channel of a layer with space is averaged first; layers without space keep their
        features.
    """
    sizes = []
    for layer in layers:
        shape = layer.shape
        if grid is not None and len(shape) == 3:
            shape = (shape[0], grid, grid)
        shown = " x ".join(map(str, layer.shape)) or "1"
        if layer.n_times is not None:
            shown += f", {layer.n_times} step{'s' if layer.n_times != 1 else ''}"
        sizes.append(LayerSize(layer.name, layer.kind, shown, math.prod(shape)))
    return sizes


def total_size(sizes: Sequence[LayerSize]) -> LayerSize:
    """Sum up layers."""
    return LayerSize("total", f"{len(sizes)} layers", "", sum(size.n_features for size in sizes))


def readable_bytes(n: int) -> str:
    """Write a number of bytes with three digits and a decimal unit, e.g. ``"8.85 GB"``."""
    value, units = float(n), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{n} B" if units[0] == "B" else f"{value:.3g} {units[0]}"
