"""Simulated features and responses at the size of real ones, for timing."""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import generator


def simulate_features(n_stimuli: int, n_features: int, seed: int, layer: int) -> FloatArray:
    """Draw independent standard normal features, ndarray of shape (n_stimuli, n_features).

    As in 2021, where the PCA scores were scaled to unit variance.
    """
    return generator(seed, "features", layer).standard_normal((n_stimuli, n_features))


def simulate_responses(features: FloatArray, n_voxels: int, seed: int, *names: str) -> FloatArray:
    """Draw responses with a low-rank signal, ndarray of shape (n_stimuli, n_voxels).

    The signal is 10 weighted sums of the features and has between 1 and 20 percent of each voxel's variance, so that
    predictions correlate with the responses as in real visual areas; 40 percent of the noise variance is shared
    between voxels through 10 latent variables.
    """
    rng = generator(seed, "responses", *names)
    n, p = features.shape
    rank = 10
    signal = features @ rng.standard_normal((p, rank)) @ (rng.standard_normal((rank, n_voxels)))
    shared = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, n_voxels))
    own = rng.standard_normal((n, n_voxels))
    noise = np.sqrt(0.4) * shared / shared.std(axis=0) + np.sqrt(0.6) * own
    share = rng.uniform(0.01, 0.2, n_voxels)
    responses: FloatArray = np.sqrt(share) * signal / signal.std(axis=0) + np.sqrt(1 - share) * noise
    return responses
