"""Search by proposals over the same folds as the exhaustive search: Bayesian, random, or a coarse grid.

Each outer fold has a search of its own that sees the inner folds only, and so has whatever it gives up early: neither
choice nor pruning has seen the outer fold, so the nested score is not biased by them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import product
from math import exp, log
from typing import Any

import numpy as np

from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.params import Distribution, Params
from voxelcast.search.evaluator import Evaluator
from voxelcast.search.settings import SearchSettings
from voxelcast.search.study import Study, suggest_range
from voxelcast.search.training import Training
from voxelcast.search.trials import OuterTrials, Task, usable_features


def new_study(
    search: SearchSettings, seed: int, suggest: Callable[[Any], Mapping[str, Any]], outer: int | None
) -> Study:
    """Start the study of an outer fold."""
    of_outer = derive_seed(seed, "bayes", "all" if outer is None else outer)
    sampler = search.sampler if search.method == "bayes" else "random"
    return Study(suggest, sampler=sampler, seed=of_outer, prune=search.prune)


def proposed_trials(
    encoder: Encoder, training: Training, task: Task, search: SearchSettings, seed: int, name: str = ""
) -> OuterTrials:
    """Search the encoder's search space by proposals under plain cross-validation and, if nested, in outer folds.

    A proposal is moved to the nearest parameters of the exhaustive search where there are some, so that both searches
    choose among the same models and what is proposed twice is fitted once. Every outer fold has a search of its own.
    An encoder without hyper-parameters is fitted once.

    Parameters
    ----------
    name : str
        Of this search in the log.

    Yields
    ------
    outer, trials
        As `voxelcast.search.exact.exact_trials`, with one entry per proposal, repeated ones included.
    """
    size = task.size(usable_features(encoder, training, task))
    grid, search_space = encoder.param_grid(size), encoder.search_space(size)

    def suggest(trial: Any) -> Params:
        proposal = {key: suggest_range(trial, key, bounds) for key, bounds in search_space.items()}
        return nearest_params(proposal, grid, search_space)

    for outer in task.outers:
        folds = task.inner_folds(outer)
        label = (name, encoder.name, "all" if outer is None else str(outer))
        evaluator = Evaluator(encoder, training, task, outer, label)
        if search.method == "grid":
            spread = grid_params(grid, search_space, search.trials)
            tried = [(params, np.array([evaluator.score(params, fold) for fold in folds])) for params in spread]
        else:
            n_trials = search.trials if search_space else 1
            tried = new_study(search, seed, suggest, outer).run(n_trials, evaluator.score, folds)
        yield outer, evaluator.trials(tried, grid)


def nearest_params(
    proposal: Mapping[str, Any], grid: Sequence[Params], search_space: Mapping[str, Distribution]
) -> Params:
    """Return the parameters of the grid nearest to a proposal, distances measured on each range's own scale.

    Where there is no grid, the proposal itself, moved into the ranges.
    """
    if not grid:
        return {key: min(max(proposal[key], bounds.low), bounds.high) for key, bounds in search_space.items()}

    def distance(params: Params) -> float:
        apart = 0.0
        for key, bounds in search_space.items():
            here, there = float(params[key]), float(proposal[key])
            apart += abs(log(here / there) if bounds.log else here - there)
        return apart

    return min(grid, key=distance)


def grid_params(grid: Sequence[Params], search_space: Mapping[str, Distribution], trials: int) -> list[Params]:
    """Spread at most ``trials`` parameters evenly: over those of the grid, or over the ranges where none are grid."""
    if grid:
        indices = np.unique(np.linspace(0, len(grid) - 1, min(trials, len(grid))).round().astype(int))
        return [grid[k] for k in indices]
    if not search_space:
        return [{}]
    each = max(1, int(trials ** (1 / len(search_space)) + 1e-9))
    values = [_spread_values(bounds, each) for bounds in search_space.values()]
    return [dict(zip(search_space, combination, strict=True)) for combination in product(*values)]


def _spread_values(bounds: Distribution, n: int) -> list[float | int]:
    low, high = (log(bounds.low), log(bounds.high)) if bounds.log else (bounds.low, bounds.high)
    points = np.linspace(low, high, n) if n > 1 else np.array([(low + high) / 2])
    values = [min(max(exp(x) if bounds.log else float(x), bounds.low), bounds.high) for x in points]
    return list(dict.fromkeys(round(value) for value in values)) if bounds.integer else list(values)
