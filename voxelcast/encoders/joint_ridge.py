"""Ridge regression on several groups of features side by side, weighted and penalised for each voxel by itself.

The groups X_g (layers, networks) are centred on their training means and divided by their mean squared norm s_g =
|X_g|^2 / n, so that none counts more because its numbers are larger. The model of a voxel minimises::

    |y - sum_g Z_g B_g|^2 + a sum_g |B_g|^2,      Z_g = X_g sqrt(w_g / s_g)

with a penalty a and weights w_g >= 0 that sum to 1: equal ones, or (banded ridge) the best of some that are tried,
among them every group alone. Both are chosen by cross-validation within the training data [1]_. It is the model of
`voxelcast.encoders.banded_ridge`, with the same weights and penalties to try, solved in the features where these are
fewer than the stimuli: one eigendecomposition gives every penalty for every voxel.

References
----------
.. [1] Dupre la Tour, T., Eickenberg, M., Nunez-Elizalde, A. O. & Gallant, J. L. Feature-space selection with banded
   ridge regression. NeuroImage 264, 119728 (2022). doi:10.1016/j.neuroimage.2022.119728
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.encoders.banded_ridge import ALPHAS, band_weights, check_responses
from voxelcast.encoders.base import moments
from voxelcast.encoders.side_by_side import mean_squared_norm, predict_jointly


@dataclass(frozen=True)
class JointRidgeModel:
    """A fitted joint ridge model: prediction = intercept + sum_g X_g @ coefficients[g].

    Parameters
    ----------
    coefficients : tuple of ndarray of shape (p_g, q)
        Of the features as they were given, not scaled.
    intercept : ndarray of shape (q,)
    alphas : ndarray of shape (q,)
        Penalty a of each voxel.
    weights : ndarray of shape (n_groups, q)
        Weights w_g of each voxel.
    """

    coefficients: tuple[FloatArray, ...]
    intercept: FloatArray
    alphas: FloatArray
    weights: FloatArray

    def predict(self, Xs: Sequence[FloatArray]) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from the groups' features of shape (n_samples, p_g)."""
        return predict_jointly(Xs, self.coefficients, self.intercept)


def fit_joint_ridge(
    Xs: Sequence[FloatArray],
    Y: FloatArray,
    fold_ids: IntArray,
    *,
    n_draws: int = 0,
    seed: int = 0,
    alphas: Sequence[float] = ALPHAS,
) -> JointRidgeModel:
    """Choose each voxel's penalty and weights by cross-validation and fit.

    Parameters
    ----------
    Xs : sequence of ndarray of shape (n_samples, p_g)
    Y : ndarray of shape (n_samples, q)
    fold_ids : ndarray of shape (n_samples,), int
        Folds of the cross-validation: the least squared error over all of them is chosen, the first of equals.
    n_draws : int
        0: equal weights; else how many are drawn besides equal ones and every group alone
        (`voxelcast.encoders.banded_ridge.band_weights`).
    seed : int
    alphas : sequence of float
        Penalties to try.

    Returns
    -------
    model : JointRidgeModel

    Raises
    ------
    OptionError
        If there is no group, or a setting is out of range.
    ShapeError
        If rows do not match.
    DataError
        If a value is NaN or infinite, or there are fewer than two folds.
    """
    penalties = np.asarray(alphas, dtype=np.float64)
    _check(Xs, Y, fold_ids, n_draws, penalties)
    means = [np.asarray(X, dtype=np.float64).mean(axis=0) for X in Xs]
    centred = [X - mean for X, mean in zip(Xs, means, strict=True)]
    scales = [1.0 / np.sqrt(mean_squared_norm(X)) for X in centred]
    sizes = [X.shape[1] for X in Xs]
    X = np.hstack([X * scale for X, scale in zip(centred, scales, strict=True)])
    tried = band_weights(len(Xs), n_draws, seed)
    chosen, best = _chosen([np.repeat(w, sizes) for w in tried], X, Y, fold_ids, penalties)
    joint = np.zeros((X.shape[1], Y.shape[1]))
    for k in np.unique(chosen):
        own, voxels = np.repeat(tried[k], sizes), chosen == k
        B = _solve(_weighted(X, own), Y[:, voxels], best[voxels])
        joint[np.ix_(own > 0, voxels)] = B * np.sqrt(own[own > 0])[:, None]
    parts = np.split(joint, np.cumsum(sizes)[:-1])
    coefficients = tuple(B * scale for B, scale in zip(parts, scales, strict=True))
    intercept = Y.mean(axis=0) - sum(mean @ B for mean, B in zip(means, coefficients, strict=True))
    return JointRidgeModel(coefficients, np.asarray(intercept), best, tried[chosen].T)


def _chosen(
    tried: Sequence[FloatArray], X: FloatArray, Y: FloatArray, fold_ids: IntArray, penalties: FloatArray
) -> tuple[IntArray, FloatArray]:
    """Return each voxel's place among the weights of features that were tried, and its penalty, both (q,)."""
    least, chosen, best = (
        np.full(Y.shape[1], np.inf),
        np.zeros(Y.shape[1], dtype=int),
        np.full(Y.shape[1], penalties[0]),
    )
    for k, weights in enumerate(tried):
        Z, _ = _fewest_columns(_weighted(X, weights))
        errors = _squared_errors(Z, Y, fold_ids, penalties)
        better = errors.min(axis=0) < least
        least[better], chosen[better] = errors.min(axis=0)[better], k
        best[better] = penalties[errors.argmin(axis=0)][better]
    return chosen, best


def _check(Xs: Sequence[FloatArray], Y: FloatArray, fold_ids: IntArray, n_draws: int, penalties: FloatArray) -> None:
    if not Xs or n_draws < 0 or not penalties.size or not (penalties > 0).all():
        raise OptionError(
            "joint ridge needs at least one group, no negative n_draws, and positive penalties; got "
            f"{len(Xs)}, {n_draws} and {penalties.tolist()}"
        )
    check_responses(Y, fold_ids)
    for X in Xs:
        check_shape("each group", X, ("n_samples", "p"), (len(Y), None))
        check_finite("each group", X)
    if len(np.unique(fold_ids)) < 2:
        raise DataError("penalties are chosen by cross-validation over at least 2 folds; got 1; give more folds")


def _weighted(X: FloatArray, weights: FloatArray) -> FloatArray:
    """Scale features by the root of their weights; those of weight 0 are left out."""
    weighted: FloatArray = X[:, weights > 0] * np.sqrt(weights[weights > 0])
    return weighted


def _solve(X: FloatArray, Y: FloatArray, penalties: FloatArray) -> FloatArray:
    """Return the coefficients of voxels that each have a penalty of their own, ndarray of shape (p, q)."""
    Z, back = _fewest_columns(X)
    stats = moments(Z, Y)
    values, vectors = stats.eigen
    B = vectors @ ((vectors.T @ stats.C) / (values[:, None] + penalties))
    return B if back is None else back @ B


def _fewest_columns(X: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """Rotate centred features into the space that their rows span, where that has fewer dimensions.

    Ridge regression does not change with a rotation, and coefficients never leave the span of the training stimuli.

    Returns
    -------
    Z : ndarray of shape (n, r)
    back : ndarray of shape (p, r) or None
        Takes coefficients of Z to those of X; None where they are the same.
    """
    n, p = X.shape
    if p <= n:
        return X, None
    values, vectors = np.linalg.eigh(X @ X.T)
    kept = values > n * np.finfo(np.float64).eps * values.max(initial=0.0)
    roots = np.sqrt(values[kept])
    return vectors[:, kept] * roots, X.T @ (vectors[:, kept] / roots)


def _squared_errors(X: FloatArray, Y: FloatArray, fold_ids: IntArray, penalties: FloatArray) -> FloatArray:
    """Sum each voxel's squared errors of prediction over the folds, ndarray of shape (n_penalties, q)."""
    errors = np.zeros((len(penalties), Y.shape[1]))
    for fold in np.unique(fold_ids):
        held = fold_ids == fold
        stats = moments(X[~held], Y[~held])
        values, vectors = stats.eigen
        scores, loadings = (X[held] - stats.x_mean) @ vectors, vectors.T @ stats.C
        responses = Y[held] - stats.y_mean
        for k, penalty in enumerate(penalties):
            left = responses - scores @ (loadings / (values[:, None] + penalty))
            errors[k] += np.einsum("ij,ij->j", left, left)
    return errors
