"""The 2021 way of searching an encoder's hyper-parameters against ours, in turns and in one run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Distribution, Encoder, Moments, moments
from voxelcast.scoring.correlation import mean_pearson_r
from voxelcast.search.base import GivenFeatures, PairResult
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings

Sampler = Literal["gp", "tpe"]
Reference = Callable[[Mapping[str, float], Moments], Any]


@dataclass(frozen=True)
class Proposal:
    """Hyper-parameters that the optimiser proposed, and the reference's score in every fold."""

    params: Mapping[str, float]
    fold_scores: FloatArray


@dataclass(frozen=True)
class Race:
    """What both ways took and found; seconds are wall-clock on one thread.

    Parameters
    ----------
    encoder : str
    trials : int
        Proposals of the optimisation.
    proposals : tuple of Proposal
        Those that were fitted and timed, in the order proposed; where there are fewer than ``trials``,
        ``model_seconds`` is scaled up.
    exact : PairResult
        Of the search of all settings.
    model_seconds : float
        Fitting, predicting and scoring with scikit-learn at all proposals.
    optimiser_seconds : float
        Taken by the optimiser itself at the proposals timed; not part of the ratio.
    exact_seconds : float
        Whole exact search, with the refit: median of one run after each of several proposals, so that a machine that
        slows down meanwhile slows both.
    model_cpu_seconds, optimiser_cpu_seconds : float
        The same in processor time, which other programs on the machine disturb less.
    exact_cpu_seconds : float
        Processor time of the fastest run.
    strict_score : float
        Score of the best proposal by the same definition as ours: scikit-learn with a tolerance that lets its
        iterations end where ours do. Equal to the proposal's score where scikit-learn does not iterate.
    """

    encoder: str
    trials: int
    proposals: tuple[Proposal, ...]
    exact: PairResult
    model_seconds: float
    optimiser_seconds: float
    exact_seconds: float
    model_cpu_seconds: float
    optimiser_cpu_seconds: float
    exact_cpu_seconds: float
    strict_score: float

    @property
    def cpu_ratio(self) -> float:
        """The ratio in processor time, the optimiser's left out."""
        return self.model_cpu_seconds / self.exact_cpu_seconds

    @property
    def ratio(self) -> float:
        """How many times the exact search is faster than the models of the 2021 way, the optimiser's time left out."""
        return self.model_seconds / self.exact_seconds

    @property
    def ratio_with_optimiser(self) -> float:
        """The same with the time that the optimiser took at the proposals timed."""
        return (self.model_seconds + self.optimiser_seconds) / self.exact_seconds

    @property
    def ratio_per_setting(self) -> float:
        """How many times a setting of the exact search is faster than a proposal of the 2021 way."""
        return self.ratio * len(self.exact.candidates) / self.trials

    @property
    def best(self) -> Proposal:
        """The proposal that the 2021 way chose."""
        return max(self.proposals, key=lambda proposal: float(proposal.fold_scores.mean()))

    @property
    def margin(self) -> float:
        """How much the exact search's best score is above that of the 2021 way, by the same definition."""
        return self.exact.chosen.score - self.strict_score

    @property
    def default_margin(self) -> float:
        """The same with scikit-learn as it comes, which may stop early at a model that happens to score better."""
        return self.exact.chosen.score - float(self.best.fold_scores.mean())


def run_race(
    X: FloatArray,
    Y: FloatArray,
    fold_ids: IntArray,
    encoder: Encoder,
    reference: Reference,
    space: Mapping[str, Distribution],
    *,
    strict: Reference | None = None,
    trials: int,
    timed: int,
    searches: int = 25,
    sampler: Sampler = "gp",
    seed: int = 0,
) -> Race:
    """Run a Bayesian optimisation over scikit-learn's models and, in between, our search.

    Parameters
    ----------
    X : ndarray of shape (n_stimuli, n_features)
    Y : ndarray of shape (n_stimuli, n_voxels)
    fold_ids : ndarray of shape (n_stimuli,)
    encoder : Encoder
    reference : callable
        Makes the scikit-learn model of a proposal, given the moments of the training part that it is to be fitted to
        (in whose units a penalty may be).
    space : mapping of str to Range
        What the optimiser proposes from.
    strict : callable, optional
        Makes the same model with a strict tolerance; None: ``reference`` does not iterate.
    trials : int
        Proposals of the whole optimisation.
    timed : int
        How many of them are fitted, at most ``trials``; the first ten are random whatever the scores.
    searches : int
        How many times our search is run, at most ``timed``.
    sampler : {"gp", "tpe"}
        Optuna's: a Gaussian process, as in 2021, or the tree-structured Parzen estimator of ``search.method: bayes``.
    seed : int
    """
    spaces = [GivenFeatures("given", "layer", X)]
    # Untimed: the first calls pay for imports.
    exact = search_pair(Y, spaces, [encoder], fold_ids, PairSettings(nested=False))
    parts = [moments(X[fold_ids != fold], Y[fold_ids != fold]) for fold in range(int(fold_ids.max()) + 1)]
    reference({name: bounds.low for name, bounds in space.items()}, parts[0]).fit(X[:, :3], Y[:, :3])
    watch = _Watch()
    study, distributions = _study(space, sampler, derive_seed(seed, "benchmark", encoder.name))
    proposals: list[Proposal] = []
    for place in range(min(timed, trials)):
        watch.start()
        trial = study.ask(distributions)
        watch.stop("optimiser")
        scores = reference_scores(X, Y, fold_ids, reference, trial.params, parts)
        watch.stop("model")
        study.tell(trial, float(scores.mean()))
        watch.stop("optimiser")
        proposals.append(Proposal(dict(trial.params), scores))
        if place % max(1, timed // searches) == 0:
            watch.start()
            exact = search_pair(Y, spaces, [encoder], fold_ids, PairSettings(nested=False))
            watch.stop("exact")
    best = max(proposals, key=lambda proposal: float(proposal.fold_scores.mean()))
    if strict is not None:
        best = Proposal(best.params, reference_scores(X, Y, fold_ids, strict, best.params, parts))
    return Race(
        encoder=encoder.name,
        trials=trials,
        proposals=tuple(proposals),
        exact=exact,
        model_seconds=sum(watch.laps["model"]) * trials / len(proposals),
        optimiser_seconds=sum(watch.laps["optimiser"]),
        exact_seconds=float(np.median(watch.laps["exact"])),
        model_cpu_seconds=sum(watch.cpu_laps["model"]) * trials / len(proposals),
        optimiser_cpu_seconds=sum(watch.cpu_laps["optimiser"]),
        exact_cpu_seconds=min(watch.cpu_laps["exact"]),
        strict_score=float(best.fold_scores.mean()),
    )


class _Watch:
    """Seconds since the last stop, on the wall and of the processor, by what they were spent on."""

    def __init__(self) -> None:
        self.laps: dict[str, list[float]] = {}
        self.cpu_laps: dict[str, list[float]] = {}
        self.start()

    def start(self) -> None:
        """Start now."""
        self._since, self._cpu_since = time.perf_counter(), time.process_time()

    def stop(self, what: str) -> None:
        """Note the time and start again."""
        self.laps.setdefault(what, []).append(time.perf_counter() - self._since)
        self.cpu_laps.setdefault(what, []).append(time.process_time() - self._cpu_since)
        self.start()


def _study(space: Mapping[str, Distribution], sampler: Sampler, seed: int) -> tuple[Any, dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.samplers.GPSampler(seed=seed) if sampler == "gp" else optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=made)
    return study, {
        name: optuna.distributions.IntDistribution(int(bounds.low), int(bounds.high))
        if bounds.integer
        else optuna.distributions.FloatDistribution(bounds.low, bounds.high, log=bounds.log)
        for name, bounds in space.items()
    }


def reference_scores(
    X: FloatArray,
    Y: FloatArray,
    fold_ids: IntArray,
    reference: Reference,
    params: Mapping[str, float],
    parts: Sequence[Moments],
) -> FloatArray:
    """Fit and score the scikit-learn model of ``params`` fold by fold, ndarray of shape (n_folds,).

    ``parts`` are the moments of the training part of each fold.
    """
    scores = []
    with warnings.catch_warnings():
        # It tells of every model that did not converge; what that costs in score is part of the comparison.
        warnings.simplefilter("ignore")
        for fold in range(len(parts)):
            out = fold_ids == fold
            model = reference(params, parts[fold])
            model.fit(X[~out], Y[~out])
            predicted = np.asarray(model.predict(X[out])).reshape(-1, Y.shape[1])
            scores.append(0.0 if not np.ptp(predicted, axis=0).any() else mean_pearson_r(Y[out], predicted))
    return np.array(scores)
