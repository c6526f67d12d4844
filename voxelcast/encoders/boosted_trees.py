"""Gradient-boosted regression trees: for each voxel, a sum of small trees, each fitted to what the others leave [1]_.

::

    prediction = y_mean + y_sd * learning_rate * (tree_1(x) + ... + tree_M(x))

The trees are scikit-learn's ``HistGradientBoostingRegressor``, which sorts each feature into 255 bins [2]_. They are
fitted to standardised responses, as scikit-learn stops where an error falls by less than an absolute number. Their
number is found by early stopping on a tenth of the training stimuli, drawn by the seed, the same for every voxel.

Every voxel has trees of its own, so one fit takes n_voxels times as long as one voxel: a search for some hundred
voxels is a matter of hours. `BoostedTrees.time_estimate` says how many.

References
----------
.. [1] Friedman, J. H. Greedy function approximation: a gradient boosting machine. Annals of Statistics 29, 1189-1232
   (2001). doi:10.1214/aos/1013203451
.. [2] Ke, G. et al. LightGBM: a highly efficient gradient boosting decision tree. Advances in Neural Information
   Processing Systems 30 (2017).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import RATE, Encoder
from voxelcast.encoders.moments import check_features
from voxelcast.encoders.params import Distribution, Params, ProblemSize
from voxelcast.encoders.registry import register_encoder

if TYPE_CHECKING:
    from sklearn.ensemble import HistGradientBoostingRegressor

_MOST_TREES = 200
_PATIENCE = 10
_SET_ASIDE = 0.1


@dataclass(frozen=True)
class TreesModel:
    """One fitted `HistGradientBoostingRegressor` per voxel.

    Parameters
    ----------
    voxels : tuple of HistGradientBoostingRegressor
        They predict standardised responses.
    y_mean, y_scale : ndarray of shape (q,)
        Mean and standard deviation of the training responses; 1 in place of a deviation of 0.
    """

    params: Params
    voxels: tuple[HistGradientBoostingRegressor, ...]
    y_mean: FloatArray
    y_scale: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p)."""
        if len(X) == 0:  # an experiment without held-out stimuli; scikit-learn refuses to predict nothing
            return np.empty((0, len(self.voxels)))
        X = np.asarray(X, dtype=np.float64)
        check_features(X, self.voxels[0].n_features_in_)
        scores = np.stack([trees.predict(X) for trees in self.voxels], axis=1)
        return np.asarray(self.y_mean + self.y_scale * scores)

    def arrays(self) -> dict[str, FloatArray]:
        """Return nothing: scikit-learn has no open format for its trees."""
        return {}


@register_encoder
class BoostedTrees(Encoder):
    """Gradient-boosted regression trees, for each voxel by itself."""

    name: ClassVar[str] = "boosted_trees"
    unsaved: ClassVar[str] = "scikit-learn has no open format for its trees"

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        """Return the ranges of tree size, shrinkage and penalty; no leaf needs more than a tenth of the stimuli."""
        return {
            "learning_rate": Distribution(0.01, 0.3, log=True),
            "max_leaf_nodes": Distribution(2, 32, integer=True, log=True),
            "min_samples_leaf": Distribution(2, max(3, min(64, size.n_train // 10)), integer=True, log=True),
            "l2": Distribution(1e-3, 100.0, log=True),
        }

    def order(self, params: Params) -> tuple[float, ...]:
        """Sort the trees of fewest leaves first, and of equal ones the largest leaves and the strongest penalty."""
        return (params["max_leaf_nodes"], -params["min_samples_leaf"], -params["l2"])

    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> TreesModel:
        """Fit one model; see `Encoder.fit`. Raises DataError if there are fewer than two stimuli as well."""
        from sklearn.ensemble import HistGradientBoostingRegressor  # takes a second to import

        X, Y = self._checked(X, Y, params)
        if len(X) < 2:
            raise DataError(f"early stopping needs at least 2 stimuli; got {len(X)}; ask for fewer folds")
        # One row per voxel, so that the last bit of its sums does not depend on the other voxels.
        responses, seed = np.ascontiguousarray(Y.T), derive_seed(self.seed, self.name)
        y_mean, y_scale = responses.mean(axis=1), responses.std(axis=1)
        y_scale[y_scale == 0] = 1.0
        scores = (responses - y_mean[:, None]) / y_scale[:, None]
        voxels = tuple(
            HistGradientBoostingRegressor(
                learning_rate=params["learning_rate"],
                max_leaf_nodes=int(params["max_leaf_nodes"]),
                min_samples_leaf=int(params["min_samples_leaf"]),
                l2_regularization=params["l2"],
                max_iter=_MOST_TREES,
                early_stopping=True,
                n_iter_no_change=_PATIENCE,
                validation_fraction=_SET_ASIDE,
                random_state=seed,
            ).fit(X, y)
            for y in scores
        )
        return TreesModel(params, voxels, y_mean, y_scale)

    def fit_seconds(self, size: ProblemSize, rate: float = RATE) -> float:
        """Guess the seconds of one fit, from 50 features and 900 stimuli on one core: 0.25 s per voxel."""
        return size.n_voxels * (0.05 + 0.2 * (size.n_features / 50) * (0.5 + 0.5 * size.n_train / 900))
