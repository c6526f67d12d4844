"""How many features a network's layers have, and what they take in memory and on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from voxelcast.core.cost import Cost
from voxelcast.features.pooling import KeepingPool, TimePool, make_pool
from voxelcast.features.spatial_pool import parse_spatial_pool
from voxelcast.networks.hooks import LayerTrace
from voxelcast.networks.settings import ExtractionSettings

_BYTES = 4  # float32


@dataclass(frozen=True)
class LayerSize:
    """A layer as it is listed: its shape for one frame as text, and its number of features once pooled over time.

    Of a network that takes clips the shape has the steps of time.
    """

    name: str
    kind: str
    shape: str
    n_features: int

    def n_bytes(self, n_stimuli: int) -> int:
        """Size on disk of the features of a data set, in float32."""
        return _BYTES * self.n_features * n_stimuli


def layer_sizes(layers: Sequence[LayerTrace], spatial_pool: str = "none") -> list[LayerSize]:
    """Say how large each layer is, once each channel of a layer with space is pooled over space."""
    cells = [k * k for k in parse_spatial_pool(spatial_pool)]
    sizes = []
    for layer in layers:
        shape = layer.shape
        if cells and len(shape) == 3:
            shape = (shape[0], sum(cells))
        shown = " x ".join(map(str, layer.shape)) or "1"
        if layer.n_times is not None:
            shown += f", {layer.n_times} step{'s' if layer.n_times != 1 else ''}"
        sizes.append(LayerSize(layer.name, layer.kind, shown, math.prod(shape)))
    return sizes


def total_size(sizes: Sequence[LayerSize]) -> LayerSize:
    """Sum up layers."""
    return LayerSize("total", f"{len(sizes)} layers", "", sum(size.n_features for size in sizes))


def extraction_cost(layers: Sequence[LayerTrace], settings: ExtractionSettings, n_frames: int, batch: int) -> Cost:
    """State memory and disk of the features of one stimulus; how long it takes has to be measured.

    In memory are one batch of frames of every layer extracted, which is more than what the network itself holds at a
    time, and what the pools keep: sums in double precision, or all frames.
    """
    n_features = sum(size.n_features for size in layer_sizes(layers, settings.spatial_pool))
    activations = sum(math.prod(layer.shape) for layer in layers)
    keeping = [isinstance(make_pool(name), KeepingPool) for name in settings.pools]
    stored = [n_frames if isinstance(make_pool(name), TimePool) else 1 for name in settings.pools]
    held = sum(_BYTES * n_frames if keeps else 2 * _BYTES for keeps in keeping) * n_features
    return Cost(memory=float(_BYTES * batch * activations + held), disk=float(_BYTES * n_features * sum(stored)))


def readable_bytes(n: int) -> str:
    """Write a number of bytes with three digits and a decimal unit, e.g. ``"8.85 GB"``."""
    value, units = float(n), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{n} B" if units[0] == "B" else f"{value:.3g} {units[0]}"
