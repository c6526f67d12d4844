"""What models and their scores need of the data: moments of a training part, and the responses of a held-out fold."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from voxelcast.core.arrays import (
    BoolArray,
    FloatArray,
    column_norms,
    column_products,
    double,
    like,
    namespace,
    on_cpu,
    to_numpy,
)
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError

_EPS = float(np.finfo(np.float64).eps)
# Of differences of sums, a smaller variance may be rounding.
_CONSTANT_SHARE = 1e-14


def checked_samples(X: FloatArray, Y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return features (n, p) and responses (n, q) of training in float64, the same arrays where they are so already.

    Raises ShapeError if one of them does not have two dimensions, or they differ in their number of stimuli; DataError
    if there is no stimulus, or a value is NaN or infinite.
    """
    X, Y = double(X), double(Y)
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


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of the training part of a fold for every linear encoder.

    Arrays are tensors where the work is done on a GPU; with a dimension more in front they are the moments of several
    training parts, and ``n`` is the size of the smallest.

    Parameters
    ----------
    n : int
        Number of training stimuli.
    x_mean : ndarray of shape (p,)
    y_mean : ndarray of shape (q,)
    S : ndarray of shape (p, p)
        X'X of the centred features.
    C : ndarray of shape (p, q)
        X'Y of the centred features and responses.
    responses : callable
        Returns the centred responses Y, ndarray of shape (n, q), for the encoders that need them as well (canonical
        PLS, CCA). It is a function because the others are not to pay for the copy.
    response_squares : callable
        Returns Y'Y, ndarray of shape (q, q); likewise.
    y_squares : ndarray of shape (q,)
        Sum of squares of each voxel's centred responses.
    rotation : ndarray of shape (p, r), optional
        S and C are of the r features ``X @ rotation``: features that outnumber the stimuli, in the space that these
        span. A distance stays what it is there, so what depends on nothing else has the same model.
    """

    n: int
    x_mean: FloatArray
    y_mean: FloatArray
    S: FloatArray
    C: FloatArray
    responses: Callable[[], FloatArray]
    response_squares: Callable[[], FloatArray]
    y_squares: FloatArray
    rotation: FloatArray | None = None

    @property
    def mean_eigenvalue(self) -> Any:
        """Mean eigenvalue of X'X of all p features; of a stack, those of each, a tensor."""
        if self.S.ndim == 2:
            return float(self.S.trace()) / len(self.x_mean)
        return namespace(self.S).diagonal(self.S, 0, -2, -1).sum(-1) / self.x_mean.shape[-1]

    def coordinates(self, X: FloatArray) -> FloatArray:
        """Centre features (n, p) on the training means and rotate them as S and C are."""
        X = like(X, self.S) - self.x_mean
        return X if self.rotation is None else X @ self.rotation

    @cached_property
    def eigen(self) -> tuple[FloatArray, FloatArray]:
        """Eigenvalues of S, ascending and not negative, and its eigenvectors, of shape (p,) and (p, p).

        Of many small matrices LAPACK takes less time than a GPU, which does them one after the other.
        """
        if self.S.ndim == 2:
            values, vectors = namespace(self.S).linalg.eigh(self.S)
        else:
            values, vectors = (like(part, self.S) for part in np.linalg.eigh(to_numpy(self.S)))
        return values.clip(min=0.0), vectors

    def numpy(self) -> Moments:
        """Return the same moments in main memory."""
        if on_cpu(self.S):
            return self
        x_mean, y_mean, S, C, y_squares = map(to_numpy, (self.x_mean, self.y_mean, self.S, self.C, self.y_squares))
        responses, products = lambda: to_numpy(self.responses()), lambda: to_numpy(self.response_squares())
        rotation = None if self.rotation is None else to_numpy(self.rotation)
        return Moments(self.n, x_mean, y_mean, S, C, responses, products, y_squares, rotation)


def moments(X: FloatArray, Y: FloatArray, *, rotated: bool = False) -> Moments:
    """Compute the moments of training data, (n_samples, p) and (n_samples, q), in float64 whatever their type.

    ``rotated``: of features that outnumber the stimuli, in the space that these span; see `Moments`.
    Squared, single precision would leave some seven digits of S, and rank-deficient features would seem to have full
    rank. Raises ShapeError or DataError: see `checked_samples`.
    """
    X, Y = checked_samples(X, Y)
    x_mean, y_mean = X.mean(axis=0), Y.mean(axis=0)
    Xc, Yc = X - x_mean, Y - y_mean
    squares = column_products(Yc, Yc)
    rotation = span(Xc) if rotated and X.shape[1] > X.shape[0] else None
    Z = Xc if rotation is None else Xc @ rotation
    return Moments(len(X), x_mean, y_mean, Z.T @ Z, Z.T @ Yc, lambda: Yc, lambda: Yc.T @ Yc, squares, rotation)


def span(X: FloatArray) -> FloatArray:
    """Return an orthonormal basis of the space that rows span, ndarray of shape (p, r), from their n x n products."""
    values, vectors = namespace(X).linalg.eigh(X @ X.T)
    kept = values > len(X) * _EPS * max(float(values[-1]), 0.0)
    return X.T @ (vectors[:, kept] / values[kept] ** 0.5)


def standardised(moments: Moments) -> tuple[Moments, FloatArray, FloatArray]:
    """Return the moments of features and responses in units of their training standard deviations, and the deviations.

    A feature whose variance is below 1e-14 of the largest one's, and a voxel that does not vary, keep their unit.

    Returns
    -------
    moments : Moments
    x_scale : ndarray of shape (p,)
    y_scale : ndarray of shape (q,)
    """
    xp = namespace(moments.S)
    squares = xp.diag(moments.S)
    constant = squares <= _CONSTANT_SHARE * squares.max()
    x_scale = xp.where(constant, 1.0, xp.sqrt(xp.where(constant, 1.0, squares) / max(moments.n - 1, 1)))
    varies = moments.y_squares > 0
    y_scale = xp.where(varies, xp.sqrt(xp.where(varies, moments.y_squares, 1.0) / max(moments.n - 1, 1)), 1.0)
    scaled = replace(
        moments,
        S=moments.S / xp.outer(x_scale, x_scale),
        C=moments.C / xp.outer(x_scale, y_scale),
        responses=lambda: moments.responses() / y_scale,
        response_squares=lambda: moments.response_squares() / xp.outer(y_scale, y_scale),
        y_squares=moments.y_squares / y_scale**2,
    )
    return scaled, x_scale, y_scale


def mean_squared_norm(X: FloatArray) -> float:
    """Return |X|^2 / n of centred features, by which groups are brought to one scale; 1 where all of them are 0.

    Parameters
    ----------
    X : ndarray of shape (n_samples, p)
        Divided by the root of what is returned, they have mean squared norm 1 (or stay 0).
    """
    return float((X * X).sum()) / len(X) or 1.0


@dataclass(frozen=True)
class HeldOut:
    """Responses of a fold, with what all parameters's score needs of them.

    Parameters
    ----------
    centred : ndarray of shape (n, q)
        Responses minus their means over the fold.
    mean : ndarray of shape (q,)
    norm : ndarray of shape (q,)
        Root of the sum of squares of ``centred``; 0 where the responses are constant up to rounding.
    """

    centred: FloatArray
    mean: FloatArray
    norm: FloatArray

    @property
    def varies(self) -> BoolArray:
        """Voxels whose responses are not constant, ndarray of shape (q,)."""
        return np.asarray(to_numpy(self.norm > 0))

    def numpy(self) -> HeldOut:
        """Return the same responses in main memory."""
        return HeldOut(to_numpy(self.centred), to_numpy(self.mean), to_numpy(self.norm))


def held_out(Y: FloatArray) -> HeldOut:
    """Prepare the responses of a fold, ndarray of shape (n, q)."""
    xp, Y = namespace(Y), double(Y)
    mean = Y.mean(axis=0)
    centred = Y - mean
    norm = column_norms(centred)
    norm[norm <= 16 * _EPS * len(Y) ** 0.5 * xp.amax(xp.abs(Y), axis=0)] = 0.0
    return HeldOut(centred, mean, norm)


def roi_scores(voxel_scores: FloatArray, responses: HeldOut) -> FloatArray:
    """Average the scores of voxels, the one way in which an ROI is scored.

    The mean runs over the voxels whose measured responses vary, so that all models are compared on the same voxels;
    constant predictions count as 0: a model that leaves voxels out must not win on those it kept.

    Parameters
    ----------
    voxel_scores : ndarray of shape (n_params, q), or (n_params, 1) of a metric that scores all voxels together
        NaN where there is no score. Tensors may have more dimensions in front.

    Returns
    -------
    scores : ndarray of shape (n_params,)
        NaN where no voxel has a score.
    """
    if not on_cpu(voxel_scores):
        xp, count = namespace(voxel_scores), max(min(int(responses.varies.sum()), voxel_scores.shape[-1]), 1)
        known = (~xp.isnan(voxel_scores)).any(-1)
        return np.asarray(to_numpy(xp.where(known, xp.nansum(voxel_scores, -1) / count, np.nan)))
    total = voxel_scores.sum(axis=1)
    if np.isfinite(total).all():
        return np.asarray(total / voxel_scores.shape[1])
    scores = np.full(len(voxel_scores), np.nan)
    known = ~np.isnan(voxel_scores).all(axis=1)
    count = max(min(np.count_nonzero(responses.varies), voxel_scores.shape[1]), 1)
    scores[known] = np.nansum(voxel_scores[known], axis=1) / count
    return scores
