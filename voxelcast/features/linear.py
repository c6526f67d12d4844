"""Linear compressions of features that fit into memory: principal components and sparse random projections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.sparse import csr_array

from voxelcast.core.arrays import FloatArray
from voxelcast.core.cost import Cost
from voxelcast.features.compressors import COMPRESSORS, Compressor
from voxelcast.features.cost import pca_cost, scores_bytes
from voxelcast.features.covariance import covariance_scores
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import COLUMNS, PCAOptions, pca_scores


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
    unsaved: ClassVar[str] = ""

    def most(self, n_train: int, n_features: int) -> tuple[int, str]:
        """Return the highest rank that so many stimuli and features can have."""
        return min(n_train - 1, n_features), f"the highest rank of {n_train} training stimuli of {n_features} features"

    def cost(self, n_stimuli: int, n_features: int, n_subsets: float, *, scale: bool = False) -> Cost:
        """State what it costs by the smallest matrix that does it."""
        return pca_cost(n_stimuli, n_features, self.components, n_subsets, scale=scale)

    @property
    def explained_variance(self) -> float | None:
        """Share of the training features' variance, in [0, 1]."""
        return self._explained

    def _fit(self, X: FloatArray) -> FloatArray:
        self._mean = X.mean(axis=0, dtype=np.float64)
        centred, rows, options = X - self._mean, np.arange(len(X)), PCAOptions(self.components)
        fitted = (
            covariance_scores(FeatureMatrix([centred]), rows, options)
            if X.shape[1] < len(X)
            else pca_scores(centred @ centred.T, rows, options)
        )
        self._basis = centred.T @ (fitted.scores / (fitted.scores**2).sum(axis=0))
        self._explained = float(fitted.explained_variance_ratio.sum())
        return fitted.scores

    def _transform(self, X: FloatArray) -> FloatArray:
        return np.asarray((X - self._mean) @ self._basis)


@COMPRESSORS.register("random_projection")
@dataclass
class RandomProjection(Compressor):
    r"""Sums of randomly chosen features with random signs.

    Of D features a component adds about sqrt(D), each with a random sign and scaled by ``sqrt(sqrt(D) / components)``,
    so that distances between stimuli are kept on average and ever better with more components [1]_. Nothing is fitted:
    the projection depends on the number of features and the seed alone.

    References
    ----------
    .. [1] Li, P., Hastie, T. J. & Church, K. W. (2006). Very sparse random projections. KDD, 287-296.
       https://doi.org/10.1145/1150402.1150436
    """

    name: ClassVar[str] = "random_projection"
    learns: ClassVar[bool] = False
    unsaved: ClassVar[str] = ""

    def most(self, n_train: int, n_features: int) -> tuple[int, str]:
        """Return the number of features."""
        return n_features, "the number of features"

    def cost(self, n_stimuli: int, n_features: int, n_subsets: float, *, scale: bool = False) -> Cost:
        """State what sums of about sqrt(n_features) features each cost, of a block of columns at a time."""
        chosen = self.components * n_features**0.5
        block = 8.0 * n_stimuli * min(n_features, COLUMNS)
        return Cost(
            operations=n_subsets * n_stimuli * (2.0 * chosen + 4.0 * n_features * scale),
            memory=2 * block + 16.0 * chosen + 16.0 * n_stimuli * self.components,
            disk=scores_bytes(n_stimuli, self.components, n_subsets),
        )

    def draw(self, n_features: int) -> Any:
        """Draw the projection, a sparse array of shape (n_features, components)."""
        from sklearn.random_projection import SparseRandomProjection

        # Only the width of what it is fitted to counts.
        drawn = SparseRandomProjection(self.components, random_state=self.seed).fit(csr_array((1, n_features)))
        return drawn.components_.T.tocsr()

    def _fit(self, X: FloatArray) -> FloatArray:
        self._projection = self.draw(X.shape[1])
        return self._transform(X)

    def _transform(self, X: FloatArray) -> FloatArray:
        return np.asarray(X.astype(np.float64) @ self._projection)
