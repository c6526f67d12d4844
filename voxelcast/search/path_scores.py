"""Scores of every setting of a linear path on held-out stimuli, from sums and without the predictions themselves.

With T = X R the held-out latent variables (centred on their held-out means, as is Y) and a filter d::

    sum(y p)  = sum_j d_j A_j Q_j                 A = T'Y
    sum(p p)  = sum_jk d_j d_k G_jk Q_j Q_k       G = T'T

so all settings of a voxel cost one small product each. Where the filters keep the first k latent variables (PLS), both
sums are running sums over k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_option
from voxelcast.encoders.base import LinearPath

_BLOCK_BYTES = 16 * 2**20
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class HeldOut:
    """Responses of a fold, with what every setting's score needs of them.

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


def held_out(Y: FloatArray) -> HeldOut:
    """Prepare the responses of a fold, ndarray of shape (n, q), for `score_path`."""
    Y = np.asarray(Y, dtype=np.float64)
    mean = Y.mean(axis=0)
    centred = Y - mean
    norm = np.linalg.norm(centred, axis=0)
    norm[norm <= 16 * _EPS * np.sqrt(len(Y)) * np.abs(Y).max(axis=0)] = 0.0
    return HeldOut(centred, mean, norm)


def score_path(
    path: LinearPath, X: FloatArray, y_mean: FloatArray, responses: HeldOut, metric: str = "pearson_r"
) -> FloatArray:
    """Score every setting on a fold by a metric of `voxelcast.scoring.METRICS`.

    Parameters
    ----------
    path : LinearPath
        Fitted without the fold.
    X : ndarray of shape (n, p)
        Features of the fold minus the training means.
    y_mean : ndarray of shape (q,)
        Mean responses of the training part.
    responses : HeldOut
    metric : str
        ``"pearson_r"`` (mean over voxels) or ``"pooled_2021"``.

    Returns
    -------
    scores : ndarray of shape (n_settings,)
        NaN where no voxel has a correlation.
    """
    check_option("metric", metric, ("pearson_r", "pooled_2021"))
    if metric == "pearson_r":
        r = path_pearson_r(path, X, responses)
        varies = responses.norm > 0
        # As in scoring.mean_pearson_r: all settings are averaged over the same voxels, a constant prediction is a 0.
        scores = np.full(len(r), np.nan)
        known = ~np.isnan(r).all(axis=1)
        scores[known] = np.nansum(r[known], axis=1) / max(np.count_nonzero(varies), 1)
        return scores
    return _pooled_scores(path, X, y_mean, responses)


def path_pearson_r(path: LinearPath, X: FloatArray, responses: HeldOut) -> FloatArray:
    """Pearson r of every setting and voxel, ndarray of shape (n_settings, q); see `score_path`.

    NaN where the responses or the predictions are constant.
    """
    cross, squares, varies = _path_sums(path, X, responses.centred)
    known = varies & (responses.norm > 0)
    r = np.full(cross.shape, np.nan)
    np.divide(cross, np.sqrt(np.where(known, squares, 1.0)) * responses.norm, out=r, where=known)
    return np.clip(r, -1.0, 1.0, out=r)


def _pooled_scores(path: LinearPath, X: FloatArray, y_mean: FloatArray, responses: HeldOut) -> FloatArray:
    """Score as `voxelcast.scoring.pooled_2021_r`: voxels' means and voxels' variation enter one sum."""
    n, q = responses.centred.shape
    cross, squares, _ = _path_sums(path, X, responses.centred)
    means = y_mean + path.filters @ ((X @ path.directions).mean(axis=0)[:, None] * path.loadings)
    means -= means.mean(axis=1, keepdims=True)
    y_means = responses.mean - responses.mean.mean()
    total_cross = cross.sum(axis=1) + n * (means @ y_means)
    total_squares = squares.sum(axis=1) + n * np.square(means).sum(axis=1)
    y_squares = float(np.square(responses.norm).sum() + n * (y_means @ y_means))
    scores = np.full(len(means), np.nan)
    product = total_squares * y_squares
    np.divide(total_cross * (n * q / (n * q - 1)), np.sqrt(np.maximum(product, 0)), out=scores, where=product > 0)
    return scores


def _path_sums(path: LinearPath, X: FloatArray, Yc: FloatArray) -> tuple[FloatArray, FloatArray, BoolArray]:
    """Return sum(y p), sum(p p) of the centred predictions and whether they vary, each of shape (n_settings, q)."""
    raw = X @ path.directions
    T = raw - raw.mean(axis=0)
    G = T.T @ T
    cross = (T.T @ Yc) * path.loadings
    # Rounding of sum(p p) grows with the squares of its parts, that of centring with those of the uncentred parts.
    rounding = 64 * _EPS * np.diag(G) + (16 * _EPS) ** 2 * np.einsum("ij,ij->j", raw, raw)
    floor = np.square(path.loadings) * rounding[:, None]
    kept = _prefix_lengths(path.filters)
    if kept is None:
        squares = _quadratic(path.filters, G, path.loadings)
        return path.filters @ cross, squares, squares > np.square(path.filters) @ floor
    added = path.loadings * (2 * (np.tril(G, -1) @ path.loadings) + np.diag(G)[:, None] * path.loadings)
    squares = _running_sum(added, kept)
    return _running_sum(cross, kept), squares, squares > _running_sum(floor, kept)


def _prefix_lengths(filters: FloatArray) -> IntArray | None:
    """Return how many latent variables each setting keeps, or None if some setting does not keep just the first."""
    kept = np.count_nonzero(filters, axis=1)
    prefixes = np.arange(filters.shape[1]) < kept[:, None]
    return kept if np.array_equal(filters, prefixes) else None


def _running_sum(values: FloatArray, kept: IntArray) -> FloatArray:
    """Sum the first ``kept[s]`` rows of values, shape (r, q), for every setting s."""
    sums = np.zeros((values.shape[0] + 1, values.shape[1]))
    np.cumsum(values, axis=0, out=sums[1:])
    return sums[kept]


def _quadratic(filters: FloatArray, G: FloatArray, loadings: FloatArray) -> FloatArray:
    """Sum d_j d_k G_jk Q_j Q_k for every filter d and voxel, in blocks of voxels: one product over pairs j <= k."""
    r, q = loadings.shape
    rows, columns = np.triu_indices(r)
    weights = filters[:, rows] * filters[:, columns] * (G[rows, columns] * np.where(rows == columns, 1.0, 2.0))
    sums = np.empty((filters.shape[0], q))
    block = max(1, _BLOCK_BYTES // (8 * max(len(rows), 1)))
    for start in range(0, q, block):
        part = loadings[:, start : start + block]
        sums[:, start : start + block] = weights @ (part[rows] * part[columns])
    return sums
