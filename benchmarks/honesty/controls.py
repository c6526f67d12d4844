"""Controls and permutation tests: how often they find something where there is nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
from scipy.spatial.distance import pdist

from benchmarks.honesty.check import Check, in_processes
from benchmarks.honesty.ridge import nested_ridge
from voxelcast.core.arrays import IntArray
from voxelcast.core.seeds import derive_seed, generator
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.scoring.permutation import Exchange, permutation_orders
from voxelcast.scoring.rdm_comparison import compare_rdms, permute_rdms, rdm_p_values

_SHUFFLES = 19


def checks(draws: int, seed: int, workers: int) -> Iterator[Check]:
    """Yield the checks of this section."""
    rsa = [(n, method) for method in ("spearman", "pearson") for n in (8, 20)]
    for found in in_processes(partial(_rsa, 4 * draws, seed), rsa, workers):
        yield from found
    yield from in_processes(partial(_control, draws, seed), [(40, 20), (100, 1)], workers)


def _rsa(draws: int, seed: int, cell: tuple[int, str]) -> list[Check]:
    """Models and measured patterns that have nothing to do with one another."""
    (n, method), p_one, p_any = cell, [], []
    for draw in range(draws):
        rng = generator(seed, "rsa", n, method, draw)
        models, measured = (np.stack([pdist(rng.standard_normal((n, 6))) for _ in range(k)]) for k in (4, 3))
        scores = compare_rdms(models, measured, method).mean(axis=1)
        p, p_best = rdm_p_values(scores, permute_rdms(models, measured, method, 199, derive_seed(seed, draw)))
        p_one.append(p[0] <= 0.05)
        p_any.append(p_best.min() <= 0.05)
    shown = f"rsa, {n} stimuli, {method}, 4 layers, 3 subjects"
    return [
        Check("controls", shown, claimed, float(np.mean(found)), 0.04, 0.06, draws)
        for claimed, found in (("p <= .05 of a layer", p_one), ("p_best <= .05 of the best", p_any))
    ]


def _control(draws: int, seed: int, cell: tuple[int, int]) -> Check:
    """Whether the score of noise lies above those of 19 shuffles, exchanged as `control: shuffle` does."""
    (n, voxels), above = cell, []
    fold_ids: IntArray = np.arange(n) % 5
    for draw in range(draws):
        rng = generator(seed, "control", n, voxels, draw)
        features, responses = rng.standard_normal((n, 10)), rng.standard_normal((n, voxels))
        orders = permutation_orders(Exchange(fold_ids), _SHUFFLES + 1, derive_seed(seed, draw))
        shuffled = [responses[order] for order in orders]
        scores = [
            cross_validated_r(Y, nested_ridge(features, Y, fold_ids).predicted, fold_ids).mean() for Y in shuffled
        ]
        above.append(scores[0] > max(scores[1:]))
    shown = f"control: shuffle, n={n} {voxels} voxels of noise"
    return Check("controls", shown, "score above 19 shuffles", float(np.mean(above)), 0.04, 0.06, draws)
