"""The trained encoders as the search sees them: what it asks for was trained in steps of its own.

A training without some folds predicts all stimuli once; the search weighs these predictions like any encoder's. Outside
an experiment `fit` trains on features that have no places: each is a channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Protocol, runtime_checkable

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import Encoder, FittedModel, FoldData, Picked
from voxelcast.encoders.learned.settings import ReadoutSettings
from voxelcast.encoders.moments import check_features
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.registry import register_encoder

Reads = Literal["features", "maps", "pixels"]


@runtime_checkable
class TrainedData(FoldData, Protocol):
    """What a search asks of a space of predictions."""

    @property
    def trained_by(self) -> str:
        """Name of the encoder whose predictions they are."""


@dataclass(frozen=True)
class TrainedModel:
    """A model that was trained before: what it is given are its predictions, of ``n_voxels``."""

    n_voxels: int
    params: Params = field(default_factory=dict)

    def predict(self, X: FloatArray) -> FloatArray:
        """Return the predictions, ndarray of shape (n_samples, q)."""
        check_features(X, self.n_voxels)
        return np.asarray(X, dtype=np.float64)

    def arrays(self) -> dict[str, FloatArray]:
        """Return none: those of the trained encoder are kept with its layer."""
        return {}


@dataclass(frozen=True)
class PlainReadout:
    """A readout of features without places: a linear map, y = intercept + (x - mean) coefficients."""

    params: Params
    mean: FloatArray
    coefficients: FloatArray
    intercept: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p)."""
        check_features(X, len(self.mean))
        return np.asarray(self.intercept + (np.asarray(X, dtype=np.float64) - self.mean) @ self.coefficients)

    def arrays(self) -> dict[str, FloatArray]:
        """Return mean, coefficients and intercept."""
        return {"x_mean": self.mean, "coefficients": self.coefficients, "intercept": self.intercept}


class LearnedEncoder(Encoder):
    """An encoder that is trained in steps: one for each set of folds left out."""

    unsaved: ClassVar[str] = ""

    def evaluate(
        self,
        data: FoldData,
        params_list: Sequence[Params],
        excluded: tuple[int, ...],
        folds: Sequence[int],
        metric: str = "pearson_r",
    ) -> list[FloatArray]:
        """Score the predictions that the training without the folds ``excluded`` made; see `Encoder.evaluate`."""
        if not isinstance(data, TrainedData):
            return super().evaluate(data, params_list, excluded, folds, metric)
        scores = [data.score(data.features(excluded, fold), fold, metric) for fold in folds]
        return [np.stack([score] * len(params_list)) for score in scores]

    def fit_members(
        self, data: FoldData, members: Sequence[Picked], excluded: tuple[int, ...] = ()
    ) -> list[FittedModel]:
        """Return the trained model; see `Encoder.fit_members`."""
        if not isinstance(data, TrainedData):
            return super().fit_members(data, members, excluded)
        return [TrainedModel(data.n_features) for _ in members]

    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> FittedModel:
        """Train on features without places, with the default settings; see `Encoder.fit`."""
        X, Y = self._checked(X, Y, params)
        # Imported here: torch takes seconds to import.
        from voxelcast.encoders.learned.plain import train_plain

        return PlainReadout(params, *train_plain(X, Y, ReadoutSettings(seeds=1), self.seed))

    def fit_seconds(self, size: ProblemSize, rate: float = 1e10) -> float:
        """Count nothing: trainings are steps of their own, and have their own line in an estimate."""
        return 0.0

    def evaluate_bytes(self, size: ProblemSize) -> float:
        """Count a copy of the predictions."""
        return 8.0 * size.n_train * 2 * size.n_voxels


@register_encoder
class Readout(LearnedEncoder):
    """Per voxel a distribution over places and a weight per channel, of several layers' maps at once."""

    name: ClassVar[str] = "readout"
    reads: ClassVar[Reads] = "maps"


@register_encoder
class Finetuned(LearnedEncoder):
    """The readout and the network before it, trained end to end."""

    name: ClassVar[str] = "finetuned"
    reads: ClassVar[Reads] = "pixels"
