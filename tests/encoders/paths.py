"""The models of a path as one array."""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.paths import SolutionPath, VoxelPath


def all_coefficients(path: SolutionPath) -> FloatArray:
    """Return B of every setting, ndarray of shape (n_settings, p, q), solving a path by voxels only once."""
    if isinstance(path, VoxelPath):
        return np.concatenate([found for _, found in path.blocks()], axis=1).transpose(0, 2, 1)
    return np.stack([path.coefficients(index) for index in range(len(path.params_list))])
