"""UMAP: points in few dimensions that keep each stimulus' nearest neighbours."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.cost import Cost
from voxelcast.core.errors import MissingPackageError, OptionError
from voxelcast.features.compressors import COMPRESSORS, Compressor, Sees


@COMPRESSORS.register("umap")
@dataclass
class UMAPEmbedding(Compressor):
    """Uniform manifold approximation and projection [1]_, by the package umap-learn.

    Other stimuli are placed by their nearest training stimuli and UMAP's own optimisation, which moves no training
    stimulus. Those placed in one call share its random samples, so that a point depends a little on which others are
    placed with it.

    Parameters
    ----------
    n_neighbors : int
        Neighbours whose distances are kept; more of them keep more of the whole and less of the detail. Fewer where
        there are not as many training stimuli.
    min_dist : float
        How closely points may be packed.

    References
    ----------
    .. [1] McInnes, L., Healy, J. & Melville, J. (2018). UMAP: uniform manifold approximation and projection for
       dimension reduction. https://arxiv.org/abs/1802.03426
    """

    name: ClassVar[str] = "umap"
    sees: ClassVar[Sees] = "distances"

    n_neighbors: int = 15
    min_dist: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_neighbors < 2 or not 0 <= self.min_dist <= 1:
            raise OptionError(
                "compress.options of umap must have n_neighbors of at least 2 and min_dist from 0 to 1; "
                f"got n_neighbors={self.n_neighbors}, min_dist={self.min_dist}"
            )

    def work(self, n_stimuli: int, n_features: int) -> Cost:
        """State what all distances and some 500 epochs over the neighbours, with 5 samples each, cost."""
        pulls = 500.0 * n_stimuli * self.n_neighbors * 6
        return Cost(
            operations=3.0 * n_stimuli**2 * n_features + 10.0 * pulls * self.components,
            memory=8.0 * 2 * n_stimuli**2,
        )

    def most(self, n_train: int, n_features: int) -> tuple[int, str]:
        """Return two fewer than there are stimuli: the embedding starts from that many eigenvectors of their graph."""
        return n_train - 2, f"2 fewer than the {n_train} training stimuli"

    def _fit(self, X: FloatArray) -> FloatArray:
        try:
            import umap
        except ImportError as error:
            raise MissingPackageError(
                f"compress.method=umap needs umap-learn ({error}); install it: pip install 'voxelcast[umap]'"
            ) from error
        self._map = umap.UMAP(
            n_components=self.components,
            n_neighbors=min(self.n_neighbors, len(X) - 1),
            min_dist=self.min_dist,
            random_state=self.seed,
            transform_seed=self.seed,
            n_jobs=1,
        )
        with _quiet():
            return np.asarray(self._map.fit_transform(X), dtype=np.float64)

    def _transform(self, X: FloatArray) -> FloatArray:
        if len(X) == 0:
            return np.empty((0, self.components))
        with _quiet():
            return np.asarray(self._map.transform(X), dtype=np.float64)


def _quiet() -> warnings.catch_warnings[None]:
    """Silence what umap-learn and scikit-learn tell each other, which no user can act on."""
    return warnings.catch_warnings(action="ignore")
