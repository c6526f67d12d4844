"""Is a voxel predicted better than chance? Permutation of stimuli, and the correction for many voxels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import isqrt

import numpy as np
from scipy.stats import false_discovery_control
from threadpoolctl import threadpool_limits

from voxelcast.core.arrays import FloatArray, IntArray, blocks
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import derive_seed, generator
from voxelcast.scoring.correlation import checked_pair, constant_columns, fold_pearson_r

# Two permutations that come to the same order of values may differ by the rounding of their sums.
_TIE = 1e-12
_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True, eq=False)
class Exchange:
    """Which stimuli may change places in a permutation test; see `permutation_orders`.

    Parameters
    ----------
    fold_ids : ndarray of shape (n_stimuli,), int
        Predictions stay in their fold.
    groups : sequence of str, optional
        The group of each stimulus (its movie or run); groups are moved whole.
    circular : bool
        Whether groups are runs of a time series, each to be rotated in time.
    """

    fold_ids: IntArray
    groups: Sequence[str] | None = None
    circular: bool = False


def permutation_p_values(
    Y: FloatArray,
    P: FloatArray,
    exchange: Exchange,
    n_permutations: int = 1000,
    seed: int = 0,
    *,
    cross_validated: bool,
    workers: int = 1,
) -> FloatArray:
    """Test for each voxel whether its score is higher than when predictions are assigned to the wrong stimuli.

    The score is Pearson r within each fold, averaged over folds (`fold_pearson_r`). In each of m permutations the
    predictions change places within their fold, the same for all voxels, and b counts the scores that are at least the
    measured one. One-sided, with the measured order counted as one of the permutations [1]_: ``p = (b + 1) / (m + 1)``.

    Predictions stay in their fold because models of different folds predict different means (each the mean of its
    training part); see `permutation_orders` for groups. The models are not fitted again.

    Cross-validated predictions are not independent of the responses of other folds: fold A's responses train the model
    of fold B, and fold B's that of fold A. If predictions are linear in the training responses, the score is a sum over
    pairs of folds, each pair appears in it twice, and on noise it varies up to sqrt(2) times as much as permutation of
    fixed predictions shows (just as much where A predicts B as B predicts A). So with ``cross_validated`` the permuted
    scores are multiplied by sqrt(2); without that, 12 % of noise voxels would have p < 0.05. Raises ShapeError,
    OptionError or DataError if the shapes differ, a setting is out of range, values are not finite, or no permutation
    is possible.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses, finite.
    P : ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions, or predictions of held-out stimuli with one fold for all of them.
    n_permutations : int
        The least m; see `permutation_grid` (1023 for 1000). The smallest p is 1 / (m + 1).
    cross_validated : bool
        Whether ``P`` comes from models fitted to the other folds of ``Y``, rather than to other stimuli altogether.
    workers : int
        Threads; they change nothing in the result.

    Returns
    -------
    p : ndarray of shape (n_voxels,)
        NaN for a voxel without a score.

    References
    ----------
    .. [1] Phipson, B. & Smyth, G. K. Permutation p-values should never be zero. Statistical Applications in Genetics
       and Molecular Biology 9, 39 (2010). doi:10.2202/1544-6115.1585
    """
    fold_ids = exchange.fold_ids
    Y, P = checked_pair(Y, P)
    if workers < 1:
        raise OptionError(f"workers must be at least 1; got {workers}")
    check_finite("responses", Y)
    check_finite("predictions", P)
    scored = np.flatnonzero(np.isfinite(fold_pearson_r(Y, P, fold_ids)))
    of_responses, of_predictions = permutation_grid(exchange, n_permutations, seed)
    p = np.full(Y.shape[1], np.nan)
    each = 8 * Y.shape[0] * (len(of_responses) + len(of_predictions))
    widening = np.sqrt(2.0) if cross_validated else 1.0
    parts = [scored[part] for part in blocks(len(scored), each, _BLOCK_BYTES)]

    def count(voxels: IntArray) -> IntArray:
        return _reached(Y[:, voxels], P[:, voxels], fold_ids, of_responses, of_predictions, widening)

    # The products are small: threads of the linear algebra library would only get in each other's way.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        for voxels, reached in zip(parts, pool.map(count, parts), strict=True):
            p[voxels] = reached / (len(of_responses) * len(of_predictions))
    return p


def permutation_grid(exchange: Exchange, n_permutations: int, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Draw A orders of the responses and B of the predictions, nearly as many, A B - 1 at least ``n_permutations``.

    Each is drawn by `permutation_orders` and begins with the order as it is. The scores of all A B combinations are one
    matrix product per voxel, and A B permutations: as only the order of one relative to the other counts, each is a
    random permutation, and any two are independent. A test with them is as exact as with A B - 1 random draws: under
    the null hypothesis the rows and columns of the table of scores could come in any order, so its first entry, the
    measured score, is among the k highest with probability k / (A B). Raises OptionError if ``n_permutations`` is below
    1.
    """
    if n_permutations < 1:
        raise OptionError(f"n_permutations must be at least 1; got {n_permutations}")
    n_first = isqrt(n_permutations) + 1
    n_second = -(-(n_permutations + 1) // n_first)
    first, second = (
        permutation_orders(exchange, n_orders, derive_seed(seed, what))
        for what, n_orders in (("responses", n_first), ("predictions", n_second))
    )
    return first, second


def _reached(
    Y: FloatArray,
    P: FloatArray,
    fold_ids: IntArray,
    of_responses: IntArray,
    of_predictions: IntArray,
    widening: float,
) -> IntArray:
    """Count for each voxel the scores, the measured one among them, that are at least the measured one.

    With y and p centred and of unit norm within each fold, the fold-wise score is sum(y p) / n_folds, and stays so
    when their rows change places.
    """
    folds = np.unique(fold_ids)
    y, p, voids = np.zeros_like(Y), np.zeros_like(P), np.zeros(Y.shape[1])
    for fold in folds:
        held = fold_ids == fold
        y[held], p[held] = _unit_columns(Y[held]), _unit_columns(P[held])
        voids += constant_columns(Y[held])
    y /= len(folds) - voids
    n, q = Y.shape
    ordered_y = np.take(np.ascontiguousarray(y.T), of_responses.ravel(), axis=1).reshape(q, len(of_responses), n)
    ordered_p = np.take(np.ascontiguousarray(p.T), of_predictions.ravel(), axis=1).reshape(q, len(of_predictions), n)
    scores = ordered_y @ ordered_p.transpose(0, 2, 1)  # (q, A, B)
    reached = (widening * scores >= scores[:, :1, :1] - _TIE).sum(axis=(1, 2))
    # The measured score reaches itself, whatever the others are multiplied by.
    return np.asarray(reached + (widening * scores[:, 0, 0] < scores[:, 0, 0] - _TIE))


def _unit_columns(values: FloatArray) -> FloatArray:
    """Centre columns and give them unit norm; constant ones become 0."""
    centred = values - values.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    return np.asarray(np.divide(centred, norms, out=np.zeros_like(centred), where=~constant_columns(values)))


def permutation_orders(exchange: Exchange, n_orders: int, seed: int = 0) -> IntArray:
    """Draw orders of the stimuli, ndarray of shape (n_orders, n_stimuli); the first is the order as it is.

    Without groups, stimuli are shuffled within each fold. With groups, whole groups are: in each fold they are laid
    end to end in a new order, and stimuli keep their order within a group; of groups of equal size, each then takes
    another's place exactly. Where every fold is one group (runs as folds, say) and all are of one size, whole folds
    change places. A fold that is one group among folds of several stays as it is, which makes p larger, never smaller.

    Volumes of a time series resemble their neighbours, and runs often have the same rhythm, so neither may simply be
    shuffled. With ``circular`` each group, a run whose rows follow in time, is rotated by an amount of its own: what
    comes after its end goes to its beginning. Raises ShapeError if the numbers of stimuli differ; DataError if nothing
    can change places.
    """
    fold_ids, groups = exchange.fold_ids, exchange.groups
    check_shape("fold_ids", fold_ids, ("n_stimuli",), (None if groups is None else len(groups),))
    names = np.arange(len(fold_ids)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if exchange.circular:
        return _rotations(names, n_orders, generator(seed, "permutation"))
    blocks = []
    for fold in np.unique(fold_ids):
        held = np.flatnonzero(fold_ids == fold)
        # In order of first appearance, so that the rows of a group need not be neighbours.
        first = {int(names[row]): None for row in held}
        blocks.append([held[names[held] == name] for name in first])
    if all(len(in_fold) == 1 for in_fold in blocks):
        blocks = _whole_folds(blocks)
    rng = generator(seed, "permutation")
    orders = np.tile(np.arange(len(fold_ids)), (n_orders, 1))
    for in_fold in blocks:
        places = np.concatenate(in_fold)
        for order in orders[1:]:
            order[places] = np.concatenate([in_fold[k] for k in rng.permutation(len(in_fold))])
    return orders


def _rotations(group_of_row: IntArray, n_orders: int, rng: np.random.Generator) -> IntArray:
    """Rotate the rows of each group by a random amount; the first order is the order as it is."""
    orders = np.tile(np.arange(len(group_of_row)), (n_orders, 1))
    for group in np.unique(group_of_row):
        held = np.flatnonzero(group_of_row == group)
        for order in orders[1:]:
            order[held] = np.roll(held, rng.integers(len(held)))
    return orders


def _whole_folds(blocks: list[list[IntArray]]) -> list[list[IntArray]]:
    sizes = {len(in_fold[0]) for in_fold in blocks}
    if len(blocks) < 2 or len(sizes) > 1:
        raise DataError(
            "a permutation test needs two groups or stimuli in some fold, or folds of one size that can change places; "
            f"got {len(blocks)} folds of one group each, of {min(sizes)} to {max(sizes)} stimuli; use fewer folds"
        )
    return [[in_fold[0] for in_fold in blocks]]


def can_permute(exchange: Exchange) -> bool:
    """Tell whether anything can change places: see `permutation_orders`."""
    try:
        permutation_orders(exchange, 1)
    except DataError:
        return False
    return True


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Return the false discovery rate at which each voxel would just be called significant (its q value).

    Calling all voxels with q <= alpha significant keeps the expected share of false ones among them at most alpha, for
    independent or positively dependent tests [1]_: ``q_(i) = min over j >= i of  p_(j) n / j``. Raises DataError if a p
    value lies outside [0, 1].

    Parameters
    ----------
    p : ndarray of shape (n_voxels,)
        NaN voxels are no tests: they count for nothing and stay NaN.

    References
    ----------
    .. [1] Benjamini, Y. & Hochberg, Y. Controlling the false discovery rate: a practical and powerful approach to
       multiple testing. Journal of the Royal Statistical Society B 57, 289-300 (1995).
       doi:10.1111/j.2517-6161.1995.tb02031.x
    """
    p = np.asarray(p, dtype=np.float64)
    tested = ~np.isnan(p)
    if ((p[tested] < 0) | (p[tested] > 1)).any():
        raise DataError("p values must lie between 0 and 1; some do not")
    q = np.full(p.shape, np.nan)
    if tested.any():
        q[tested] = false_discovery_control(p[tested], method="bh")
    return q
