"""Search by proposals over the same folds as the exhaustive search: Bayesian, random, or a coarse grid.

Each outer fold has a search of its own that sees the inner folds only, and so has whatever it gives up early: neither
choice nor pruning has seen the outer fold, so the nested score is not biased by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from math import exp, log
from typing import Any

import numpy as np

from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Distribution, Params
from voxelcast.encoders.sample import AnyEncoder
from voxelcast.search.evaluation_log import EvaluationLog
from voxelcast.search.exact import Trials, smallest_training, usable_features
from voxelcast.search.judge import Evaluator
from voxelcast.search.settings import Rule, SearchSettings
from voxelcast.search.study import Study, suggest_range
from voxelcast.search.training import PairData, Training


def new_study(
    search: SearchSettings, seed: int, suggest: Callable[[Any], Mapping[str, Any]], outer: int | None
) -> Study:
    """Start the study of an outer fold."""
    own = derive_seed(seed, "bayes", "all" if outer is None else outer)
    sampler = search.sampler if search.method == "bayes" else "random"
    return Study(suggest, sampler=sampler, seed=own, prune=search.prune)


def proposed_trials(
    encoder: AnyEncoder,
    training: Training,
    data: PairData,
    nested: bool,
    search: SearchSettings,
    seed: int,
    *,
    voxel_rule: Rule | None = None,
    log: EvaluationLog | None = None,
    name: str = "",
) -> Iterator[tuple[int | None, Trials]]:
    """Search the encoder's space by proposals under plain cross-validation and, if nested, in outer folds.

    A proposal is moved to the nearest setting of the exhaustive search where there is one, so that both searches
    choose among the same models and a setting proposed twice is fitted once. Every outer fold has a search of its own.
    An encoder without hyper-parameters is fitted once.

    Parameters
    ----------
    encoder, training, data, nested
        As for `voxelcast.search.exact.exact_trials`.
    search : SearchSettings
    seed : int
    voxel_rule : str, optional
        By which rule each voxel chooses for itself; None: the ROI chooses.
    log : EvaluationLog, optional
        What an earlier, killed search has computed.
    name : str
        Of this search in the log.

    Yields
    ------
    outer, trials
        As `voxelcast.search.exact.exact_trials`, with one entry per proposal, repeated ones included.
    """
    n_features = usable_features(encoder, training, data, nested)
    sizes = (smallest_training(data, nested), n_features, data.Y.shape[1])
    listed, space = encoder.settings(*sizes), encoder.space(*sizes)

    def suggest(trial: Any) -> Params:
        proposal = {key: suggest_range(trial, key, bounds) for key, bounds in space.items()}
        return nearest_setting(proposal, listed, space)

    for outer in (None, *range(data.n_folds if nested else 0)):
        folds = [fold for fold in range(data.n_folds) if fold != outer]
        label = (name, encoder.name, "all" if outer is None else str(outer))
        judge = Evaluator(encoder, training, data, search.metric, outer, voxel_rule, log, label)
        if search.method == "grid":
            settings = grid_settings(listed, space, search.trials)
            tried = [(setting, np.array([judge.score(setting, fold) for fold in folds])) for setting in settings]
        else:
            tried = new_study(search, seed, suggest, outer).run(search.trials if space else 1, judge.score, folds)
        yield outer, judge.trials(tried, listed, folds)


def nearest_setting(proposal: Mapping[str, Any], listed: Sequence[Params], space: Mapping[str, Distribution]) -> Params:
    """Return the listed setting nearest to a proposal, distances measured on each range's own scale.

    Where none are listed, the proposal itself, moved into the ranges.
    """
    if not listed:
        return {key: min(max(proposal[key], bounds.low), bounds.high) for key, bounds in space.items()}

    def distance(setting: Params) -> float:
        apart = 0.0
        for key, bounds in space.items():
            here, there = float(setting[key]), float(proposal[key])
            apart += abs(log(here / there) if bounds.log else here - there)
        return apart

    return min(listed, key=distance)


def grid_settings(listed: Sequence[Params], space: Mapping[str, Distribution], trials: int) -> list[Params]:
    """Spread at most ``trials`` settings evenly: over the listed ones, or over the ranges where none are listed."""
    if listed:
        places = np.unique(np.linspace(0, len(listed) - 1, min(trials, len(listed))).round().astype(int))
        return [listed[place] for place in places]
    if not space:
        return [{}]
    each = max(1, int(trials ** (1 / len(space)) + 1e-9))
    values = [_spread_values(bounds, each) for bounds in space.values()]
    return [dict(zip(space, combination, strict=True)) for combination in product(*values)]


def _spread_values(bounds: Distribution, n: int) -> list[float | int]:
    low, high = (log(bounds.low), log(bounds.high)) if bounds.log else (bounds.low, bounds.high)
    points = np.linspace(low, high, n) if n > 1 else np.array([(low + high) / 2])
    values = [min(max(exp(x) if bounds.log else float(x), bounds.low), bounds.high) for x in points]
    return list(dict.fromkeys(round(value) for value in values)) if bounds.integer else list(values)
