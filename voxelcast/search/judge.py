"""Fits and scores of single proposals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.base import Params
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder
from voxelcast.scoring.correlation import Metric
from voxelcast.search.choice import Choice, simplest_first
from voxelcast.search.evaluation_log import EvaluationLog
from voxelcast.search.exact import Trials
from voxelcast.search.path_scores import path_pearson_r, score_path
from voxelcast.search.sample_scores import score_samples
from voxelcast.search.settings import Rule
from voxelcast.search.training import PairData, Training
from voxelcast.search.voxel_log import Key
from voxelcast.search.voxelwise import VoxelTally, fold_pearson


class Evaluator:
    """Fits settings of one encoder on one layer and scores them, one fold at a time; nothing is fitted twice.

    The moments of the training parts are kept for all proposals: n_folds * p * (p + q) numbers.

    Parameters
    ----------
    encoder : Encoder or SampleEncoder
    training : Training
    data : PairData
    metric : str
    outer : int or None
        The outer fold, which is left out of every fit.
    voxel_rule : str or None
        By which rule each voxel chooses for itself; None: the ROI chooses, and no voxel's own score is kept.
    log : EvaluationLog or None
        What an earlier, killed search has computed.
    label : tuple of str
        Of layer, encoder and outer fold in the log.
    """

    def __init__(
        self,
        encoder: AnyEncoder,
        training: Training,
        data: PairData,
        metric: Metric,
        outer: int | None,
        voxel_rule: Rule | None,
        log: EvaluationLog | None,
        label: Key,
    ) -> None:
        self.data = data
        self._encoder, self._training, self._metric, self._outer = encoder, training, metric, outer
        self._voxel_rule, self._label = voxel_rule, label
        self._log = EvaluationLog() if log is None else log
        self._voxel_log = self._log.of_voxels(label)
        self._parts: dict[int, tuple[Any, FloatArray]] = {}
        self._voxels: dict[Key, FloatArray] = {}

    def score(self, setting: Params, fold: int) -> float:
        """Score a setting on a fold by the mean over voxels, unless the log knows the score."""
        key = self._key(setting, fold)
        known = self._log.get(key)
        if known is None:
            known = self._fit_and_score(setting, fold) if self._voxel_rule is None else self._voxel_mean(setting, fold)
            self._log.put(key, known)
        return known

    def voxels(self, setting: Params, fold: int) -> FloatArray:
        """Correlate each voxel on a fold, ndarray of shape (q,), unless the log knows the correlations."""
        key = self._key(setting, fold)
        if key not in self._voxels:
            known = self._voxel_log.get(key)
            if known is None:
                known = self._fit_voxels(setting, fold)
                self._voxel_log.put(key, known)
            self._voxels[key] = known
        return self._voxels[key]

    def trials(
        self, tried: Sequence[tuple[Params, FloatArray]], listed: Sequence[Params], folds: Sequence[int]
    ) -> Trials:
        """Gather what was tried.

        Parameters
        ----------
        tried : sequence of (Params, ndarray of shape (n_folds,))
            A setting that was given up has NaN in the remaining folds, and no voxel takes it.
        listed : sequence of Params
            All settings from the simplest to the most complex; empty where the encoder does not list them.
        folds : sequence of int
        """
        settings = tuple(setting for setting, _ in tried)
        scores = np.stack([scores for _, scores in tried])
        complexity = self._complexity(settings, listed)
        if self._voxel_rule is None:
            return Trials(settings, scores, complexity=complexity)
        choice = self._voxel_log.choice()
        if choice is None:
            choice = self._choice(settings, scores, complexity, folds, self._voxel_rule)
            self._voxel_log.finish(choice)
        return Trials(settings, scores, choice, complexity)

    def _complexity(self, settings: Sequence[Params], listed: Sequence[Params]) -> IntArray:
        """Rank the settings from the simplest to the most complex."""
        if listed:
            return np.array([listed.index(setting) for setting in settings])
        ranked = sorted(range(len(settings)), key=lambda place: self._encoder.order(settings[place]))
        return np.argsort(ranked)

    def _choice(
        self,
        settings: Sequence[Params],
        scores: FloatArray,
        complexity: IntArray | None,
        folds: Sequence[int],
        rule: Rule,
    ) -> Choice:
        """Let each voxel choose among the settings that were not given up."""
        complete = np.flatnonzero(~np.isnan(scores).any(axis=1))
        q = self.data.Y.shape[1]
        if not len(complete):
            return Choice(np.full(q, -np.inf), np.zeros(q, dtype=int))
        tally = VoxelTally(len(complete), q)
        for fold in folds:
            r = np.stack([self.voxels(settings[place], fold) for place in complete.tolist()])
            tally.add(r, self.data.held_out[fold].norm > 0)
        order = simplest_first(None if complexity is None else complexity[complete], len(complete))
        choice = tally.choice(order, rule)
        return Choice(choice.score, complete[choice.pick])

    def _key(self, setting: Params, fold: int) -> Key:
        return (*self._label, repr(sorted(setting.items())), str(fold))

    def _excluded(self, fold: int) -> tuple[int, ...]:
        return (fold,) if self._outer is None else (min(fold, self._outer), max(fold, self._outer))

    def _part(self, fold: int) -> tuple[Any, FloatArray]:
        if fold not in self._parts:
            stats = self._training.moments(self._excluded(fold))
            self._parts[fold] = (stats, self._training.features(self._excluded(fold), fold) - stats.x_mean)
        return self._parts[fold]

    def _fit_and_score(self, setting: Params, fold: int) -> float:
        encoder, metric = self._encoder, self._metric
        if isinstance(encoder, SampleEncoder):
            found = score_samples(encoder, self._training, self.data, [setting], self._excluded(fold), [fold], metric)
            return float(found[0, 0])
        stats, X = self._part(fold)
        path = encoder.path(stats, (setting,))
        return float(score_path(path, X, stats.y_mean, self.data.held_out[fold], metric)[0])

    def _fit_voxels(self, setting: Params, fold: int) -> FloatArray:
        encoder = self._encoder
        if isinstance(encoder, SampleEncoder):
            found = fold_pearson(encoder, self._training, self.data, (setting,), self._excluded(fold), (fold,))
            return np.asarray(found[0][0])
        stats, X = self._part(fold)
        r: FloatArray = path_pearson_r(encoder.path(stats, (setting,)), X, self.data.held_out[fold])[0]
        return r

    def _voxel_mean(self, setting: Params, fold: int) -> float:
        r = self.voxels(setting, fold)
        varies = int(np.count_nonzero(self.data.held_out[fold].norm > 0))
        return float("nan") if np.isnan(r).all() else float(np.nansum(r)) / max(varies, 1)
