"""The 2021 search of PLS regression against the exact one, on one subject x ROI in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.race import Sampler, reference_scores, run_race
from benchmarks.simulation import simulate_features, simulate_responses
from voxelcast.encoders.moments import Moments, moments
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.pls import PLS
from voxelcast.search.folds import make_folds

_MOST_2021 = 100
_TIGHT = 1e-22


@dataclass(frozen=True)
class PLSBenchmark:
    """What both ways took and found; seconds are wall-clock on one thread.

    Parameters
    ----------
    n_stimuli, n_features, n_voxels, n_folds, trials : int
    sampler : {"tpe", "gp"}
    model_seconds : float
        Fitting, predicting and scoring with scikit-learn at the proposals of the optimiser.
    optimiser_seconds : float
        Taken by the optimiser itself; not part of the ratio.
    exact_seconds : float
        Whole exact search of every number of components, with the refit: median of one run after each proposal, so
        that a machine that slows down meanwhile slows both.
    model_cpu_seconds, exact_cpu_seconds : float
        Processor time of the models, and of the fastest exact search.
    most_proposed : int
        The most components that the optimiser could propose.
    reference_components, exact_components : int
        What either way chose.
    reference_score, exact_score : float
        Its score.
    score_difference : float
        Largest difference of fold scores for the numbers of components ``compared``, both by the same definition
        (scikit-learn with a tolerance of 1e-22).
    default_difference : float
        Largest difference of the scores at the optimiser's proposals, where scikit-learn stops early at its default
        tolerance.
    compared : tuple of int
    """

    n_stimuli: int
    n_features: int
    n_voxels: int
    n_folds: int
    trials: int
    sampler: Sampler
    model_seconds: float
    optimiser_seconds: float
    exact_seconds: float
    model_cpu_seconds: float
    exact_cpu_seconds: float
    most_proposed: int
    reference_components: int
    reference_score: float
    exact_components: int
    exact_score: float
    score_difference: float
    default_difference: float
    compared: tuple[int, ...]

    @property
    def ratio(self) -> float:
        """How many times the exact search is faster than the models of the 2021 way, the optimiser's time left out."""
        return self.model_seconds / self.exact_seconds

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        size = f"{self.n_stimuli} stimuli, {self.n_features} features, {self.n_voxels} voxels, {self.n_folds} folds"
        return [
            f"one subject x ROI: {size}, one thread",
            f"scikit-learn PLSRegression, {self.trials} proposals of a Bayesian optimisation ({self.sampler}, 1 to "
            f"{self.most_proposed} components): "
            f"{self.model_seconds:.2f} s (and {self.optimiser_seconds:.2f} s for the optimiser); "
            f"chose {self.reference_components} components, score {self.reference_score:.6f}",
            f"voxelcast, every number of components: {self.exact_seconds:.4f} s; "
            f"chose {self.exact_components} components, score {self.exact_score:.6f}",
            f"ratio: {self.ratio:.0f} (processor time {self.model_cpu_seconds:.2f} s against "
            f"{self.exact_cpu_seconds:.4f} s, the fastest run: {self.model_cpu_seconds / self.exact_cpu_seconds:.0f})",
            f"largest difference of fold scores with {', '.join(map(str, self.compared))} components, "
            f"same definition: {self.score_difference:.1e} (scikit-learn's default tolerance: "
            f"{self.default_difference:.1e})",
        ]


def benchmark_pls(
    n_stimuli: int = 1000,
    n_features: int = 50,
    n_voxels: int = 232,
    *,
    n_folds: int = 10,
    trials: int = 25,
    compared: Sequence[int] = (1, 2, 4, 8),
    sampler: Sampler = "gp",
    within_rank: bool = False,
    seed: int = 0,
) -> PLSBenchmark:
    """Time both ways on the same simulated responses, folds and metric (mean over voxels of Pearson r).

    The 2021 way fits ``sklearn.cross_decomposition.PLSRegression`` anew for every proposal and fold. Neither side
    scales features or responses inside the folds: the features have unit variance already.

    Parameters
    ----------
    n_stimuli, n_features, n_voxels : int
        The defaults are the size of one subject's V1 in the Algonauts 2021 challenge.
    n_folds, trials : int
    compared : sequence of int
        Numbers of components at which the scores are compared by the same definition.
    sampler : {"gp", "tpe"}
        Of the optimisation: a Gaussian process as in 2021, or that of ``search.method: bayes``.
    within_rank : bool
        In 2021 the optimiser proposed 1 to 100 components, of which those above the rank are one and the same model
        (scikit-learn clamped them then and refuses them now). True has it propose no more than the rank.
    seed : int
    """
    X = simulate_features(n_stimuli, n_features, seed, 0)
    Y = simulate_responses(X, n_voxels, seed)
    fold_ids = make_folds(n_stimuli, n_folds, seed)
    n_train = n_stimuli - int(np.bincount(fold_ids).max())
    most = PLS().search_space(ProblemSize(n_train, n_features, n_voxels))["n_components"]
    proposed = most if within_rank else replace(most, high=max(_MOST_2021, most.high))

    def clamped(params: Mapping[str, float], stats: Moments) -> Any:
        return _sklearn({"n_components": min(params["n_components"], most.high)})

    with threadpool_limits(limits=1):
        race = run_race(
            X, Y, fold_ids, PLS(), clamped, {"n_components": proposed},
            trials=trials, timed=trials, sampler=sampler, seed=seed,
        )  # fmt: skip
        parts = [moments(X[fold_ids != fold], Y[fold_ids != fold]) for fold in range(n_folds)]
        tight = {k: reference_scores(X, Y, fold_ids, _tight_sklearn, {"n_components": k}, parts) for k in compared}
    by_k = {int(candidate.params["n_components"]): candidate.fold_scores for candidate in race.exact.candidates}
    tried = {int(min(proposal.params["n_components"], most.high)): proposal.fold_scores for proposal in race.proposals}
    return PLSBenchmark(
        n_stimuli=n_stimuli,
        n_features=n_features,
        n_voxels=n_voxels,
        n_folds=n_folds,
        trials=trials,
        sampler=sampler,
        model_seconds=race.model_seconds,
        optimiser_seconds=race.optimiser_seconds,
        exact_seconds=race.exact_seconds,
        model_cpu_seconds=race.model_cpu_seconds,
        exact_cpu_seconds=race.exact_cpu_seconds,
        most_proposed=int(proposed.high),
        reference_components=int(min(race.best.params["n_components"], most.high)),
        reference_score=float(race.best.fold_scores.mean()),
        exact_components=int(race.exact.chosen.params["n_components"]),
        exact_score=race.exact.chosen.score,
        score_difference=max(float(np.abs(tight[k] - by_k[k]).max()) for k in tight),
        default_difference=max(float(np.abs(tried[k] - by_k[k]).max()) for k in tried),
        compared=tuple(compared),
    )


def _sklearn(params: Mapping[str, float], *, tol: float = 1e-6, max_iter: int = 500) -> Any:
    """Make the scikit-learn model, by default with its own tolerance."""
    from sklearn.cross_decomposition import PLSRegression

    return PLSRegression(n_components=int(params["n_components"]), scale=False, tol=tol, max_iter=max_iter)


def _tight_sklearn(params: Mapping[str, float], stats: Moments) -> Any:
    return _sklearn(params, tol=_TIGHT, max_iter=1_000_000)
