"""Banded ridge regression: one ridge regression on several bands of features, with a penalty of its own for each.

The bands X_b (layers, networks) are centred on their training means and divided by their mean squared norm s_b =
|X_b|^2 / n, so that none counts more because its numbers are larger. The model of a voxel minimises::

    |y - sum_b Z_b B_b|^2 + a sum_b |B_b|^2,      Z_b = X_b sqrt(w_b / s_b)

with a penalty a and weights w_b >= 0 that sum to 1; the penalty of a band is a s_b / w_b, and one of weight 0 is left
out. Weights are equal, or the best of some that are tried: equal ones, every band alone, and draws from Dirichlet
distributions. Penalty and weights are chosen by cross-validation within the training data [1]_.

All penalties and voxels come from one eigendecomposition, in the features where these are fewer than the stimuli. The
models are those of himalaya's ``solve_multiple_kernel_ridge_random_search``.

References
----------
.. [1] Dupre la Tour, T., Eickenberg, M., Nunez-Elizalde, A. O. & Gallant, J. L. Feature-space selection with banded
   ridge regression. NeuroImage 264, 119728 (2022). doi:10.1016/j.neuroimage.2022.119728
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from voxelcast.core.arrays import (
    FloatArray,
    IntArray,
    column_products,
    deviations,
    double,
    like,
    namespace,
    to_numpy,
    zeros,
)
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import generator
from voxelcast.encoders.base import RATE
from voxelcast.encoders.moments import mean_squared_norm, moments
from voxelcast.encoders.params import ProblemSize

ALPHAS = tuple(float(alpha) for alpha in np.geomspace(1e-3, 1e5, 25))
N_DRAWS = 20
_CONCENTRATIONS = (0.1, 1.0)
# Of errors (of responses of unit variance) that differ by this much per unit of log penalty, the larger penalty is
# taken; and a later weight must be better by this much.
_SLOPE, _EPS = 1e-10, float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class BandedRidgeModel:
    """A fitted banded ridge model: prediction = intercept + sum_b X_b @ coefficients[b].

    Parameters
    ----------
    coefficients : tuple of ndarray of shape (p_b, q)
        Of the features as they were given, not scaled.
    intercept : ndarray of shape (q,)
    alphas : ndarray of shape (q,)
        Penalty a of each voxel.
    weights : ndarray of shape (n_bands, q)
        Weights w_b of each voxel.
    penalties : ndarray of shape (n_bands, q)
        a s_b / w_b of each band and voxel; infinite where a band is left out.
    shares : ndarray of shape (n_bands, q)
        Part of the variance of a voxel's fitted training responses that each band makes, cov(p_b, p) / var(p); they sum
        to 1, and one can be negative. 0 where the prediction is constant.
    """

    coefficients: tuple[FloatArray, ...]
    intercept: FloatArray
    alphas: FloatArray
    weights: FloatArray
    penalties: FloatArray
    shares: FloatArray

    def predict(self, Xs: Sequence[FloatArray]) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from the bands' features of shape (n_samples, p_b)."""
        parts = (X @ B for X, B in zip(Xs, self.coefficients, strict=True))
        return np.asarray(sum(parts, start=np.tile(self.intercept, (len(Xs[0]), 1))))


def fit_banded_ridge(
    Xs: Sequence[FloatArray],
    Y: FloatArray,
    fold_ids: IntArray,
    *,
    n_draws: int = N_DRAWS,
    seed: int = 0,
    alphas: Sequence[float] = ALPHAS,
    average_over: Literal["stimuli", "folds"] = "folds",
) -> BandedRidgeModel:
    """Choose each voxel's penalty and weights by cross-validation and fit.

    Tensors are fitted to where they are, a GPU's on the GPU; the model has ndarrays. Raises OptionError if there is no
    band, or a value is out of range; ShapeError if rows do not match; DataError if a value is NaN or infinite, or there
    are fewer than two folds.

    Parameters
    ----------
    Xs : sequence of ndarray of shape (n_samples, p_b)
    Y : ndarray of shape (n_samples, q)
    fold_ids : ndarray of shape (n_samples,), int
        Folds of the cross-validation.
    n_draws : int
        How many band weights are drawn besides equal ones and every band alone; 0: equal weights alone.
    alphas : sequence of float
        Penalties to try.
    average_over : str
        The squared error by which they are compared: ``"folds"``, the mean of the folds' means, as in himalaya (of
        equal ones the largest penalty is taken); ``"stimuli"``, the sum over all stimuli (the first of equals).
    """
    if not Xs or n_draws < 0:
        raise OptionError(f"banded ridge needs at least one band and no negative n_draws; got {len(Xs)} and {n_draws}")
    tried = band_weights(len(Xs), n_draws, seed)
    return fit_weighted_ridge(Xs, Y, fold_ids, tried, alphas=alphas, average_over=average_over)


def fit_weighted_ridge(
    Xs: Sequence[FloatArray],
    Y: FloatArray,
    fold_ids: IntArray,
    tried: FloatArray,
    *,
    alphas: Sequence[float] = ALPHAS,
    average_over: Literal["stimuli", "folds"] = "folds",
    per: Literal["voxel", "roi"] = "voxel",
) -> BandedRidgeModel:
    """Choose penalty and weights among given ones by cross-validation and fit; errors as of `fit_banded_ridge`.

    Parameters
    ----------
    Xs, Y, fold_ids, alphas, average_over
        As of `fit_banded_ridge`.
    tried : ndarray of shape (n_tried, n_bands)
        Weights to try, not negative; each row sums to 1.
    per : str
        ``"voxel"``: each chooses by its own error; ``"roi"``: all together by the mean of their errors (of responses
        of unit variance with ``average_over="folds"``), which few stimuli tell better.
    """
    candidates = np.asarray(alphas, dtype=np.float64)
    _check(Xs, Y, fold_ids, tried, candidates)
    means = [double(X).mean(axis=0) for X in Xs]
    centred = [X - mean for X, mean in zip(Xs, means, strict=True)]
    norms = np.array([mean_squared_norm(X) for X in centred])
    scales = [1.0 / np.sqrt(norm) for norm in norms]
    sizes = [X.shape[1] for X in Xs]
    bands = [X * scale for X, scale in zip(centred, scales, strict=True)]
    responses: FloatArray = double(Y)
    y_mean, unit = to_numpy(responses.mean(axis=0)), np.ones(Y.shape[1])
    if average_over == "folds":
        unit = to_numpy(deviations(responses))
        unit[unit == 0] = 1.0
        responses = (responses - responses.mean(axis=0)) / like(unit, responses)
    chosen, best = _chosen(tried, bands, responses, fold_ids, candidates, (average_over == "folds", per == "roi"))
    joint = np.zeros((sum(sizes), Y.shape[1]))
    for k in np.unique(chosen):
        of_features, voxels = np.repeat(tried[k], sizes), chosen == k
        B = _solve(_weighted(bands, tried[k]), responses[:, voxels], best[voxels])
        roots = np.sqrt(of_features[of_features > 0])[:, None]
        joint[np.ix_(of_features > 0, voxels)] = to_numpy(B) * roots * unit[voxels]
    parts = np.split(joint, np.cumsum(sizes)[:-1])
    coefficients = tuple(B * scale for B, scale in zip(parts, scales, strict=True))
    intercept = y_mean - sum(to_numpy(mean) @ B for mean, B in zip(means, coefficients, strict=True))
    weights = tried[chosen].T
    with np.errstate(divide="ignore"):
        penalties = best * norms[:, None] / weights
    shares = to_numpy(_shares(centred, [like(B, X) for B, X in zip(coefficients, centred, strict=True)]))
    return BandedRidgeModel(coefficients, np.asarray(intercept), best, weights, penalties, shares)


def banded_ridge_seconds(size: ProblemSize, n_folds: int, n_draws: int, n_bands: int, rate: float = RATE) -> float:
    """Estimate the seconds of a fit to the features of all bands together, chosen by ``n_folds`` folds."""
    n, q, r = size.n_train, size.n_voxels, min(size.n_train, size.n_features)
    tried = 1 + (n_bands + n_draws if n_draws and n_bands > 1 else 0)
    # Moments and their eigenvectors in each fold, and the errors of all penalties.
    each = 12.0 * r**3 + 2.0 * n * r * (r + q) + 2.0 * len(ALPHAS) * n / n_folds * r * q
    return tried * n_folds * each / rate


def band_weights(n_bands: int, n_draws: int, seed: int) -> FloatArray:
    """Return the weights to be tried, ndarray of shape (1 + n_bands + n_draws, n_bands); each row sums to 1.

    Equal weights come first, then every band alone, then draws from two Dirichlet distributions in turn: a sparse one
    and an even one. Without draws there are equal weights alone: one ridge regression on all bands, scaled alike.
    """
    fixed = np.vstack([np.full((1, n_bands), 1.0 / n_bands), np.eye(n_bands)])
    if n_bands == 1 or n_draws == 0:
        return fixed[:1]
    rng = generator(seed, "band weights", n_bands)
    drawn = [rng.dirichlet(np.full(n_bands, _CONCENTRATIONS[k % 2])) for k in range(n_draws)]
    return np.asarray(np.vstack([fixed, *(draw[None] for draw in drawn)]))


def _chosen(
    tried: FloatArray,
    bands: Sequence[FloatArray],
    Y: FloatArray,
    fold_ids: IntArray,
    alphas: FloatArray,
    how: tuple[bool, bool],
) -> tuple[IntArray, FloatArray]:
    """Return the index of each voxel's weights among those tried, and its penalty, both (q,).

    ``how`` says whether errors are averaged over folds, where larger penalties win ties, and whether voxels choose
    together.
    """
    slope, together = how
    q = 1 if together else Y.shape[1]
    least, chosen, best = np.full(q, np.inf), np.zeros(q, dtype=int), np.full(q, alphas[0])
    for k, errors in enumerate(_errors_of_weights(tried, bands, Y, fold_ids, alphas, slope)):
        if together:
            errors = errors.mean(axis=1, keepdims=True)
        if slope:
            errors -= (np.log(alphas) * _SLOPE)[:, None]
        smallest = errors.min(axis=0)
        better = smallest < least - (_EPS if slope else 0.0)
        least[better], chosen[better] = smallest[better], k
        best[better] = alphas[errors.argmin(axis=0)][better]
    return np.broadcast_to(chosen, Y.shape[1]), np.broadcast_to(best, Y.shape[1])


def _errors_of_weights(
    tried: FloatArray,
    bands: Sequence[FloatArray],
    Y: FloatArray,
    fold_ids: IntArray,
    alphas: FloatArray,
    per_fold: bool,
) -> Iterator[FloatArray]:
    """Give the errors of all penalties, (n_alphas, q), with each of the weights tried.

    Where there are no more features than stimuli, the moments of a fold serve all weights; else kernels do, X X' of
    each band.
    """
    sizes = [X.shape[1] for X in bands]
    if sum(sizes) <= len(Y):
        roots = [np.repeat(np.sqrt(weights), sizes) for weights in tried]
        yield from _squared_errors(_joined(bands), Y, fold_ids, alphas, roots, per_fold)
        return
    kernels = [X @ X.T for X in bands] if len(tried) > 1 else []
    for weights in tried:
        if kernels and sum(size for size, w in zip(sizes, weights, strict=True) if w > 0) > len(Y):
            total = zeros(kernels[0].shape, kernels[0])
            for w, K in zip(weights.tolist(), kernels, strict=True):
                total += w * K
            vectors, of_vectors = _factor(total)
            Z: FloatArray = vectors * of_vectors
        else:
            Z, _ = _fewest_columns(_weighted(bands, weights))
        yield from _squared_errors(Z, Y, fold_ids, alphas, [np.ones(Z.shape[1])], per_fold)


def _check(Xs: Sequence[FloatArray], Y: FloatArray, fold_ids: IntArray, tried: FloatArray, alphas: FloatArray) -> None:
    if not alphas.size or not (alphas > 0).all():
        raise OptionError(f"banded ridge needs positive penalties to try; got {alphas.tolist()}")
    check_shape("weights to try", tried, ("n_tried", "n_bands"), (None, len(Xs)))
    if not len(tried) or (tried < 0).any() or not np.allclose(tried.sum(axis=1), 1.0):
        raise OptionError(f"weights to try must not be negative, and sum to 1 over the bands; got {tried.tolist()}")
    check_shape("responses Y", Y, ("n_samples", "n_voxels"), (None, None))
    check_finite("responses Y", Y)
    check_shape("fold_ids", fold_ids, ("n_samples",), (len(Y),))
    for X in Xs:
        check_shape("each band", X, ("n_samples", "p"), (len(Y), None))
        check_finite("each band", X)
    if len(np.unique(fold_ids)) < 2:
        raise DataError("penalties are chosen by cross-validation over at least 2 folds; got 1; give more folds")


def _weighted(bands: Sequence[FloatArray], weights: FloatArray) -> FloatArray:
    """Scale bands by the root of their weights and set them side by side; those of weight 0 are left out."""
    return _joined([X * float(np.sqrt(w)) for X, w in zip(bands, weights, strict=True) if w > 0])


def _joined(bands: Sequence[FloatArray]) -> FloatArray:
    return namespace(bands[0]).concatenate(bands, axis=1)


def _solve(X: FloatArray, Y: FloatArray, alphas: FloatArray) -> FloatArray:
    """Return the coefficients of voxels that each have a penalty of their own, ndarray of shape (p, q)."""
    Z, back = _fewest_columns(X)
    stats = moments(Z, Y)
    values, vectors = stats.eigen
    B = vectors @ ((vectors.T @ stats.C) / (values[:, None] + like(alphas, values)))
    return B if back is None else X.T @ (back @ B)


def _factor(gram: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the eigenvectors of a kernel and the roots of its eigenvalues that are not 0."""
    values, vectors = namespace(gram).linalg.eigh(gram)
    kept = values > len(gram) * _EPS * max(float(values[-1]), 0.0)
    return vectors[:, kept], values[kept] ** 0.5


def _fewest_columns(X: FloatArray) -> tuple[FloatArray, FloatArray | None]:
    """Rotate features into the space that their rows span, where that has fewer dimensions.

    Ridge regression does not change with a rotation, and coefficients never leave the span of the training stimuli.

    Returns
    -------
    Z : ndarray of shape (n, r)
    back : ndarray of shape (n, r) or None
        X' times it takes coefficients of Z to those of X; None where they are the same.
    """
    if X.shape[1] <= len(X):
        return X, None
    vectors, roots = _factor(X @ X.T)
    return vectors * roots, vectors / roots


def _squared_errors(
    X: FloatArray, Y: FloatArray, fold_ids: IntArray, alphas: FloatArray, scales: Sequence[FloatArray], per_fold: bool
) -> FloatArray:
    """Sum each voxel's squared errors of prediction, or average their folds' means.

    Returns
    -------
    errors : ndarray of shape (n_scales, n_alphas, q)
        Of features multiplied by each of the scales, (p,); those of scale 0 are left out.
    """
    errors = np.zeros((len(scales), len(alphas), Y.shape[1]))
    folds = np.unique(fold_ids)
    for fold in folds:
        held = fold_ids == fold
        stats = moments(X[~held], Y[~held])
        tests, responses = X[held] - stats.x_mean, Y[held] - stats.y_mean
        divisor = len(folds) * np.count_nonzero(held) if per_fold else 1
        for k, scale in enumerate(scales):
            kept = np.flatnonzero(scale)
            root = like(scale[kept], X)
            S = stats.S[np.ix_(kept, kept)] * root * root[:, None]
            values, vectors = namespace(S).linalg.eigh(S)
            values, vectors = values.clip(min=0.0), vectors * root[:, None]
            scores, loadings = tests[:, kept] @ vectors, vectors.T @ stats.C[kept]
            for number, alpha in enumerate(alphas.tolist()):
                left = responses - scores @ (loadings / (values[:, None] + alpha))
                errors[k, number] += to_numpy(column_products(left, left)) / divisor
    return errors


def _shares(centred: Sequence[FloatArray], coefficients: Sequence[FloatArray]) -> FloatArray:
    parts = [X @ B for X, B in zip(centred, coefficients, strict=True)]
    total = sum(parts[1:], start=parts[0])
    variance = column_products(total, total)
    variance[variance == 0] = np.inf
    return namespace(total).stack([column_products(part, total) / variance for part in parts])
