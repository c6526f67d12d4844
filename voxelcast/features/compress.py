"""Features of a layer become few components, fitted anew to each training set."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, OptionError
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import Fewer, PCAScores, Precision, gram_matrices, pca_scores, raw_gram

MOST_PLAIN_FEATURES = 20_000
# How much larger the features' sum of squares may be than that around their mean, before centring the raw Gram matrix
# is given up for centring the features themselves, training set by training set: it loses that many digits.
_WORST_OFFSET = {"float64": 1e5, "float32": 10.0}


def compress_folds(
    matrix: FeatureMatrix,
    subsets: Sequence[IntArray],
    components: int | Literal["max"],
    *,
    scale: bool = False,
    fewer: Fewer = "error",
    layer: str = "",
    precision: Precision = "float64",
) -> Iterator[PCAScores]:
    """Fit principal components to each of several training sets and give all stimuli's scores, in order.

    Without ``scale`` the features are read once and each training set costs one eigendecomposition. With ``scale``
    each training set also costs a Gram matrix (n_stimuli**2 * n_features).

    Parameters
    ----------
    matrix : FeatureMatrix of shape (n_stimuli, n_features)
    subsets : sequence of ndarray of int
        Rows of each training set, e.g. of each fold.
    components : int or "max"
        How many; ``"max"``: the rank.
    scale : bool
        Divide each feature by its training standard deviation first.
    fewer : {"error", "allow"}
        What happens where the rank of a training set is lower than ``components``.
    layer : str
        For messages.
    precision : {"float64", "float32"}
        Of the products of features.

    Yields
    ------
    compressed : PCAScores
        Scores of shape (n_stimuli, n_components).

    Raises
    ------
    OptionError
        If more components are asked for than a rank, and ``fewer="error"``.
    DataError
        If the features do not vary over a training set, or are not finite.
    """
    for rows in subsets:
        _check_rows(rows, matrix.shape[0])
    where = f" of layer {layer}" if layer else ""
    shared = None if scale else _raw_gram_if_sound(matrix, subsets, precision)
    grams = (
        gram_matrices(matrix, subsets, scale=scale, precision=precision)
        if shared is None
        else itertools.repeat(shared, len(subsets))
    )
    for rows, gram in zip(subsets, grams, strict=True):
        yield pca_scores(gram, rows, components, fewer=fewer, where=where, precision=precision)


def plain_features(matrix: FeatureMatrix, *, layer: str = "") -> FloatArray:
    """Give the features themselves, uncompressed.

    Parameters
    ----------
    matrix : FeatureMatrix of shape (n_stimuli, n_features)
    layer : str
        For messages.

    Returns
    -------
    features : ndarray of shape (n_stimuli, n_features), float64

    Raises
    ------
    OptionError
        If there are more than 20,000 features: encoders work with n_features x n_features matrices.
    DataError
        If they are not finite.
    """
    where = f" of layer {layer}" if layer else ""
    check_plain(matrix.shape[1], where)
    features = matrix.columns(0, matrix.shape[1])
    if not np.isfinite(features).all():
        raise DataError(f"features{where} must be finite; got NaN or infinite values; extract them again")
    return features


def check_plain(n_features: int, where: str = "") -> None:
    """Raise OptionError where there are too many features to leave them uncompressed."""
    if n_features > MOST_PLAIN_FEATURES:
        raise OptionError(
            f"compress.method=none allows at most {MOST_PLAIN_FEATURES} features; got {n_features}{where}; "
            "set compress.method=pca"
        )


def _check_rows(rows: IntArray, n_stimuli: int) -> None:
    if len(rows) < 2:
        raise DataError(
            f"a training set must hold at least 2 stimuli; got {len(rows)}; use fewer folds or more stimuli"
        )
    if rows.min() < 0 or rows.max() >= n_stimuli or len(np.unique(rows)) != len(rows):
        raise OptionError(f"rows of a training set must be different numbers from 0 to {n_stimuli - 1}")


def _raw_gram_if_sound(matrix: FeatureMatrix, subsets: Sequence[IntArray], precision: Precision) -> FloatArray | None:
    gram = raw_gram(matrix, precision=precision)
    for rows in subsets:
        core = gram[np.ix_(rows, rows)]
        squares = np.trace(core)
        around_mean = squares - core.mean() * len(rows)
        if squares > _WORST_OFFSET[precision] * around_mean:
            return None
    return gram
