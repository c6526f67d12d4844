"""How many features a network's layers have, and what they take in memory and on disk."""

from __future__ import annotations

import math
from collections.abc import Sequence

from voxelcast.core.cost import Cost
from voxelcast.features.pooling import KeepingPool, TimePool, make_pool
from voxelcast.features.spatial_pool import parse_spatial_pool
from voxelcast.networks.hooks import LayerTrace
from voxelcast.networks.settings import ExtractionSettings

BYTES = 4  # float32


def count_features(layer: LayerTrace, spatial_pool: str = "none") -> int:
    """Count a layer's features, pooled over time, once each channel of a layer with space is pooled over space."""
    cells = [k * k for k in parse_spatial_pool(spatial_pool)]
    return math.prod((layer.shape[0], sum(cells)) if cells and len(layer.shape) == 3 else layer.shape)


def readable_shape(layer: LayerTrace) -> str:
    """Write a layer's shape for one frame; of a network that takes clips for one step of time, with their number."""
    shown = " x ".join(map(str, layer.shape)) or "1"
    return shown if layer.n_times is None else f"{shown}, {layer.n_times} step{'s' if layer.n_times != 1 else ''}"


def extraction_cost(layers: Sequence[LayerTrace], settings: ExtractionSettings, n_frames: int, batch: int) -> Cost:
    """State memory and disk of the features of one stimulus; how long it takes has to be measured.

    In memory are one batch of frames of every layer extracted, which is more than what the network itself holds at a
    time, and what the pools keep: sums in double precision, or all frames.
    """
    n_features = sum(count_features(layer, settings.spatial_pool) for layer in layers)
    activations = sum(math.prod(layer.shape) for layer in layers)
    keeping = [isinstance(make_pool(name), KeepingPool) for name in settings.pools]
    stored = [n_frames if isinstance(make_pool(name), TimePool) else 1 for name in settings.pools]
    held = sum(BYTES * n_frames if keeps else 2 * BYTES for keeps in keeping) * n_features
    return Cost(memory=float(BYTES * batch * activations + held), disk=float(BYTES * n_features * sum(stored)))
