"""Intervals of unique and shared variance against explicit deletion."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.stats import t

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, OptionError
from voxelcast.scoring import variance_partitioning as module
from voxelcast.scoring.correlation import centred_pair, cross_validated_r
from voxelcast.scoring.intervals import Judged
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.scoring.variance_partitioning import Sets, fold_r2, partition_variance, preferred, variance_parts

N, FOLDS = 60, np.arange(60) % 3


def predictions_of(names: str, q: int = 4, seed: int = 0) -> tuple[FloatArray, dict[Sets, FloatArray]]:
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((N, q)) + FOLDS[:, None]
    sets = [frozenset(some) for size in range(1, len(names) + 1) for some in combinations(names, size)]
    return Y, {one: 0.2 * len(one) * Y + 0.3 * rng.standard_normal((N, q)) for one in sets}


def shares(Y: FloatArray, predictions: dict[Sets, FloatArray], folds: IntArray) -> dict[tuple[str, Sets], FloatArray]:
    r2 = {sets: fold_r2(Y, P, folds) for sets, P in predictions.items()}
    parts = {("unique" if len(s) == 1 else "shared", s): part for s, part in partition_variance(r2).items()}
    return {("model", s): own for s, own in r2.items()} | parts


@pytest.mark.parametrize("names", ["AB", "ABC"])
@pytest.mark.parametrize("groups", [None, [f"{row % 3}-{row // 6}" for row in range(N)]], ids=["stimuli", "groups"])
def test_intervals_equal_explicit_deletion(names: str, groups: list[str] | None) -> None:
    Y, predictions = predictions_of(names)
    found = {
        (p.kind, p.sets): p
        for p in variance_parts(Y, predictions, Judged(FOLDS, groups), 0.8)
        if p.kind in ("model", "unique", "shared")
    }
    expected = shares(Y, predictions, FOLDS)
    assert found.keys() == expected.keys()
    units = np.array(groups or [str(row) for row in range(N)])
    without: dict[tuple[str, Sets], list[FloatArray]] = {name: [] for name in expected}
    for unit in np.unique(units):
        kept = units != unit
        for name, values in shares(Y[kept], {s: P[kept] for s, P in predictions.items()}, FOLDS[kept]).items():
            without[name].append(values)
    n = len(np.unique(units))
    for name, part in found.items():
        np.testing.assert_allclose(part.r2, expected[name], atol=1e-12)
        variance = (n - 1) ** 2 / n * np.var(without[name], axis=0, ddof=1) * 2 * N / (N - 3)
        half = t.ppf(0.9, n - 1) * np.sqrt(variance)
        np.testing.assert_allclose([part.low, part.high], expected[name] + [-half, half], atol=1e-9)
        of_mean = t.ppf(0.9, n - 1) * np.sqrt(
            (n - 1) ** 2 / n * np.var(np.mean(without[name], axis=1), ddof=1) * 2 * N / (N - 3)
        )
        assert part.mean == pytest.approx(expected[name].mean())
        assert (part.mean_low, part.mean_high) == pytest.approx((part.mean - of_mean, part.mean + of_mean))


def test_models_come_first_and_small_combinations_before_large_ones() -> None:
    Y, predictions = predictions_of("AB")
    found = variance_parts(Y, dict(reversed(predictions.items())), Judged(FOLDS))
    assert [(p.kind, "".join(sorted(p.sets))) for p in found] == [
        *(("model", "A"), ("model", "B"), ("model", "AB")),
        *(("unique", "A"), ("unique", "B"), ("shared", "AB"), ("lead", "A"), ("lead", "B")),
    ]


def test_leads_and_lesions_equal_explicit_deletion() -> None:
    """A lead is over the best of the others; of a lesion r is pooled, each fold's predictions scaled beforehand."""
    Y, predictions = predictions_of("ABC")
    predictions[frozenset("B")] += 0.3 * Y
    lesioned = {"A": predictions[frozenset("BC")], "B": predictions[frozenset("A")]}
    found = {(p.kind, *p.sets): p for p in variance_parts(Y, predictions, Judged(FOLDS), lesioned=lesioned)}
    factor = t.ppf(0.975, N - 1) * np.sqrt((N - 1) ** 2 / N * 2 * N / (N - 3))

    def r2(name: str, kept: IntArray) -> FloatArray:
        return fold_r2(Y[kept], predictions[frozenset(name)][kept], FOLDS[kept])

    every = np.arange(N)
    others = []
    for other in "AC":
        without = [r2("B", np.delete(every, row)) - r2(other, np.delete(every, row)) for row in every]
        difference = r2("B", every) - r2(other, every)
        half = factor * np.std(without, axis=0, ddof=1)
        others.append((difference, difference - half, difference + half))
    lead = found["lead", "B"]
    np.testing.assert_allclose([lead.r2, lead.low, lead.high], np.min(others, axis=0), atol=1e-9)
    assert (preferred(list(found.values()), "ABC") == 2).any()

    y, p = centred_pair(Y, predictions[frozenset("ABC")], FOLDS)
    _, q = centred_pair(Y, lesioned["B"], FOLDS)
    for one in (p, q):
        for fold in range(3):
            one[fold == FOLDS] /= np.sqrt(np.square(one[fold == FOLDS]).mean(axis=0))
    r = []
    for row in every:
        kept = np.delete(every, row)
        of = [(y[kept] * x[kept]).sum(0) / np.sqrt((y[kept] ** 2).sum(0) * (x[kept] ** 2).sum(0)) for x in (p, q)]
        r.append(of[0] - of[1])
    lesion, half = found["lesion", "B"], factor * np.std(r, axis=0, ddof=1)
    whole, left = (cross_validated_r(Y, P, FOLDS) for P in (predictions[frozenset("ABC")], lesioned["B"]))
    expected = [whole - left, whole - left - half, whole - left + half]
    np.testing.assert_allclose([lesion.r2, lesion.low, lesion.high], expected, atol=1e-9)


def test_blocks_of_voxels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Y, predictions = predictions_of("AB", q=7)
    whole = variance_parts(Y, predictions, Judged(FOLDS))
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * N * 12 * 2)
    for one, other in zip(whole, variance_parts(Y, predictions, Judged(FOLDS)), strict=True):
        np.testing.assert_allclose(one.low, other.low, atol=1e-12)
        assert one.mean_high == pytest.approx(other.mean_high)


def test_constant_voxels_have_no_part_and_spoil_no_mean() -> None:
    Y, predictions = predictions_of("AB")
    alone = variance_parts(Y[:, 1:], {s: P[:, 1:] for s, P in predictions.items()}, Judged(FOLDS))
    Y[:, 0] = 3.0
    for one, other in zip(variance_parts(Y, predictions, Judged(FOLDS)), alone, strict=True):
        assert np.isnan([one.r2[0], one.low[0], one.high[0]]).all()
        assert (one.mean, one.mean_low) == pytest.approx((other.mean, other.mean_low))
    Y[:] = 3.0
    assert all(np.isnan([p.mean, p.mean_low]).all() for p in variance_parts(Y, predictions, Judged(FOLDS)))


def test_one_group_has_no_interval() -> None:
    Y, predictions = predictions_of("AB")
    for part in variance_parts(Y, predictions, Judged(FOLDS, ["run"] * N)):
        assert np.isfinite(part.r2).all()
        assert np.isnan(part.low).all()
        assert np.isnan(part.mean_high)


def test_refuses_bad_input() -> None:
    Y, predictions = predictions_of("AB")
    with pytest.raises(OptionError, match="level must be below 1"):
        IntervalSettings(level=1.0)
    with pytest.raises(OptionError, match=r"R2 of A \+ B is missing"):
        variance_parts(Y, {s: P for s, P in predictions.items() if len(s) == 1}, Judged(FOLDS))
    predictions[frozenset("A")][0, 0] = np.nan
    with pytest.raises(DataError, match="must be finite"):
        variance_parts(Y, predictions, Judged(FOLDS))
