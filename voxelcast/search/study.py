"""One search by proposals: who proposes, when a proposal is given up, and what was tried.

References
----------
.. [1] Bergstra, J., Bardenet, R., Bengio, Y. & Kegl, B. Algorithms for hyper-parameter optimization. Advances in Neural
   Information Processing Systems 24 (2011).
.. [2] Akiba, T., Sano, S., Yanase, T., Ohta, T. & Koyama, M. Optuna: a next-generation hyperparameter optimization
   framework. KDD (2019). doi:10.1145/3292500.3330701
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.params import Distribution

# Before anything is given up: so many proposals have run to their end, and so many folds of this one are known.
_STARTUP_PROPOSALS, _STARTUP_FOLDS = 5, 2

Proposal = Mapping[str, Any]
Suggest = Callable[[Any], Proposal]


class Study:
    """A seeded Optuna study that maximises a score.

    Parameters
    ----------
    suggest : callable
        Takes an Optuna trial and returns a proposal.
    sampler : str
        ``"tpe"`` [1]_, ``"gp"`` (Gaussian process; needs torch) or ``"random"``.
    seed : int
        The same seed and the same scores give the same proposals.
    prune : bool
        Whether a proposal is given up when its mean over the folds so far is below the median of the earlier ones'.
    """

    def __init__(self, suggest: Suggest, *, sampler: str, seed: int, prune: bool = False) -> None:
        # Imported here: only this search needs Optuna, and importing it takes about a second.
        import optuna

        # Its log tells of every trial in its own format; what a search tried is in search.csv.
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        made = {
            "tpe": optuna.samplers.TPESampler,
            "gp": optuna.samplers.GPSampler,
            "random": optuna.samplers.RandomSampler,
        }[sampler](seed=seed)
        pruner = (
            optuna.pruners.MedianPruner(_STARTUP_PROPOSALS, _STARTUP_FOLDS) if prune else optuna.pruners.NopPruner()
        )
        self._study = optuna.create_study(direction="maximize", sampler=made, pruner=pruner)
        self._suggest, self._states = suggest, optuna.trial.TrialState

    def run(
        self, n: int, score: Callable[[Proposal, int], float], folds: Sequence[int]
    ) -> list[tuple[Proposal, FloatArray]]:
        """Try ``n`` proposals.

        Parameters
        ----------
        score : callable
            Score of a proposal on a fold; NaN where there is none.

        Returns
        -------
        tried : list of (proposal, ndarray of shape (n_folds,))
            In the order tried; NaN in the folds that a proposal was given up before.
        """
        tried = []
        for _ in range(n):
            trial = self._study.ask()
            proposal = self._suggest(trial)
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
                self._study.tell(trial, state=self._states.PRUNED)
            elif np.isnan(scores).any():
                self._study.tell(trial, state=self._states.FAIL)
            else:
                self._study.tell(trial, float(scores.mean()))
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
