"""Delayed features against explicit loops."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.errors import AlignmentError, OptionError
from voxelcast.features.delays import BEFORE, delay, delayed_rows, delays_of
from voxelcast.features.hrf import KERNELS, response_to_events


def test_equals_a_loop_and_never_crosses_a_run() -> None:
    rng = np.random.default_rng(0)
    series = {f"{run}{k}": (run, k) for run in "ab" for k in range(6)}
    ids = [str(name) for name in rng.permutation(list(series))]
    ids.remove("b2")  # could not be read
    wanted = [name for name in series if name not in ("a0", "b2")]
    features = rng.standard_normal((len(ids), 3))
    delays = [0, 1, 4]
    got = delay(features, delayed_rows(ids, wanted, series, delays))
    for row, name in enumerate(wanted):
        for place, lag in enumerate(delays):
            run, k = series[name]
            before = f"{run}{k - lag}"
            expected = features[ids.index(before)] if before in ids else np.zeros(3)
            assert (got[row, place::3] == expected).all()


def test_refuses_no_delays_and_unknown_volumes() -> None:
    series = {"a": ("r", 0)}
    assert delayed_rows(["a"], ["a"], series, [-1, 0, 1]).tolist() == [[BEFORE, 0, BEFORE]]
    with pytest.raises(OptionError, match="delays must be at least one whole number of TR"):
        delayed_rows(["a"], ["a"], series, [])
    with pytest.raises(AlignmentError, match="volume 'b' has no position in a run"):
        delayed_rows(["a"], ["b"], series, [1])


def test_the_response_of_steps_is_that_of_events_of_their_length() -> None:
    """A feature that holds over each volume is an event of that length: both ways of the response agree."""
    rng = np.random.default_rng(0)
    features, n, tr = rng.standard_normal((50, 2)), 50, 1.5
    series = {f"v{k}": ("run", k) for k in range(n)}
    found = delays_of(list(series), list(series), series, "double_gamma+derivative", tr).of(features)
    times = np.arange(n) * tr
    wanted = response_to_events(times, np.full(n, tr), features, (n, tr), "double_gamma+derivative")
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_the_response_to_events_is_the_integral_of_the_kernel() -> None:
    """Against sums over a fine grid: of a brief word, and of one that lasts."""
    kernel, tr, n, fine = KERNELS["bold"], 2.0, 20, 2e-3
    times = (np.arange(round(n * tr / fine)) + 0.5) * fine

    def mean_response(onset: float, duration: float, late: float = 0.0) -> np.ndarray:
        on = ((times >= onset) & (times < onset + duration)).astype(float)
        response = np.convolve(on, kernel(times))[: len(times)] * fine
        moved = np.interp(times - late, times, response, left=0.0)
        return np.asarray(moved.reshape(n, -1).mean(axis=1))

    onsets, durations, values = np.array([3.3, 11.0]), np.array([0.0, 2.5]), np.array([[2.0], [-1.0]])
    found = response_to_events(onsets, durations, values, (n, tr), "double_gamma+derivative")
    brief = 2.0 * tr * mean_response(3.3, 0.01) / 0.01  # a word counts as much as if it lasted a volume
    plain = brief - mean_response(11.0, 2.5)
    np.testing.assert_allclose(found[:, 0], plain, atol=2e-3)
    later = 2.0 * tr * mean_response(3.3, 0.01, 1.0) / 0.01 - mean_response(11.0, 2.5, 1.0)
    np.testing.assert_allclose(found[:, 1], plain - later, atol=4e-3)


def test_a_response_does_not_reach_into_another_run() -> None:
    series = {"a0": ("a", 0), "a1": ("a", 1), "b0": ("b", 0), "b1": ("b", 1)}
    features = np.array([[1.0], [1.0], [0.0], [0.0]])
    found = delays_of(list(series), list(series), series, "double_gamma", 2.0).of(features)
    assert (found[:2] > 0).all()
    assert (found[2:] == 0).all()
