"""Every encoder as a scikit-learn estimator, which chooses its hyper-parameters on the data that it is fitted to.

So what scikit-learn does with an estimator keeps its meaning: ``cross_val_score(EncodingModel("pls"), X, Y, cv=5)`` is
nested cross-validation, because each of the five fits searches the number of components in folds of its own training
part.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import OptionError, ShapeError, VoxelcastWarning
from voxelcast.encoders.base import Encoder, FittedModel
from voxelcast.encoders.linear import LinearModel
from voxelcast.encoders.params import AutoMLSettings, Params, ProblemSize
from voxelcast.encoders.registry import ENCODERS, can_be_exact, get_encoder
from voxelcast.scoring.exchangeability import dependence_warnings, sketch
from voxelcast.search.base import Candidate, GivenFeatures
from voxelcast.search.folds import given_folds, make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import FoldSettings, Method, PairSettings, SearchSettings


class EncodingModel(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """An encoding model of all voxels with scikit-learn's API.

    Features and responses may be float32, float64 or whole numbers; fits and predictions are in float64. ``score`` is
    scikit-learn's R^2; ``make_scorer(voxelcast.scoring.correlation.mean_pearson_r)`` scores by Pearson r.

    Parameters
    ----------
    encoder : str
        See `voxelcast.encoders.registry.list_encoders`.
    params : dict, optional
        The encoder's hyper-parameters. None: those with the best mean Pearson r in cross-validation over the data that
        are fitted (which says nothing about the scale of predictions, as R^2 would). An encoder that has none, or
        chooses them itself, is fitted at once.
    folds : int, optional
        Of that cross-validation; each has at least three stimuli. None: 5 below 100 stimuli (or groups), 10 from there.
    method : str
        ``"exact"`` tries the encoder's whole grid; ``"bayes"``, ``"random"`` and ``"grid"`` try ``trials`` of them.
    trials : int
    seed : int
        Of the folds, of the proposals, and of encoders that leave something to chance.
    automl : AutoMLSettings, optional
        Time and memory of a fit of automatic machine learning. None: one minute and 3 GiB.

    Attributes
    ----------
    params_ : dict
        The hyper-parameters of the fitted model.
    model_ : FittedModel
    candidates_ : tuple of Candidate
        The parameters tried, with their scores in each fold; empty where nothing was searched. They are selection
        scores: the best of them is too good an estimate of performance.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where X has names of columns.

    Examples
    --------
    >>> import numpy as np
    >>> import voxelcast as vc
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.standard_normal((60, 10)), rng.standard_normal((60, 4))
    >>> model = vc.EncodingModel("pls", folds=5).fit(X, Y)
    >>> list(model.params_), model.predict(X).shape
    (['n_components'], (60, 4))
    """

    def __init__(
        self,
        encoder: str = "ridge",
        *,
        params: Params | None = None,
        folds: int | None = None,
        method: Method = "exact",
        trials: int = 25,
        seed: int = 0,
        automl: AutoMLSettings | None = None,
    ) -> None:
        self.encoder = encoder
        self.params = params
        self.folds = folds
        self.method = method
        self.trials = trials
        self.seed = seed
        self.automl = automl

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        groups: Sequence[Any] | NDArray[Any] | None = None,
        fold_ids: Sequence[Any] | NDArray[Any] | None = None,
    ) -> Self:
        """Fit the model, after a search for its hyper-parameters if none are given.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples, n_voxels) or (n_samples,)
        groups : sequence of shape (n_samples,), optional
            The group of each stimulus (its movie, its run): none straddles two folds of the search.
        fold_ids : sequence of shape (n_samples,), optional
            The fold of each stimulus in the search, a name or number, instead of ``folds``.

        Returns
        -------
        self : EncodingModel

        Raises
        ------
        UnknownNameError
            If there is no such encoder.
        OptionError
            If a parameter is outside what is allowed.
        DataError
            If there are too few stimuli or groups for the folds, or no parameters have a score.
        ValueError
            scikit-learn's own, if X or y has the wrong shape or a value that is not finite.

        Warns
        -----
        VoxelcastWarning
            If stimuli in different folds of the search depend on each other, so that it trusts the features too much
            (`voxelcast.scoring.exchangeability.dependence_warnings`).
        """
        features, Y = self._validated(X, y)
        encoder = get_encoder(self.encoder, self.seed, self.automl or AutoMLSettings())
        self._search = SearchSettings(self.method, trials=self.trials)  # checked whether or not it is used
        params = self._given_params(encoder, features.shape, Y.shape[1])
        tried: tuple[Candidate, ...] = ()
        if params is None:
            model, tried = self._searched(encoder, features, Y, self._fold_ids(len(features), groups, fold_ids))
        else:
            model = encoder.fit(features, Y, params)
        self.model_: FittedModel = model
        self.params_ = dict(model.params)
        self.candidates_ = tried
        return self

    def predict(self, X: ArrayLike) -> FloatArray:
        """Predict responses.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)

        Returns
        -------
        predictions : ndarray of shape (n_samples, n_voxels) or (n_samples,), float64
            As many dimensions as ``y`` had.
        """
        check_is_fitted(self, "model_")
        predictions = self.model_.predict(validate_data(self, X, reset=False, dtype=np.float64))
        return predictions[:, 0] if self._one_dimensional else predictions

    @property
    def coef_(self) -> FloatArray:
        """Coefficients of a linear model, ndarray of shape (n_voxels, n_features), or (n_features,) for a 1-d y."""
        coefficients = self._linear("coef_").arrays()["coefficients"].T
        return coefficients[0] if self._one_dimensional else coefficients

    @property
    def intercept_(self) -> FloatArray | float:
        """Intercept of a linear model, ndarray of shape (n_voxels,), or a float for a 1-d y."""
        intercept = self._linear("intercept_").arrays()["intercept"]
        return float(intercept[0]) if self._one_dimensional else intercept

    def _linear(self, wanted: str) -> LinearModel:
        # scikit-learn asks by hasattr what an estimator has, so this is an AttributeError and none of our own.
        model = self.__dict__.get("model_")
        if not isinstance(model, LinearModel):
            why = "it is not fitted" if model is None else f"a model of {self.encoder} is not linear"
            raise AttributeError(f"{type(self).__name__} has no {wanted}: {why}")
        return model

    def _validated(self, X: ArrayLike, y: ArrayLike) -> tuple[FloatArray, FloatArray]:
        """Return features and responses as two-dimensional arrays of float64, after scikit-learn's checks."""
        features, responses = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True, ensure_min_samples=2
        )
        # What scikit-learn lets pass where there may be several outputs: text, sparse and three-dimensional arrays.
        responses = check_array(responses, dtype=np.float64, ensure_2d=False, input_name="y", estimator=self)
        self._one_dimensional = responses.ndim == 1
        return features, responses.reshape(len(responses), -1)

    def _given_params(self, encoder: Encoder, shape: tuple[int, ...], n_voxels: int) -> Params | None:
        """Return the parameters to fit, or None if it has to be searched."""
        if self.params is None:
            return None if encoder.search_space(ProblemSize(shape[0], shape[1], n_voxels)) else {}
        if not isinstance(self.params, Mapping):
            raise OptionError(
                f"params must be a dict of {self.encoder}'s hyper-parameters, or None to search them; "
                f"got {self.params!r}"
            )
        return dict(self.params)

    def _fold_ids(
        self, n: int, groups: Sequence[Any] | NDArray[Any] | None, given: Sequence[Any] | NDArray[Any] | None
    ) -> IntArray:
        named = None if groups is None else list(map(str, groups))
        if given is None:
            return make_folds(n, FoldSettings(self.folds, nested=False).number(n, named), self.seed, named)
        if len(given) != n:
            raise ShapeError(f"fold_ids must have shape (n_samples={n}); got {len(given)}")
        return given_folds(given, named)

    def _searched(
        self, encoder: Encoder, X: FloatArray, Y: FloatArray, fold_ids: IntArray
    ) -> tuple[FittedModel, tuple[Candidate, ...]]:
        """Choose the parameters by cross-validation and return the model fitted with it, and what was tried."""
        if self.method == "exact" and not can_be_exact(self.encoder):
            raise OptionError(
                f"method must be bayes, random or grid for {self.encoder}, whose settings cannot all be tried; "
                "got exact; name one of these or give params"
            )
        for warning in dependence_warnings(Y, sketch([X]), fold_ids):
            warnings.warn(warning, VoxelcastWarning, stacklevel=3)
        found = search_pair(
            Y,
            [GivenFeatures("given", "features", X)],
            [encoder],
            fold_ids,
            PairSettings(self._search, nested=False, seed=self.seed),
        )
        return found.parts[0].model, found.candidates

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = self.encoder in ENCODERS and ENCODERS.get(self.encoder).uses_automl
        return tags
