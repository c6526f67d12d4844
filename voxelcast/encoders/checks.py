"""What every encoder asks of training data and of the values of hyper-parameters."""

from __future__ import annotations

import math
from typing import TypeGuard

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError

_NUMBERS = (float, int, np.floating, np.integer)


def checked_samples(X: FloatArray, Y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the features and responses of training stimuli in float64, the same arrays where they are so already.

    Raises ShapeError if one of them does not have two dimensions, or they differ in their number of stimuli; DataError
    if there is no stimulus, or a value is NaN or infinite.

    Parameters
    ----------
    X : ndarray of shape (n_samples, p)
    Y : ndarray of shape (n_samples, q)
    """
    X, Y = np.asarray(X, dtype=np.float64), np.asarray(Y, dtype=np.float64)
    check_shape("features X", X, ("n_samples", "n_features"), (None, None))
    check_shape("responses Y", Y, ("n_samples", "n_voxels"), (len(X), None))
    if len(X) == 0:
        raise DataError("an encoder needs at least 1 training stimulus; got 0; ask for fewer folds")
    check_finite("features X", X)
    check_finite("responses Y", Y)
    return X, Y


def check_features(X: FloatArray, n_features: int) -> None:
    """Raise ShapeError unless ``X`` has two dimensions and the number of features that a model was fitted to."""
    check_shape("features X", X, ("n_samples", "n_features"), (None, n_features))


def is_number(value: object) -> TypeGuard[float]:
    """Say whether the value of a hyper-parameter is a finite number, Python's or NumPy's; a truth value is none."""
    return isinstance(value, _NUMBERS) and not isinstance(value, bool) and bool(-math.inf < value < math.inf)
