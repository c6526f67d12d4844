"""Is a voxel predicted better than chance? Permutation of stimuli, and the correction for many voxels."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from scipy.stats import false_discovery_control

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.core.seeds import generator
from voxelcast.scoring.correlation import constant_columns, fold_pearson_r

# Two permutations that come to the same order of values may differ by the rounding of their sums.
_TIE = 1e-12
# Voxels worked on at a time: measured and predicted values of 1,000 stimuli then stay in the processor's cache.
_BLOCK = 128


def permutation_p_values(
    Y: FloatArray,
    P: FloatArray,
    fold_of_row: IntArray,
    n_permutations: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | None = None,
    workers: int = 1,
) -> FloatArray:
    """Test for each voxel whether its score is higher than when predictions are assigned to the wrong stimuli.

    The score is Pearson r within each fold, averaged over folds (`fold_pearson_r`). In each of m permutations the
    predictions change places within their fold, the same for all voxels, and b counts the scores that are at least the
    measured one. One-sided, with the measured order counted as one of the permutations [1]_: ``p = (b + 1) / (m + 1)``.

    Predictions stay in their fold because models of different folds predict different means (each the mean of its
    training part); see `permutation_rows` for groups. The models are not fitted again.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses, finite.
    P : ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions, or predictions of held-out stimuli with one fold for all of them.
    fold_of_row : ndarray of shape (n_stimuli,)
    n_permutations : int
        m; the smallest p is 1 / (m + 1).
    seed : int
    groups : sequence of str, optional
        The group of each stimulus (its movie or run); groups are moved whole.
    workers : int
        Threads; they change nothing in the result.

    Returns
    -------
    p : ndarray of shape (n_voxels,)
        NaN for a voxel without a score.

    Raises
    ------
    ShapeError, OptionError, DataError
        If the shapes differ, a setting is out of range, values are not finite, or no permutation is possible.

    References
    ----------
    .. [1] Phipson, B. & Smyth, G. K. Permutation p-values should never be zero. Statistical Applications in Genetics
       and Molecular Biology 9, 39 (2010). doi:10.2202/1544-6115.1585
    """
    Y, P = np.asarray(Y, dtype=np.float64), np.asarray(P, dtype=np.float64)
    if Y.ndim != 2 or Y.shape != P.shape:
        raise ShapeError(f"Y and P must both have shape (n_stimuli, n_voxels); got {Y.shape} and {P.shape}")
    if workers < 1:
        raise OptionError(f"workers must be at least 1; got {workers}")
    check_finite("responses", Y)
    check_finite("predictions", P)
    scored = np.flatnonzero(np.isfinite(fold_pearson_r(Y, P, fold_of_row)))
    rows = permutation_rows(fold_of_row, n_permutations, seed, groups)
    p = np.full(Y.shape[1], np.nan)
    blocks = [scored[start : start + _BLOCK] for start in range(0, len(scored), _BLOCK)]

    def count(voxels: IntArray) -> IntArray:
        return _exceedances(Y[:, voxels], P[:, voxels], fold_of_row, rows)

    with ThreadPoolExecutor(workers) as pool:
        for voxels, exceeded in zip(blocks, pool.map(count, blocks), strict=True):
            p[voxels] = (exceeded + 1) / (n_permutations + 1)
    return p


def _exceedances(Y: FloatArray, P: FloatArray, fold_of_row: IntArray, rows: IntArray) -> IntArray:
    """Count for each voxel the permutations whose score is at least the measured one.

    With y and p centred and of unit norm within each fold, the fold-wise score is sum(y p) / n_folds, and stays so
    when rows of p change places: one gather and one sum of products per permutation.
    """
    y, p, voids = np.zeros_like(Y), np.zeros_like(P), np.zeros(Y.shape[1])
    for fold in np.unique(fold_of_row):
        held = fold_of_row == fold
        y[held], p[held] = _unit_columns(Y[held]), _unit_columns(P[held])
        voids += constant_columns(Y[held])
    y /= len(np.unique(fold_of_row)) - voids
    observed = np.einsum("ij,ij->j", y, p)
    exceeded = np.zeros(Y.shape[1], dtype=np.int64)
    moved = np.empty_like(p)
    for order in rows:
        np.take(p, order, axis=0, out=moved, mode="clip")
        exceeded += np.einsum("ij,ij->j", y, moved) >= observed - _TIE
    return exceeded


def _unit_columns(values: FloatArray) -> FloatArray:
    """Centre columns and give them unit norm; constant ones become 0."""
    centred = values - values.mean(axis=0)
    norms = np.linalg.norm(centred, axis=0)
    return np.asarray(np.divide(centred, norms, out=np.zeros_like(centred), where=~constant_columns(values)))


def permutation_rows(
    fold_of_row: IntArray, n_permutations: int, seed: int = 0, groups: Sequence[str] | None = None
) -> IntArray:
    """Draw orders of the stimuli, ndarray of shape (n_permutations, n_stimuli): which row's prediction goes where.

    Without groups, stimuli are shuffled within each fold. With groups, whole groups are: in each fold they are laid
    end to end in a new order, and stimuli keep their order within a group; of groups of equal size, each then takes
    another's place exactly. Where every fold is one group (runs as folds, say) and all are of one size, whole folds
    change places. A fold that is one group among folds of several stays as it is, which makes p larger, never smaller.

    Raises
    ------
    OptionError
        If ``n_permutations`` is below 1.
    ShapeError
        If the numbers of stimuli differ.
    DataError
        If nothing can change places.
    """
    if n_permutations < 1:
        raise OptionError(f"n_permutations must be at least 1; got {n_permutations}")
    check_shape("fold_of_row", fold_of_row, ("n_stimuli",), (None if groups is None else len(groups),))
    names = np.arange(len(fold_of_row)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    blocks = []
    for fold in np.unique(fold_of_row):
        held = np.flatnonzero(fold_of_row == fold)
        # In order of first appearance, so that the rows of a group need not be neighbours.
        first = {int(names[row]): None for row in held}
        blocks.append([held[names[held] == name] for name in first])
    if all(len(in_fold) == 1 for in_fold in blocks):
        blocks = _whole_folds(blocks)
    rng = generator(seed, "permutation")
    rows = np.tile(np.arange(len(fold_of_row)), (n_permutations, 1))
    for in_fold in blocks:
        places = np.concatenate(in_fold)
        for order in rows:
            order[places] = np.concatenate([in_fold[k] for k in rng.permutation(len(in_fold))])
    return rows


def _whole_folds(blocks: list[list[IntArray]]) -> list[list[IntArray]]:
    sizes = {len(in_fold[0]) for in_fold in blocks}
    if len(blocks) < 2 or len(sizes) > 1:
        raise DataError(
            "a permutation test needs two groups or stimuli in some fold, or folds of one size that can change places; "
            f"got {len(blocks)} folds of one group each, of {min(sizes)} to {max(sizes)} stimuli; use fewer folds"
        )
    return [[in_fold[0] for in_fold in blocks]]


def can_permute(fold_of_row: IntArray, groups: Sequence[str] | None) -> bool:
    """Tell whether anything can change places: see `permutation_rows`."""
    try:
        permutation_rows(fold_of_row, 1, 0, groups)
    except DataError:
        return False
    return True


def benjamini_hochberg(p: FloatArray) -> FloatArray:
    """Return the false discovery rate at which each voxel would just be called significant (its q value).

    Calling all voxels with q <= alpha significant keeps the expected share of false ones among them at most alpha, for
    independent or positively dependent tests [1]_: ``q_(i) = min over j >= i of  p_(j) n / j``.

    Parameters
    ----------
    p : ndarray of shape (n_voxels,)
        NaN voxels are no tests: they count for nothing and stay NaN.

    Returns
    -------
    q : ndarray of shape (n_voxels,)

    Raises
    ------
    DataError
        If a p value lies outside [0, 1].

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
