"""Intervals of unique and shared variance against explicit resampling."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import generator
from voxelcast.scoring import variance_partitioning as module
from voxelcast.scoring.bootstrap import resampling_weights
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.scoring.variance_partitioning import Sets, fold_r2, partition_variance, variance_parts

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


def drawn_rows(folds: IntArray, groups: list[str] | None, b: int, n_resamples: int, seed: int) -> IntArray:
    """Write every stimulus as often as resample ``b`` draws it."""
    rows: list[int] = []
    if groups is not None and len(set(groups)) == len(np.unique(folds)):  # each fold is a group
        k = len(np.unique(folds))
        counts = generator(seed, "bootstrap", "folds").multinomial(k, np.full(k, 1 / k), size=n_resamples)[b]
        return np.concatenate([np.tile(np.flatnonzero(folds == f), counts[f]) for f in range(k)])
    for fold in np.unique(folds):
        own = np.flatnonzero(folds == fold)
        of_fold = None if groups is None else [groups[row] for row in own]
        weights = resampling_weights(of_fold, len(own), n_resamples, seed, int(fold))[b]
        rows += np.repeat(own, weights.astype(int)).tolist()
    return np.array(rows)


@pytest.mark.parametrize("names", ["AB", "ABC"])
@pytest.mark.parametrize(
    "groups",
    [None, [f"{row % 3}-{row // 6}" for row in range(N)], [str(row % 3) for row in range(N)]],
    ids=["stimuli", "groups", "folds"],
)
def test_intervals_equal_explicit_resampling(names: str, groups: list[str] | None) -> None:
    Y, predictions = predictions_of(names)
    found = {(p.kind, p.sets): p for p in variance_parts(Y, predictions, FOLDS, IntervalSettings(100, 0.8), 7, groups)}
    expected = shares(Y, predictions, FOLDS)
    assert found.keys() == expected.keys()
    again: dict[tuple[str, Sets], list[FloatArray]] = {name: [] for name in expected}
    for b in range(100):
        rows = drawn_rows(FOLDS, groups, b, 100, 7)
        # A fold that is drawn twice is its stimuli twice, about the fold's mean: the same sums of squares, doubled.
        for name, values in shares(Y[rows], {s: P[rows] for s, P in predictions.items()}, FOLDS[rows]).items():
            again[name].append(values)
    for name, part in found.items():
        np.testing.assert_allclose(part.r2, expected[name], atol=1e-12)
        np.testing.assert_allclose([part.low, part.high], np.quantile(again[name], [0.1, 0.9], axis=0), atol=1e-9)
        means = np.mean(again[name], axis=1)
        np.testing.assert_allclose([part.mean_low, part.mean_high], np.quantile(means, [0.1, 0.9]), atol=1e-9)
        assert part.mean == pytest.approx(expected[name].mean())


def test_models_come_first_and_small_combinations_before_large_ones() -> None:
    Y, predictions = predictions_of("AB")
    found = variance_parts(Y, dict(reversed(predictions.items())), FOLDS, IntervalSettings(100))
    assert [(p.kind, "".join(sorted(p.sets))) for p in found] == [
        *(("model", "A"), ("model", "B"), ("model", "AB")),
        *(("unique", "A"), ("unique", "B"), ("shared", "AB")),
    ]


def test_blocks_of_voxels_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Y, predictions = predictions_of("AB", q=7)
    whole = variance_parts(Y, predictions, FOLDS, IntervalSettings(100))
    monkeypatch.setattr(module, "_BLOCK_BYTES", 8 * 100 * 12 * 2)
    for one, other in zip(whole, variance_parts(Y, predictions, FOLDS, IntervalSettings(100)), strict=True):
        np.testing.assert_allclose(one.low, other.low, atol=1e-12)
        assert one.mean_high == pytest.approx(other.mean_high)


def test_constant_voxels_have_no_part_and_spoil_no_mean() -> None:
    Y, predictions = predictions_of("AB")
    alone = variance_parts(Y[:, 1:], {s: P[:, 1:] for s, P in predictions.items()}, FOLDS, IntervalSettings(100))
    Y[:, 0] = 3.0
    for one, other in zip(variance_parts(Y, predictions, FOLDS, IntervalSettings(100)), alone, strict=True):
        assert np.isnan([one.r2[0], one.low[0], one.high[0]]).all()
        assert (one.mean, one.mean_low) == pytest.approx((other.mean, other.mean_low))
    Y[:] = 3.0
    assert all(
        np.isnan([p.mean, p.mean_low]).all() for p in variance_parts(Y, predictions, FOLDS, IntervalSettings(100))
    )


def test_one_group_has_no_interval() -> None:
    Y, predictions = predictions_of("AB")
    for part in variance_parts(Y, predictions, FOLDS, IntervalSettings(100), groups=["run"] * N):
        assert np.isfinite(part.r2).all()
        assert np.isnan(part.low).all()
        assert np.isnan(part.mean_high)


def test_refuses_bad_input() -> None:
    Y, predictions = predictions_of("AB")
    with pytest.raises(OptionError, match="level must be below 1"):
        IntervalSettings(level=1.0)
    with pytest.raises(OptionError, match=r"R2 of A \+ B is missing"):
        variance_parts(Y, {s: P for s, P in predictions.items() if len(s) == 1}, FOLDS)
    predictions[frozenset("A")][0, 0] = np.nan
    with pytest.raises(DataError, match="must be finite"):
        variance_parts(Y, predictions, FOLDS)
