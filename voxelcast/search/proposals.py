"""Search by proposals over the same folds as the exhaustive search: Bayesian, random, or a coarse grid.

Each outer fold has a search of its own that sees the inner folds only, and so has whatever it gives up early: neither
choice nor pruning has seen the outer fold, so the nested score is not biased by them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import exp, log
from typing import Any

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray
from voxelcast.core.checks import check_option
from voxelcast.core.errors import OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Range, Setting
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder
from voxelcast.search.evaluation_log import EvaluationLog
from voxelcast.search.exact import Trials, smallest_training
from voxelcast.search.path_scores import path_pearson_r, score_path
from voxelcast.search.sample_scores import score_samples
from voxelcast.search.study import SAMPLERS, Study, suggest_range
from voxelcast.search.training import PairData, Training
from voxelcast.search.voxelwise import VoxelTally, fold_pearson

METHODS = ("bayes", "random", "grid")


@dataclass(frozen=True)
class Proposing:
    """How settings are proposed.

    Parameters
    ----------
    method : str
        ``"bayes"``, ``"random"`` (log-uniform where the range is logarithmic) or ``"grid"`` (evenly spaced).
    trials : int
        For each layer and encoder; for all of them together in a joint search.
    sampler : str
        Of ``"bayes"``: ``"tpe"`` or ``"gp"``.
    prune : bool
        Whether a proposal is given up when its mean over the folds so far is below the median of the earlier ones'.
    seed : int
    """

    method: str = "bayes"
    trials: int = 25
    sampler: str = "tpe"
    prune: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        check_option("method", self.method, METHODS)
        check_option("sampler", self.sampler, SAMPLERS)
        if self.trials < 1:
            raise OptionError(f"trials must be at least 1; got {self.trials}; give e.g. 25")
        if self.prune and self.method == "grid":
            raise OptionError("search.prune needs method bayes or random; got grid, which tries all of its settings")

    def study(self, suggest: Callable[[Any], Mapping[str, Any]], outer: int | None) -> Study:
        """Start the study of an outer fold."""
        seed = derive_seed(self.seed, "bayes", "all" if outer is None else outer)
        return Study(suggest, sampler=self.sampler if self.method == "bayes" else "random", seed=seed, prune=self.prune)


def proposed_trials(
    encoder: AnyEncoder,
    training: Training,
    data: PairData,
    nested: bool,
    metric: str,
    proposing: Proposing,
    *,
    per_voxel: bool = False,
    log: EvaluationLog | None = None,
    name: str = "",
) -> Iterator[tuple[int | None, Trials]]:
    """Search the encoder's space by proposals under plain cross-validation and, if nested, in outer folds.

    A proposal is moved to the nearest setting of the exhaustive search where there is one, so that both searches
    choose among the same models and a setting proposed twice is fitted once. Every outer fold has a search of its own.
    An encoder without hyper-parameters is fitted once.

    Parameters
    ----------
    encoder, training, data, nested, metric
        As for `voxelcast.search.exact.exact_trials`.
    proposing : Proposing
    per_voxel : bool
        Whether to keep each voxel's own scores.
    log : EvaluationLog, optional
        What an earlier, killed search has computed.
    name : str
        Of this search in the log.

    Yields
    ------
    outer, trials
        As `voxelcast.search.exact.exact_trials`, with one entry per proposal, repeated ones included.
    """
    sizes = (smallest_training(data, nested), training.n_features, data.Y.shape[1])
    listed, space = encoder.settings(*sizes), encoder.space(*sizes)

    def suggest(trial: Any) -> Setting:
        proposal = {key: suggest_range(trial, key, bounds) for key, bounds in space.items()}
        return nearest_setting(proposal, listed, space)

    for outer in (None, *range(data.n_folds if nested else 0)):
        folds = [fold for fold in range(data.n_folds) if fold != outer]
        judge = Judge(encoder, training, data, metric, outer, per_voxel)
        label = (name, encoder.name, "all" if outer is None else str(outer))

        def score(setting: Mapping[str, Any], fold: int, judge: Judge = judge, label: tuple[str, ...] = label) -> float:
            return judge.logged(setting, fold, log, label)

        if proposing.method == "grid":
            settings = grid_settings(listed, space, proposing.trials)
            tried = [(setting, np.array([score(setting, fold) for fold in folds])) for setting in settings]
        else:
            tried = proposing.study(suggest, outer).run(proposing.trials if space else 1, score, folds)
        yield outer, judge.trials(tried, listed, folds)


class Judge:
    """Fits settings of one encoder on one layer and scores them, one fold at a time.

    The moments of the training parts are kept for all proposals: n_folds * p * (p + q) numbers.

    Parameters
    ----------
    encoder : Encoder or SampleEncoder
    training : Training
    data : PairData
    metric : str
    outer : int or None
        The outer fold, which is left out of every fit.
    per_voxel : bool
    """

    def __init__(
        self, encoder: AnyEncoder, training: Training, data: PairData, metric: str, outer: int | None, per_voxel: bool
    ) -> None:
        self.data = data
        self._encoder, self._training, self._metric, self._outer = encoder, training, metric, outer
        self._per_voxel = per_voxel
        self._parts: dict[int, tuple[Any, FloatArray]] = {}
        self._scores: dict[tuple[object, ...], float] = {}
        self._voxels: dict[tuple[object, ...], FloatArray] = {}

    def logged(self, setting: Setting, fold: int, log: EvaluationLog | None, label: tuple[str, ...]) -> float:
        """Score a setting on a fold, unless the log knows the score."""
        if log is None or self._per_voxel:
            return self.score(setting, fold)
        key = (*label, repr(sorted(setting.items())), str(fold))
        known = log.get(key)
        if known is None:
            known = self.score(setting, fold)
            log.put(key, known)
        return known

    def score(self, setting: Setting, fold: int) -> float:
        """Score a setting on a fold by the mean over voxels."""
        key = (*sorted(setting.items()), fold)
        if key not in self._scores:
            if self._per_voxel:
                r = self.voxels(setting, fold)
                varies = int(np.count_nonzero(self.data.held_out[fold].norm > 0))
                self._scores[key] = float("nan") if np.isnan(r).all() else float(np.nansum(r)) / max(varies, 1)
            else:
                self._scores[key] = self._fit_and_score(setting, fold)
        return self._scores[key]

    def voxels(self, setting: Setting, fold: int) -> FloatArray:
        """Correlate each voxel on a fold, ndarray of shape (q,)."""
        key = (*sorted(setting.items()), fold)
        if key not in self._voxels:
            if isinstance(self._encoder, SampleEncoder):
                found = fold_pearson(
                    self._encoder, self._training, self.data, (setting,), self._excluded(fold), (fold,)
                )
                self._voxels[key] = found[0][0]
            else:
                stats, X = self._part(fold)
                path = self._encoder.path(stats, (setting,))
                self._voxels[key] = path_pearson_r(path, X, self.data.held_out[fold])[0]
        return self._voxels[key]

    def trials(
        self, tried: Sequence[tuple[Setting, FloatArray]], listed: Sequence[Setting], folds: Sequence[int]
    ) -> Trials:
        """Gather what was tried.

        Parameters
        ----------
        tried : sequence of (Setting, ndarray of shape (n_folds,))
            A setting that was given up has NaN in the remaining folds, and no score in any voxel.
        listed : sequence of Setting
            All settings from the simplest to the most complex; empty where they are not listed.
        folds : sequence of int
        """
        settings = tuple(setting for setting, _ in tried)
        scores = np.stack([scores for _, scores in tried])
        complexity = np.array([listed.index(setting) for setting in settings]) if listed else None
        if not self._per_voxel:
            return Trials(settings, scores, complexity=complexity)
        q = self.data.Y.shape[1]
        tally = VoxelTally(len(settings), q)
        complete: BoolArray = np.asarray(~np.isnan(scores).any(axis=1))
        for fold in folds:
            r = [self.voxels(s, fold) if c else np.full(q, np.nan) for s, c in zip(settings, complete, strict=True)]
            tally.add(np.stack(r), self.data.held_out[fold].norm > 0)
        voxels = tally.result()[1]
        voxels.mean[~complete] = np.nan
        return Trials(settings, scores, voxels, complexity)

    def _excluded(self, fold: int) -> tuple[int, ...]:
        return (fold,) if self._outer is None else (min(fold, self._outer), max(fold, self._outer))

    def _part(self, fold: int) -> tuple[Any, FloatArray]:
        if fold not in self._parts:
            stats = self._training.moments(self._excluded(fold))
            self._parts[fold] = (stats, self._training.features(self._excluded(fold), fold) - stats.x_mean)
        return self._parts[fold]

    def _fit_and_score(self, setting: Setting, fold: int) -> float:
        encoder, metric = self._encoder, self._metric
        if isinstance(encoder, SampleEncoder):
            found = score_samples(encoder, self._training, self.data, [setting], self._excluded(fold), [fold], metric)
            return float(found[0, 0])
        stats, X = self._part(fold)
        path = encoder.path(stats, (setting,))
        return float(score_path(path, X, stats.y_mean, self.data.held_out[fold], metric)[0])


def nearest_setting(proposal: Mapping[str, Any], listed: Sequence[Setting], space: Mapping[str, Range]) -> Setting:
    """Return the listed setting nearest to a proposal, distances measured on each range's own scale.

    Where none are listed, the proposal itself, moved into the ranges.
    """
    if not listed:
        return {key: min(max(proposal[key], bounds.low), bounds.high) for key, bounds in space.items()}

    def distance(setting: Setting) -> float:
        apart = 0.0
        for key, bounds in space.items():
            here, there = float(setting[key]), float(proposal[key])
            apart += abs(log(here / there) if bounds.log else here - there)
        return apart

    return min(listed, key=distance)


def grid_settings(listed: Sequence[Setting], space: Mapping[str, Range], trials: int) -> list[Setting]:
    """Spread at most ``trials`` settings evenly: over the listed ones, or over the ranges where none are listed."""
    if listed:
        places = np.unique(np.linspace(0, len(listed) - 1, min(trials, len(listed))).round().astype(int))
        return [listed[place] for place in places]
    if not space:
        return [{}]
    each = max(1, int(trials ** (1 / len(space)) + 1e-9))
    values = [_spread_values(bounds, each) for bounds in space.values()]
    return [dict(zip(space, combination, strict=True)) for combination in product(*values)]


def _spread_values(bounds: Range, n: int) -> list[float | int]:
    low, high = (log(bounds.low), log(bounds.high)) if bounds.log else (bounds.low, bounds.high)
    points = np.linspace(low, high, n) if n > 1 else np.array([(low + high) / 2])
    values = [min(max(exp(x) if bounds.log else float(x), bounds.low), bounds.high) for x in points]
    return list(dict.fromkeys(round(value) for value in values)) if bounds.integer else list(values)
