"""Intervals of predicted responses: how often they hold the measured responses to new stimuli.

A draw takes stimuli from a population, evaluates by nested cross-validation, fits the model of all of them, and counts
over the voxels and many new stimuli. Of the real session, a random half of the pictures is learnt from.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial

import numpy as np

import voxelcast as vc
from benchmarks.honesty.check import Check, in_processes
from benchmarks.honesty.intervals import Cell, Population
from benchmarks.honesty.shuffled import data_folder, v4_session
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import VoxelcastWarning
from voxelcast.core.seeds import generator
from voxelcast.scoring.prediction_intervals import prediction_intervals
from voxelcast.scoring.settings import SignificanceSettings

_PLAIN = vc.EvaluationSettings(significance=SignificanceSettings(0))
_N_NEW = 500
_ALLOWED = (0.93, 0.97)
_V4 = Cell(320, 10, 50)


def coverage(cell: Cell, X: FloatArray, Y: FloatArray, new: FloatArray, measured: FloatArray) -> float:
    """Return the share of measured responses to new stimuli that lie in the 95 % intervals of those fitted."""
    space = vc.FeatureSpace(X, compression=None)
    out_of_fold = vc.evaluate(space, Y, encoders=cell.encoder, folds=cell.folds, settings=_PLAIN)["prediction"].values
    model = vc.EncodingModel(cell.encoder, folds=cell.folds).fit(X, Y)
    low, high = prediction_intervals(Y, out_of_fold).around(model.predict(new))
    return float(((low <= measured) & (measured <= high)).mean())


def measure(cell: Cell, draws: int, seed: int) -> Check:
    """Draw a cell many times."""
    warnings.simplefilter("ignore", VoxelcastWarning)
    rng = generator(seed, cell.name, "prediction intervals")
    population = Population(cell, rng)
    covered = []
    for _ in range(draws):
        (X, Y, _), (new, measured, _) = population.draw(rng, cell.n), population.draw(rng, _N_NEW)
        covered.append(coverage(cell, X, Y, new, measured))
    return _check(cell.name, covered)


def measure_v4(draws: int, seed: int) -> Check:
    """Learn from half of the pictures that 50 neurons saw, and count over the other half."""
    session, covered = v4_session(), []
    for draw in range(draws):
        order = generator(seed, "V4 halves", draw).permutation(len(session.X))
        half, other = order[: _V4.n], order[_V4.n :]
        covered.append(coverage(_V4, session.X[half], session.Y[half], session.X[other], session.Y[other]))
    return _check("V4 session 210325, one half for the other", covered)


def _check(cell: str, covered: list[float]) -> Check:
    error, claim = float(np.std(covered) / len(covered) ** 0.5), "95 % interval holds the response to a new stimulus"
    return Check("prediction-intervals", cell, claim, float(np.mean(covered)), *_ALLOWED, len(covered), error)


def cells() -> list[Cell]:
    """List the cells: correlated voxels, with normal noise and heavy tails; other encoders and many features."""
    listed = [
        Cell(n, 5 if n < 100 else 10, 20, s, tails=t) for n in (40, 100, 200) for s in (0, 0.3, 0.7) for t in (0, 3)
    ]
    return [*listed, Cell(40, encoder="pls"), Cell(100, encoder="lasso"), Cell(60, features=80)]


def checks(draws: int, seed: int, workers: int) -> Iterator[Check]:
    """Measure all cells, in processes, and the real session where it is."""
    yield from in_processes(partial(measure, draws=draws, seed=seed), cells(), workers)
    if (data_folder() / "v4_macaque").is_dir():
        yield measure_v4(min(draws, 20), seed)
