"""Noise ceilings: what a model that knows the signal reaches, and what is said that it could reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

import voxelcast as vc
from benchmarks.honesty.check import Check, in_processes
from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import generator
from voxelcast.scoring.ceiling import mean_noise_ceiling_r, noise_normalised_r, normalised_mean, reliability
from voxelcast.scoring.settings import SignificanceSettings

_VOXELS = 40
_SPREADS = {"all .5": (0.5, 0.5), ".1 to .9": (0.1, 0.9)}
_QUICK = vc.EvaluationSettings(significance=SignificanceSettings(permutations=0))


@dataclass(frozen=True)
class Cell:
    """So many stimuli and repetitions, and ceilings of the voxels, uniform between two numbers."""

    stimuli: int
    repetitions: int
    spread: str = "all .5"

    def __str__(self) -> str:
        return f"n={self.stimuli} {self.repetitions} repetitions, ceilings {self.spread}"

    def simulated(self, rng: np.random.Generator) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Draw the true ceilings, the signal (n_stimuli, n_voxels) and responses; a tenth of the noise is shared."""
        ceilings = rng.uniform(*_SPREADS[self.spread], _VOXELS)
        signal = rng.standard_normal((self.stimuli, _VOXELS)) * ceilings
        noise = np.sqrt(0.9) * rng.standard_normal((self.stimuli, self.repetitions, _VOXELS))
        noise += np.sqrt(0.1) * rng.standard_normal((self.stimuli, self.repetitions, 1))
        return ceilings, signal, signal[:, None] + noise * np.sqrt(self.repetitions * (1 - ceilings**2))


def checks(draws: int, seed: int, workers: int) -> Iterator[Check]:
    """Yield the checks of this section."""
    cells = [Cell(n, k) for n in (8, 20, 60, 200) for k in (2, 3, 5, 10)]
    cells += [Cell(n, k, ".1 to .9") for n in (20, 60, 200) for k in (2, 3)]
    highest = 0.0
    for found, most in in_processes(partial(_of_cell, draws, seed), cells, workers):
        yield from found
        highest = max(highest, most)
    yield Check("ceilings", f"these {len(cells)} cells", "highest noise_ceiling_r", highest, 0.0, 1.0, draws, 0.0)
    yield from in_processes(partial(_evaluated, min(draws, 100), seed), [2, 3], workers)
    yield from _unequal(draws, seed)
    yield from _drift(draws, seed)
    yield from _real()


def _mean(cell: object, claimed: str, values: list[float], low: float, high: float) -> Check:
    error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
    return Check("ceilings", str(cell), claimed, float(np.mean(values)), low, high, len(values), error)


def _of_cell(draws: int, seed: int, cell: Cell) -> tuple[list[Check], float]:
    """Check a cell, and return the highest ceiling of a voxel, with signal or without."""
    rng = generator(seed, "ceilings", str(cell))
    biases, means, truths, reached, highest, given = [], [], [], [], 0.0, []
    for _ in range(draws):
        ceilings, signal, values = cell.simulated(rng)
        found = reliability(values)
        r = _correlations(signal, values)
        biases.append(float((found.share - ceilings**2).mean()))
        means.append(mean_noise_ceiling_r(found.share, found.se))
        truths.append(float(ceilings.mean()))
        reached.append(float(r.mean()))
        noise = reliability(values - signal[:, None])
        highest = max(highest, float(found.ceiling_r.max()), float(noise.ceiling_r.max()))
        given.append(float(np.isfinite(noise_normalised_r(r, noise.share, noise.se)).mean()))
    allowed = {8: 0.02, 20: 0.01}.get(cell.stimuli, 0.005)  # single estimates from 8 stimuli vary by about 1
    out = [
        _mean(cell, "bias of the reliability", biases, -allowed, allowed),
        _mean(cell, "voxels without signal that get a noise-normalised r", given, 0.0, 0.03),
    ]
    if cell.stimuli > 8:  # of 8 stimuli the mean over voxels varies by half of itself
        ratio = float(np.mean(reached) / np.mean(means))
        error = float(np.std(np.array(reached) - ratio * np.array(means)) / np.mean(means) / np.sqrt(draws))
        width = 0.05 if cell.stimuli < 60 else 0.03
        out += [
            _mean(cell, "bias of the mean ceiling", list(np.subtract(means, truths)), -0.5 * width, 0.5 * width),
            Check("ceilings", str(cell), "noise-normalised r of the signal", ratio, 1 - width, 1 + width, draws, error),
        ]
    return out, highest


def _correlations(signal: FloatArray, values: FloatArray) -> FloatArray:
    x, y = signal - signal.mean(axis=0), np.nanmean(values, axis=1)
    y -= y.mean(axis=0)
    return np.asarray((x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0)))


def _evaluated(draws: int, seed: int, repetitions: int) -> Check:
    """`vc.evaluate` of responses to features that drive all of the signal."""
    rng = generator(seed, "ceilings", "evaluate", repetitions)
    scores, ceilings = [], []
    for _ in range(draws):
        features = rng.standard_normal((400, 2))
        angles = rng.uniform(0, 2 * np.pi, 20)
        signal = 0.5 * features @ np.stack([np.cos(angles), np.sin(angles)])
        noise = rng.standard_normal((400, repetitions, 20)) * np.sqrt(0.75 * repetitions)
        found = vc.evaluate(features, signal[:, None] + noise, folds=5, settings=_QUICK)
        scores.append(found.attrs["score"])
        ceilings.append(found.attrs["noise_ceiling_r"])
    ratio = float(np.mean(scores) / np.mean(ceilings))
    error = float(np.std(np.array(scores) - ratio * np.array(ceilings)) / np.mean(ceilings) / np.sqrt(draws))
    cell = f"n=400 {repetitions} repetitions, vc.evaluate"
    return Check("ceilings", cell, "noise-normalised r of the right model", ratio, 0.97, 1.03, draws, error)


def _unequal(draws: int, seed: int) -> Iterator[Check]:
    rng, found = generator(seed, "ceilings", "unequal"), []
    for _ in range(draws):
        values = rng.standard_normal((200, 1, _VOXELS)) / 2 + rng.standard_normal((200, 10, _VOXELS))
        values[:100, 1:] = np.nan
        result = reliability(values)
        found.append(mean_noise_ceiling_r(result.share, result.se))
    yield _mean("n=200, half shown once, half ten times", "ceiling (sqrt(.25 / .8) = .559)", found, 0.549, 0.569)


def _drift(draws: int, seed: int) -> Iterator[Check]:
    rng, ratios, warned = generator(seed, "ceilings", "drift"), [], []
    for draw in range(draws):
        signal = rng.standard_normal((100, _VOXELS)) / 2
        values = signal[:, None] + rng.standard_normal((100, 4, _VOXELS))
        warned.append(reliability(values).drift() != "")
        values += np.linspace(-1, 1, 4)[:, None]
        if draw % 2:
            values[:, 1:][rng.random((100, 3, _VOXELS)) < 0.3] = np.nan
        found = reliability(values)
        ratios.append(normalised_mean(_correlations(signal, values), found.share, found.se)[1])
    yield _mean("n=100 4 repetitions, drift", "noise-normalised r of the signal", ratios, 0.96, 1.04)
    share = float(np.mean(warned))
    yield Check("ceilings", "n=100 4 repetitions, no drift", "warns of drift", share, 0.0, 0.05, draws)


def _real() -> Iterator[Check]:
    """Macaque V4: two of ten repetitions against the others, which have gaps; nothing where the data are not there."""
    default = Path(__file__).resolve().parents[3] / "shared" / "data"
    path = Path(os.environ.get("VOXELCAST_TEST_DATA", default)) / "v4_macaque" / "responses_raw_210325.npy"
    if not path.is_file():
        return
    values = np.load(path).transpose(1, 2, 0)
    parts = values[:, :2], values[:, 2:]
    first, second = (reliability(part).ceiling_r for part in parts)
    ratio = float(_correlations(np.nanmean(parts[0], axis=1), parts[1]).mean() / (first * second).mean())
    cell = "macaque V4, 2 repetitions against up to 8"
    yield Check("ceilings", cell, "r between them over the product of their ceilings", ratio, 0.97, 1.03, 1, 0.0)
