"""Weights that combine the layers: one layer, the average of the best few, or stacking.

Stacking [1]_ chooses non-negative weights w of the layers' predictions p_l of stimuli that their models did not see::

    minimise  sum over stimuli (y - sum_l w_l p_l)**2   subject to   w_l >= 0   (and sum_l w_l = 1, if asked for)

with y and p_l centred on the fold, as the score is r within folds. Only G = P'P and c = P'y are needed of them.

References
----------
.. [1] Breiman, L. Stacked regressions. Machine Learning 24, 49-64 (1996). doi:10.1007/BF00117832
.. [2] Lin, R., Naselaris, T., Kay, K. & Wehbe, L. Stacked regressions and structured variance partitioning for
   interpretable brain maps. NeuroImage 298, 120772 (2024). doi:10.1016/j.neuroimage.2024.120772
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import nnls

from voxelcast.core.arrays import FloatArray, IntArray, blocks

_BLOCK_BYTES = 16 * 2**20


def average_weights(layer_scores: FloatArray, top: int) -> FloatArray:
    """Return equal weights for each voxel's ``top`` best layers.

    Parameters
    ----------
    layer_scores : ndarray of shape (n_layers, q)
        -inf for a layer without a score, which gets no weight.

    Returns
    -------
    weights : ndarray of shape (n_layers, q)
        Each column sums to 1, or to 0 where no layer has a score.
    """
    # Rounded, so that of layers that differ by rounding the first is the better.
    rank = np.argsort(np.argsort(-layer_scores.round(11), axis=0, kind="stable"), axis=0, kind="stable")
    chosen = (rank < top) & ~np.isneginf(layer_scores)
    return np.asarray(chosen / np.maximum(chosen.sum(axis=0), 1))


def softmax_weights(layer_scores: FloatArray, temperature: float) -> FloatArray:
    """Return weights proportional to ``exp(score / temperature)``, ndarray of shape (n_layers, q), that sum to 1.

    Parameters
    ----------
    layer_scores : ndarray of shape (n_layers, q)
        -inf for a layer without a score, which gets no weight.
    """
    best = layer_scores.max(axis=0)
    sizes = np.exp((layer_scores - np.where(np.isneginf(best), 0.0, best)) / temperature)
    return np.asarray(sizes / np.maximum(sizes.sum(axis=0), 1e-300))


class StackingSums:
    """G = P'P, c = P'y and y'y over the stimuli of several folds, of each voxel or of the ROI as a whole.

    Holds n_units * n_layers * (n_layers + 1) numbers, where units are voxels or 1.

    Parameters
    ----------
    per : str
        ``"roi"`` or ``"voxel"``.
    deviations : ndarray of shape (n_voxels,)
        Standard deviation of each voxel's responses: in an ROI as a whole, voxels count in units of it, so that one in
        a small unit does not decide alone. A voxel of 0 counts for nothing.
    """

    def __init__(self, n_layers: int, n_voxels: int, per: str, deviations: FloatArray) -> None:
        units = n_voxels if per == "voxel" else 1
        self._pooled = per == "roi"
        self._scale = np.divide(1.0, deviations, out=np.zeros(n_voxels), where=deviations > 0)
        self.G = np.zeros((units, n_layers, n_layers))
        self.c = np.zeros((units, n_layers))
        self.squares = np.zeros(units)

    def add(self, predictions: FloatArray, responses: FloatArray) -> None:
        """Add a fold.

        Parameters
        ----------
        predictions : ndarray of shape (n_layers, n, q)
        responses : ndarray of shape (n, q)
            Centred on the fold.
        """
        n_layers, n, q = predictions.shape
        if self._pooled:
            P = (predictions - predictions.mean(axis=1, keepdims=True)) * self._scale
            P, responses = P.reshape(n_layers, -1), (responses * self._scale).reshape(-1)
            self.G[0] += P @ P.T
            self.c[0] += P @ responses
            self.squares[0] += responses @ responses
            return
        self.squares += np.square(responses).sum(axis=0)
        for voxels in blocks(q, 8 * n_layers * n, _BLOCK_BYTES):
            P = np.ascontiguousarray(predictions[:, :, voxels].transpose(2, 0, 1))
            P -= P.mean(axis=2, keepdims=True)
            self.G[voxels] += P @ P.transpose(0, 2, 1)
            self.c[voxels] += np.einsum("vln,nv->vl", P, responses[:, voxels])

    def weights(self, sum_to_one: bool, best: IntArray) -> FloatArray:
        """Solve for the weights, ndarray of shape (n_layers, n_units).

        A unit that no layer's predictions covary with would have no weights at all; it takes its best layer alone, if
        it has one.

        Parameters
        ----------
        best : ndarray of shape (n_units,)
            Its best layer; -1 where none has a score.
        """
        found = np.zeros(self.c.shape)
        for unit, (G, c, squares) in enumerate(zip(self.G, self.c, self.squares, strict=True)):
            found[unit] = stacking_weights(G, c, float(squares), sum_to_one=sum_to_one)
            if not found[unit].any() and best[unit] >= 0:
                found[unit, best[unit]] = 1.0
        return found.T


def stacking_weights(G: FloatArray, c: FloatArray, squares: float, *, sum_to_one: bool = False) -> FloatArray:
    """Minimise ``squares - 2 c'w + w'Gw`` over non-negative w.

    With the sum constraint the loss is w'Ew, E = squares - c1' - 1c' + G. Its minimum over weights that sum to 1 lies
    in the direction of the minimum of w'Ew + (1'w - 1)**2 over all non-negative w: along any direction the best length
    gives w'Ew / (1 + w'Ew), which rises with w'Ew.

    Parameters
    ----------
    G : ndarray of shape (n_layers, n_layers)
        P'P of the predictions P, ndarray of shape (n, n_layers).
    c : ndarray of shape (n_layers,)
        P'y.
    squares : float
        y'y.

    Returns
    -------
    weights : ndarray of shape (n_layers,)
        Layers whose predictions are constant get 0.
    """
    lengths = np.sqrt(np.diag(G))
    there = lengths > 0
    weights = np.zeros(len(c))
    if not there.any() or squares <= 0:
        return weights
    if sum_to_one:
        kept = np.ix_(there, there)
        E = (squares - c[there][:, None] - c[there] + G[kept]) / squares
        root = _root(E)[0]
        found = nnls(np.vstack([root, np.ones(root.shape[1])]), np.append(np.zeros(len(root)), 1.0))[0]
        weights[there] = found / found.sum()
        return weights
    # Predictions of one length: what is dropped as rounding is then small for each of them.
    unit = lengths[there]
    root, back = _root(G[np.ix_(there, there)] / np.outer(unit, unit))
    weights[there] = nnls(root, back @ (c[there] / unit))[0] / unit
    return weights


def _root(A: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return R with R'R = A and (R')^+, for a positive semi-definite A."""
    values, vectors = np.linalg.eigh(A)
    kept = values > len(A) * np.finfo(np.float64).eps * max(values.max(initial=0.0), 1e-300)
    roots = np.sqrt(values[kept])
    return roots[:, None] * vectors[:, kept].T, vectors[:, kept].T / roots[:, None]
