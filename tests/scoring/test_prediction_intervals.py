"""Intervals of predicted responses: ranks by hand, coverage in simulation and on real neurons."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.scoring.prediction_intervals import LEVELS, half_widths, prediction_intervals, stored_intervals


@pytest.mark.parametrize(("n", "level", "rank"), [(19, 0.95, 19), (40, 0.95, 39), (200, 0.95, 191), (9, 0.9, 9)])
def test_half_widths_are_the_residuals_of_the_rank_that_theory_says(n: int, level: float, rank: int) -> None:
    Y = np.random.default_rng(n).standard_normal((n, 3))
    found = prediction_intervals(Y, np.zeros((n, 3)), level)
    np.testing.assert_array_equal(found.half_width, np.sort(np.abs(Y), axis=0)[rank - 1])
    assert found.reason == ""
    low, high = found.around(np.ones((2, 3)))
    np.testing.assert_allclose((low + high) / 2, 1)
    np.testing.assert_allclose((high - low) / 2, np.tile(found.half_width, (2, 1)))


def test_too_few_stimuli_have_no_interval_but_a_reason() -> None:
    found = prediction_intervals(np.eye(18), np.zeros((18, 18)))
    assert np.isnan(found.half_width).all()
    assert found.reason == "18 stimuli are too few for a 95 % interval, which takes 19"
    assert stored_intervals(half_widths(np.eye(18), np.zeros((18, 18))), 18, 0.95).reason == found.reason
    assert np.isfinite(prediction_intervals(np.eye(18), np.zeros((18, 18)), 0.9).half_width).all()


def test_stored_half_widths_are_those_of_their_level_or_the_next_higher() -> None:
    rng = np.random.default_rng(0)
    Y, P = rng.standard_normal((2, 60, 4))
    stored = half_widths(Y, P)
    assert stored.shape == (len(LEVELS), 4)
    for level, kept in ((0.95, 0.95), (0.683, 0.69), (0.5, 0.5)):
        found = stored_intervals(stored, 60, level)
        assert found.level == kept
        np.testing.assert_array_equal(found.half_width, prediction_intervals(Y, P, kept).half_width)
    with pytest.raises(OptionError, match=r"from 0.5 to 0.995; got 0.4"):
        stored_intervals(stored, 60, 0.4)


@pytest.mark.parametrize("n", [40, 100, 200])
@pytest.mark.parametrize("tails", [0, 3])
def test_coverage_with_correlated_voxels_and_heavy_tails(n: int, tails: int) -> None:
    """Least squares by hand, folds of a fifth: the mean coverage of 60 data sets is 93 to 97 %."""
    rng = np.random.default_rng(n + tails)
    mixing, weights = rng.standard_normal((10, 10)), rng.standard_normal((6, 10))

    def draw(size: int) -> tuple[FloatArray, FloatArray]:
        X = rng.standard_normal((size, 6))
        noise = rng.standard_t(tails, (size, 10)) if tails else rng.standard_normal((size, 10))
        return X, X @ weights + noise @ mixing

    covered = []
    for _ in range(60):
        X, Y = draw(n)
        P, folds = np.empty_like(Y), np.arange(n) % 5
        for fold in range(5):
            P[folds == fold] = X[folds == fold] @ np.linalg.lstsq(X[folds != fold], Y[folds != fold], rcond=None)[0]
        new, measured = draw(300)
        low, high = prediction_intervals(Y, P).around(new @ np.linalg.lstsq(X, Y, rcond=None)[0])
        covered.append(((low <= measured) & (measured <= high)).mean())
    assert 0.93 <= np.mean(covered) <= 0.97


def test_a_spread_makes_intervals_wide_where_residuals_are() -> None:
    rng = np.random.default_rng(0)
    spread = np.repeat([1.0, 4.0], 200)
    Y = spread[:, np.newaxis] * rng.standard_normal((400, 1))
    new = spread[:, np.newaxis] * rng.standard_normal((400, 5))
    plain, scaled = prediction_intervals(Y, 0 * Y), prediction_intervals(Y, 0 * Y, spread=spread)

    def covered_where_wide(low: FloatArray, high: FloatArray) -> float:
        return float(((low <= new) & (new <= high))[200:].mean())

    assert covered_where_wide(*plain.around(0 * new)) < 0.93
    assert covered_where_wide(*scaled.around(0 * new, spread)) == pytest.approx(0.95, abs=0.02)
    with pytest.raises(DataError, match="spread must be positive"):
        prediction_intervals(Y, 0 * Y, spread=0 * spread)
    with pytest.raises(ShapeError, match="spread"):
        prediction_intervals(Y, 0 * Y, spread=spread[:5])


def test_bad_values_are_refused() -> None:
    with pytest.raises(DataError, match="responses must be finite"):
        prediction_intervals(np.full((20, 1), np.nan), np.zeros((20, 1)))
    with pytest.raises(OptionError, match="between 0 and 1; got 95"):
        prediction_intervals(np.zeros((20, 1)), np.zeros((20, 1)), 95)
