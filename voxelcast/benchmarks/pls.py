"""The 2021 search of PLS regression against the exact one, on one subject x ROI in one run."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from voxelcast.benchmarks.simulation import GivenFeatures, simulate_features, simulate_responses
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.pls import PLS
from voxelcast.scoring.correlation import mean_pearson_r
from voxelcast.search.base import PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair

_TIGHT = 1e-22


@dataclass(frozen=True)
class PLSBenchmark:
    """What both ways took and found; seconds are wall-clock on one thread.

    Parameters
    ----------
    n_stimuli, n_features, n_voxels, n_folds, trials : int
    model_seconds : float
        Fitting, predicting and scoring with scikit-learn at the proposals of the optimiser.
    optimiser_seconds : float
        Taken by the optimiser itself; not part of the ratio.
    exact_seconds : float
        Whole exact search of every number of components, with the refit: median of one run after each proposal, so
        that a machine that slows down meanwhile slows both.
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
    model_seconds: float
    optimiser_seconds: float
    exact_seconds: float
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
            f"scikit-learn PLSRegression, {self.trials} proposals of a Bayesian optimisation: "
            f"{self.model_seconds:.2f} s (and {self.optimiser_seconds:.2f} s for the optimiser); "
            f"chose {self.reference_components} components, score {self.reference_score:.6f}",
            f"voxelcast, every number of components: {self.exact_seconds:.4f} s; "
            f"chose {self.exact_components} components, score {self.exact_score:.6f}",
            f"ratio: {self.ratio:.0f}",
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
    seed : int
    """
    X = simulate_features(n_stimuli, n_features, seed, 0)
    Y = simulate_responses(X, n_voxels, seed)
    fold_of_row = make_folds(n_stimuli, n_folds, seed)
    with threadpool_limits(limits=1):
        race = _race(X, Y, fold_of_row, trials, seed)
        tight = {k: _sklearn_scores(X, Y, fold_of_row, k, tol=_TIGHT, max_iter=1_000_000) for k in compared}
    tried = race.tried
    by_k = {int(candidate.setting["n_components"]): candidate.fold_scores for candidate in race.exact.candidates}
    best = race.exact.chosen
    k_reference = max(tried, key=lambda k: float(tried[k].mean()))
    return PLSBenchmark(
        n_stimuli=n_stimuli,
        n_features=n_features,
        n_voxels=n_voxels,
        n_folds=n_folds,
        trials=trials,
        model_seconds=race.model_seconds,
        optimiser_seconds=race.optimiser_seconds,
        exact_seconds=race.exact_seconds,
        reference_components=k_reference,
        reference_score=float(tried[k_reference].mean()),
        exact_components=int(best.setting["n_components"]),
        exact_score=best.score,
        score_difference=max(float(np.abs(tight[k] - by_k[k]).max()) for k in tight),
        default_difference=max(float(np.abs(tried[k] - by_k[k]).max()) for k in tried),
        compared=tuple(compared),
    )


@dataclass(frozen=True)
class _Race:
    """Fold scores of scikit-learn by number of components, the exact search's result, and the seconds of each."""

    tried: dict[int, FloatArray]
    exact: PairResult
    model_seconds: float
    optimiser_seconds: float
    exact_seconds: float


def _race(X: FloatArray, Y: FloatArray, fold_of_row: IntArray, trials: int, seed: int) -> _Race:
    """Run the optimisation over scikit-learn's models and, after each proposal, the search that experiments run."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    most = min(X.shape[1], int(np.count_nonzero(fold_of_row != 0)) - 1)
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "n_components": optuna.distributions.IntDistribution(1, most)
    }
    spaces = [GivenFeatures("given", "layer", X)]
    exact = search_pair(Y, spaces, [PLS()], fold_of_row, nested=False)  # Untimed: the first call pays for imports.
    started = time.perf_counter()
    sampler = optuna.samplers.TPESampler(seed=derive_seed(seed, "benchmark"))
    study = optuna.create_study(direction="maximize", sampler=sampler)
    optimiser_seconds, model_seconds, exact_seconds = time.perf_counter() - started, 0.0, []
    tried: dict[int, FloatArray] = {}
    for _ in range(trials):
        times = [time.perf_counter()]
        trial = study.ask(space)
        k = int(trial.params["n_components"])
        times.append(time.perf_counter())
        tried[k] = _sklearn_scores(X, Y, fold_of_row, k)
        times.append(time.perf_counter())
        study.tell(trial, float(tried[k].mean()))
        times.append(time.perf_counter())
        exact = search_pair(Y, spaces, [PLS()], fold_of_row, nested=False)
        times.append(time.perf_counter())
        asked, fitted, told, searched = np.diff(times)
        optimiser_seconds += float(asked + told)
        model_seconds += float(fitted)
        exact_seconds.append(float(searched))
    return _Race(tried, exact, model_seconds, optimiser_seconds, float(np.median(exact_seconds)))


def _sklearn_scores(
    X: FloatArray, Y: FloatArray, fold_of_row: IntArray, k: int, *, tol: float = 1e-6, max_iter: int = 500
) -> FloatArray:
    """Fit and score one number of components fold by fold, ndarray of shape (n_folds,)."""
    from sklearn.cross_decomposition import PLSRegression

    scores = []
    for fold in range(int(fold_of_row.max()) + 1):
        out = fold_of_row == fold
        model = PLSRegression(n_components=k, scale=False, tol=tol, max_iter=max_iter).fit(X[~out], Y[~out])
        scores.append(mean_pearson_r(Y[out], model.predict(X[out])))
    return np.array(scores)
