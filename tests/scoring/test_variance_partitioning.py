"""Variance partitioning against scikit-learn, the textbook's formulas and simulations of known parts."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import explained_variance_score

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.scoring.variance_partitioning import fold_r2, partition_variance


def _combinations(names: str) -> list[frozenset[str]]:
    return [frozenset(chosen) for size in range(1, len(names) + 1) for chosen in combinations(names, size)]


def test_r2_equals_scikit_learns_explained_variance_in_one_fold() -> None:
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((40, 5)) + 3
    P = 0.5 * Y + rng.standard_normal((40, 5))
    expected = explained_variance_score(Y, P, multioutput="raw_values")
    np.testing.assert_allclose(fold_r2(Y, P, np.zeros(40, dtype=int)), expected, atol=1e-12)


def test_r2_equals_the_loop_over_folds() -> None:
    rng = np.random.default_rng(1)
    folds = np.arange(41) % 4
    Y, P = rng.standard_normal((41, 3)) + folds[:, None], rng.standard_normal((41, 3))
    Y[folds == 2, 1], Y[:, 2] = 7.0, folds
    within, left = (
        sum(V[folds == k].var(axis=0) * (folds == k).sum() for k in range(4)) for V in (Y[:, :2], (Y - P)[:, :2])
    )
    r2 = fold_r2(Y, P, folds)
    np.testing.assert_allclose(r2[:2], 1 - left / within, atol=1e-12)
    assert np.isnan(r2[2])


def test_a_model_that_predicts_its_training_mean_explains_nothing() -> None:
    rng = np.random.default_rng(4)
    folds = np.arange(30) % 10
    Y = rng.standard_normal((30, 5)) + folds[:, None]
    P = np.stack([Y[folds != fold].mean(axis=0) for fold in folds])
    np.testing.assert_allclose(fold_r2(Y, P, folds), 0, atol=1e-12)


def test_two_sets_are_the_textbook_formula() -> None:
    a, b, both = np.array([0.3, 0.1]), np.array([0.2, 0.0]), np.array([0.4, 0.15])
    A, B = frozenset("A"), frozenset("B")
    parts = partition_variance({A: a, B: b, A | B: both})
    np.testing.assert_allclose(parts[A], both - b)
    np.testing.assert_allclose(parts[B], both - a)
    np.testing.assert_allclose(parts[A | B], a + b - both)


@pytest.mark.parametrize("names", ["AB", "ABC", "ABCD"])
def test_known_regions_are_found_again(names: str) -> None:
    # Each region of the Venn diagram has a size; the R2 of a model is the sum of the regions that it touches.
    rng = np.random.default_rng(2)
    regions = {chosen: rng.random(6) for chosen in _combinations(names)}
    r2 = {model: np.sum([v for k, v in regions.items() if k & model], axis=0) for model in _combinations(names)}
    parts = partition_variance(r2)
    assert set(parts) == set(regions)
    for chosen, size in regions.items():
        np.testing.assert_allclose(parts[chosen], size, atol=1e-12)
    everything = frozenset(names)
    few = {model: value for model, value in r2.items() if len(model) >= len(names) - 1}
    unique = partition_variance(few)
    for name in names:
        np.testing.assert_allclose(unique[frozenset(name)], regions[frozenset(name)], atol=1e-12)
    np.testing.assert_allclose(sum(parts.values()), r2[everything], atol=1e-12)
    if len(names) > 2:
        assert set(unique) == {frozenset(name) for name in names}


def test_recovers_simulated_parts_from_cross_validated_predictions() -> None:
    # Three sets of features: each has one latent of its own, each two share one, and all share one.
    rng = np.random.default_rng(3)
    n, names, q = 4000, "ABC", 4
    latents = {chosen: rng.standard_normal(n) for chosen in _combinations(names)}
    share = dict(zip(latents, [0.15, 0.1, 0.05, 0.08, 0.12, 0.0, 0.2], strict=True))
    signal = sum(np.sqrt(share[chosen]) * latents[chosen] for chosen in latents)
    Y = np.asarray(signal)[:, None] + np.sqrt(1 - sum(share.values())) * rng.standard_normal((n, q))
    columns = {name: [chosen for chosen in latents if name in chosen] for name in names}
    folds = np.arange(n) % 5
    r2 = {}
    for model in latents:
        X = np.stack([latents[chosen] for chosen in latents if any(chosen in columns[name] for name in model)], axis=1)
        P = np.empty((n, q))
        for fold in range(5):
            P[folds == fold] = LinearRegression().fit(X[folds != fold], Y[folds != fold]).predict(X[folds == fold])
        r2[model] = fold_r2(Y, P, folds)
    for chosen, part in partition_variance(r2).items():
        assert part.mean() == pytest.approx(share[chosen], abs=0.02)


def test_refuses_bad_input() -> None:
    one: FloatArray = np.ones(3)
    with pytest.raises(OptionError, match="at least 2 sets"):
        partition_variance({frozenset("A"): one})
    with pytest.raises(OptionError, match=r"R2 of A \+ B is missing"):
        partition_variance({frozenset("A"): one, frozenset("B"): one})
    with pytest.raises(OptionError, match=r"R2 of B \+ C is missing"):
        partition_variance({frozenset("ABC"): one, frozenset("AB"): one, frozenset("AC"): one})
    with pytest.raises(DataError, match="same voxels"):
        partition_variance({frozenset("A"): one, frozenset("B"): np.ones(2), frozenset("AB"): one})
    with pytest.raises(ShapeError, match=r"\(3, 2\) and \(3, 1\)"):
        fold_r2(np.ones((3, 2)), np.ones((3, 1)), np.zeros(3, dtype=int))
