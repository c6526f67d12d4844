"""Compressions that keep distances: metric multidimensional scaling, and UMAP, of each stimulus' neighbours alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import optional_package
from voxelcast.core.cost import Cost
from voxelcast.core.errors import OptionError
from voxelcast.features.compressors import COMPRESSORS, Compressor, Sees
from voxelcast.features.pca import PCAOptions, pca_scores


@COMPRESSORS.register("mds")
@dataclass
class MetricMDS(Compressor):
    r"""Metric multidimensional scaling: points whose distances are those between the stimuli's features.

    The training stimuli's points y minimise the raw stress

        \sum_{i < j} (\delta_ij - |y_i - y_j|)^2,

    by majorisation (SMACOF [1]_), begun at the classical solution (principal components), so that nothing is left to
    chance. A further stimulus, at distances \delta_j from the training stimuli, is placed without moving them where

        \sum_j (\delta_j - |x - y_j|)^2

    is least, by the same majorisation for one point: x <- mean_j(y_j + \delta_j (x - y_j) / |x - y_j|), begun at the
    point of the nearest training stimulus [2]_.

    Parameters
    ----------
    iterations : int
        The most steps of majorisation.
    tolerance : float
        It ends when a step lowers the stress by less than this share of the sum of squared distances.

    References
    ----------
    .. [1] de Leeuw, J. & Mair, P. (2009). Multidimensional scaling using majorization: SMACOF in R. J. Stat. Softw.
       31(3), section 3. https://doi.org/10.18637/jss.v031.i03
    .. [2] Trosset, M. W. & Priebe, C. E. (2008). The out-of-sample problem for classical multidimensional scaling.
       Comput. Stat. Data Anal. 52, 4635-4642. https://doi.org/10.1016/j.csda.2008.02.031
    """

    name: ClassVar[str] = "mds"
    unsaved: ClassVar[str] = "it places stimuli by their distances to all training stimuli, whose features are not kept"
    chance: ClassVar[bool] = False
    sees: ClassVar[Sees] = "distances"

    iterations: int = 1000
    tolerance: float = 1e-9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations < 1 or not self.tolerance >= 0:
            raise OptionError(
                "compress.options of mds must have iterations of at least 1 and a tolerance of at least 0; "
                f"got iterations={self.iterations}, tolerance={self.tolerance}"
            )

    def work(self, n_stimuli: int, n_features: int) -> Cost:
        """State what distances and some 200 steps of majorisation cost."""
        steps = min(self.iterations, 200)
        return Cost(
            operations=n_stimuli**2 * (3.0 * n_features + steps * (5.0 * self.components + 8.0)),
            memory=8.0 * 6 * n_stimuli**2,
        )

    def _fit(self, X: FloatArray) -> FloatArray:
        X = X.astype(np.float64)
        self._X, wanted = X, cdist(X, X)
        centred = X - X.mean(axis=0)
        Y = pca_scores(centred @ centred.T, np.arange(len(X)), PCAOptions(self.components)).scores
        total, stress = (wanted**2).sum(), np.inf
        for _ in range(self.iterations):
            distances = cdist(Y, Y)
            before, stress = stress, ((wanted - distances) ** 2).sum()
            if before - stress < self.tolerance * total:
                break
            ratio = _ratio(wanted, distances)
            # The Guttman transform, B(Y) Y / n with B = diag(row sums) - ratio.
            Y = (ratio.sum(axis=1)[:, np.newaxis] * Y - ratio @ Y) / len(Y)
        self.stress = float(stress / total)
        self._Y = Y
        return Y.copy()

    def _transform(self, X: FloatArray) -> FloatArray:
        wanted = cdist(X.astype(np.float64), self._X)
        return np.array([self._point(to_train) for to_train in wanted]).reshape(len(X), self.components)

    def _point(self, wanted: FloatArray) -> FloatArray:
        """Find the point of one stimulus by its distances to the training stimuli, of shape (n_train,)."""
        Y, total, stress = self._Y, (wanted**2).sum(), np.inf
        x = Y[wanted.argmin()]
        centre = Y.mean(axis=0)
        for _ in range(self.iterations):
            away = x - Y
            distances = np.sqrt((away**2).sum(axis=1))
            before, stress = stress, ((wanted - distances) ** 2).sum()
            if before - stress < self.tolerance * total:
                break
            x = centre + _ratio(wanted, distances) @ away / len(Y)
        return np.asarray(x)


def _ratio(wanted: FloatArray, distances: FloatArray) -> FloatArray:
    """Divide, giving 0 where two points coincide: there any direction is as good."""
    return np.divide(wanted, distances, out=np.zeros_like(wanted), where=distances > 0)


@COMPRESSORS.register("umap")
@dataclass
class UMAPEmbedding(Compressor):
    """Uniform manifold approximation and projection [1]_, by the package umap-learn.

    Other stimuli are placed by their nearest training stimuli and UMAP's own optimisation, which moves no training
    stimulus. Those placed in one call share its random samples, so that a point depends a little on which others are
    placed with it. What umap-learn and scikit-learn warn each other of, no user can act on.

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
    unsaved: ClassVar[str] = "it places new stimuli among those that it sees together, not one by one"
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
        needs = "compress.method=umap needs umap-learn ({error}); install it: pip install 'voxelcast[umap]'"
        umap = optional_package("umap", needs)
        self._map = umap.UMAP(
            n_components=self.components,
            n_neighbors=min(self.n_neighbors, len(X) - 1),
            min_dist=self.min_dist,
            random_state=self.seed,
            transform_seed=self.seed,
            n_jobs=1,
        )
        with warnings.catch_warnings(action="ignore"):
            return np.asarray(self._map.fit_transform(X), dtype=np.float64)

    def _transform(self, X: FloatArray) -> FloatArray:
        if len(X) == 0:
            return np.empty((0, self.components))
        with warnings.catch_warnings(action="ignore"):
            return np.asarray(self._map.transform(X), dtype=np.float64)
