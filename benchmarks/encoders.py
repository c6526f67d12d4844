"""The 2021 search of every encoder against ours, on one subject x ROI in one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from threadpoolctl import threadpool_limits

from benchmarks.race import Contest, Race, run_race
from benchmarks.simulation import Pair, PairSize
from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError
from voxelcast.encoders.elastic_net import largest_penalty
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import Distribution, ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.ridge import ridge_penalty

ENCODERS = ("pls", "ridge", "ols", "elastic_net", "lasso", "omp", "pls_canonical", "cca")
"""The encoders that scikit-learn has too."""

_SEARCH_SPACES = {"ols": {"alpha": Distribution(1e-7, 0.1, log=True)}}
"""Where the optimiser's differs from ours: in 2021, least squares had a penalty in a range without effect."""

_FEW_PROPOSALS = {"cca": 3}
"""How many proposals are timed where all of them would take minutes."""

_STRICT = {
    "pls": {"tol": 1e-22, "max_iter": 1_000_000},
    "pls_canonical": {"tol": 1e-22, "max_iter": 1_000_000},
    "elastic_net": {"tol": 1e-12, "max_iter": 1_000_000},
    "lasso": {"tol": 1e-12, "max_iter": 1_000_000},
}
"""How scikit-learn's iterations are made to end where ours do. (For CCA it would take hours.)"""


@dataclass
class _PerDeviation:
    """A scikit-learn model fitted to responses in units of their standard deviations, which r does not depend on."""

    model: Any

    def fit(self, X: FloatArray, Y: FloatArray) -> None:
        """Fit the model."""
        self.model.fit(X, Y / Y.std(axis=0))

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict in those units."""
        predicted: FloatArray = self.model.predict(X)
        return predicted


def _reference(name: str, strict: Mapping[str, float], params: Mapping[str, float], stats: Moments) -> Any:
    """Make the scikit-learn model of a proposal; penalties are in units of the moments of its training part."""
    from sklearn import cross_decomposition, linear_model

    if name == "omp":
        return linear_model.OrthogonalMatchingPursuit(n_nonzero_coefs=int(params["n_nonzero_coefs"]))
    if name == "ols":
        return linear_model.Ridge(alpha=params["alpha"])
    if name == "ridge":
        return linear_model.Ridge(alpha=ridge_penalty(stats.S, params["relative_alpha"]))
    if name in ("elastic_net", "lasso"):
        l1_ratio = params.get("l1_ratio", 1.0)
        alpha = params["relative_alpha"] * largest_penalty(stats) / l1_ratio
        return _PerDeviation(linear_model.ElasticNet(alpha=alpha, l1_ratio=l1_ratio, **strict))
    projections = {
        "pls": cross_decomposition.PLSRegression,
        "pls_canonical": cross_decomposition.PLSCanonical,
        "cca": cross_decomposition.CCA,
    }
    return projections[name](int(params["n_components"]), scale=False, **strict)


@dataclass(frozen=True)
class EncodersBenchmark:
    """A race for every encoder, all on the same simulated responses and folds."""

    size: PairSize
    races: tuple[Race, ...]

    def lines(self) -> list[str]:
        """Return the results in words, one encoder per line."""
        lines = [
            f"one subject x ROI: {self.size}, one thread; score: mean over voxels of Pearson r",
            "2021: scikit-learn under a Gaussian-process optimisation ; ours: all settings",
        ]
        for race in self.races:
            scaled = f", scaled up from {len(race.proposals)}" if len(race.proposals) < race.trials else ""
            best, chosen = race.best, race.exact.chosen
            lines.append(
                f"{race.encoder}: {race.trials} proposals {race.model.wall:.2f} s{scaled} "
                f"(optimiser {race.optimiser.wall:.2f} s), score {best.fold_scores.mean():.6f} at "
                f"{_shown(best.params)}; "
                f"ours {race.ours.wall:.4f} s for {len(race.exact.candidates)} settings, score {chosen.score:.6f} "
                f"at {_shown(chosen.params)}; ratio {race.ratio:.0f} ({race.ratio_with_optimiser:.0f} with the "
                f"optimiser, {race.ratio_per_candidate:.0f} per setting); processor time {race.model.cpu:.2f} s, "
                f"ours {race.ours.cpu:.4f} s, ratio {race.cpu_ratio:.0f}; score margin {race.margin:+.1e} "
                f"({race.default_margin:+.1e} at scikit-learn's default tolerance)"
            )
        return lines


def _shown(params: Mapping[str, float]) -> str:
    return ", ".join(f"{name}={value:.4g}" for name, value in params.items()) or "its one setting"


def benchmark_encoders(
    size: PairSize, *, encoders: Sequence[str] = ENCODERS, trials: int = 25, seed: int = 0
) -> EncodersBenchmark:
    """Time both ways for each encoder on the same simulated responses, folds and metric.

    The 2021 way fits the scikit-learn model anew for every proposal and fold, at its default tolerance; ours tries
    all params of the encoder. Neither side scales features or responses.

    Raises
    ------
    UnknownNameError
        If an encoder has no counterpart in scikit-learn.
    """
    for name in encoders:
        check_known("encoder", name, ENCODERS, where="with a counterpart in scikit-learn")
    if trials < 1:
        raise OptionError(f"trials must be at least 1; got {trials}; give e.g. 25")
    pair = size.simulate(seed)
    with threadpool_limits(limits=1):
        return EncodersBenchmark(size, tuple(run_race(pair, _contest(name, pair, trials), seed) for name in encoders))


def _contest(name: str, pair: Pair, trials: int) -> Contest:
    encoder = get_encoder(name)
    return Contest(
        encoder=encoder,
        reference=partial(_reference, name, {}),
        search_space=_SEARCH_SPACES.get(
            name, encoder.search_space(ProblemSize(pair.n_train, pair.X.shape[1], pair.Y.shape[1]))
        ),
        strict=partial(_reference, name, _STRICT[name]) if name in _STRICT else None,
        trials=trials,
        timed=_FEW_PROPOSALS.get(name, trials),
        searches=5,
    )
