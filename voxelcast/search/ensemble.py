"""Weights that combine the layers: one layer, the average of the best few, or stacking.

Stacking [1]_ chooses non-negative weights w of the layers' predictions p_l of stimuli that their models did not see::

    minimise  sum over stimuli (y - sum_l w_l p_l)**2   subject to   w_l >= 0   (and sum_l w_l = 1, if asked for)

with y and p_l centred on the fold, as the score is r within folds. Only G = P'P and c = P'y are needed of them.

References
----------
.. [1] Breiman, L. Stacked regressions. Machine Learning 24, 49-64 (1996). doi:10.1007/BF00117832
.. [2] Lin, R., Naselaris, T., Kay, K. & Wehbe, L. Stacked regressions and structured variance partitioning for
   interpretable brain maps. NeuroImage 298, 120772 (2024). doi:10.1016/j.neuroimage.2024.120772
.. [3] Lawson, C. L. & Hanson, R. J. Solving Least Squares Problems, chapter 23. Prentice-Hall (1974).
"""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import (
    BoolArray,
    FloatArray,
    IntArray,
    block_bytes,
    blocks,
    column_products,
    contiguous,
    like,
    namespace,
    to_numpy,
    zeros,
)
from voxelcast.core.errors import DataError

_BLOCK_BYTES = 2**22
# Added to a diagonal of ones, so that predictions that depend on each other have a solution, too.
_JITTER = 2 * float(np.finfo(np.float64).eps)
# A smaller gradient, of predictions and responses of length 1, is rounding. Most steps for each layer; few are usual.
_ROUNDING, _MOST_STEPS = 1e-12, 30


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

    Holds n_units * n_layers * (n_layers + 1) numbers, where units are voxels or 1, where the deviations are.

    Parameters
    ----------
    per : str
        ``"roi"`` or ``"voxel"``.
    deviations : ndarray of shape (n_voxels,)
        Standard deviation of each voxel's responses: in an ROI as a whole, voxels count in units of it, so that one in
        a small unit does not decide alone. A voxel of 0 counts for nothing.
    """

    def __init__(self, n_layers: int, n_voxels: int, per: str, deviations: FloatArray) -> None:
        xp, units, there = namespace(deviations), n_voxels if per == "voxel" else 1, deviations > 0
        self._pooled = per == "roi"
        self._scale = xp.where(there, 1.0 / xp.where(there, deviations, 1.0), 0.0)
        self.G = zeros((units, n_layers, n_layers), deviations)
        self.c = zeros((units, n_layers), deviations)
        self.squares = zeros((units,), deviations)

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
            P = (predictions - predictions.mean(axis=1)[:, None]) * self._scale
            P, responses = P.reshape(n_layers, -1), (responses * self._scale).reshape(-1)
            self.G[0] += P @ P.T
            self.c[0] += P @ responses
            self.squares[0] += responses @ responses
            return
        self.squares += column_products(responses, responses)
        for voxels in blocks(q, 8 * n_layers * n, block_bytes(predictions, _BLOCK_BYTES)):
            P = contiguous(namespace(predictions).moveaxis(predictions[:, :, voxels], 2, 0))
            P = P - P.mean(axis=2)[..., None]
            self.G[voxels] += P @ P.mT
            self.c[voxels] += (P @ responses[:, voxels].T[..., None])[..., 0]

    def weights(self, sum_to_one: bool, best: IntArray) -> FloatArray:
        """Solve for the weights, ndarray of shape (n_layers, n_units).

        A unit that no layer's predictions covary with would have no weights at all; it takes its best layer alone, if
        it has one.

        Parameters
        ----------
        best : ndarray of shape (n_units,)
            Its best layer; -1 where none has a score.
        """
        units, n_layers = self.c.shape
        some = [
            stacking_weights(self.G[part], self.c[part], self.squares[part], sum_to_one=sum_to_one)
            for part in blocks(units, 8 * n_layers**2, block_bytes(self.G, _BLOCK_BYTES))
        ]
        found = np.concatenate([to_numpy(part) for part in some])
        alone = ~found.any(axis=1) & (best >= 0)
        found[alone, best[alone]] = 1.0
        return found.T


def stacking_weights(G: FloatArray, c: FloatArray, squares: FloatArray, *, sum_to_one: bool = False) -> FloatArray:
    """Minimise ``squares - 2 c'w + w'Gw`` over non-negative w, of many units at once.

    With the sum constraint the loss is w'Ew, E = squares - c1' - 1c' + G. Its minimum over weights that sum to 1 lies
    in the direction of the minimum of w'Ew + (1'w - 1)**2 over all non-negative w: along any direction the best length
    gives w'Ew / (1 + w'Ew), which rises with w'Ew.

    Parameters
    ----------
    G : ndarray of shape (n_units, n_layers, n_layers)
        P'P of the predictions P, ndarray of shape (n, n_layers).
    c : ndarray of shape (n_units, n_layers)
        P'y.
    squares : ndarray of shape (n_units,)
        y'y.

    Returns
    -------
    weights : ndarray of shape (n_units, n_layers)
        Layers whose predictions are constant get 0.
    """
    xp, squares = namespace(G), squares[:, None]
    lengths = xp.sqrt(xp.diagonal(G, 0, -2, -1))
    there = (lengths > 0) & (squares > 0)
    scale = xp.sqrt(xp.where(squares > 0, squares, 1.0))
    if sum_to_one:
        G = (squares[..., None] - c[:, :, None] - c[:, None] + G) / xp.square(scale)[..., None] + 1.0
        c, lengths = scale + zeros(c.shape, c), xp.sqrt(xp.diagonal(G, 0, -2, -1))
    # Predictions and responses of length 1: what is taken for rounding is then small for each of them.
    unit = xp.where(there, lengths, 1.0)
    weights = _non_negative(G / (unit[:, :, None] * unit[:, None]), c / (unit * scale), there) / unit
    total = weights.sum(axis=1)[:, None]
    found: FloatArray = weights / xp.where(total > 0, total, 1.0) if sum_to_one else weights * scale
    return found


def _non_negative(A: FloatArray, b: FloatArray, allowed: BoolArray) -> FloatArray:
    """Minimise w'Aw - 2 b'w over w >= 0 by the active-set method of Lawson & Hanson [3]_, of many units side by side.

    Parameters
    ----------
    A : ndarray of shape (n_units, n, n)
        Positive semi-definite, with ones on the diagonal.
    b : ndarray of shape (n_units, n)
    allowed : ndarray of shape (n_units, n), bool
        Where weights need not be 0.
    """
    xp, n, eye, places = namespace(b), b.shape[-1], like(np.eye(A.shape[-1]), A), like(np.arange(A.shape[-1]), A)
    found: FloatArray = zeros(b.shape, b)
    w, left = zeros(b.shape, b), like(np.arange(len(b)), A)
    kept, useless, settled = zeros(b.shape, b, bool), zeros(b.shape, b, bool), ~zeros((len(b), 1), b, bool)
    A = A + _JITTER * eye
    for _ in range(_MOST_STEPS * n):
        free = settled & allowed & ~kept & ~useless
        gradient = xp.where(free, b - (A @ w[..., None])[..., 0], 0.0)
        entering = (gradient > _ROUNDING) & (places == gradient.argmax(axis=1)[:, None])
        going = (entering | ~settled).any(axis=1)
        if not going.all():
            found[left[~going]] = w[~going]
            state = A, b, allowed, w, left, kept, useless, settled, entering
            A, b, allowed, w, left, kept, useless, settled, entering = (part[going] for part in state)
        if not len(left):
            return found
        kept = kept | entering
        solved = xp.linalg.solve(xp.where(kept[:, :, None] & kept[:, None], A, eye), xp.where(kept, b, 0.0)[..., None])
        solved = solved[..., 0]
        # Where rounding alone made a weight seem worth more than 0, it stays out until another one has come in.
        failed = entering & (solved <= 0)
        kept, nothing = kept & ~failed, failed.any(axis=1)[:, None]
        solved = xp.where(nothing, w, xp.where(kept, solved, 0.0))
        # Go towards the solution as far as no weight falls below 0; those that reach it are fixed there.
        falls = kept & (solved <= 0)
        share = xp.where(falls, w / xp.where(falls & (w > solved), w - solved, 1.0), 1.0)
        step = xp.amin(share, axis=1)[:, None]
        settled = ~falls.any(axis=1)[:, None]
        kept = kept & ~(falls & (share <= step))
        w = xp.where(kept, w + step * (solved - w), 0.0)
        useless = xp.where(settled & ~nothing, False, useless) | failed
    raise DataError(f"stacking weights of {len(left)} voxels were not found; leave out layers that are nearly equal")
