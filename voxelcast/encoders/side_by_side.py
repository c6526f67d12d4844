"""What models of several groups of features side by side have in common: how groups are scaled, how they predict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray


def mean_squared_norm(X: FloatArray) -> float:
    """Return |X|^2 / n of centred features, by which groups are brought to one scale; 1 where all of them are 0.

    Parameters
    ----------
    X : ndarray of shape (n_samples, p)
        Divided by the root of what is returned, they have mean squared norm 1 (or stay 0).
    """
    return float(np.square(X).sum()) / len(X) or 1.0


def predict_jointly(Xs: Sequence[FloatArray], coefficients: Sequence[FloatArray], intercept: FloatArray) -> FloatArray:
    """Return intercept + sum_g X_g @ coefficients[g], ndarray of shape (n_samples, q).

    Parameters
    ----------
    Xs : sequence of ndarray of shape (n_samples, p_g)
    coefficients : sequence of ndarray of shape (p_g, q)
    intercept : ndarray of shape (q,)
    """
    prediction: FloatArray = sum(
        (X @ B for X, B in zip(Xs, coefficients, strict=True)), start=np.tile(intercept, (len(Xs[0]), 1))
    )
    return prediction
