"""Pooling over space: each channel's pixels become fewer numbers, before pooling over time.

Like the pools over time, this takes NumPy arrays and torch tensors on any device and does not import torch.
"""

from __future__ import annotations

import math
import re
from functools import lru_cache
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError, ShapeError


@lru_cache(maxsize=64)
def parse_spatial_pool(name: str) -> tuple[int, ...]:
    """Return the cells per side of each grid of a spatial pool; empty for ``"none"``.

    Its name is ``"none"``, ``"mean"``, ``"grid(k)"`` or ``"pyramid(1, 2, 4)"`` (any numbers of cells per side).
    """
    plain = {"none": (), "mean": (1,)}
    if name in plain:
        return plain[name]
    found = re.fullmatch(r"(grid|pyramid)\(\s*(\d+(?:\s*,\s*\d+)*)\s*\)", name)
    levels = tuple(map(int, found[2].split(","))) if found else ()
    if not levels or min(levels) < 1 or (found and found[1] == "grid" and len(levels) > 1):
        raise OptionError(
            "spatial_pool must be none, mean, grid(k) or pyramid(k, l, ...) with at least 1 cell per side, e.g. "
            f"grid(7) or pyramid(1, 2, 4); got {name!r}"
        )
    return levels


def pool_spatially(chunk: Any, spatial_pool: str) -> Any:
    """Average each channel over the cells of one grid or of several, which :func:`parse_spatial_pool` names.

    Cell i of k of an axis of n pixels has those from ``floor(i n / k)`` to ``ceil((i + 1) n / k) - 1``: neighbours
    share a pixel where k does not divide n, and an axis shorter than k repeats pixels. A pyramid [1]_ lists the cells
    of its grids one grid after the other, each row by row.

    Activations of one layer are of shape (n_times, n_channels, height, width), or without space (n_times, n_features):
    these are returned as they are. The result is of shape (n_times, n_channels, k, k) for ``"grid(k)"`` and ``"mean"``
    (k = 1), and (n_times, n_channels, k**2 + l**2 + ...) for ``"pyramid(k, l, ...)"``.

    Raises ShapeError for activations of three axes (tokens, as of transformers) or more than four: which of them are
    space is not known.

    References
    ----------
    .. [1] Lazebnik, S., Schmid, C. & Ponce, J. (2006). Beyond bags of features: spatial pyramid matching for
       recognizing natural scene categories. CVPR, 2169-2178. https://doi.org/10.1109/CVPR.2006.68
    """
    levels = parse_spatial_pool(spatial_pool)
    if not levels or chunk.ndim == 2:
        return chunk
    if chunk.ndim != 4:
        raise ShapeError(
            "pooling over space needs activations of shape (n_times, n_channels, height, width); "
            f"got {tuple(chunk.shape)}; leave space as it is for this layer"
        )
    grids = [_pool_grid(chunk, cells) for cells in levels]
    if not spatial_pool.startswith("pyramid"):
        return grids[0]
    flat = [grid.reshape(*grid.shape[:2], -1) for grid in grids]
    if isinstance(chunk, np.ndarray):
        return np.concatenate(flat, axis=2)
    pooled = chunk.new_empty((*chunk.shape[:2], sum(level.shape[2] for level in flat)))
    start = 0
    for level in flat:
        pooled[:, :, start : start + level.shape[2]] = level
        start += level.shape[2]
    return pooled


def _pool_grid(chunk: Any, cells: int) -> Any:
    rows, columns = (averaging(size, cells) for size in chunk.shape[2:])
    if isinstance(chunk, np.ndarray):
        return rows.astype(chunk.dtype) @ chunk @ columns.astype(chunk.dtype).T
    return chunk.new_tensor(rows) @ chunk @ chunk.new_tensor(columns).T


def averaging(n_pixels: int, n_cells: int) -> FloatArray:
    """Give the matrix (n_cells, n_pixels) that averages the pixels of each cell."""
    matrix = np.zeros((n_cells, n_pixels))
    for cell in range(n_cells):
        first, last = cell * n_pixels // n_cells, math.ceil((cell + 1) * n_pixels / n_cells)
        matrix[cell, first:last] = 1 / (last - first)
    return matrix
