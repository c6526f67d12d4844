"""The 2021 way of searching an encoder's hyper-parameters against ours, in turns and in one run."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from benchmarks.simulation import Pair
from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import Distribution
from voxelcast.scoring.correlation import mean_pearson_r
from voxelcast.search.base import GivenFeatures, PairResult
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings

Sampler = Literal["gp", "tpe"]
Reference = Callable[[Mapping[str, float], Moments], Any]
"""Makes the scikit-learn model of params, given the moments of the part it is to be fitted to (a penalty's unit)."""


class Seconds(NamedTuple):
    """Wall-clock and processor time, which other programs on the machine disturb less."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Contest:
    """Both sides of a race.

    Parameters
    ----------
    encoder : Encoder
        Ours.
    reference : callable
        Theirs.
    search_space : mapping of str to Distribution
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
    """

    encoder: Encoder
    reference: Reference
    search_space: Mapping[str, Distribution]
    strict: Reference | None = None
    trials: int = 25
    timed: int = 25
    searches: int = 25
    sampler: Sampler = "gp"


@dataclass(frozen=True)
class Proposal:
    """Hyper-parameters that the optimiser proposed, and the reference's score in every fold."""

    params: Mapping[str, float]
    fold_scores: FloatArray


@dataclass(frozen=True)
class Race:
    """What both ways took on one thread, and found.

    Parameters
    ----------
    encoder : str
    trials : int
        Proposals of the optimisation.
    proposals : tuple of Proposal
        Those that were fitted and timed, in the order proposed; where there are fewer than ``trials``, ``model`` is
        scaled up.
    exact : PairResult
        Of the search of all params.
    model : Seconds
        Fitting, predicting and scoring with scikit-learn at all proposals.
    optimiser : Seconds
        Taken by the optimiser itself at the proposals timed; not part of the ratio.
    ours : Seconds
        Whole exact search, with the refit: median of one run after each of several proposals, so that a machine that
        slows down meanwhile slows both; in processor time the fastest.
    strict_score : float
        Score of the best proposal by the same definition as ours: scikit-learn with a tolerance that lets its
        iterations end where ours do. Equal to the proposal's score where scikit-learn does not iterate.
    """

    encoder: str
    trials: int
    proposals: tuple[Proposal, ...]
    exact: PairResult
    model: Seconds
    optimiser: Seconds
    ours: Seconds
    strict_score: float

    @property
    def cpu_ratio(self) -> float:
        """The ratio in processor time, the optimiser's left out."""
        return self.model.cpu / self.ours.cpu

    @property
    def ratio(self) -> float:
        """How many times the exact search is faster than the models of the 2021 way, the optimiser's time left out."""
        return self.model.wall / self.ours.wall

    @property
    def ratio_with_optimiser(self) -> float:
        """The same with the time that the optimiser took at the proposals timed."""
        return (self.model.wall + self.optimiser.wall) / self.ours.wall

    @property
    def ratio_per_candidate(self) -> float:
        """How many times a candidate of the exact search is faster than a proposal of the 2021 way."""
        return self.ratio * len(self.exact.candidates) / self.trials

    @property
    def best(self) -> Proposal:
        """The proposal that the 2021 way chose."""
        return _best(self.proposals)

    @property
    def margin(self) -> float:
        """How much the exact search's best score is above that of the 2021 way, by the same definition."""
        return self.exact.chosen.score - self.strict_score

    @property
    def default_margin(self) -> float:
        """The same with scikit-learn as it comes, which may stop early at a model that happens to score better."""
        return self.exact.chosen.score - float(self.best.fold_scores.mean())


def run_race(pair: Pair, contest: Contest, seed: int = 0) -> Race:
    """Run a Bayesian optimisation over scikit-learn's models and, in between, our search."""
    encoder, bounds = contest.encoder, contest.search_space

    def search() -> PairResult:
        spaces = [GivenFeatures("given", "layer", pair.X)]
        return search_pair(pair.Y, spaces, [encoder], pair.fold_ids, PairSettings(nested=False))

    # Untimed: the first calls pay for imports.
    exact = search()
    lowest = {name: distribution.low for name, distribution in bounds.items()}
    contest.reference(lowest, pair.parts[0]).fit(pair.X[:, :3], pair.Y[:, :3])
    watch = _Watch()
    study, distributions = _study(bounds, contest.sampler, derive_seed(seed, "benchmark", encoder.name))
    proposals: list[Proposal] = []
    for number in range(min(contest.timed, contest.trials)):
        watch.start()
        trial = study.ask(distributions)
        watch.stop("optimiser")
        scores = reference_scores(pair, contest.reference, trial.params)
        watch.stop("model")
        study.tell(trial, float(scores.mean()))
        watch.stop("optimiser")
        proposals.append(Proposal(dict(trial.params), scores))
        if number % max(1, contest.timed // contest.searches) == 0:
            watch.start()
            exact = search()
            watch.stop("exact")
    best = _best(proposals)
    strict = best.fold_scores if contest.strict is None else reference_scores(pair, contest.strict, best.params)
    scale = contest.trials / len(proposals)
    sums = {what: Seconds(*map(sum, zip(*laps, strict=True))) for what, laps in watch.laps.items()}
    walls, cpus = zip(*watch.laps["exact"], strict=True)
    return Race(
        encoder=encoder.name,
        trials=contest.trials,
        proposals=tuple(proposals),
        exact=exact,
        model=Seconds(sums["model"].wall * scale, sums["model"].cpu * scale),
        optimiser=sums["optimiser"],
        ours=Seconds(float(np.median(walls)), min(cpus)),
        strict_score=float(strict.mean()),
    )


def reference_scores(pair: Pair, reference: Reference, params: Mapping[str, float]) -> FloatArray:
    """Fit and score the scikit-learn model of ``params`` fold by fold, ndarray of shape (n_folds,)."""
    scores = []
    with warnings.catch_warnings():
        # It tells of every model that did not converge; what that costs in score is part of the comparison.
        warnings.simplefilter("ignore")
        for fold, part in enumerate(pair.parts):
            out = pair.fold_ids == fold
            model = reference(params, part)
            model.fit(pair.X[~out], pair.Y[~out])
            predicted = np.asarray(model.predict(pair.X[out])).reshape(-1, pair.Y.shape[1])
            scores.append(0.0 if not np.ptp(predicted, axis=0).any() else mean_pearson_r(pair.Y[out], predicted))
    return np.array(scores)


def _best(proposals: list[Proposal] | tuple[Proposal, ...]) -> Proposal:
    return max(proposals, key=lambda proposal: float(proposal.fold_scores.mean()))


class _Watch:
    """Seconds since the last stop, by what they were spent on."""

    def __init__(self) -> None:
        self.laps: dict[str, list[Seconds]] = {}
        self.start()

    def start(self) -> None:
        self._since = Seconds(time.perf_counter(), time.process_time())

    def stop(self, what: str) -> None:
        """Note the time and start again."""
        lap = Seconds(time.perf_counter() - self._since.wall, time.process_time() - self._since.cpu)
        self.laps.setdefault(what, []).append(lap)
        self.start()


def _study(bounds: Mapping[str, Distribution], sampler: Sampler, seed: int) -> tuple[Any, dict[str, Any]]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.samplers.GPSampler(seed=seed) if sampler == "gp" else optuna.samplers.TPESampler(seed=seed)
    study = optuna.create_study(direction="maximize", sampler=made)
    return study, {
        name: optuna.distributions.IntDistribution(int(given.low), int(given.high))
        if given.integer
        else optuna.distributions.FloatDistribution(given.low, given.high, log=given.log)
        for name, given in bounds.items()
    }
