"""Exhaustive search: all parameters of an encoder on every set of folds left out, evaluated once for two outer folds.

Where voxels choose for themselves, it holds the sums of r and r**2 over folds, (n_folds + 1) * n_params * q numbers
each, of one layer and encoder at a time: 0.3 GB for 20,000 voxels, 50 sets of parameters and 10 nested folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelcast.core.errors import OptionError
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.moments import roi_scores
from voxelcast.encoders.params import Params
from voxelcast.search.choice import Choice
from voxelcast.search.training import Training
from voxelcast.search.trials import OuterTrials, Tally, Task, Trials, complexity, without

MOST_REFINEMENTS = 4
# Counts of components that are tried before all, where there are at least twice as many.
_STAGES = (64, 128, 512, 2048)
# Counts beyond twice the best, and the share of the best score by which the last must be worse.
_BEYOND, _FALL = 32, 0.01


def exact_trials(encoder: Encoder, training: Training, task: Task) -> OuterTrials:
    """Score the whole grid under plain cross-validation and, if nested, inside every outer fold.

    The model that outer fold j needs for inner fold i is fitted without i and j, and so is the one that outer fold i
    needs for inner fold j: n (n - 1) / 2 evaluations serve all inner folds. Of more than 128 counts of components
    the first 64 are tried, then more, until `past_peak` says so in every search. Raises OptionError if the encoder has
    too many parameters to list them.
    """
    n_folds, responses, per_voxel = task.data.n_folds, task.data.held_out, task.voxel_rule is not None
    grid = encoder.param_grid(task.size(training.n_features))
    if not grid:
        raise OptionError(
            f"search.method must be bayes or random for {encoder.name}, whose settings cannot all be tried; got exact"
        )
    stages = [len(grid)]
    if task.stop and encoder.limited_by_rank and not per_voxel:
        stages = [*(n for n in _STAGES if 2 * n < len(grid)), len(grid)]

    def scored(outers: Sequence[int | None], tried: tuple[Params, ...]) -> dict[int | None, Tally]:
        tallies = {outer: Tally((len(tried), task.data.Y.shape[1]), per_voxel=per_voxel) for outer in outers}
        sets: list[tuple[int, ...]] = [(fold,) for fold in range(n_folds) if None in outers]
        # Outer fold j gets its inner folds i in ascending order: those before j as (i, j), those after it as (j, i).
        nested = [outer for outer in outers if outer is not None]
        sets += [(i, j) for i in nested for j in task.inner_folds(i) if j > i]
        found = encoder.evaluate_sets(training, tried, [(one, one) for one in sets], task.metric)
        for (i, *others), (on_i, *on_others) in zip(sets, found, strict=True):
            tallies[others[0] if others else None].add(on_i, responses[i])
            for j, on_j in zip(others, on_others, strict=True):
                tallies[i].add(on_j, responses[j])
        return tallies

    at_once = [task.outers] if len(stages) == 1 and not per_voxel else [(None,), task.outers[1:]]
    for outers in at_once:
        tallies = scored(outers, grid[: stages[0]])
        while len(stages) > 1 and not all(past_peak(tally) for tally in tallies.values() if tally.n_folds):
            del stages[0]
            tallies = scored(outers, grid[: stages[0]])
        for outer, tally in tallies.items():
            if not tally.n_folds:  # there is nothing to choose by, and nothing to choose
                q = task.data.Y.shape[1]
                choice = Choice(np.zeros(q), np.zeros(q, dtype=int)) if task.voxel_rule else None
                yield outer, Trials(grid, np.zeros((len(grid), 2)), choice)
                continue
            yield outer, _trials(encoder, training, task, grid[: stages[0]], tally, outer)


def past_peak(tally: Tally) -> bool:
    """Whether the score, averaged over folds, is long past its peak: then more components are not tried.

    That is so where the last of m counts scores at least one percent less than the best, k, and m >= 2 k + 32. The
    choice is that of going through all counts, unless one beyond m scores higher than the best: unless the curve falls
    for longer than it took to rise, and then rises above its peak. Nothing is assumed of what is not tried, so no more
    can be said of it; ``search.stop`` false tries all.
    """
    scores = tally.fold_means().mean(axis=1)
    k = int(scores.argmax()) + 1
    best = scores[k - 1]
    return bool(best > 0 and len(scores) >= 2 * k + _BEYOND and scores[-1] <= (1 - _FALL) * best)


def _trials(
    encoder: Encoder, training: Training, task: Task, grid: tuple[Params, ...], tally: Tally, outer: int | None
) -> Trials:
    """Let the voxels choose; or, for the ROI, try parameters between those of the grid that may score better.

    The one fold ``outer`` has no part in it: they are proposed from, and scored on, the other folds.
    """
    scores = tally.fold_means()
    if task.voxel_rule is not None:
        return Trials(grid, scores, tally.choice(np.arange(len(grid)), task.voxel_rule))
    params_list = grid
    for _ in range(MOST_REFINEMENTS):
        more = encoder.refined(params_list, scores.mean(axis=1))
        if not more:
            break
        columns = []
        for fold in task.inner_folds(outer):
            (found,) = encoder.evaluate(training, more, without(fold, outer), (fold,), task.metric)
            columns.append(roi_scores(found, task.data.held_out[fold]))
        params_list, scores = (*params_list, *more), np.concatenate([scores, np.stack(columns, axis=1)])
    if len(params_list) == len(grid):
        return Trials(grid, scores)
    return Trials(params_list, scores, complexity=complexity(encoder, params_list))
