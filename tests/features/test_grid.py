"""Events and samples on a grid, against integrals by brute force."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import DataError
from voxelcast.features.grid import events_on_grid, samples_on_grid

FINE = 1000  # points per second of the brute force


def by_brute_force(onsets: np.ndarray, durations: np.ndarray, values: np.ndarray, n: int, step: float) -> np.ndarray:
    """Average, over each step, what is on at points that lie densely in it."""
    times = (np.arange(round(n * step * FINE)) + 0.5) / FINE
    on = (times[:, None] >= onsets) & (times[:, None] < onsets + durations)
    return np.asarray((on @ values).reshape(n, -1, values.shape[1]).mean(axis=1))


def test_events_count_by_exact_overlap() -> None:
    rng = np.random.default_rng(0)
    onsets, durations = rng.uniform(-3, 22, 60).round(3), rng.uniform(0.01, 7, 60).round(3)
    values = rng.standard_normal((60, 2))
    found = events_on_grid(onsets, durations, values, 10, 2.0)
    np.testing.assert_allclose(found, by_brute_force(onsets, durations, values, 10, 2.0), atol=1e-9)


def test_an_event_without_duration_is_one_whole_step() -> None:
    found = events_on_grid(np.array([-1.0, 0.0, 3.9, 4.0, 8.0]), np.zeros(5), np.arange(1.0, 6.0)[:, None], 4, 2.0)
    assert found.ravel().tolist() == [2.0, 3.0, 4.0, 0.0]


def test_moments_at_borders_of_a_grid_in_hz_begin_a_step() -> None:
    moments = np.arange(12) / 10
    assert events_on_grid(moments, np.zeros(12), np.ones((12, 1)), 12, 0.1).ravel().tolist() == [1.0] * 12


@pytest.mark.parametrize(("rate", "start"), [(10.0, 0.0), (0.3, -4.0), (7.0, 1.5), (0.5, 0.0)])
def test_samples_are_averaged_over_what_they_cover(rate: float, start: float) -> None:
    values = np.random.default_rng(1).standard_normal((int((20 - start) * rate) + 2, 3)) + 5
    found = samples_on_grid(values, rate, start, 10, 2.0)
    times = (np.arange(20 * FINE) + 0.5) / FINE
    index = np.floor((times - start) * rate).astype(int)
    shown = np.where((index >= 0)[:, None], values[np.clip(index, 0, None)], np.nan)
    np.testing.assert_allclose(found, np.nanmean(shown.reshape(10, -1, 3), axis=1), atol=2e-3)


def test_samples_on_their_own_grid_stay_what_they_are() -> None:
    values = np.random.default_rng(2).standard_normal((6, 2))
    np.testing.assert_allclose(samples_on_grid(values, 0.5, 0.0, 6, 2.0), values, atol=1e-12)


def test_samples_must_cover_every_step() -> None:
    with pytest.raises(DataError, match=r"from 0 s to 20 s; got 0 s to 10 s \(10 samples of 1 Hz\)"):
        samples_on_grid(np.ones((10, 1)), 1.0, 0.0, 10, 2.0)
