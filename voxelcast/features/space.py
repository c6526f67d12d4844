"""Pooling over space: the pixels of each channel become the cells of a grid, fewer numbers before pooling over time.

Like the pools over time, this takes NumPy arrays and torch tensors on any device and does not import torch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError, ShapeError


def pool_space(chunk: Any, grid: int | None) -> Any:
    """Average each channel over the cells of a grid.

    Cell i of k of an axis of n pixels has those from ``floor(i n / k)`` to ``ceil((i + 1) n / k) - 1``: neighbours
    share a pixel where k does not divide n, and an axis shorter than k repeats pixels.

    Parameters
    ----------
    chunk : ndarray or tensor of shape (n_times, n_channels, height, width), or without space (n_times, n_features)
        Activations of one layer. What has no space is returned as it is.
    grid : int or None
        Cells per side; 1 is the mean over space; None leaves space as it is.

    Returns
    -------
    pooled : ndarray or tensor of shape (n_times, n_channels, grid, grid)

    Raises
    ------
    OptionError
        If ``grid`` is below 1.
    ShapeError
        If the activations have three axes (tokens, as of transformers) or more than four: which of them are space is
        not known.
    """
    if grid is not None and grid < 1:
        raise OptionError(f"a spatial grid must have at least 1 cell per side; got {grid}")
    if grid is None or chunk.ndim == 2:
        return chunk
    if chunk.ndim != 4:
        raise ShapeError(
            "pooling over space needs activations of shape (n_times, n_channels, height, width); "
            f"got {tuple(chunk.shape)}; leave space as it is for this layer"
        )
    rows, columns = (_averaging(size, grid) for size in chunk.shape[2:])
    if isinstance(chunk, np.ndarray):
        return rows.astype(chunk.dtype) @ chunk @ columns.astype(chunk.dtype).T
    return chunk.new_tensor(rows) @ chunk @ chunk.new_tensor(columns).T


def _averaging(n_pixels: int, n_cells: int) -> FloatArray:
    """Give the matrix (n_cells, n_pixels) that averages the pixels of each cell."""
    matrix = np.zeros((n_cells, n_pixels))
    for cell in range(n_cells):
        first, last = cell * n_pixels // n_cells, math.ceil((cell + 1) * n_pixels / n_cells)
        matrix[cell, first:last] = 1 / (last - first)
    return matrix
