"""Principal components as an estimator for features that fit into memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.cost import Cost
from voxelcast.features.compressor import Compressor
from voxelcast.features.compressors import COMPRESSORS
from voxelcast.features.cost import pca_cost
from voxelcast.features.covariance import covariance_scores
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import pca_scores


@COMPRESSORS.register("pca")
@dataclass
class PrincipalComponents(Compressor):
    """Exact principal components, from the smaller of the Gram matrix and the covariance of the features.

    See `voxelcast.features.pca` and `voxelcast.features.covariance`. Nothing is left to chance: the seed changes
    nothing.
    """

    name: ClassVar[str] = "pca"
    nested: ClassVar[bool] = True
    chance: ClassVar[bool] = False

    def most(self, n_train: int, n_features: int) -> tuple[int, str]:
        """Return the highest rank that so many stimuli and features can have."""
        return min(n_train - 1, n_features), f"the highest rank of {n_train} training stimuli of {n_features} features"

    def cost(self, n_stimuli: int, n_features: int, n_subsets: int, *, scale: bool = False) -> Cost:
        """State what it costs by the smallest matrix that does it."""
        return pca_cost(n_stimuli, n_features, self.components, n_subsets, scale=scale)

    @property
    def explained_variance(self) -> float | None:
        """Share of the training features' variance, in [0, 1]."""
        return self._explained

    def _fit(self, X: FloatArray) -> FloatArray:
        self._mean = X.mean(axis=0, dtype=np.float64)
        centred, rows = X - self._mean, np.arange(len(X))
        fitted = (
            covariance_scores(FeatureMatrix([centred]), rows, self.components)
            if X.shape[1] < len(X)
            else pca_scores(centred @ centred.T, rows, self.components)
        )
        self._basis = centred.T @ (fitted.scores / (fitted.scores**2).sum(axis=0))
        self._explained = float(fitted.explained_variance_ratio.sum())
        return fitted.scores

    def _transform(self, X: FloatArray) -> FloatArray:
        scores: FloatArray = (X - self._mean) @ self._basis
        return scores
