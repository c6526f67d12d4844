"""Fits and scores of single proposals."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.moments import roi_scores
from voxelcast.encoders.params import Params
from voxelcast.search.choice import Choice, simplest_first
from voxelcast.search.evaluation_log import EvaluationLog
from voxelcast.search.settings import Rule
from voxelcast.search.training import RememberedTraining, Training
from voxelcast.search.trials import Tally, Task, Trials, complexity, without
from voxelcast.search.voxel_log import Key


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
        self._voxels: dict[Key, FloatArray] = {}

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
        if key not in self._voxels:
            known = self._voxel_log.get(key)
            if known is None:
                known = self._evaluated(params, fold)
                self._voxel_log.put(key, known)
            self._voxels[key] = known
        return self._voxels[key]

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
        scores: FloatArray = self._encoder.evaluate(self._training, (params,), excluded, (fold,), metric)[0][0]
        return scores
