"""What permutations exchange: false positives on noise, and how surely dependence between folds is told."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.signal import lfilter

import voxelcast as vc
from benchmarks.honesty.check import Check, in_processes
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import VoxelcastWarning
from voxelcast.core.seeds import generator
from voxelcast.scoring.exchangeability import dependence_warnings
from voxelcast.scoring.permutation import Exchange, cross_validated_widening, permutation_p_values
from voxelcast.scoring.settings import SignificanceSettings
from voxelcast.search.folds import make_folds
from voxelcast.search.settings import SelectionSettings

_VOXELS = 20
_TESTED = 4  # times fewer draws, as each has so many voxels
_HRF = (0.0, 0.2, 1.0, 0.8, 0.4, 0.1, -0.1, -0.1)


@dataclass(frozen=True)
class Noise:
    """Noise predicted from features that have nothing to do with it, ``groups`` groups whose rows follow in time.

    ``by``: what is exchanged, "stimulus", "group" or "run"; ``choose``: whether voxels choose among the layers.
    """

    n: int
    n_folds: int
    n_features: int = 20
    by: str = "stimulus"
    groups: int = 0
    layers: int = 1
    choose: bool = False

    @property
    def shown(self) -> str:
        """Name of the cell."""
        what = {"stimulus": "stimuli", "group": f"{self.groups} groups", "run": f"{self.groups} runs rotated"}[self.by]
        choose = f", voxels choose among {self.layers} layers" if self.choose else ""
        return f"n={self.n} K={self.n_folds} {self.n_features} features, {what}{choose}"


@dataclass(frozen=True)
class Dependence:
    """Stimuli in random folds, to be told from exchangeable ones if ``dependent``."""

    shown: str
    dependent: bool
    n: int
    draw: Callable[[int, np.random.Generator], tuple[FloatArray, FloatArray]]


def _series(n: int, q: int, ar: float, rng: np.random.Generator) -> FloatArray:
    noise = rng.standard_normal((n + 50, q))
    return np.asarray(lfilter([np.sqrt(1 - ar**2)], [1, -ar], noise, axis=0)[50:])


def _frames(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    return _series(n, 15, 0.95, rng), _series(n, 20, 0.95, rng)


def _blurred(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    Y = np.asarray(lfilter(_HRF, [1], _series(n, 15, 0.5, rng), axis=0))
    return Y + rng.standard_normal(Y.shape), _series(n, 20, 0.5, rng)


def _repeated(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    shown = rng.permutation(np.r_[: n - n // 8, : n // 8])
    return rng.standard_normal((n, 15)), rng.standard_normal((n, 20))[shown] + 0.01 * rng.standard_normal((n, 20))


def _follow(X: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    return X @ rng.standard_normal((X.shape[1], 15)) + rng.standard_normal((len(X), 15)), X


def _normal(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    return _follow(rng.standard_normal((n, 50)) / np.arange(1, 51), rng)


def _heavy(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    return _follow(rng.chisquare(1, (n, 10)) ** 1.5, rng)


def _categories(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    return _follow(rng.standard_normal((8, 30))[rng.integers(0, 8, n)] + rng.standard_normal((n, 30)), rng)


def _drift(n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    return _series(n, 15, 0.9, rng), rng.standard_normal((n, 20))


NOISE = (
    Noise(60, 5),
    Noise(100, 5, 50),
    Noise(200, 10),
    Noise(100, 5, 10, layers=3, choose=True),
    Noise(100, 10, 10, layers=3, choose=True),
    Noise(100, 10, 10, layers=8, choose=True),
    Noise(120, 4, by="group", groups=24),
    Noise(120, 4, by="group", groups=12),
    Noise(300, 10, by="group", groups=30),
    Noise(200, 5, 50, by="group", groups=5),
    Noise(240, 8, by="group", groups=8),
    Noise(300, 6, by="run", groups=6),
)
DEPENDENCE = (
    *(Dependence("independent", False, n, _normal) for n in (40, 200, 1000)),
    *(Dependence("heavy tails", False, n, _heavy) for n in (40, 200)),
    *(Dependence("categories in random order", False, n, _categories) for n in (40, 200)),
    Dependence("responses drift, features do not", False, 120, _drift),
    *(Dependence("frames and noise, AR .95", True, n, _frames) for n in (40, 120)),
    *(Dependence("AR .5, blurred by an HRF", True, n, _blurred) for n in (60, 200)),
    *(Dependence("an eighth shown under two ids", True, n, _repeated) for n in (80, 400)),
)


def checks(draws: int, seed: int, workers: int) -> Iterator[Check]:
    """Yield the checks of this section."""
    tests = max(draws // _TESTED, min(draws, 100))
    tested = in_processes(_false_positives, [(n, tests, seed) for n in NOISE], workers)
    for noise, shares in zip(NOISE, tested, strict=True):
        low, high = (0.03, 0.08) if noise.choose else (0.03, 0.06)
        error = float(np.std(shares) / np.sqrt(tests))
        yield Check("exchangeability", noise.shown, "p <= .05", float(np.mean(shares)), low, high, tests, error)
    told = in_processes(_told, [(one, draws, seed) for one in DEPENDENCE], workers)
    for one, share in zip(DEPENDENCE, told, strict=True):
        claimed, low, high = ("warned", 0.98, 1.0) if one.dependent else ("false alarm", 0.0, 0.01)
        yield Check("exchangeability", f"n={one.n} {one.shown}", claimed, share, low, high, draws)


def _false_positives(task: tuple[Noise, int, int]) -> list[float]:
    """Return the share of voxels with p at most .05 in each draw."""
    noise, draws, seed = task
    warnings.simplefilter("ignore", VoxelcastWarning)
    return [_share(noise, generator(seed, "noise", noise.shown, draw), draw) for draw in range(draws)]


def _share(noise: Noise, rng: np.random.Generator, draw: int) -> float:
    groups, folds = None, make_folds(noise.n, noise.n_folds, draw)
    if noise.groups:
        size = noise.n // noise.groups
        columns = noise.n_features + _VOXELS
        rows = np.concatenate([_series(size, columns, 0.7, rng) for _ in range(noise.groups)])
        groups = [f"{k // size:03d}" for k in range(noise.n)]
        folds = make_folds(noise.n, noise.n_folds, draw, groups)
        X, Y = {"layer": rows[:, : noise.n_features]}, rows[:, noise.n_features :]
    else:
        X = {f"layer {k}": rng.standard_normal((noise.n, noise.n_features)) for k in range(noise.layers)}
        Y = rng.standard_normal((noise.n, _VOXELS))
    settings = vc.EvaluationSettings(
        selection=SelectionSettings(per="voxel" if noise.choose else "roi"),
        significance=SignificanceSettings(permutations=0 if noise.by == "run" else 500),
        seed=draw,
    )
    scores = vc.evaluate(X, Y, folds=folds, groups=groups, settings=settings)
    p = _rotated(Y, scores["prediction"].to_numpy(), folds, groups) if noise.by == "run" else scores["p_value"]
    return float((p <= 0.05).mean())


def _rotated(Y: FloatArray, P: FloatArray, folds: IntArray, groups: list[str] | None) -> FloatArray:
    exchange = Exchange(folds, groups, circular=True)
    return permutation_p_values(Y, P, exchange, 500, widening=cross_validated_widening(exchange))


def _told(task: tuple[Dependence, int, int]) -> float:
    """Return the share of draws with a warning."""
    one, draws, seed = task
    told = 0
    for draw in range(draws):
        rng = generator(seed, "dependence", one.shown, one.n, draw)
        Y, X = one.draw(one.n, rng)
        told += bool(dependence_warnings(Y, X, make_folds(one.n, 5, draw)))
    return told / draws
