"""Noise ceilings: the best score that a model could reach, given how repeatable the responses are."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray, blocks
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import OptionError
from voxelcast.core.seeds import generator

_BLOCK_BYTES = 64 * 2**20


def noise_ceiling_r(values: FloatArray, max_splits: int = 200, seed: int = 0) -> FloatArray:
    """Estimate the highest correlation with the mean response that a model can reach, for each voxel.

    The rule of the Algonauts challenges [1]_: the repetitions are split into two halves in every way (h = floor(R / 2)
    against h others), the halves' means are correlated over stimuli, and the Spearman-Brown formula with the factor
    f = R / h gives the reliability of the mean of all R repetitions::

        reliability = mean over splits of  f r / (1 + (f - 1) r),      noise_ceiling_r = sqrt(reliability)

    Raises ShapeError if ``values`` is not three-dimensional; OptionError if ``max_splits`` is below 1.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        Responses in any linear unit; NaN marks a missing repetition. A stimulus enters a split if both halves hold
        at least one of its repetitions.
    max_splits : int
        With more splits than this, a random sample of that many is used.
    seed : int
        Of that sample.

    Returns
    -------
    ceiling : ndarray of shape (n_voxels,)
        In [0, 1]; 0 where the mean reliability is negative (no repeatable signal: a normalised score is then
        undefined); NaN with fewer than two repetitions, or where a half is constant in every split.

    References
    ----------
    .. [1] Cichy, R. M. et al. The Algonauts Project 2021 Challenge: how the human brain makes sense of a world in
       motion. arXiv:2104.13714 (2021). doi:10.48550/arXiv.2104.13714
    """
    check_shape("values", values, ("n_stimuli", "n_repetitions", "n_voxels"), (None, None, None))
    if max_splits < 1:
        raise OptionError(f"max_splits must be at least 1; got {max_splits}")
    n_stimuli, n_repetitions, n_voxels = values.shape
    ceiling = np.full(n_voxels, np.nan)
    if n_repetitions < 2 or n_stimuli < 2:
        return ceiling
    splits = half_splits(n_repetitions, max_splits, seed)
    for part in blocks(n_voxels, 8 * n_stimuli * n_repetitions, _BLOCK_BYTES):
        ceiling[part] = _block_ceiling(np.asarray(values[:, :, part], dtype=np.float64), splits)
    return ceiling


def half_splits(n_repetitions: int, max_splits: int, seed: int = 0) -> list[tuple[IntArray, IntArray]]:
    """List the ways to take two disjoint halves of h = floor(R / 2) repetitions, each pair of halves once.

    There are C(R, 2h) C(2h, h) / 2 of them; with more than ``max_splits``, a random sample of that many is drawn.
    """
    h = n_repetitions // 2
    if comb(n_repetitions, 2 * h) * comb(2 * h, h) // 2 > max_splits:
        return _sampled_splits(n_repetitions, h, max_splits, seed)
    splits = []
    for used in combinations(range(n_repetitions), 2 * h):
        # The first repetition used stays in the first half, so that no split appears twice with its halves swapped.
        for others in combinations(used[1:], h - 1):
            first = (used[0], *others)
            second = tuple(k for k in used if k not in first)
            splits.append((np.array(first), np.array(second)))
    return splits


def _sampled_splits(n_repetitions: int, h: int, n_splits: int, seed: int) -> list[tuple[IntArray, IntArray]]:
    rng = generator(seed, "half_splits")
    seen: dict[tuple[tuple[int, ...], tuple[int, ...]], None] = {}
    while len(seen) < n_splits:
        order = rng.permutation(n_repetitions)
        first, second = sorted((tuple(sorted(order[:h].tolist())), tuple(sorted(order[h : 2 * h].tolist()))))
        seen[first, second] = None
    return [(np.array(first), np.array(second)) for first, second in seen]


def _block_ceiling(values: FloatArray, splits: list[tuple[IntArray, IntArray]]) -> FloatArray:
    """Return the ceiling of a block of voxels, values of shape (n_stimuli, n_repetitions, n_voxels) in float64."""
    n_repetitions, n_voxels = values.shape[1:]
    by_repetition = np.ascontiguousarray(values.transpose(1, 0, 2))
    factor = n_repetitions / (n_repetitions // 2)
    total, count = np.zeros(n_voxels), np.zeros(n_voxels)
    missing = np.isnan(by_repetition)
    present = None if not missing.any() else (~missing).astype(np.float64)
    filled = by_repetition if present is None else np.where(missing, 0.0, by_repetition)
    for first, second in splits:
        r = _split_r(filled, present, first, second)
        with np.errstate(divide="ignore", invalid="ignore"):
            reliability = factor * r / (1 + (factor - 1) * r)
        known = np.isfinite(reliability)
        total[known] += reliability[known]
        count += known
    ceiling = np.full(n_voxels, np.nan)
    np.divide(total, count, out=ceiling, where=count > 0)
    np.maximum(ceiling, 0.0, out=ceiling)
    np.sqrt(ceiling, out=ceiling)
    return ceiling


def _split_r(filled: FloatArray, present: FloatArray | None, first: IntArray, second: IntArray) -> FloatArray:
    """Correlate the means of two halves, filled of shape (n_repetitions, n_stimuli, n_voxels) with 0 where missing."""
    a, b = filled[first].mean(axis=0), filled[second].mean(axis=0)
    if present is None:
        weights = np.ones((a.shape[0], 1))
    else:
        n_a, n_b = present[first].mean(axis=0), present[second].mean(axis=0)
        weights = ((n_a > 0) & (n_b > 0)).astype(np.float64)
        a, b = a / np.where(n_a > 0, n_a, 1.0), b / np.where(n_b > 0, n_b, 1.0)
    n = np.maximum(weights.sum(axis=0), 1.0)
    scale = np.maximum(np.abs(a).max(axis=0), np.abs(b).max(axis=0))
    a = (a - (a * weights).sum(axis=0) / n) * weights
    b = (b - (b * weights).sum(axis=0) / n) * weights
    norms_a, norms_b = np.sqrt(np.einsum("ij,ij->j", a, a)), np.sqrt(np.einsum("ij,ij->j", b, b))
    # Constant up to the rounding of its mean: the correlation would be one of rounding errors.
    known = np.minimum(norms_a, norms_b) > 16 * np.finfo(np.float64).eps * scale * np.sqrt(n)
    r = np.full(a.shape[1], np.nan)
    np.divide(np.einsum("ij,ij->j", a, b), norms_a * norms_b, out=r, where=known)
    return r
