"""Bayesian optimisation (Optuna's tree-structured Parzen estimator) over the same folds as the exhaustive search.

References
----------
.. [1] Bergstra, J., Bardenet, R., Bengio, Y. & Kegl, B. Algorithms for hyper-parameter optimization. Advances in Neural
   Information Processing Systems 24 (2011).
.. [2] Akiba, T., Sano, S., Yanase, T., Ohta, T. & Koyama, M. Optuna: a next-generation hyperparameter optimization
   framework. KDD (2019). doi:10.1145/3292500.3330701
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import log

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Range, Setting
from voxelcast.encoders.sample import AnyEncoder, SampleEncoder
from voxelcast.search.exact import Trials, smallest_training
from voxelcast.search.path_scores import score_path
from voxelcast.search.sample_scores import score_samples
from voxelcast.search.training import PairData, Training


def bayes_trials(
    encoder: AnyEncoder,
    training: Training,
    data: PairData,
    nested: bool,
    metric: str,
    *,
    trials: int,
    seed: int,
) -> Iterator[tuple[int | None, Trials]]:
    """Search the encoder's space by ``trials`` proposals under plain cross-validation and, if nested, in outer folds.

    A proposal is moved to the nearest setting of the exhaustive search where there is one, so that both searches
    choose among the same models and a setting proposed twice is fitted once. Every outer fold has a search of its own.
    An encoder without hyper-parameters is fitted once.

    Yields
    ------
    outer, trials
        As `voxelcast.search.exact.exact_trials`, with one entry per proposal, repeated ones included.
    """
    if trials < 1:
        raise OptionError(f"trials must be at least 1; got {trials}; give e.g. 25")
    n_train = smallest_training(data, nested)
    settings = list(encoder.settings(n_train, training.n_features, data.Y.shape[1]))
    space = encoder.space(n_train, training.n_features, data.Y.shape[1])
    listed = len(settings) > 0
    for outer in (None, *range(data.n_folds if nested else 0)):
        parts = [_part(encoder, training, data, fold, outer) for fold in range(data.n_folds) if fold != outer]
        scores: dict[int, FloatArray] = {}
        order: list[int] = []
        study = _Study(space, derive_seed(seed, "bayes", "all" if outer is None else outer))
        for _ in range(trials if space else 1):
            proposal = study.propose()
            if not listed:
                settings.append(proposal)
            place = _nearest(proposal, settings, space) if listed else len(settings) - 1
            if place not in scores:
                scores[place] = np.array([part(settings[place], metric) for part in parts])
            order.append(place)
            study.tell(float(scores[place].mean()))
        yield outer, Trials(tuple(settings[place] for place in order), np.stack([scores[place] for place in order]))


def _part(
    encoder: AnyEncoder, training: Training, data: PairData, fold: int, outer: int | None
) -> Callable[[Setting, str], float]:
    """Return what fits a setting and scores it on one fold; the moments of the training part serve all proposals."""
    excluded = (fold,) if outer is None else (min(fold, outer), max(fold, outer))
    if isinstance(encoder, SampleEncoder):
        return lambda setting, metric: float(
            score_samples(encoder, training, data, [setting], excluded, [fold], metric)[0, 0]
        )
    stats = training.moments(excluded)
    X = training.features(excluded, fold) - stats.x_mean
    return lambda setting, metric: float(
        score_path(encoder.path(stats, (setting,)), X, stats.y_mean, data.held_out[fold], metric)[0]
    )


def _nearest(proposal: Mapping[str, float], settings: Sequence[Setting], space: Mapping[str, Range]) -> int:
    """Return the place of the setting nearest to a proposal, distances measured on each range's own scale."""

    def distance(setting: Setting) -> float:
        return sum(
            abs(log(setting[name] / proposal[name]) if bounds.log else setting[name] - proposal[name])
            for name, bounds in space.items()
        )

    return min(range(len(settings)), key=lambda place: distance(settings[place]))


class _Study:
    """One seeded Optuna study that maximises a score."""

    def __init__(self, space: Mapping[str, Range], seed: int) -> None:
        # Imported here: only this search needs Optuna, and importing it takes about a second.
        import optuna

        # Its log tells of every trial in its own format; what a search tried is in search.csv.
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
        self._space: dict[str, optuna.distributions.BaseDistribution] = {
            name: optuna.distributions.IntDistribution(int(bounds.low), int(bounds.high), log=bounds.log)
            if bounds.integer
            else optuna.distributions.FloatDistribution(bounds.low, bounds.high, log=bounds.log)
            for name, bounds in space.items()
        }
        self._failed = optuna.trial.TrialState.FAIL

    def propose(self) -> Mapping[str, float]:
        """Return the next setting to try."""
        self._trial = self._study.ask(self._space)
        return self._trial.params

    def tell(self, score: float) -> None:
        """Report the score of the last proposal; a NaN says that there was none."""
        if np.isnan(score):
            self._study.tell(self._trial, state=self._failed)
        else:
            self._study.tell(self._trial, score)
