"""Contrasts of two sets of stimuli against SciPy's permutation test, and what they call significant on noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import permutation_test

from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.scoring.contrast import contrast


def test_exact_p_values_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((4, 6)) + 1, rng.standard_normal((5, 6))
    found = contrast(first, second, 1000)

    def statistic(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(a.mean(axis=axis) - b.mean(axis=axis))

    expected = permutation_test((first, second), statistic, n_resamples=np.inf, alternative="greater", axis=0)
    np.testing.assert_allclose(found.p_value, expected.pvalue)
    np.testing.assert_allclose(found.difference, first.mean(axis=0) - second.mean(axis=0))
    pooled = np.sqrt((3 * first.var(axis=0, ddof=1) + 4 * second.var(axis=0, ddof=1)) / 7)
    np.testing.assert_allclose(found.effect, found.difference / pooled)


def test_drawn_permutations_come_close_to_all_and_depend_on_the_seed_alone() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((6, 8)) + 0.7, rng.standard_normal((6, 8))
    exact, drawn = contrast(first, second, 924), contrast(first, second, 923, seed=3)
    np.testing.assert_allclose(drawn.p_value, exact.p_value, atol=0.05)
    assert (drawn.p_value != exact.p_value).any()
    np.testing.assert_array_equal(drawn.p_value, contrast(first, second, 923, seed=3).p_value)
    assert drawn.p_value.min() >= 1 / 924


def test_noise_is_called_different_as_often_as_said() -> None:
    rng = np.random.default_rng(0)
    found = contrast(rng.standard_normal((8, 4000)), rng.standard_normal((15, 4000)), 499)
    assert (found.p_value <= 0.05).mean() == pytest.approx(0.05, abs=0.012)
    assert (found.q_value <= 0.05).mean() < 0.005


def test_a_voxel_that_does_not_vary_is_no_test() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.standard_normal((5, 3)), rng.standard_normal((5, 3))
    first[:, 1] = second[:, 1] = 0.1
    found = contrast(first, second, 99)
    assert np.isnan(found.p_value).tolist() == [False, True, False]
    assert np.isnan(found.effect).tolist() == [False, True, False]


def test_bad_input_is_refused() -> None:
    values = np.zeros((4, 2))
    with pytest.raises(DataError, match="at least 2 stimuli; got 4 and 1"):
        contrast(values, values[:1])
    with pytest.raises(ShapeError, match="second set"):
        contrast(values, np.zeros((4, 3)))
    with pytest.raises(OptionError, match="n_permutations"):
        contrast(values, values, 0)
    with pytest.raises(DataError, match="finite"):
        contrast(values, values * np.nan)
