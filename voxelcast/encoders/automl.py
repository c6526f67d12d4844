"""Automatic machine learning in this process: FLAML chooses kind of model and hyper-parameters by itself [1]_.

FLAML predicts one number, and a budget divided by hundreds of voxels would be too short for a search. So the responses
are first written in their principal components, fitted on the training part::

    Y - y_mean ~ T V',   prediction = y_mean + sum_k f_k(x) v_k',   k = 1 ... min(5, q, n - 1)

and each f_k is a search of its own over gradient boosting, random forests and linear models, with an equal share of
the time. The leading components hold what the voxels of an ROI have in common, which is most of what can be
predicted; a linear model loses little by it, and what it loses shows in the score.

Inside a search FLAML judges its models by 5-fold cross-validation within the training part. The scores that are
reported come from the folds of the experiment, as for every other encoder. A search runs against the clock, so two
runs of the same experiment need not find the same model; a stored result stays as it is.

References
----------
.. [1] Wang, C., Wu, Q., Weimer, M. & Zhu, E. FLAML: a fast and lightweight AutoML library. MLSys (2021).
   arXiv:1911.04706
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingPackageError
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import RATE, Encoder
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.registry import register_encoder

N_COMPONENTS = 5
_FEWEST = 10
_INNER_FOLDS = 5


@dataclass(frozen=True)
class AutoMLModel:
    """One fitted FLAML search per principal component of the responses.

    Parameters
    ----------
    params : Params
        Empty: FLAML chose everything.
    searches : tuple
        Fitted ``flaml.AutoML``.
    y_mean : ndarray of shape (q,)
    loadings : ndarray of shape (n_components, q)
    """

    params: Params
    searches: tuple[Any, ...]
    y_mean: FloatArray
    loadings: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p)."""
        if len(X) == 0:
            return np.empty((0, len(self.y_mean)))
        X = np.asarray(X, dtype=np.float64)
        with warnings.catch_warnings(action="ignore"):
            scores = np.stack([search.predict(X) for search in self.searches], axis=1)
        return np.asarray(self.y_mean + scores @ self.loadings)

    def arrays(self) -> dict[str, FloatArray]:
        """Return nothing: the models that FLAML finds have no open format in common."""
        return {}


@register_encoder
class AutoML(Encoder):
    """FLAML on the leading principal components of the responses; it has no hyper-parameters of its own."""

    uses_automl: ClassVar[bool] = True
    name: ClassVar[str] = "flaml"
    unsaved: ClassVar[str] = "the models that FLAML finds have no open format in common"

    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> AutoMLModel:
        """Search and fit for as long as the budget says.

        Raises MissingPackageError if FLAML is not installed; DataError if there are too few stimuli for the
        cross-validation inside.
        """
        X, Y = self._checked(X, Y, params)
        if len(X) < _FEWEST:
            raise DataError(f"flaml needs at least {_FEWEST} training stimuli; got {len(X)}; ask for fewer folds")
        y_mean = Y.mean(axis=0)
        left, values, right = np.linalg.svd(Y - y_mean, full_matrices=False)
        count = min(N_COMPONENTS, Y.shape[1], len(X) - 1)
        scores = left[:, :count] * values[:count]
        searches = tuple(self._search(X, scores[:, k], self.automl.seconds / count) for k in range(count))
        return AutoMLModel(params, searches, y_mean, right[:count])

    def _search(self, X: FloatArray, y: FloatArray, seconds: float) -> Any:
        search = _flaml()()
        with warnings.catch_warnings(action="ignore"):  # of the libraries that it tries, about each other
            search.fit(
                X,
                y,
                task="regression",
                metric="r2",
                time_budget=seconds,
                mem_thres=self.automl.memory_mb * 2**20,
                eval_method="cv",
                n_splits=_INNER_FOLDS,
                seed=derive_seed(self.seed, self.name),
                n_jobs=1,
                verbose=0,
            )
        return search

    def check_ready(self) -> None:
        """Raise MissingPackageError if FLAML is not installed."""
        _flaml()

    def fit_seconds(self, size: ProblemSize, rate: float = RATE) -> float:
        """Return the budget."""
        return self.automl.seconds


def _flaml() -> Any:
    try:
        from flaml.automl.automl import AutoML as Search
    except ImportError as error:
        raise MissingPackageError(
            "the encoder flaml needs FLAML, which is not installed; install it with: pip install 'voxelcast[automl]'"
        ) from error
    return Search
