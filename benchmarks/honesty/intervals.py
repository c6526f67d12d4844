"""Intervals of scores: how often they hold the truth, for few stimuli, many voxels, and no to strong signal.

A cell is a population with fixed weights; each draw takes stimuli and noise from it. The truth is the mean r that
models of as many stimuli as a fold's model sees reach on new ones. Of linear models of one layer it follows from their
coefficients (`Population.reached`); the gain of an ensemble is measured on thousands of new stimuli.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Literal

import numpy as np

import voxelcast as vc
from benchmarks.honesty.check import Check, in_processes
from benchmarks.honesty.ridge import NestedRidge, nested_ridge
from benchmarks.honesty.shuffled import REAL, measure_shuffled
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import VoxelcastWarning
from voxelcast.core.seeds import generator
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import cross_validated_r, mean_pearson_r
from voxelcast.scoring.intervals import Interval, Judged, difference_interval, influence_weights, score_interval
from voxelcast.scoring.prediction_scores import Predicted
from voxelcast.scoring.settings import SignificanceSettings
from voxelcast.search.base import GivenFeatures
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import EnsembleSettings, PairSettings

SIGNALS = (0.0, 0.1, 0.3, 0.7)
"""Share of the responses' variance that the features explain: none, weak, medium, strong."""
_N_NEW, _LATENT = 2000, 10
_EVERY = 3  # draws: where models are fitted anew for it, the truth is their mean, which varies little
_SLOW = 4  # times fewer draws of what takes longest
_PLAIN = vc.EvaluationSettings(significance=SignificanceSettings(0))
_BIAS = (-0.005, 0.005)
_GRID, _ALL = 4 * 2 * 4 * len(SIGNALS), 1000
_HOLDS, _ZERO = "95 % interval holds the truth", "95 % interval of nothing leaves out 0"

Kind = Literal["score", "held out", "difference", "gain", "variance parts"]


@dataclass(frozen=True)
class Cell:
    """A population, how it is measured, and the share of intervals that may hold the truth.

    Parameters
    ----------
    signal : float
        Share of the variance of responses that the features explain.
    groups : int
        Of stimuli, which share half of the variance of features and noise; 0: none.
    tails : int
        Degrees of freedom of Student's t from which all noise is drawn; 0: normal.
    related : bool
        Of two feature spaces: whether the second, which adds nothing, is a noisy copy of the first.
    """

    n: int
    folds: int = 5
    voxels: int = 8
    signal: float = 0.3
    encoder: str = "ridge"
    features: int = 20
    groups: int = 0
    tails: int = 0
    related: bool = False
    kind: Kind = "score"
    allowed: tuple[float, float] = (0.93, 0.97)

    @property
    def as_one(self) -> bool:
        """Whether all folds can be fitted as one (`nested_ridge`)."""
        fewest = self.n * (self.folds - 2) // self.folds
        return self.encoder == "ridge" and self.features < fewest and (self.groups or self.n) % self.folds == 0

    @property
    def slow(self) -> int:
        """By what the number of draws is divided."""
        return _SLOW if self.kind in ("gain", "variance parts") or self.encoder == "lasso" else 1

    @property
    def name(self) -> str:
        """The cell in words."""
        more = [f"{self.groups} groups"] * bool(self.groups) + [f"t({self.tails}) tails"] * bool(self.tails)
        more += [self.encoder] * (self.encoder != "ridge") + [f"{self.features} features"] * (self.features != 20)
        more += [self.kind] * (self.kind != "score") + ["related"] * self.related
        folds = f" K={self.folds}" if self.kind != "held out" else ""
        return ", ".join([f"n={self.n}{folds} {self.voxels} voxels", f"signal {self.signal:g}", *more])


class Population:
    """Draws features and responses of a cell.

    Half of what the voxels have in common is signal of 8 shared directions, and 40 % of their noise comes from 10
    latent variables.
    """

    def __init__(self, cell: Cell, rng: np.random.Generator) -> None:
        self.cell = cell
        p, q = cell.features, cell.voxels
        own, shared = rng.standard_normal((p, q)), rng.standard_normal((p, 8)) @ rng.standard_normal((8, q)) / 8**0.5
        weights = own + shared if q > 1 else own
        self.weights = weights / np.linalg.norm(weights, axis=0) * cell.signal**0.5
        loadings = rng.standard_normal((_LATENT, q))
        self.loadings = loadings / np.linalg.norm(loadings, axis=0)

    def draw(self, rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray, list[str] | None]:
        """Return features, responses and groups of n stimuli."""
        cell = self.cell
        members = round(cell.n / cell.groups) if cell.groups else 1
        group = np.arange(n) // members
        X = _of_groups(rng, partial(_normal, cell.features), group, cell)
        noise = _of_groups(rng, self._noise, group, cell)
        Y = X @ self.weights + (1 - cell.signal) ** 0.5 * noise
        return X, Y, [f"g{k:04d}" for k in group] if cell.groups else None

    def reached(self, coefficients: FloatArray, noise: float = 0.0) -> float:
        """Return the mean r of linear models on all stimuli there are; one that is constant counts as 0.

        With features of variance 1, and of 1 + noise^2 where a layer is a noisy view of them, and responses of variance
        1, r = w'b / (|w| sqrt(1 + noise^2)), w the coefficients (n_features, n_voxels) and b the true ones.
        """
        norm = np.linalg.norm(coefficients, axis=0)
        cross = (coefficients * self.weights).sum(axis=0)
        r = np.divide(cross, norm, out=np.zeros_like(norm), where=norm > 0)
        return float(r.mean() / (1 + noise**2) ** 0.5)

    def _noise(self, rng: np.random.Generator, n: int) -> FloatArray:
        tails, size = self.cell.tails, (n, _LATENT + self.cell.voxels)
        drawn = rng.standard_t(tails, size) * ((tails - 2) / tails) ** 0.5 if tails else rng.standard_normal(size)
        common, own = drawn[:, :_LATENT] @ self.loadings, drawn[:, _LATENT:]
        return own if self.cell.voxels == 1 else np.sqrt(0.4) * common + np.sqrt(0.6) * own


def _normal(n_columns: int, rng: np.random.Generator, n: int) -> FloatArray:
    return rng.standard_normal((n, n_columns))


def _of_groups(
    rng: np.random.Generator, make: Callable[[np.random.Generator, int], FloatArray], group: IntArray, cell: Cell
) -> FloatArray:
    values = make(rng, len(group))
    return (values + make(rng, int(group.max()) + 1)[group]) / 2**0.5 if cell.groups else values


@dataclass(frozen=True)
class Outcome:
    """Of one draw: estimate, interval, and what models of other stimuli reach on new ones (NaN: not tried)."""

    estimate: float
    interval: Interval
    truth: float


def _score(cell: Cell, population: Population, rng: np.random.Generator, seed: int) -> Outcome:
    X, Y, groups = population.draw(rng, cell.n)
    if not cell.as_one:
        return _evaluated(cell, population, rng, seed, (X, Y, groups))
    folds = make_folds(cell.n, cell.folds, seed, groups)
    found, judged = nested_ridge(X, Y, folds), Judged(folds, groups)
    inner = found.inner(influence_weights(Y, found.predicted, judged))
    row = _PLAIN.scorer.score_row(Predicted("", Y, found.predicted, judged, inner))
    return Outcome(row["score"], Interval(row["score_low"], row["score_high"]), _of_folds(population, found))


def _of_folds(population: Population, found: NestedRidge, noise: float = 0.0) -> float:
    return float(np.mean([population.reached(coefficients, noise) for coefficients in found.coefficients]))


def _evaluated(
    cell: Cell,
    population: Population,
    rng: np.random.Generator,
    seed: int,
    data: tuple[FloatArray, FloatArray, list[str] | None],
) -> Outcome:
    """Score with `vc.evaluate`; the truth is that of models fitted anew."""
    X, Y, groups = data
    attrs = vc.evaluate(
        vc.FeatureSpace(X, compression=None),
        Y,
        encoders=cell.encoder,
        folds=cell.folds,
        groups=groups,
        settings=replace(_PLAIN, seed=seed),
    ).attrs
    interval = Interval(attrs["score_low"], attrs["score_high"])
    if seed % _EVERY or not cell.signal:
        return Outcome(attrs["score"], interval, float("nan"))
    X, Y, groups = population.draw(rng, _fold_model_size(cell))
    model = vc.EncodingModel(cell.encoder, folds=cell.folds - 1, seed=seed).fit(X, Y, groups)
    return Outcome(attrs["score"], interval, population.reached(_coefficients(cell, model)))


def _coefficients(cell: Cell, model: vc.EncodingModel) -> FloatArray:
    predicted = model.predict(np.concatenate([np.zeros((1, cell.features)), np.eye(cell.features)]))
    return np.asarray(predicted[1:] - predicted[0])


def _fold_model_size(cell: Cell) -> int:
    units = cell.groups or cell.n
    return round(cell.n / units) * round(units * (cell.folds - 1) / cell.folds)


def _held_out(cell: Cell, population: Population, rng: np.random.Generator, seed: int) -> Outcome:
    X, Y, _ = population.draw(rng, 100)
    model = vc.EncodingModel(cell.encoder, folds=5, seed=seed).fit(X, Y)
    new, measured, groups = population.draw(rng, cell.n)
    held_out = Predicted("", measured, model.predict(new), Judged(np.zeros(cell.n, dtype=int), groups))
    interval = score_interval(measured, held_out.predicted, held_out.judged)
    return Outcome(float(held_out.voxel_scores.mean()), interval, population.reached(_coefficients(cell, model)))


def _difference(cell: Cell, population: Population, rng: np.random.Generator, seed: int) -> Outcome:
    """Two layers, each a noisy view of the same features, the second the noisier one."""
    sizes = (0.5, 1.0)
    X, Y, _ = population.draw(rng, cell.n)
    folds = make_folds(cell.n, cell.folds, seed)
    found = [nested_ridge(X + size * rng.standard_normal(X.shape), Y, folds) for size in sizes]
    scores = [float(cross_validated_r(Y, one.predicted, folds).mean()) for one in found]
    interval = difference_interval(Y, found[0].predicted, found[1].predicted, Judged(folds))
    reached = [_of_folds(population, one, size) for one, size in zip(found, sizes, strict=True)]
    return Outcome(scores[0] - scores[1], interval, reached[0] - reached[1])


def _gain(cell: Cell, population: Population, rng: np.random.Generator, seed: int) -> Outcome:
    """Stacking of three layers, each a third of the features and a noisy view of the others, over the best of them."""

    def layers(n: int, n_new: int) -> tuple[list[GivenFeatures], FloatArray, FloatArray]:
        X, Y, _ = population.draw(rng, n + n_new)
        sizes = np.tile(np.full(cell.features, 2.0), (3, 1))
        for k in range(3):
            sizes[k, k::3] = 0.1
        views = [X + size * rng.standard_normal(X.shape) for size in sizes]
        return [GivenFeatures("n", f"layer {k}", view) for k, view in enumerate(views)], Y[:n], Y[n:]

    encoders = [get_encoder(cell.encoder)]
    spaces, Y, _ = layers(cell.n, 0)
    folds = make_folds(cell.n, cell.folds, seed)
    found = search_pair(Y, spaces, encoders, folds, PairSettings(ensemble=EnsembleSettings("stacking", per="roi")))
    assert found.out_of_fold is not None
    row = _PLAIN.scorer.gain_row(Predicted("", Y, found.out_of_fold, Judged(folds)), found.single_out_of_fold)
    n = _fold_model_size(cell)
    spaces, Y, measured = layers(n, _N_NEW)
    folds = make_folds(n, cell.folds - 1, seed)
    reached = [
        mean_pearson_r(
            measured,
            search_pair(
                Y, spaces, encoders, folds, PairSettings(ensemble=EnsembleSettings(method, per="roi"), nested=False)
            ).predictions,
        )
        for method in ("stacking", "none")
    ]
    return Outcome(row["gain"], Interval(row["gain_low"], row["gain_high"]), reached[0] - reached[1])


def _parts(cell: Cell, population: Population, rng: np.random.Generator, seed: int) -> Outcome:
    """Unique variance of a group of features that adds nothing: noise, or a noisy copy of what explains."""
    X, Y, _ = population.draw(rng, cell.n)
    nothing = rng.standard_normal(X.shape) + (X if cell.related else 0)
    parts = vc.variance_partitioning({"signal": X, "nothing": nothing}, Y, folds=cell.folds, settings=_PLAIN)
    one = parts.sel(part="unique nothing")
    return Outcome(float(one["mean"]), Interval(float(one["mean_low"]), float(one["mean_high"])), 0.0)


_MEASURES = {
    "score": _score,
    "held out": _held_out,
    "difference": _difference,
    "gain": _gain,
    "variance parts": _parts,
}


def measure(cell: Cell, draws: int, seed: int) -> list[Check]:
    """Draw a cell many times."""
    warnings.simplefilter("ignore", VoxelcastWarning)  # that folds are small is what some cells are about
    draws = draws // cell.slow
    population = Population(cell, generator(seed, cell.name, "population"))
    outcomes = [_MEASURES[cell.kind](cell, population, generator(seed, cell.name, draw), draw) for draw in range(draws)]
    estimates, truths, low, high = (
        np.array(values)
        for values in (
            [one.estimate for one in outcomes],
            [one.truth for one in outcomes],
            [one.interval.low for one in outcomes],
            [one.interval.high for one in outcomes],
        )
    )
    if cell.signal == 0 or cell.kind == "variance parts":
        out = float(((low > 0) | (high < 0)).mean())
        found = [Check("intervals", cell.name, _ZERO, out, 1 - cell.allowed[1], 1 - cell.allowed[0], draws)]
        expected = 0.0
    else:
        # Held-out stimuli judge one model, whose own r is the truth; folds judge what their models reach on average.
        expected = float(np.nanmean(truths))
        truth = truths if cell.kind == "held out" else np.full(draws, expected)
        holds = float(((low <= truth) & (truth <= high)).mean())
        found = [Check("intervals", cell.name, _HOLDS, holds, *cell.allowed, draws)]
    if cell.kind == "score" and cell.n // cell.folds >= 8 and not (cell.groups or cell.tails):
        bias = float(np.nanmean(estimates) - expected)
        known = truths if cell.signal and cell.as_one else np.zeros(draws)  # both vary with the stimuli drawn
        tried = np.count_nonzero(np.isfinite(truths))
        error = float(np.nanvar(estimates - known) / draws)
        if cell.signal and not cell.as_one:
            error += float(np.nanvar(truths) / tried)
        found.append(Check("intervals", cell.name, "bias of the score", bias, *_BIAS, draws, error**0.5))
    return found


def cells() -> list[Cell]:
    """List the cells: the grid of sizes, then groups, tails, encoders, and what else has an interval."""
    some, other, null = (0.91, 0.98), (0.93, 0.98), (0.93, 1.0)
    listed = [Cell(*sizes) for sizes in product((40, 60, 100, 200), (5, 10), (1, 8, 50, 500), SIGNALS)]
    listed += [Cell(120, signal=s, groups=g, allowed=some) for g in (12, 20, 30) for s in (0.0, 0.3, 0.7)]
    listed += [Cell(n, signal=s, tails=5, allowed=some) for n in (60, 200) for s in (0.0, 0.3)]
    listed += [Cell(80, signal=s, encoder=e, allowed=some) for e in ("pls", "lasso") for s in (0.0, 0.3)]
    listed += [Cell(80, signal=s, features=80, allowed=some) for s in (0.0, 0.3, 0.7)]
    listed += [Cell(n, 1, q, s, kind="held out", allowed=other) for n in (20, 100) for q in (1, 50) for s in (0.0, 0.3)]
    listed += [Cell(n, signal=s, kind="difference", allowed=other) for n in (60, 200) for s in (0.0, 0.3)]
    listed += [Cell(60, signal=s, kind="gain", allowed=other) for s in (0.3, 0.7)]
    listed += [
        Cell(n, voxels=q, features=10, kind="variance parts", related=r, allowed=null)
        for n, q in ((60, 50), (200, 8))
        for r in (False, True)
    ]
    return listed


def checks(draws: int, seed: int, workers: int) -> Iterator[Check]:
    """Measure all cells; with fewer than 1000 draws every third of the grid."""
    listed = [cell for k, cell in enumerate(cells()) if draws >= _ALL or k >= _GRID or k % 3 == 0]
    listed.sort(key=lambda cell: cell.voxels)  # the quickest first
    for found in in_processes(partial(measure, draws=draws, seed=seed), listed, workers):
        yield from found
    shuffles = max(draws // _SLOW, min(draws, 200))
    for found in in_processes(partial(measure_shuffled, draws=shuffles, seed=seed), REAL, workers):
        yield from found
