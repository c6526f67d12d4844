"""The bootstrap against explicit resampling and by its coverage."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.scoring.bootstrap import bootstrap_difference, bootstrap_interval, bootstrap_scores, resampling_weights
from voxelcast.scoring.correlation import fold_pearson_r
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.search.folds import make_folds


def _pair(n: int, q: int, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    P = rng.standard_normal((n, q)) + 4
    return 0.5 * P + rng.standard_normal((n, q)), P


@pytest.mark.parametrize("grouped", [False, True])
def test_equals_explicit_resampling(grouped: bool) -> None:
    Y, P = _pair(40, 5)
    folds = np.repeat([0, 1], 20)
    groups = [f"movie {k // 4}" for k in range(40)] if grouped else None
    drawn = []
    weights = [resampling_weights(groups[20 * f : 20 * f + 20] if groups else None, 20, 7, 3, f) for f in (0, 1)]
    for draw in range(7):
        rows = np.concatenate([np.repeat(np.arange(20) + 20 * f, weights[f][draw].astype(int)) for f in (0, 1)])
        drawn.append(fold_pearson_r(Y[rows], P[rows], folds[rows]).mean())
    np.testing.assert_allclose(bootstrap_scores(Y, P, folds, 7, 3, groups), drawn, atol=1e-12)


def test_groups_are_drawn_whole() -> None:
    groups = ["b", "a", "b", "c", "a", "a"]
    weights = resampling_weights(groups, 6, 50, 0, 0)
    for name in "abc":
        members = weights[:, [group == name for group in groups]]
        assert (members == members[:, :1]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert (resampling_weights(None, 6, 50, 0, 0).sum(axis=1) == 6).all()


def test_interval_holds_the_score_and_narrows_with_more_stimuli() -> None:
    widths = []
    for n in (60, 960):
        Y, P = _pair(n, 8)
        folds = np.arange(n) % 3
        low, high = bootstrap_interval(Y, P, folds, IntervalSettings(400))
        assert low < fold_pearson_r(Y, P, folds).mean() < high
        widths.append(high - low)
    assert 3 < widths[0] / widths[1] < 5.5


def test_is_seeded_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    Y, P = _pair(30, 9)
    folds = np.arange(30) % 3
    first = bootstrap_scores(Y, P, folds, 20, seed=1)
    np.testing.assert_array_equal(first, bootstrap_scores(Y, P, folds, 20, seed=1))
    assert not np.array_equal(first, bootstrap_scores(Y, P, folds, 20, seed=2))
    monkeypatch.setattr("voxelcast.scoring.bootstrap._BLOCK_BYTES", 1)
    np.testing.assert_allclose(bootstrap_scores(Y, P, folds, 20, seed=1), first, atol=1e-14)


def test_voxels_without_a_score_are_left_out() -> None:
    Y, P = _pair(30, 4)
    folds = np.arange(30) % 3
    expected = bootstrap_interval(Y[:, :2], P[:, :2], folds, IntervalSettings(100))
    Y[:, 2], P[folds == 1, 3] = 1.0, 2.0
    assert bootstrap_interval(Y, P, folds, IntervalSettings(100)) == pytest.approx(expected, abs=1e-12)
    assert np.isnan(bootstrap_interval(Y, np.ones_like(P), folds, IntervalSettings(100))).all()


def test_refuses_bad_input() -> None:
    Y, P = _pair(30, 4)
    folds = np.arange(30) % 3
    with pytest.raises(ShapeError, match=r"\(30, 4\) and \(30, 3\)"):
        bootstrap_interval(Y, P[:, :3], folds)
    with pytest.raises(OptionError, match="level"):
        IntervalSettings(level=95)
    with pytest.raises(OptionError, match="resamples"):
        IntervalSettings(0)
    with pytest.raises(OptionError, match="n_resamples"):
        bootstrap_scores(Y, P, folds, 0)
    Y[0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        bootstrap_interval(Y, P, folds)


def test_coverage() -> None:
    # Voxels share their noise, as real ones do: without that the interval would be too narrow to tell.
    rng = np.random.default_rng(0)
    inside, runs, true_r = 0, 200, 0.6 / np.sqrt(0.6**2 + 0.8**2)
    for run in range(runs):
        shared = rng.standard_normal((150, 1))
        P = rng.standard_normal((150, 1)) + 0.7 * rng.standard_normal((150, 10))
        P /= np.sqrt(1 + 0.7**2)
        Y = 0.6 * P + 0.8 * (np.sqrt(0.5) * shared + np.sqrt(0.5) * rng.standard_normal((150, 10)))
        low, high = bootstrap_interval(Y, P, np.arange(150) % 3, IntervalSettings(300), seed=run)
        inside += low <= true_r <= high
    assert 0.89 <= inside / runs <= 0.99


def test_the_interval_of_a_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((120, 6))
    shared = Y + 2 * rng.standard_normal(Y.shape)
    P, Q = shared + 0.1 * Y, shared
    folds = np.arange(120) % 4
    low, high = bootstrap_difference(Y, P, Q, folds, seed=3)
    assert 0 < low < high
    # What both share cancels: each score by itself is known far less well.
    alone = bootstrap_interval(Y, Q, folds, seed=3)
    assert high - low < 0.2 * (alone[1] - alone[0])
    resampled = bootstrap_scores(Y, P, folds, 1000, 3) - bootstrap_scores(Y, Q, folds, 1000, 3)
    assert (low, high) == pytest.approx(tuple(np.quantile(resampled, [0.025, 0.975])))
    constant = np.ones_like(Y)
    assert np.isnan(bootstrap_difference(Y, constant, Q, folds)).all()


@pytest.mark.parametrize(("n_groups", "n_folds"), [(11, 10), (15, 10), (6, 5), (24, 6)])
def test_coverage_where_groups_differ(n_groups: int, n_folds: int) -> None:
    # Movies differ in how well they are predicted; folds of one or two movies say nothing of that by themselves.
    rng = np.random.default_rng(0)
    group = np.repeat(np.arange(n_groups), 20)
    names = [f"movie {k:02d}" for k in group]
    folds = make_folds(len(group), n_folds, 0, names)
    scores, intervals = [], []
    for run in range(150):
        quality = np.clip(rng.normal(0.4, 0.35, n_groups), -1, 1)[group][:, None]
        P = rng.standard_normal((len(group), 4))
        Y = quality * P + rng.standard_normal(P.shape)
        scores.append(fold_pearson_r(Y, P, folds).mean())
        intervals.append(bootstrap_interval(Y, P, folds, IntervalSettings(200), seed=run, groups=names))
    low, high = np.transpose(intervals)
    inside = np.mean((low <= np.mean(scores)) & (np.mean(scores) <= high))
    assert 0.8 <= inside <= 0.99
