"""Nested ridge regression of all folds at once: what `vc.evaluate` does with one layer, without its overheads.

Penalties are every second one of `Ridge.alphas`, and the best is refined by a parabola in their logarithm.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.ridge import Ridge

_LOG_ALPHAS: Final = np.log(Ridge.alphas[::2])


@dataclass(frozen=True, eq=False)
class NestedRidge:
    """Out-of-fold predictions of ridge regression whose penalty is chosen inside each fold.

    Parameters
    ----------
    predicted : ndarray of shape (n_stimuli, n_voxels)
    coefficients : ndarray of shape (n_folds, n_features, n_voxels)
        Of the model that each fold is predicted by.
    refitted : ndarray of shape (n_folds, n_folds, stimuli of a fold, n_voxels)
        Predictions of the stimuli of fold i by the model fitted without i and j, at [i, j]; 0 where i = j.
    rows : ndarray of shape (n_folds, stimuli of a fold)
        The stimuli of each fold.
    """

    predicted: FloatArray
    coefficients: FloatArray
    refitted: FloatArray
    rows: IntArray

    def inner(self, weights: FloatArray) -> FloatArray:
        """Return what `voxelcast.scoring.intervals.score_interval` takes, from its ``influence_weights``."""
        inner = np.zeros((len(weights), len(self.rows)))
        inner[self.rows] = np.einsum("imq,ijmq->imj", weights[self.rows], self.refitted, optimize=True)
        return inner


def nested_ridge(X: FloatArray, Y: FloatArray, fold_ids: IntArray) -> NestedRidge:
    """Fit and predict; all folds are of one size, no features are more than stimuli, and no response is constant."""
    rows = np.argsort(fold_ids, kind="stable").reshape(int(fold_ids.max()) + 1, -1)
    K = len(rows)
    Xf, Yf = (X - X.mean(axis=0))[rows], (Y - Y.mean(axis=0))[rows]
    pairs = list(combinations(range(K), 2))
    kept = np.ones((K + len(pairs), K))
    kept[np.arange(K), np.arange(K)] = 0
    for k, pair in enumerate(pairs):
        kept[K + k, pair] = 0
    n = kept.sum(axis=1)[:, None] * rows.shape[1]
    x_mean, y_mean = kept @ Xf.sum(axis=1) / n, kept @ Yf.sum(axis=1) / n
    S = np.tensordot(kept, Xf.transpose(0, 2, 1) @ Xf, 1) - n[:, :, None] * x_mean[:, :, None] * x_mean[:, None, :]
    C = np.tensordot(kept, Xf.transpose(0, 2, 1) @ Yf, 1) - n[:, :, None] * x_mean[:, :, None] * y_mean[:, None, :]
    values, V = np.linalg.eigh(S)
    unit, Q = values.mean(axis=1), V.transpose(0, 2, 1) @ C

    # Ordered pairs (i, j): fold i is predicted by the model without i and j.
    at = np.zeros((K, K), dtype=int)
    at[tuple(np.transpose(pairs))] = K + np.arange(len(pairs))
    at += at.T
    scores = np.zeros((K, len(_LOG_ALPHAS)))
    for i in range(K):
        Yc = Yf[i] - Yf[i].mean(axis=0)
        norm = np.linalg.norm(Yc, axis=0)
        for j in range(K):
            if i != j:
                k = at[i, j]
                T = (Xf[i] - Xf[i].mean(axis=0)) @ V[k]
                scores[j] += _scores(T, Yc, Q[k], values[k], np.exp(_LOG_ALPHAS) * unit[k]) @ (1 / norm) / len(norm)
    alphas = np.exp(_peaks(scores))

    d = 1 / (values[:K] + (alphas * unit[:K])[:, None])
    B = V[:K] @ (d[:, :, None] * Q[:K])
    predicted = np.empty(Y.shape)
    predicted[rows] = (Xf - x_mean[:K, None]) @ B + y_mean[:K, None]
    refitted = np.zeros((K, K, rows.shape[1], Y.shape[1]))
    for i, j in [(i, j) for i in range(K) for j in range(K) if i != j]:
        k = at[i, j]
        loadings = Q[k] / (values[k] + alphas[i] * unit[k])[:, None]
        refitted[i, j] = ((Xf[i] - x_mean[k]) @ V[k]) @ loadings + y_mean[k]
    return NestedRidge(predicted + Y.mean(axis=0), B, refitted, rows)


def _scores(T: FloatArray, Yc: FloatArray, Q: FloatArray, values: FloatArray, penalties: FloatArray) -> FloatArray:
    """Return sum(y p) / |p| of all penalties and voxels.

    With d_j = 1 / (l_j + a) is d_j d_k = (d_j - d_k) / (l_k - l_j), so that most of sum(p p) needs no second penalty.
    """
    d, G = 1 / (values + penalties[:, None]), T.T @ T
    gaps = values[None, :] - values[:, None]
    np.fill_diagonal(gaps, np.inf)
    squares = np.concatenate([2 * d, d * d], axis=1) @ np.concatenate(
        [Q * ((G / gaps) @ Q), np.diag(G)[:, None] * np.square(Q)]
    )
    cross = d @ ((T.T @ Yc) * Q)
    return np.asarray(cross / np.sqrt(squares))


def _peaks(scores: FloatArray) -> FloatArray:
    """Return the logarithm of the penalty at the peak of a parabola through the best score and its neighbours."""
    best = np.clip(scores.argmax(axis=1), 1, scores.shape[1] - 2)
    left, top, right = (scores[np.arange(len(scores)), best + step] for step in (-1, 0, 1))
    bend = left - 2 * top + right
    shift = np.divide(left - right, 2 * bend, out=np.zeros_like(bend), where=bend < 0)
    step = _LOG_ALPHAS[1] - _LOG_ALPHAS[0]
    at_edge = scores.argmax(axis=1)
    return np.asarray(np.where(at_edge == best, _LOG_ALPHAS[best] + np.clip(shift, -1, 1) * step, _LOG_ALPHAS[at_edge]))
