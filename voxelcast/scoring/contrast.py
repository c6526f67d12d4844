"""Do responses to two sets of stimuli differ? A permutation test of every voxel."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from voxelcast.core.arrays import FloatArray, blocks
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import generator
from voxelcast.scoring.permutation import benjamini_hochberg

_TIE = 1e-12
_BLOCK_BYTES = 64 * 2**20


@dataclass(frozen=True, eq=False)
class Contrast:
    """How responses to two sets of stimuli differ, each of shape (n_voxels,).

    ``difference`` of the means, first minus second, in the unit of the responses; ``effect``, in units of the standard
    deviation within sets (Cohen's d); two-sided ``p_value``, and ``q_value``, corrected over voxels. NaN where a voxel
    does not vary.
    """

    difference: FloatArray
    effect: FloatArray
    p_value: FloatArray
    q_value: FloatArray


def contrast(first: FloatArray, second: FloatArray, n_permutations: int = 1000, seed: int = 0) -> Contrast:
    """Test for each voxel whether the mean response to two sets of stimuli differs.

    In each permutation stimuli are shared out anew between the sets, the same for all voxels; ``p = (b + 1) / (m + 1)``
    with b of m differences at least as large, of either sign. Where there are no more ways to share them out than
    ``n_permutations``, each is counted once and p is exact.

    Raises ShapeError, DataError or OptionError if shapes do not fit, values are not finite, a set has fewer than two
    stimuli, or ``n_permutations`` is below 1.

    Parameters
    ----------
    first : ndarray of shape (n_first, n_voxels)
    second : ndarray of shape (n_second, n_voxels)

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> found = contrast(rng.standard_normal((12, 2)) + [2, 0], rng.standard_normal((9, 2)), 999)
    >>> found.q_value < 0.05
    array([ True, False])
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    check_shape("responses to the first set", first, ("n_first", "n_voxels"), (None, None))
    check_shape("responses to the second set", second, ("n_second", "n_voxels"), (None, first.shape[1]))
    if min(len(first), len(second)) < 2:
        raise DataError(f"each set must have at least 2 stimuli; got {len(first)} and {len(second)}")
    if n_permutations < 1:
        raise OptionError(f"n_permutations must be at least 1; got {n_permutations}")
    values = np.concatenate([first, second])
    check_finite("responses", values)
    weights, p = _weights(len(first), len(values), n_permutations, seed), np.full(values.shape[1], np.nan)
    centred = values - values.mean(axis=0)
    varies = centred.std(axis=0) > _TIE * np.abs(values).max(axis=0)
    for part in blocks(values.shape[1], 8 * len(weights), _BLOCK_BYTES):
        reached = np.abs(weights @ centred[:, part])
        p[part] = (reached >= reached[0] * (1 - _TIE)).mean(axis=0)
    p[~varies] = np.nan
    difference = first.mean(axis=0) - second.mean(axis=0)
    within = ((first - first.mean(axis=0)) ** 2).sum(axis=0) + ((second - second.mean(axis=0)) ** 2).sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effect = np.where(varies, difference / np.sqrt(within / (len(values) - 2)), np.nan)
    return Contrast(difference, effect, p, benjamini_hochberg(p))


def _weights(n_first: int, n: int, n_permutations: int, seed: int) -> FloatArray:
    """Give the weights of stimuli in the difference of means, (n_orders, n); the first are those of the sets."""
    weights = np.full((n_permutations + 1, n), -1 / (n - n_first))
    chosen: Iterator[tuple[int, ...]]
    if math.comb(n, n_first) <= n_permutations:
        weights = weights[: math.comb(n, n_first)]
        chosen = combinations(range(n), n_first)  # the sets themselves come first
    else:
        rng = generator(seed, "contrast")
        drawn = (rng.permutation(n)[:n_first] for _ in range(n_permutations))
        chosen = iter([tuple(range(n_first)), *(tuple(rows.tolist()) for rows in drawn)])
    for row, rows in zip(weights, chosen, strict=True):
        row[list(rows)] = 1 / n_first
    return weights
