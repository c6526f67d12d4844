"""The encoder contract: a family of encoding models with hyper-parameters, how one is fitted, and how many are scored.

A new encoder states its hyper-parameters (`Encoder.search_space`) and fits one model (`Encoder.fit`); that is enough
for every search. One that solves many parameters in one go overrides `Encoder.evaluate` and `Encoder.fit_members`, as
linear encoders do (`voxelcast.encoders.linear`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray, zeros
from voxelcast.encoders.moments import HeldOut, Moments, checked_samples
from voxelcast.encoders.params import AutoMLSettings, Distribution, Params, ProblemSize, check_params

RATE = 1e10
"""Floating-point operations per second of one core, where nothing better is known."""


class FittedModel(Protocol):
    """A fitted encoding model of any kind."""

    @property
    def params(self) -> Params:
        """Hyper-parameters that it was fitted with."""

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p).

        Models of encoders that take tensors take features as tensors, too, and predict where these are.
        """

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays from which the model can be rebuilt, by name; empty if it has no form as plain arrays."""


class FoldData(Protocol):
    """Features and responses of one feature space, for any folds left out (their numbers, ascending).

    Moments and held-out responses may be tensors, which `Moments.numpy` and `HeldOut.numpy` bring to main memory.
    """

    @property
    def n_features(self) -> int:
        """Number of features p."""

    def moments(self, excluded: tuple[int, ...], *, rotated: bool = False) -> Moments:
        """Return the moments of the training stimuli outside the folds ``excluded``; ``rotated``: if they may be."""

    def samples(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the features of the training stimuli outside the folds ``excluded``, ndarray of shape (n, p)."""

    def targets(self, excluded: tuple[int, ...]) -> FloatArray:
        """Return the responses that models are fitted to, ndarray of shape (n, q)."""

    def features(self, excluded: tuple[int, ...], fold: int) -> FloatArray:
        """Return the features of a fold as compressed without the folds ``excluded``, ndarray of shape (n_fold, p)."""

    def held_out(self, fold: int) -> HeldOut:
        """Return the responses of a fold."""

    def score(self, predictions: FloatArray, fold: int, metric: str) -> FloatArray:
        """Score predictions of a fold: each voxel, ndarray of shape (q,), or all together, (1,)."""


@dataclass(frozen=True)
class PickedModels:
    """Several fitted models, each voxel predicted by one of them.

    Parameters
    ----------
    models : tuple of FittedModel
    pick : ndarray of shape (q,)
        Index in ``models``.
    """

    models: tuple[FittedModel, ...]
    pick: IntArray

    @property
    def params(self) -> Params:
        """Hyper-parameters of the first."""
        return self.models[0].params

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q)."""
        predictions = zeros((len(X), len(self.pick)), X, float)
        for k, model in enumerate(self.models):
            voxels = self.pick == k
            predictions[:, voxels] = model.predict(X)[:, voxels]
        return predictions

    def arrays(self) -> dict[str, FloatArray]:
        """Return the arrays of all models, named ``<k>_<name>``, and ``pick``."""
        parts = {f"{k}_{name}": array for k, model in enumerate(self.models) for name, array in model.arrays().items()}
        return {**parts, "pick": self.pick.astype(np.float64)}


Picked = tuple[Sequence[Params], IntArray]
"""Parameters, and the index of those that each voxel takes, ndarray of shape (q,)."""


class Encoder(ABC):
    """A family of encoding models with hyper-parameters.

    Parameters
    ----------
    seed : int
        Of everything that is left to chance: the same data, parameters and seed give the same model.
    automl : AutoMLSettings
        Time and memory of a fit, for the encoders that search by themselves.
    """

    name: ClassVar[str]
    reads: ClassVar[Literal["features", "maps", "pixels"]] = "features"
    """Compressed features, or what it is trained on in steps of its own: layers' maps, or frames and the network."""
    uses_automl: ClassVar[bool] = False
    """Whether every fit is a search against the clock, which two runs need not end alike."""
    unsaved: ClassVar[str] = "its models have no form in voxelcast.encoders.saved"
    """Why its models cannot be saved as plain arrays; empty where they can."""
    takes_tensors: ClassVar[bool] = False
    """Whether it works on tensors, too: where responses are on a GPU, it fits, predicts and scores there."""
    dual: ClassVar[bool] = False
    """Whether a fit decomposes a matrix of stimuli by stimuli, whatever the features and voxels."""
    rotates: ClassVar[bool] = False
    """Whether `path` gives the same models where features are rotated, as `voxelcast.encoders.moments.Moments` says."""
    limited_by_rank: ClassVar[bool] = False
    """Whether hyper-parameters count directions, of which there are no more than the rank of the features."""

    def __init__(self, seed: int = 0, automl: AutoMLSettings = AutoMLSettings()) -> None:
        self.seed, self.automl = seed, automl

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        """Return the ranges of the hyper-parameters, as wide as the data allow; none where there is nothing to choose.

        ``size.n_train`` is the size of the smallest training part in which they are to be tried.
        """
        return {}

    def param_grid(self, size: ProblemSize) -> tuple[Params, ...]:
        """List the parameters of the exhaustive search, simplest model first; empty where there are too many."""
        return () if self.search_space(size) else ({},)

    def order(self, params: Params) -> tuple[float, ...]:
        """Return a key that sorts parameters from the simplest model to the most complex; by default all are alike."""
        return ()

    def refined(self, params_list: Sequence[Params], scores: FloatArray) -> tuple[Params, ...]:
        """Return parameters between those of the list that may score better than any of them; none by default.

        The exhaustive search asks again with these among ``params_list``, until there are none.

        Parameters
        ----------
        params_list : sequence of Params
            Those tried.
        scores : ndarray of shape (n_params,)
            What they are compared by; NaN where there is none.
        """
        return ()

    @abstractmethod
    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> FittedModel:
        """Fit one model.

        Parameters
        ----------
        X : ndarray of shape (n_samples, p)
        Y : ndarray of shape (n_samples, q)
        params : Params

        Raises
        ------
        ShapeError, DataError
            See `voxelcast.encoders.moments.checked_samples`.
        OptionError
            If the parameters lie outside what the data allow.
        """

    def evaluate(
        self,
        data: FoldData,
        params_list: Sequence[Params],
        excluded: tuple[int, ...],
        folds: Sequence[int],
        metric: str = "pearson_r",
    ) -> list[FloatArray]:
        """Fit all parameters without the folds ``excluded`` and score every voxel on some of those folds.

        Returns
        -------
        scores : list of ndarray of shape (n_params, q), or (n_params, 1) of a metric of all voxels together
            Of each fold; `voxelcast.encoders.moments.roi_scores` averages them over voxels.
        """
        X, Y, scores = data.samples(excluded), data.targets(excluded), []
        tests = [data.features(excluded, fold) for fold in folds]
        for params in params_list:
            model = self.fit(X, Y, params)
            scores.append(
                [data.score(model.predict(test), fold, metric) for test, fold in zip(tests, folds, strict=True)]
            )
        return [np.stack(of_fold) for of_fold in zip(*scores, strict=True)]

    def evaluate_sets(
        self,
        data: FoldData,
        params_list: Sequence[Params],
        sets: Sequence[tuple[tuple[int, ...], Sequence[int]]],
        metric: str = "pearson_r",
    ) -> Iterator[list[FloatArray]]:
        """Yield what `evaluate` returns for each set of folds left out, with those of them to score on.

        An encoder may share work between the sets.
        """
        for excluded, folds in sets:
            yield self.evaluate(data, params_list, excluded, folds, metric)

    def fit_members(
        self, data: FoldData, members: Sequence[Picked], excluded: tuple[int, ...] = ()
    ) -> list[FittedModel]:
        """Fit what was chosen to the training stimuli outside the folds ``excluded``: a model for each member."""
        X, Y = data.samples(excluded), data.targets(excluded)
        models: list[FittedModel] = []
        for params_list, pick in members:
            fitted = tuple(self.fit(X, Y, params) for params in params_list)
            models.append(fitted[0] if len(fitted) == 1 else PickedModels(fitted, pick))
        return models

    def check_ready(self) -> None:
        """Raise MissingPackageError if something that the encoder needs is not installed."""
        return

    def fit_seconds(self, size: ProblemSize, rate: float = RATE) -> float:
        """Estimate the seconds that one fit takes on a core of ``rate`` operations per second; 0 where it is short."""
        return 0.0

    def fit_members_seconds(self, size: ProblemSize, n_models: int, rate: float = RATE) -> float:
        """Estimate the seconds of `fit_members`, of a member with so many models; by default a fit for each."""
        return n_models * self.fit_seconds(size, rate)

    def evaluate_seconds(self, size: ProblemSize, n_held_out: int, rate: float = RATE, *, grid: bool = False) -> float:
        """Estimate the seconds of `evaluate` on ``n_held_out`` stimuli, with one set of parameters or the whole grid.

        The default is one fit: what shares no work between parameters lists none, or takes no time.
        """
        return self.fit_seconds(size, rate)

    def evaluate_bytes(self, size: ProblemSize) -> float:
        """Estimate the bytes that `evaluate` holds with the whole grid, besides the moments of the training part.

        The default counts a copy of the training part's features and responses.
        """
        return 8.0 * size.n_train * (size.n_features + size.n_voxels)

    def _checked(self, X: FloatArray, Y: FloatArray, params: Params) -> tuple[FloatArray, FloatArray]:
        """Return training data in float64, after a look at them and at the parameters."""
        X, Y = checked_samples(X, Y)
        check_params(self.name, params, self.search_space(ProblemSize(len(X), X.shape[1], Y.shape[1])))
        return X, Y
