"""Search by proposals over the same folds as the exhaustive search: Bayesian, random, or a coarse grid.

Each outer fold has a search of its own that sees the inner folds only, and so has whatever it gives up early: neither
choice nor pruning has seen the outer fold, so the nested score is not biased by them.

References
----------
.. [1] Bergstra, J., Bardenet, R., Bengio, Y. & Kegl, B. Algorithms for hyper-parameter optimization. Advances in Neural
   Information Processing Systems 24 (2011).
.. [2] Akiba, T., Sano, S., Yanase, T., Ohta, T. & Koyama, M. Optuna: a next-generation hyperparameter optimization
   framework. KDD (2019). doi:10.1145/3292500.3330701
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import product
from math import exp, log
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.moments import roi_scores
from voxelcast.encoders.params import Distribution, Params
from voxelcast.search.choice import Choice, simplest_first
from voxelcast.search.evaluation_log import EvaluationLog, Key
from voxelcast.search.settings import Rule, SearchSettings
from voxelcast.search.training import RememberedTraining, Training
from voxelcast.search.trials import OuterTrials, Tally, Task, Trials, complexity, usable_features, without

# Before anything is given up: so many proposals have run to their end, and so many folds of this one are known.
_STARTUP_PROPOSALS, _STARTUP_FOLDS = 5, 2
Proposal = Mapping[str, Any]


class Evaluator:
    """Fits parameters of one encoder on one layer and scores them, one fold at a time; nothing is fitted twice.

    The moments of the training parts are kept for all proposals: n_folds * p * (p + q) numbers. Where the ROI chooses,
    no voxel's own score is kept.

    Parameters
    ----------
    outer : int or None
        The outer fold, which is left out of every fit.
    label : tuple of str
        Of layer, encoder and outer fold in the log.
    """

    def __init__(self, encoder: Encoder, training: Training, task: Task, outer: int | None, label: Key) -> None:
        self._encoder, self._training, self._task = encoder, RememberedTraining(training), task
        self._outer, self._label = outer, label
        self._log = EvaluationLog() if task.log is None else task.log
        self._voxel_log = self._log.of_voxels(label)

    def score(self, params: Params, fold: int) -> float:
        """Score parameters on a fold by the mean over voxels, unless the log knows the score."""
        key = self._key(params, fold)
        known = self._log.get(key)
        if known is None:
            scores = self._evaluated(params, fold) if self._task.voxel_rule is None else self.voxels(params, fold)
            known = float(roi_scores(scores[None], self._task.data.held_out[fold])[0])
            self._log.put(key, known)
        return known

    def voxels(self, params: Params, fold: int) -> FloatArray:
        """Score each voxel on a fold, ndarray of shape (q,), unless the log knows the scores."""
        key = self._key(params, fold)
        known = self._voxel_log.get(key)
        if known is None:
            known = self._evaluated(params, fold)
            self._voxel_log.put(key, known)
        return known

    def trials(self, tried: Sequence[tuple[Params, FloatArray]], grid: Sequence[Params]) -> Trials:
        """Gather what was tried.

        Parameters
        ----------
        tried : sequence of (Params, ndarray of shape (n_folds,))
            Parameters that were given up have NaN in the remaining folds, and no voxel takes them.
        grid : sequence of Params
            All parameters from the simplest to the most complex; empty where the encoder does not list them.
        """
        params_list = tuple(params for params, _ in tried)
        scores = np.stack([scores for _, scores in tried])
        ranks = complexity(self._encoder, params_list, grid)
        if self._task.voxel_rule is None:
            return Trials(params_list, scores, complexity=ranks)
        choice = self._voxel_log.choice()
        if choice is None:
            choice = self._choice(params_list, scores, ranks, self._task.voxel_rule)
            self._voxel_log.finish(choice)
        return Trials(params_list, scores, choice, ranks)

    def _choice(self, params_list: Sequence[Params], scores: FloatArray, ranks: IntArray, rule: Rule) -> Choice:
        """Let each voxel choose among the parameters that were not given up."""
        data = self._task.data
        complete = np.flatnonzero(~np.isnan(scores).any(axis=1))
        q = data.Y.shape[1]
        if not len(complete):
            return Choice(np.full(q, -np.inf), np.zeros(q, dtype=int))
        tally = Tally((len(complete), q), per_voxel=True)
        for fold in self._task.inner_folds(self._outer):
            r = np.stack([self.voxels(params_list[k], fold) for k in complete.tolist()])
            tally.add(r, data.held_out[fold])
        choice = tally.choice(simplest_first(ranks[complete], len(complete)), rule)
        return Choice(choice.score, complete[choice.pick])

    def _key(self, params: Params, fold: int) -> Key:
        return (*self._label, repr(sorted(params.items())), str(fold))

    def _evaluated(self, params: Params, fold: int) -> FloatArray:
        excluded, metric = without(fold, self._outer), self._task.metric
        return np.asarray(self._encoder.evaluate(self._training, (params,), excluded, (fold,), metric)[0][0])


def run_study(
    search: SearchSettings,
    seed: int,
    outer: int | None,
    suggest: Callable[[Any], Proposal],
    score: Callable[[Proposal, int], float],
    folds: Sequence[int],
) -> list[tuple[Proposal, FloatArray]]:
    """Try proposals by a seeded Optuna [2]_ study of an outer fold, which maximises the score (TPE: [1]_).

    Parameters
    ----------
    suggest : callable
        Takes an Optuna trial and returns a proposal.
    score : callable
        Score of a proposal on a fold; NaN where there is none.

    Returns
    -------
    tried : list of (proposal, ndarray of shape (n_folds,))
        In the order tried; NaN in the folds that a proposal was given up before.
    """
    # Imported here: only this search needs Optuna, and importing it takes about a second.
    import optuna

    # Its log tells of every trial in its own format; what a search tried is in search.csv.
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    samplers, pruners = optuna.samplers, optuna.pruners
    made = {"tpe": samplers.TPESampler, "gp": samplers.GPSampler, "random": samplers.RandomSampler}
    sampler = made[search.sampler if search.method == "bayes" else "random"]
    study = optuna.create_study(
        direction="maximize",
        sampler=sampler(seed=derive_seed(seed, "bayes", "all" if outer is None else outer)),
        pruner=pruners.MedianPruner(_STARTUP_PROPOSALS, _STARTUP_FOLDS) if search.prune else pruners.NopPruner(),
    )
    tried = []
    for _ in range(search.trials):
        trial = study.ask()
        proposal = suggest(trial)
        scores = np.full(len(folds), np.nan)
        pruned = False
        for step, fold in enumerate(folds):
            scores[step] = score(proposal, fold)
            if not np.isnan(scores[step]):
                trial.report(float(np.nanmean(scores[: step + 1])), step)
                pruned = step + 1 < len(folds) and trial.should_prune()
            if pruned:
                break
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        elif np.isnan(scores).any():
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, float(scores.mean()))
        tried.append((proposal, scores))
    return tried


def suggest_range(trial: Any, name: str, bounds: Distribution) -> float | int:
    """Suggest one hyper-parameter within its range."""
    value: float | int
    if bounds.integer:
        value = trial.suggest_int(name, int(bounds.low), int(bounds.high), log=bounds.log)
    else:
        value = trial.suggest_float(name, bounds.low, bounds.high, log=bounds.log)
    return value


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
            asked = search if search_space else replace(search, trials=1)
            tried = run_study(asked, seed, outer, suggest, evaluator.score, folds)
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
