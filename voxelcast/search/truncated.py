"""The first k features of a feature space.

Principal components are ordered by variance, so that the first k of them are the compression to k components: no other
number has to be compressed again.
"""

from __future__ import annotations

from dataclasses import replace

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import Moments
from voxelcast.search.training import Training


class Truncated:
    """The first k features of a feature space, with their training moments.

    Parameters
    ----------
    training : Training
    n_features : int
    """

    def __init__(self, training: Training, n_features: int) -> None:
        self._training, self.n_features = training, n_features

    def moments(self, excluded: tuple[int, ...]) -> Moments:
        """Return the moments of the first features."""
        k, stats = self.n_features, self._training.moments(excluded)
        return replace(stats, x_mean=stats.x_mean[:k], S=stats.S[:k, :k], C=stats.C[:k])

    def samples(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the first features of the training stimuli outside the folds ``excluded``."""
        return self._training.samples(excluded)[:, : self.n_features]

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Return the first features of ``fold``."""
        return self._training.features(excluded, fold)[:, : self.n_features]


def truncated(training: Training, n_features: int | None) -> Training:
    """Return the training moments of the first ``n_features`` features; None: of all."""
    if n_features is None or n_features >= training.n_features:
        return training
    return Truncated(training, n_features)
