"""The permutation test of many voxels against the loop that one would write, in one run."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from voxelcast.core.errors import OptionError
from voxelcast.scoring.correlation import pearson_r
from voxelcast.scoring.permutation import Exchange, permutation_grid, permutation_p_values


@dataclass(frozen=True)
class PermutationRace:
    """What both ways took; seconds are wall-clock.

    Parameters
    ----------
    n_stimuli, n_voxels, n_permutations, workers : int
    seconds : float
        Of `permutation_p_values` with all permutations.
    loop_seconds : float
        Of one permutation in the plain loop (`pearson_r` of every voxel), median of ``n_looped``.
    n_looped : int
    same : bool
        Whether both counted the same voxels in the permutations that the loop did.
    """

    n_stimuli: int
    n_voxels: int
    n_permutations: int
    workers: int
    seconds: float
    loop_seconds: float
    n_looped: int
    same: bool

    def lines(self) -> list[str]:
        """Say it in plain lines."""
        loop = self.loop_seconds * self.n_permutations
        return [
            f"{self.n_stimuli} stimuli x {self.n_voxels} voxels, {self.n_permutations} permutations, "
            f"{self.workers} threads",
            f"voxelcast: {self.seconds:.1f} s",
            f"plain loop: {loop:.1f} s ({self.n_looped} permutations timed, scaled to {self.n_permutations})",
            f"ratio: {loop / self.seconds:.1f}",
            f"same counts in the permutations that both did: {'yes' if self.same else 'NO'}",
        ]


def benchmark_permutation(
    n_stimuli: int = 1000,
    n_voxels: int = 20_000,
    n_permutations: int = 1000,
    workers: int = 2,
    n_looped: int = 5,
    seed: int = 0,
) -> PermutationRace:
    """Time the test of every voxel on noise with a weak signal.

    Raises
    ------
    OptionError
        If the loop is to do no permutation, or more than there are.
    """
    if not 1 <= n_looped <= n_permutations:
        raise OptionError(f"n_looped must be between 1 and {n_permutations}; got {n_looped}")
    rng = np.random.default_rng(seed)
    P = rng.standard_normal((n_stimuli, n_voxels))
    Y = 0.05 * P + rng.standard_normal((n_stimuli, n_voxels))
    one_fold = np.zeros(n_stimuli, dtype=int)
    started = time.perf_counter()
    permutation_p_values(Y, P, Exchange(one_fold), n_permutations, seed, workers=workers)
    seconds = time.perf_counter() - started
    observed, exceeded, each = pearson_r(Y, P), np.zeros(n_voxels), []
    of_responses, of_predictions = permutation_grid(Exchange(one_fold), n_looped, seed)
    # The order of the predictions relative to the responses, in each but the first cell of the grid.
    relative = [second[np.argsort(first)] for first in of_responses for second in of_predictions][1:]
    for order in relative:
        started = time.perf_counter()
        exceeded += pearson_r(Y, P[order]) >= observed - 1e-12
        each.append(time.perf_counter() - started)
    few = permutation_p_values(Y, P, Exchange(one_fold), n_looped, seed, workers=workers)
    same = bool(np.array_equal(few, (exceeded + 1) / (len(relative) + 1)))
    return PermutationRace(
        n_stimuli, n_voxels, n_permutations, workers, seconds, float(np.median(each)), len(relative), same
    )
