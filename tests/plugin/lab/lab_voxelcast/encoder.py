"""Least squares whose weights are shrunk towards zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.moments import check_features
from voxelcast.encoders.params import Distribution, Params, ProblemSize
from voxelcast.encoders.registry import register_encoder


@dataclass(frozen=True)
class Shrunk:
    """Weights (n_features, n_voxels) and the mean features and responses that they lie between."""

    params: Params
    weights: FloatArray
    x_mean: FloatArray
    y_mean: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        check_features(X, len(self.weights))
        return (X - self.x_mean) @ self.weights + self.y_mean

    def arrays(self) -> dict[str, FloatArray]:
        return {"weights": self.weights, "x_mean": self.x_mean, "y_mean": self.y_mean}


@register_encoder
class LabShrunk(Encoder):
    """Weights of least squares times ``1 - shrinkage``."""

    name = "lab_shrunk"

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        return {"shrinkage": Distribution(0.0, 0.9)}

    def param_grid(self, size: ProblemSize) -> tuple[Params, ...]:
        return tuple({"shrinkage": shrinkage} for shrinkage in (0.9, 0.5, 0.0))

    def order(self, params: Params) -> tuple[float, ...]:
        return (-params["shrinkage"],)

    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> Shrunk:
        X, Y = self._checked(X, Y, params)
        x_mean, y_mean = X.mean(axis=0), Y.mean(axis=0)
        weights = np.linalg.lstsq(X - x_mean, Y - y_mean, rcond=None)[0]
        return Shrunk(params, (1 - params["shrinkage"]) * weights, x_mean, y_mean)
