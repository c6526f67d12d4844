"""The 2021 search of PLS regression against the exact one, on one subject x ROI in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.race import Contest, Race, Sampler, reference_scores, run_race
from benchmarks.simulation import PairSize
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.pls import PLS

_MOST_2021 = 100


@dataclass(frozen=True)
class PLSBenchmark:
    """What both ways took and found.

    Parameters
    ----------
    size : PairSize
    sampler : {"tpe", "gp"}
    race : Race
    most, most_proposed : int
        The most components that there are, and that the optimiser could propose.
    compared : tuple of int
    score_difference : float
        Largest difference of fold scores for the numbers of components ``compared``, both by the same definition
        (scikit-learn with a tolerance of 1e-22).
    default_difference : float
        Largest difference of the scores at the optimiser's proposals, where scikit-learn stops early at its default
        tolerance.
    """

    size: PairSize
    sampler: Sampler
    race: Race
    most: int
    most_proposed: int
    compared: tuple[int, ...]
    score_difference: float
    default_difference: float

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        race, chosen = self.race, self.race.exact.chosen
        return [
            f"one subject x ROI: {self.size}, one thread",
            f"scikit-learn PLSRegression, {race.trials} proposals of a Bayesian optimisation ({self.sampler}, 1 to "
            f"{self.most_proposed} components): "
            f"{race.model.wall:.2f} s (and {race.optimiser.wall:.2f} s for the optimiser); "
            f"chose {min(race.best.params['n_components'], self.most):.0f} components, "
            f"score {race.best.fold_scores.mean():.6f}",
            f"voxelcast, every number of components: {race.ours.wall:.4f} s; "
            f"chose {chosen.params['n_components']:.0f} components, score {chosen.score:.6f}",
            f"ratio: {race.ratio:.0f} (processor time {race.model.cpu:.2f} s against {race.ours.cpu:.4f} s, the "
            f"fastest run: {race.cpu_ratio:.0f})",
            f"largest difference of fold scores with {', '.join(map(str, self.compared))} components, "
            f"same definition: {self.score_difference:.1e} (scikit-learn's default tolerance: "
            f"{self.default_difference:.1e})",
        ]


def benchmark_pls(
    size: PairSize,
    *,
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
    size : PairSize
    trials : int
        Proposals of the optimisation.
    compared : sequence of int
        Numbers of components at which the scores are compared by the same definition.
    sampler : {"gp", "tpe"}
        Of the optimisation: a Gaussian process as in 2021, or that of ``search.method: bayes``.
    within_rank : bool
        In 2021 the optimiser proposed 1 to 100 components, of which those above the rank are one and the same model
        (scikit-learn clamped them then and refuses them now). True has it propose no more than the rank.
    seed : int
    """
    pair = size.simulate(seed)
    most = PLS().search_space(ProblemSize(pair.n_train, size.n_features, size.n_voxels))["n_components"]
    proposed = most if within_rank else replace(most, high=max(_MOST_2021, most.high))

    def reference(params: Mapping[str, float], stats: Moments) -> Any:
        return _sklearn(int(min(params["n_components"], most.high)))

    def strict(params: Mapping[str, float], stats: Moments) -> Any:
        return _sklearn(int(params["n_components"]), tol=1e-22, max_iter=1_000_000)

    contest = Contest(PLS(), reference, {"n_components": proposed}, trials=trials, timed=trials, sampler=sampler)
    with threadpool_limits(limits=1):
        race = run_race(pair, contest, seed)
        tight = {k: reference_scores(pair, strict, {"n_components": k}) for k in compared}
    ours = {int(candidate.params["n_components"]): candidate.fold_scores for candidate in race.exact.candidates}
    tried = {int(min(proposal.params["n_components"], most.high)): proposal.fold_scores for proposal in race.proposals}
    return PLSBenchmark(
        size=size,
        sampler=sampler,
        race=race,
        most=int(most.high),
        most_proposed=int(proposed.high),
        compared=tuple(compared),
        score_difference=max(float(np.abs(scores - ours[k]).max()) for k, scores in tight.items()),
        default_difference=max(float(np.abs(scores - ours[k]).max()) for k, scores in tried.items()),
    )


def _sklearn(n_components: int, **tolerance: float) -> Any:
    """Make the scikit-learn model, by default with its own tolerance."""
    from sklearn.cross_decomposition import PLSRegression

    return PLSRegression(n_components=n_components, scale=False, **tolerance)
