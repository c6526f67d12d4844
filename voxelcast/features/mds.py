r"""Metric multidimensional scaling: points whose distances are those between the stimuli's features.

The training stimuli's points y minimise the raw stress

    \sum_{i < j} (\delta_ij - |y_i - y_j|)^2,

by majorisation (SMACOF [1]_), begun at the classical solution (principal components), so that nothing is left to
chance. A further stimulus, at distances \delta_j from the training stimuli, is placed without moving them where

    \sum_j (\delta_j - |x - y_j|)^2

is least, by the same majorisation for one point: x <- mean_j(y_j + \delta_j (x - y_j) / |x - y_j|), begun at the point
of the nearest training stimulus [2]_.

References
----------
.. [1] de Leeuw, J. & Mair, P. (2009). Multidimensional scaling using majorization: SMACOF in R. J. Stat. Softw. 31(3),
   section 3. https://doi.org/10.18637/jss.v031.i03
.. [2] Trosset, M. W. & Priebe, C. E. (2008). The out-of-sample problem for classical multidimensional scaling. Comput.
   Stat. Data Anal. 52, 4635-4642. https://doi.org/10.1016/j.csda.2008.02.031
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from voxelcast.core.arrays import FloatArray
from voxelcast.core.cost import Cost
from voxelcast.core.errors import OptionError
from voxelcast.features.compressors import COMPRESSORS, Compressor, Sees
from voxelcast.features.pca import PCAOptions, pca_scores


@COMPRESSORS.register("mds")
@dataclass
class MetricMDS(Compressor):
    """Metric multidimensional scaling; the formulas are at the top of this module.

    Parameters
    ----------
    components, seed : int
        Nothing is left to chance: the seed changes nothing.
    iterations : int
        The most steps of majorisation.
    tolerance : float
        It ends when a step lowers the stress by less than this share of the sum of squared distances.
    """

    name: ClassVar[str] = "mds"
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
        points = np.empty((len(X), self.components))
        for row, to_train in enumerate(wanted):
            points[row] = self._point(to_train)
        return points

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
        point: FloatArray = x
        return point


def _ratio(wanted: FloatArray, distances: FloatArray) -> FloatArray:
    """Divide, giving 0 where two points coincide: there any direction is as good."""
    return np.divide(wanted, distances, out=np.zeros_like(wanted), where=distances > 0)
