"""Distance of stimuli from those that were learnt from: false alarms, and what must be found."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.scoring.novelty import Novelty, fit_novelty


def components_of(fitted: FloatArray, shown: FloatArray, k: int) -> FloatArray:
    """Principal components by scikit-learn's definition, fitted to some rows."""
    mean = fitted.mean(axis=0)
    return (shown - mean) @ np.linalg.svd(fitted - mean, full_matrices=False)[2][:k].T


def without(X: FloatArray, folds: IntArray, k: int, left_out: tuple[int, ...]) -> FloatArray:
    return components_of(X[~np.isin(folds, left_out)], X, k)


def simulate(rng: np.random.Generator, n: int) -> FloatArray:
    """Many features of a slowly falling spectrum and heavy tails, such as a network's."""
    return rng.standard_t(5, (n, 400)) / np.arange(1, 401) ** 0.5


@pytest.mark.parametrize(("n", "n_folds"), [(60, 5), (100, 5)])
def test_false_alarms_are_as_many_as_said(n: int, n_folds: int) -> None:
    """Components of far fewer stimuli than features fit the training stimuli better than any new one."""
    rng, k, folds = np.random.default_rng(n), 40, np.arange(n) % n_folds
    shares = []
    for _ in range(12):
        X, new = simulate(rng, n), simulate(rng, 400)
        novelty = fit_novelty(components_of(X, X, k), folds, partial(without, X, folds, k))
        distance, p = novelty.judge(components_of(X, new, k))
        shares.append([(p <= 0.05).mean(), (p <= 0.5).mean(), np.median(distance), novelty.is_unlike(p).mean()])
    alarms, half, middle, unlike = np.mean(shares, axis=0)
    assert alarms == pytest.approx(0.05, abs=0.025)
    assert half == pytest.approx(0.5, abs=0.08)
    assert middle == pytest.approx(1, abs=0.05)
    assert unlike < 0.03


def test_few_stimuli_of_few_features_raise_no_more_alarms() -> None:
    rng, shares = np.random.default_rng(0), []
    for _ in range(60):
        novelty = fit_novelty(rng.standard_normal((36, 8)), np.arange(36) % 4)
        shares.append((novelty.judge(rng.standard_normal((200, 8)))[1] <= 0.1).mean())
    assert np.mean(shares) == pytest.approx(3 / 37, abs=0.03)  # the largest p up to .1


def test_distance_is_that_of_mahalanobis() -> None:
    rng = np.random.default_rng(0)
    X, new = rng.standard_normal((80, 4)) @ rng.standard_normal((4, 4)) + 3, rng.standard_normal((5, 4))
    novelty = fit_novelty(X, np.arange(80) % 4)
    centred = new - X.mean(axis=0)
    squared = np.einsum("ij,jk,ik->i", centred, np.linalg.inv(np.cov(X.T)), centred)
    distance, p = novelty.judge(new)
    expected = squared * 80 * (80 - 4 - 2) / (81 * 79)  # of a new normal one the mean is then 4
    np.testing.assert_allclose(distance**2 * np.median(novelty.reference), expected)
    np.testing.assert_array_equal(p, [(1 + (novelty.reference >= d).sum()) / 81 for d in expected])
    again = Novelty.of_arrays(novelty.arrays()).judge(new)
    np.testing.assert_array_equal(again, (distance, p))


def test_what_lies_far_in_a_direction_that_hardly_varied_is_found() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 3)) * [10, 1, 0.1]
    novelty = fit_novelty(X, np.arange(200) % 10)
    assert novelty.is_unlike(novelty.judge(np.array([[10.0, 0, 0], [0, 0, 1.0]]))[1]).tolist() == [False, True]


def test_a_component_that_is_constant_counts_for_nothing() -> None:
    X = np.random.default_rng(0).standard_normal((40, 3)) * [1, 1, 0]
    distance, _ = fit_novelty(X, np.arange(40) % 4).judge(np.array([[0.5, 0.5, 100.0]]))
    assert distance < 1.5


@pytest.mark.parametrize(
    ("n", "folds", "said"), [(8, np.arange(8) % 4, "got 8 in 4"), (40, np.arange(40) % 2, "got 40 in 2")]
)
def test_too_few_stimuli_are_refused(n: int, folds: IntArray, said: str) -> None:
    with pytest.raises(DataError, match=said):
        fit_novelty(np.random.default_rng(0).standard_normal((n, 3)), folds)


def test_other_components_are_refused() -> None:
    novelty = fit_novelty(np.random.default_rng(0).standard_normal((40, 3)), np.arange(40) % 4)
    with pytest.raises(DataError, match="must have 3 components; got 2"):
        novelty.judge(np.zeros((1, 2)))
    with pytest.raises(ShapeError, match="components"):
        novelty.judge(np.zeros(3))
