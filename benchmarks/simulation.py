"""Simulated features and responses at the size of real ones, for timing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import generator
from voxelcast.encoders.moments import Moments, moments
from voxelcast.search.base import GivenFeatures
from voxelcast.search.folds import make_folds


@dataclass(frozen=True)
class Pair:
    """Features, responses and folds of one subject x ROI.

    Parameters
    ----------
    X : ndarray of shape (n_stimuli, n_features)
    Y : ndarray of shape (n_stimuli, n_voxels)
    fold_ids : ndarray of shape (n_stimuli,)
    """

    X: FloatArray
    Y: FloatArray
    fold_ids: IntArray

    @cached_property
    def parts(self) -> list[Moments]:
        """Moments of the training part of each fold."""
        trains = [self.fold_ids != fold for fold in range(int(self.fold_ids.max()) + 1)]
        return [moments(self.X[train], self.Y[train]) for train in trains]

    @property
    def n_train(self) -> int:
        """Stimuli of the smallest training part."""
        return len(self.X) - int(np.bincount(self.fold_ids).max())


@dataclass(frozen=True)
class PairSize:
    """Size of one subject x ROI; the defaults are V1 of one subject of the Algonauts Challenge 2021."""

    n_stimuli: int = 1000
    n_features: int = 50
    n_voxels: int = 232
    n_folds: int = 10

    def __str__(self) -> str:
        return f"{self.n_stimuli} stimuli, {self.n_features} features, {self.n_voxels} voxels, {self.n_folds} folds"

    def simulate(self, seed: int) -> Pair:
        """Draw a pair of this size."""
        X = simulate_features(self.n_stimuli, self.n_features, seed, 0)
        return Pair(X, simulate_responses(X, self.n_voxels, seed), make_folds(self.n_stimuli, self.n_folds, seed))


@dataclass(frozen=True)
class TrackSize:
    """Size of a network's layers in a challenge track; the defaults are those of the Algonauts Challenge 2021."""

    n_train: int = 1000
    n_test: int = 102
    n_layers: int = 25
    n_components: int = 50
    n_folds: int = 10

    def simulate(self, seed: int) -> list[GivenFeatures]:
        """Draw the features of all layers."""
        n = self.n_train + self.n_test
        return [
            GivenFeatures("given", f"layer {layer:02d}", simulate_features(n, self.n_components, seed, layer))
            for layer in range(self.n_layers)
        ]


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
    separate = rng.standard_normal((n, n_voxels))
    noise = np.sqrt(0.4) * shared / shared.std(axis=0) + np.sqrt(0.6) * separate
    share = rng.uniform(0.01, 0.2, n_voxels)
    responses: FloatArray = np.sqrt(share) * signal / signal.std(axis=0) + np.sqrt(1 - share) * noise
    return responses
