"""Scores of all parameters of a path on held-out stimuli, from sums over the stimuli.

A linear path needs no predictions. With T = X R the held-out latent variables (centred on their held-out means, as is
Y) and a filter d::

    sum(y p)  = sum_j d_j A_j Q_j                 A = T'Y
    sum(p p)  = sum_jk d_j d_k G_jk Q_j Q_k       G = T'T

so all parameters of a voxel cost one small product each. Where the filters keep the first k latent variables (PLS),
both sums are running sums over k; where they are those of ridge regression, all penalties share the products
(`_penalty_weights`).

A path whose voxels have coefficients of their own is scored from the predictions of some voxels at a time. With X = Q R
(QR decomposition of the centred held-out features) they are R B in the basis Q, which has no more rows than features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    block_bytes,
    blocks,
    column_norms,
    column_products,
    namespace,
    nonzero,
    on_cpu,
    products,
    single,
    triangle,
    zeros,
)
from voxelcast.core.checks import check_option
from voxelcast.core.errors import OptionError
from voxelcast.encoders.moments import HeldOut
from voxelcast.encoders.paths import LinearPath, ShrinkagePath, SolutionPath, VoxelPath

_BLOCK_BYTES = 16 * 2**20
# Voxels of a linear path that are scored together.
_BLOCK_VOXELS = 512
_EPS = float(np.finfo(np.float64).eps)
# So few parameters are scored from their predictions.
_FEW = 2
# Two eigenvalues are nearly equal where they differ by less than this share; of the pairs of r eigenvalues no more than
# _MOST_CLOSE * r may be. The smallest eigenvalue must be more than _SMALLEST_SHARE of the largest, or digits are lost.
_CLOSE, _MOST_CLOSE, _SMALLEST_SHARE = 1e-2, 8, 1e-4


def path_scores(
    path: SolutionPath,
    features: Sequence[FloatArray],
    y_mean: FloatArray,
    responses: Sequence[HeldOut],
    metric: str = "pearson_r",
) -> list[FloatArray]:
    """Score all parameters on several folds that were all left out of the path.

    Parameters
    ----------
    features : sequence of ndarray of shape (n, p)
        Of each fold, minus the training means.
    y_mean : ndarray of shape (q,)
        Mean responses of the training part.
    metric : str
        ``"pearson_r"``, of each voxel, or ``"pooled_2021"``, of all voxels together.

    Returns
    -------
    scores : list of ndarray of shape (n_params, q), or (n_params, 1)
        Of each fold; NaN where the responses or the predictions are constant.
    """
    check_option("metric", metric, ("pearson_r", "pooled_2021"))
    centred, pooled = [fold.centred for fold in responses], metric == "pooled_2021"
    if isinstance(path, LinearPath):
        sums = [_linear_sums(path, X, Yc, pooled) for X, Yc in zip(features, centred, strict=True)]
    elif isinstance(path, VoxelPath):
        sums = _voxel_sums(path, features, centred, pooled)
    else:
        raise OptionError(f"path must be a LinearPath or a VoxelPath; got {type(path).__name__}; see encoders.base")
    scores = []
    for fold in responses:
        of_fold = sums.pop(0)  # freed as soon as it is used
        means = of_fold.means
        scores.append(_pearson_r(of_fold, fold) if means is None else _pooled_scores(of_fold, y_mean + means, fold))
    return scores


@dataclass(frozen=True)
class _Sums:
    """What the scores of a fold need of its predictions p; every array has the shape (n_params, q), of stacks one more.

    ``cross`` and ``squares`` are sum(y p) and sum(p p) of the centred responses and predictions; ``varies`` is whether
    predictions vary by more than rounding; ``means`` are mean predictions, less the training means, if asked for.
    """

    cross: FloatArray
    squares: FloatArray
    varies: BoolArray
    means: FloatArray | None

    @staticmethod
    def empty(shape: tuple[int, ...], means: bool, other: FloatArray) -> _Sums:
        cross, squares = zeros(shape, other), zeros(shape, other)
        return _Sums(cross, squares, zeros(shape, other, bool), zeros(shape, other) if means else None)


_Adding = Callable[[FloatArray, FloatArray, _Sums, slice], None]
"""Takes the loadings and centred responses of some voxels, and writes their sums."""


def _pearson_r(sums: _Sums, responses: HeldOut) -> FloatArray:
    xp, whole = namespace(sums.cross), bool(sums.varies.all() and responses.varies.all())
    known = None if whole else sums.varies & (responses.norm > 0)
    r = xp.sqrt(sums.squares if known is None else xp.where(known, sums.squares, 1.0))
    r *= responses.norm
    if known is not None:
        r[~known] = np.nan
    xp.divide(sums.cross, r, out=r)
    return xp.clip(r, -1.0, 1.0, out=r)


def _pooled_scores(sums: _Sums, means: FloatArray, responses: HeldOut) -> FloatArray:
    """Score as `voxelcast.scoring.correlation.pooled_2021_r`; voxels' means and their variation enter one sum."""
    n, q = responses.centred.shape
    xp, means = namespace(means), means - means.mean(axis=-1)[..., None]
    y_means = responses.mean - responses.mean.mean()
    total_cross = sums.cross.sum(axis=-1) + n * (means @ y_means)
    total_squares = sums.squares.sum(axis=-1) + n * xp.square(means).sum(axis=-1)
    y_squares = float(xp.square(responses.norm).sum() + n * (y_means @ y_means))
    product = total_squares * y_squares
    product[~(product > 0)] = np.nan
    return (total_cross * (n * q / (n * q - 1)) / xp.sqrt(product))[..., None]


def _voxel_sums(
    path: VoxelPath, features: Sequence[FloatArray], responses: Sequence[FloatArray], means: bool
) -> list[_Sums]:
    """Sum over the stimuli of every fold; the path is solved once, some voxels at a time."""
    folds = []
    for X, Yc in zip(features, responses, strict=True):
        Q, R = np.linalg.qr(X - X.mean(axis=0))
        # Rounding of a prediction's variation grows with its parts, that of centring with the uncentred parts.
        rounding = X.shape[1] * (16 * _EPS) ** 2 * np.einsum("ij,ij->j", X, X)
        sums = _Sums.empty((len(path.params_list), path.shape[1]), means, R)
        folds.append((X.mean(axis=0), R, Yc.T @ Q, rounding, sums))
    for voxels, B in path.blocks():
        for mean, R, rotated, rounding, sums in folds:
            # Parameters by parameters: its predictions stay in the cache.
            for k, coefficients in enumerate(B):
                P = coefficients @ R.T
                squares = np.einsum("mr,mr->m", P, P)
                sums.cross[k, voxels] = np.einsum("mr,mr->m", P, rotated[voxels])
                sums.squares[k, voxels] = squares
                sums.varies[k, voxels] = squares > np.square(coefficients) @ rounding
            if sums.means is not None:
                sums.means[:, voxels] = B @ mean
    return [fold[-1] for fold in folds]


def _linear_sums(path: LinearPath, X: FloatArray, Yc: FloatArray, means: bool) -> _Sums:
    """Sum over the stimuli of a fold, some voxels at a time (they stay in the cache)."""
    raw = X @ path.directions
    x_mean = raw.mean(axis=-2)
    T = raw - x_mean[..., None, :]
    squared = column_products(T, T)
    # Rounding of sum(p p) grows with the squares of its parts, that of centring with those of the uncentred parts.
    eps = _EPS if Yc.itemsize == 8 else float(np.finfo(np.float32).eps)
    rounding = 64 * eps * squared + (16 * eps) ** 2 * column_products(raw, raw)
    n_params, q = len(path.params_list), path.loadings.shape[-1]
    sums = _Sums.empty((*T.shape[:-2], n_params, q), means, T)
    each = 1
    if not on_cpu(T):
        parts = n_params * T.shape[-1] if T.ndim > 2 and path.kept is None else n_params + 2 * T.shape[-1]
        each = 8 * int(np.prod(T.shape[:-2])) * (parts + T.shape[-2])
    add = _sums_of_predictions(path, T, rounding) if n_params <= _FEW else _sums_of_products(path, T, rounding)
    for voxels in blocks(q, each, block_bytes(T, _BLOCK_VOXELS)):
        Q = path.loadings[..., voxels]
        add(Q, Yc[..., voxels], sums, voxels)
        if sums.means is not None:
            sums.means[..., voxels] = path.filters @ (x_mean[..., None] * Q)
    return sums


def _sums_of_predictions(path: LinearPath, T: FloatArray, rounding: FloatArray) -> _Adding:
    """Return what sums over the predictions of a few parameters for some voxels."""
    xp = namespace(T)

    def add(Q: FloatArray, Yc: FloatArray, sums: _Sums, voxels: slice) -> None:
        for k in range(path.filters.shape[-2]):
            weighted = path.filters[..., k, :, None] * Q
            P = T @ weighted
            sums.cross[..., k, voxels] = column_products(P, Yc)
            squares = column_products(P, P)
            sums.squares[..., k, voxels] = squares
            floor = rounding[..., None, :] @ xp.square(weighted, out=weighted)
            sums.varies[..., k, voxels] = squares > floor[..., 0, :]

    return add


def _sums_of_products(path: LinearPath, T: FloatArray, rounding: FloatArray) -> _Adding:
    """Return what sums for many parameters and some voxels without their predictions."""
    xp, kept = namespace(T), path.kept
    squares_of, filters_squared = _squares_of(path, T, T.mT @ T), xp.square(path.filters)

    def add(Q: FloatArray, Yc: FloatArray, sums: _Sums, voxels: slice) -> None:
        cross = products(T, Yc)
        cross *= Q
        squares, floor = squares_of(Q if Yc.itemsize == 8 else single(Q)), xp.square(Q)
        floor *= rounding[..., None]
        sums.cross[..., voxels] = _filtered(path.filters, kept, cross)
        sums.squares[..., voxels] = squares
        xp.greater(squares, _filtered(filters_squared, kept, floor), out=sums.varies[..., voxels])

    return add


def _filtered(filters: FloatArray, kept: IntArray | None, values: FloatArray) -> FloatArray:
    """Return ``filters @ values``; where every filter keeps the first k rows, a running sum of the rows."""
    return filters @ values if kept is None else _running_sum(values, kept)


def _squares_of(path: LinearPath, T: FloatArray, G: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return what takes the loadings of some voxels, (r, m), to sum(p p) of all parameters, (n_params, m)."""
    xp, kept = namespace(T), path.kept
    if kept is not None:
        # Latent variable k adds Q_k (2 sum_{j < k} G_kj Q_j + G_kk Q_k).
        below = xp.tril(G) + xp.tril(G, -1)
        return lambda Q: _running_sum(Q * products(below.mT, Q), kept)
    if G.ndim > 2:

        def each(Q: FloatArray) -> FloatArray:
            weighted = path.filters[..., None] * Q[..., None, :, :]
            return column_products(G[..., None, :, :] @ weighted, weighted)

        return each
    weights = _penalty_weights(path, G) if isinstance(path, ShrinkagePath) else None
    if weights is None:
        return lambda loadings: _quadratic(path.filters, T, loadings)
    near, far, coefficients = weights
    r = len(G)

    def squares(Q: FloatArray) -> FloatArray:
        parts = zeros((coefficients.shape[1], Q.shape[1]), Q, float)
        xp.multiply(Q[near[0]], Q[near[1]], out=parts[: -2 * r])
        parts[-2 * r :] = products(far.mT, Q)
        parts[-2 * r : -r] *= Q
        parts[-r:] *= Q
        return coefficients @ parts

    return squares


def _penalty_weights(path: ShrinkagePath, G: FloatArray) -> tuple[IntArray, FloatArray, FloatArray] | None:
    """Write sum(p p) of every ridge penalty as a weighted sum of products that do not depend on the penalty.

    For eigenvalues that differ, ``d_j d_k = (d_j - d_k) / (l_k - l_j)``, so that with K_jk = G_jk / (l_k - l_j)::

        sum_jk d_j d_k G_jk Q_j Q_k = sum_j 2 d_j Q_j (K Q)_j

    For a penalty a above all eigenvalues the differences of the d would lose digits. There, with u_j = l_j d_j and
    hence a d_j = 1 - u_j, the same identity for the u gives::

        1/a^2 sum_j Q_j (G Q)_j (1 - 2 u_j - 2 u_j l_j / a)  -  2/a^3 sum_j u_j l_j^2 Q_j (K Q)_j

    Pairs of eigenvalues that are nearly equal, and j = k, are summed as they are.

    Returns
    -------
    near : ndarray of shape (2, m), int
        The pairs j <= k that are summed as they are.
    far : ndarray of shape (2 r, r)
        G without those pairs, then K.
    coefficients : ndarray of shape (n_params, m + 2 r)
        Of the products Q_j Q_k, Q_j (G Q)_j and Q_j (K Q)_j.
        None where eigenvalues differ too much or too many are nearly equal.
    """
    xp, values, d, a = namespace(G), path.eigenvalues, path.filters, path.penalties[:, None]
    if not len(values) or not values[0] > _SMALLEST_SHARE * values[-1] or not (a > 0).all():
        return None
    gaps = values[None, :] - values[:, None]
    close = xp.abs(gaps) <= _CLOSE * xp.maximum(values[None, :], values[:, None])
    near: IntArray = xp.stack(nonzero(xp.triu(close)))
    if near.shape[1] > _MOST_CLOSE * len(values):
        return None
    far, both = xp.where(close, 0.0, G), G[near[0], near[1]]
    both[near[0] != near[1]] *= 2.0
    u, above = values * d, a > values[-1]
    with_G = xp.where(above, (1 - 2 * u - 2 * u * (values / a)) / xp.square(a), 0.0)
    with_K = xp.where(above, -2 * u * xp.square(values / a) / a, 2 * d)
    coefficients = xp.concatenate([both * d[:, near[0]] * d[:, near[1]], with_G, with_K], axis=1)
    return near, xp.concatenate([far, far / xp.where(close, 1.0, gaps)]), coefficients


def _running_sum(values: FloatArray, kept: IntArray) -> FloatArray:
    """Sum the first ``kept[s]`` rows of values, shape (r, q), for all parameters s."""
    r, q = values.shape[-2:]
    sums = zeros((*values.shape[:-2], r + 1, q), values)
    if on_cpu(values):
        # Row by row: numpy.cumsum along the first axis takes ten times as long.
        for row in range(len(values)):
            np.add(sums[row], values[row], out=sums[row + 1])
    else:
        namespace(values).cumsum(values, axis=-2, out=sums[..., 1:, :])
    return sums[..., 1:, :] if np.array_equal(kept, np.arange(1, r + 1)) else sums[..., kept, :]


def _quadratic(filters: FloatArray, T: FloatArray, loadings: FloatArray) -> FloatArray:
    """Sum the squares of T @ diag(d) @ loadings over the stimuli, for every filter d and voxel, in blocks of voxels.

    The filters of neighbouring penalties are nearly multiples of each other: with d_s = sum_i a_si f_i over the few
    singular vectors f_i of all filters, ``sum(p p) = sum_ij a_si a_sj P_i'P_j`` with P_i = T diag(f_i) loadings.
    """
    xp, (r, q) = namespace(T), loadings.shape
    if not r:
        return zeros((len(filters), q), T)
    basis = triangle(T)
    # Singular values are compared after latent variables, voxels and filters were all brought to one size: what is
    # left out is then rounding for each of them.
    lengths, weights = column_norms(basis), column_norms(loadings.T)
    there = (lengths > 0) & (weights > 0)
    scaled, basis = loadings / xp.where(there, weights, 1.0)[:, None], basis / xp.where(there, lengths, 1.0)
    weighted = filters * (lengths * weights)
    rows = xp.amax(xp.abs(weighted), axis=1)
    left, values, right = xp.linalg.svd(weighted / xp.where(rows > 0, rows, 1.0)[:, None], full_matrices=False)
    kept = values > _EPS * values.max()
    left, right = left[:, kept] * values[kept], right[kept]
    k = len(right)
    if k == 0:
        return zeros((len(filters), q), T)
    # (r, k * n): one product gives P of every voxel, f and stimulus.
    spread = (right[:, None, :] * basis).reshape(-1, r).T
    spread = spread if loadings.itemsize == 8 else single(spread)
    pairs = (left[:, :, None] * left[:, None, :]).reshape(-1, k * k).T
    sums = zeros((q, len(filters)), T)
    for voxels in blocks(q, 8 * spread.shape[1], block_bytes(T, _BLOCK_BYTES)):
        P = products(scaled[:, voxels], spread).reshape(-1, k, len(basis))
        sums[voxels] = (P @ xp.swapaxes(P, 1, 2)).reshape(-1, k * k) @ pairs
    return sums.T * xp.square(rows)[:, None]
