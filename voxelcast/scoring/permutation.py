"""Is a voxel predicted better than chance? Permutation of stimuli, and the correction for many voxels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations, product
from math import isqrt

import numpy as np
from threadpoolctl import threadpool_limits

from voxelcast.core.arrays import (
    FloatArray,
    IntArray,
    block_bytes,
    blocks,
    column_norms,
    namespace,
    on_cpu,
    to_numpy,
    zeros,
)
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import derive_seed, generator
from voxelcast.scoring.correlation import checked_pair, constant_columns

# Two permutations that come to the same order of values may differ by the rounding of their sums.
_TIE = 1e-12
_BLOCK_BYTES = 8 * 2**20


@dataclass(frozen=True, eq=False)
class Exchange:
    """Which stimuli may change places in a permutation test.

    Without groups, stimuli are shuffled within each fold. With groups, whole groups are: in each fold they are laid
    end to end in a new order, and stimuli keep their order within a group; of groups of equal size, each then takes
    another's place exactly. Where every fold is one group (runs as folds, say) and all are of one size, whole folds
    change places. A fold that is one group among folds of several stays as it is, which makes p larger, never smaller.

    Volumes of a time series resemble their neighbours, and runs often have the same rhythm, so neither may simply be
    shuffled. With ``circular`` each group, a run whose rows follow in time, is rotated by an amount of its own: what
    comes after its end goes to its beginning.

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

    @cached_property
    def blocks(self) -> list[list[IntArray]]:
        """Rows that may change places: blocks of parts, each of which can take the place of another of its block."""
        fold_ids, groups = self.fold_ids, self.groups
        check_shape("fold_ids", fold_ids, ("n_stimuli",), (None if groups is None else len(groups),))
        names = np.arange(len(fold_ids)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        if self.circular:
            return [[np.array([row]) for row in np.flatnonzero(names == name)] for name in np.unique(names)]
        blocks = []
        for fold in np.unique(fold_ids):
            held = np.flatnonzero(fold_ids == fold)
            # In order of first appearance, so that the rows of a group need not be neighbours.
            first = dict.fromkeys(names[held].tolist())
            blocks.append([held[names[held] == name] for name in first])
        if self.moves_folds and len({len(in_fold[0]) for in_fold in blocks}) == 1:
            return [[in_fold[0] for in_fold in blocks]]
        return blocks

    @cached_property
    def moves_folds(self) -> bool:
        """Whether every fold is one group, and only whole folds can change places."""
        if self.groups is None or self.circular:
            return False
        return len(set(zip(self.fold_ids.tolist(), self.groups, strict=True))) == len(np.unique(self.fold_ids))

    @cached_property
    def n_arrangements(self) -> float:
        """How many orders there are; 1 if nothing can change places."""
        each = ((len(block) if self.circular else math.factorial(min(len(block), 150))) for block in self.blocks)
        return math.prod(map(float, each))

    def smallest_p(self, n_permutations: int) -> float:
        """Return the smallest p-value that a test with so many permutations can give; 1 if nothing can move."""
        return max(1.0 / self.n_arrangements, 1.0 / (n_permutations + 1))

    @property
    def units(self) -> str:
        """Say what permutations exchange and intervals resample."""
        n_folds = len(np.unique(self.fold_ids))
        within = f" within each of {n_folds} folds" if n_folds > 1 else ""
        if self.groups is None:
            return f"Permutations exchange single stimuli{within}; intervals resample single stimuli."
        n_groups = len(set(self.groups))
        if self.circular:
            return f"Permutations rotate each of {n_groups} runs in time; intervals resample whole runs."
        moved = "whole folds, each one group" if self.moves_folds else f"whole groups{within}"
        moved = "nothing" if self.n_arrangements == 1 else moved
        return f"Permutations exchange {moved}; intervals resample whole groups, of which there are {n_groups}."

    def warning(self, n_permutations: int, alpha: float) -> str:
        """Say where no voxel can be significant, why and what to do; empty where some can, or nothing is tested."""
        smallest = self.smallest_p(n_permutations)
        if smallest <= alpha or not n_permutations:
            return ""
        count = self.n_arrangements
        why = f"{n_permutations} permutations are drawn"
        remedy = "ask for more permutations"
        if count <= n_permutations:
            why = f"there are {count:.0f} arrangements of whole {'folds' if self.moves_folds else 'groups'}"
            remedy = (
                "make fewer folds of several groups each, or smaller groups; if stimuli of a group may change places "
                "with one another, set folds.unit=stimulus; folds alone are given as folds, not as groups"
            )
        if count == 1:
            sizes = ", each one group, as these are of different sizes" if self.moves_folds else ""
            why = f"no {'folds' if self.moves_folds else 'groups'} can change places{sizes}"
        return (
            f"No voxel can be significant: {why}, so no p-value is below {smallest:.2g}, and alpha is "
            f"{alpha:g}; {remedy}."
        )


def permutation_p_values(
    Y: FloatArray,
    P: FloatArray,
    exchange: Exchange,
    n_permutations: int = 1000,
    seed: int = 0,
    *,
    widening: float = 1.0,
    workers: int = 1,
) -> FloatArray:
    """Test for each voxel whether its score is higher than when predictions are assigned to the wrong stimuli.

    The score is Pearson r within each fold, averaged over folds (`fold_pearson_r`). In each of m permutations the
    predictions change places within their fold, the same for all voxels, and b counts the scores that are at least the
    measured one. One-sided, with the measured order counted as one of the permutations [1]_: ``p = (b + 1) / (m + 1)``.

    Predictions stay in their fold because models of different folds predict different means (each the mean of its
    training part). The models are not fitted again.

    Cross-validated predictions are not independent of the responses of other folds: fold A's responses train the model
    of fold B, and fold B's that of fold A. If predictions are linear in the training responses, the score is a sum over
    pairs of folds, each pair appears in it twice, and on noise it varies up to sqrt(2) times as much as permutation of
    fixed predictions shows. So of the responses, the part along the predictions (both centred and of unit norm in each
    fold) is divided by the ``widening``; what is left is as wide along the predictions as in all
    other directions, as the responses of held-out stimuli are, and is permuted. Raises ShapeError, OptionError or
    DataError if the shapes differ, a setting is out of range, values are not finite, or no permutation is possible.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses, finite; a tensor is tested where it is, a GPU's on the GPU.
    P : ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions, or predictions of held-out stimuli with one fold for all of them.
    n_permutations : int
        The least m; see `permutation_grid` (1023 for 1000). Where there are no more arrangements than these, each is
        counted once and p is exact. The smallest p is 1 / (m + 1).
    widening : float
        How many times as much the score varies on noise as with fixed predictions: 1 for held-out stimuli,
        `cross_validated_widening` where ``P`` comes from models fitted to the other folds of ``Y``.
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

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> P = rng.standard_normal((40, 2))
    >>> Y = P * [1, 0] + rng.standard_normal((40, 2))
    >>> permutation_p_values(Y, P, Exchange(np.zeros(40, dtype=int)), 99).round(2)
    array([0.01, 0.96])
    """
    fold_ids = exchange.fold_ids
    Y, P = checked_pair(Y, P)
    if workers < 1:
        raise OptionError(f"workers must be at least 1; got {workers}")
    if not widening >= 1:
        raise OptionError(f"widening must be at least 1; got {widening}")
    check_finite("responses", Y)
    check_finite("predictions", P)
    each_fold = [fold_ids == fold for fold in np.unique(fold_ids)]
    vary = sum(~(constant_columns(Y[held]) | constant_columns(P[held])) for held in each_fold)
    scored = np.flatnonzero(to_numpy(vary))
    of_responses, of_predictions = permutation_grid(exchange, n_permutations, seed)
    p = np.full(Y.shape[1], np.nan)
    each = 8 * Y.shape[0] * (len(of_responses) + len(of_predictions))
    parts = [scored[part] for part in blocks(len(scored), each, block_bytes(Y, _BLOCK_BYTES))]

    def count(voxels: IntArray) -> IntArray:
        y, p = _unit_in_folds(Y[:, voxels], P[:, voxels], fold_ids)
        y -= (1 - 1 / widening) * (y * p).sum(axis=0) / (p * p).sum(axis=0) * p
        scores = _scores_of_grid(y, p, of_responses, of_predictions)
        return to_numpy((scores >= scores[:, :1, :1] - _TIE).sum(axis=(1, 2)))

    # The products are small: threads of the linear algebra library would only get in each other's way.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        for voxels, reached in zip(parts, pool.map(count, parts), strict=True):
            p[voxels] = reached / (len(of_responses) * len(of_predictions))
    return p


def cross_validated_widening(exchange: Exchange, *, voxels_choose: bool = False) -> float:
    """Return how many times as much cross-validated scores vary on noise as with fixed predictions.

    sqrt(2) where predictions are nearly linear in the training responses (see `permutation_p_values`), which their
    length, large where they agree with all folds, makes 1.3 where few stimuli in each run count: with whole folds and
    rotated runs. Where each voxel chooses one of several layers (``voxels_choose``), all folds of a voxel tend to
    choose the same, the more so the more folds: then 1.5, or 1.7 from eight folds on. Measured on noise (decision 5).
    """
    if voxels_choose:
        return 1.5 if len(np.unique(exchange.fold_ids)) < 8 else 1.7
    return 1.3 if exchange.circular or exchange.moves_folds else math.sqrt(2.0)


def permutation_grid(exchange: Exchange, n_permutations: int, seed: int = 0) -> tuple[IntArray, IntArray]:
    """Draw A orders of the responses and B of the predictions, nearly as many, A B - 1 at least ``n_permutations``.

    Each is drawn by `permutation_orders` and begins with the order as it is. The scores of all A B combinations are one
    matrix product per voxel, and A B permutations: as only the order of one relative to the other counts, each is a
    random permutation, and any two are independent. A test with them is as exact as with A B - 1 random draws: under
    the null hypothesis the rows and columns of the table of scores could come in any order, so its first entry, the
    measured score, is among the k highest with probability k / (A B). Where there are fewer arrangements, responses
    keep their order and predictions take each once. Raises OptionError if ``n_permutations`` is below 1.
    """
    if n_permutations < 1:
        raise OptionError(f"n_permutations must be at least 1; got {n_permutations}")
    if 1 < exchange.n_arrangements <= n_permutations:
        return np.arange(len(exchange.fold_ids))[None], _all_orders(exchange)
    n_first = isqrt(n_permutations) + 1
    n_second = -(-(n_permutations + 1) // n_first)
    first, second = (
        permutation_orders(exchange, n_orders, derive_seed(seed, what))
        for what, n_orders in (("responses", n_first), ("predictions", n_second))
    )
    return first, second


def _unit_in_folds(Y: FloatArray, P: FloatArray, fold_ids: IntArray) -> tuple[FloatArray, FloatArray]:
    """Centre both in each fold and give them such norms that the score is ``sum(y p)``, whatever order they take.

    A fold in which a voxel's responses are constant is 0 in both.
    """
    y, p, known = zeros(Y.shape, Y), zeros(P.shape, P), zeros(Y.shape[1:], Y)
    for fold in np.unique(fold_ids):
        held = fold_ids == fold
        varies = ~constant_columns(Y[held])
        y[held], p[held] = _unit_columns(Y[held]), _unit_columns(P[held]) * varies
        known += varies
    return y / known, p


def _scores_of_grid(y: FloatArray, p: FloatArray, first: IntArray, second: IntArray) -> FloatArray:
    """Score every order of the responses with every one of the predictions, ndarray of shape (n_voxels, A, B)."""
    n, q = y.shape
    if not on_cpu(y):
        return y.T[:, first] @ namespace(y).swapaxes(p.T[:, second], 1, 2)
    ordered_y = np.take(np.ascontiguousarray(y.T), first.ravel(), axis=1).reshape(q, len(first), n)
    ordered_p = np.take(np.ascontiguousarray(p.T), second.ravel(), axis=1).reshape(q, len(second), n)
    return np.asarray(ordered_y @ ordered_p.transpose(0, 2, 1))


def _unit_columns(values: FloatArray) -> FloatArray:
    """Centre columns and give them unit norm; constant ones become 0."""
    centred = values - values.mean(axis=0)
    norms, constant = column_norms(centred), constant_columns(values)
    norms[constant] = 1.0
    centred[:, constant] = 0.0
    return centred / norms


def permutation_orders(exchange: Exchange, n_orders: int, seed: int = 0) -> IntArray:
    """Draw orders of the stimuli, ndarray of shape (n_orders, n_stimuli); the first is the order as it is.

    Raises ShapeError if the numbers of stimuli differ; DataError if nothing can change places.
    """
    if exchange.n_arrangements == 1:
        sizes = [len(part) for block in exchange.blocks for part in block]
        raise DataError(
            "a permutation test needs two groups or stimuli in some fold, or folds of one size that can change places; "
            f"got {len(sizes)} folds of one group each, of {min(sizes)} to {max(sizes)} stimuli; use fewer folds"
        )
    rng = generator(seed, "permutation")
    orders = np.tile(np.arange(len(exchange.fold_ids)), (n_orders, 1))
    for block in exchange.blocks:
        k, places = len(block), np.concatenate(block)
        for order in orders[1:]:
            taken = (np.arange(k) - rng.integers(k)) % k if exchange.circular else rng.permutation(k)
            order[places] = np.concatenate([block[i] for i in taken])
    return orders


def _all_orders(exchange: Exchange) -> IntArray:
    """List every order that the stimuli can take; the first is the order as it is."""
    choices = [
        [np.roll(range(len(block)), shift) for shift in range(len(block))]
        if exchange.circular
        else [np.array(order) for order in permutations(range(len(block)))]
        for block in exchange.blocks
    ]
    orders = np.tile(np.arange(len(exchange.fold_ids)), (math.prod(map(len, choices)), 1))
    for order, taken in zip(orders, product(*choices), strict=True):
        for block, chosen in zip(exchange.blocks, taken, strict=True):
            order[np.concatenate(block)] = np.concatenate([block[i] for i in chosen])
    return orders


def holm(p: FloatArray) -> FloatArray:
    """Return the level at which each test would just be significant among all of them, after Holm [1]_.

    Calling all tests with a corrected p <= alpha significant makes any false one among them with probability at most
    alpha, however the tests depend on each other.

    Parameters
    ----------
    p : ndarray of shape (n_tests,)
        NaN are no tests and stay NaN.

    References
    ----------
    .. [1] Holm, S. A simple sequentially rejective multiple test procedure. Scandinavian Journal of Statistics 6, 65-70
       (1979).

    Examples
    --------
    >>> import numpy as np
    >>> holm(np.array([0.01, 0.04, 0.03])).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    corrected = np.array(p, dtype=np.float64)
    order = np.argsort(corrected)[: int(np.isfinite(corrected).sum())]  # NaN sorts behind
    times = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(corrected[order] * times), 1.0)
    return corrected


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
    order = np.argsort(p)[: tested.sum()]  # NaN sorts behind
    raised = p[order] * (len(order) / np.arange(1, len(order) + 1))
    q[order] = np.minimum.accumulate(raised[::-1])[::-1]
    return q
