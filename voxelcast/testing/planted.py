"""Pictures and responses in which the truth is known: for examples and tests of analyses."""

from __future__ import annotations

from typing import Any

import numpy as np

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.errors import OptionError


def example_pictures(n: int, size: int = 64, seed: int = 0) -> ByteArray:
    """Draw pictures: a grating of random orientation, frequency and colour, with three discs in front.

    Parameters
    ----------
    n, size : int
        How many, and their height and width in pixels.
    seed : int

    Returns
    -------
    pictures : ndarray of uint8, shape (n, size, size, 3)
        RGB.

    Examples
    --------
    >>> from voxelcast.testing.planted import example_pictures
    >>> example_pictures(4, size=32).shape
    (4, 32, 32, 3)
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size] / size
    pictures = np.empty((n, size, size, 3))
    for picture in pictures:
        angle, cycles, phase = rng.uniform((0, 2, 0), (np.pi, 16, 2 * np.pi))
        wave = np.sin(2 * np.pi * cycles * (np.cos(angle) * columns + np.sin(angle) * rows) + phase)
        picture[:] = rng.uniform(60, 200, 3) + 50 * wave[..., None]
        for row, column, radius in rng.uniform((0, 0, 0.08), (1, 1, 0.25), (3, 3)):
            picture[(rows - row) ** 2 + (columns - column) ** 2 < radius**2] = rng.uniform(0, 255, 3)
    return np.clip(pictures, 0, 255).astype(np.uint8)


def planted_responses(
    features: Any, n_voxels: int = 30, *, repetitions: int = 1, noise: float = 1.0, components: int = 10, seed: int = 0
) -> FloatArray:
    """Simulate responses that the leading principal components of features drive.

    Parameters
    ----------
    features : array-like of shape (n_stimuli, n_features)
        Such as a layer of `voxelcast.extract`.
    n_voxels, repetitions : int
    noise : float
        Standard deviation of a single presentation's noise, where that of every voxel's signal is 1.
    components : int
        How many, each scaled to unit variance and weighted at random for each voxel.
    seed : int
        Of weights and noise.

    Returns
    -------
    responses : ndarray of float64, shape (n_stimuli, repetitions, n_voxels)
        Of one repetition, (n_stimuli, n_voxels).

    Raises
    ------
    OptionError
        If the features have fewer components than that.

    Examples
    --------
    >>> import numpy as np
    >>> from voxelcast.testing.planted import planted_responses
    >>> features = np.random.default_rng(0).standard_normal((50, 20))
    >>> planted_responses(features, n_voxels=5, repetitions=3).shape
    (50, 3, 5)
    """
    rng = np.random.default_rng(seed)
    X = np.asarray(features, dtype=np.float64)
    U, s, _ = np.linalg.svd(X - X.mean(axis=0), full_matrices=False)
    rank = int((s > 1e-9 * s[0]).sum())
    if not 1 <= components <= rank:
        raise OptionError(f"components must be 1 to {rank}, the rank of the features; got {components}")
    signal = U[:, :components] @ rng.standard_normal((components, n_voxels))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    found = signal[:, None] + noise * rng.standard_normal((len(X), repetitions, n_voxels))
    return np.asarray(found if repetitions > 1 else found[:, 0])
