"""Correlations against NumPy and SciPy, and at their edges."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.scoring.correlation import (
    METRICS,
    cross_validated_r,
    fold_pearson_r,
    mean_pearson_r,
    olkin_pratt,
    pearson_r,
    pooled_2021_r,
)


def _pair(n: int = 30, q: int = 6, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    Y = rng.standard_normal((n, q))
    return Y, 0.5 * Y + rng.standard_normal((n, q))


@pytest.mark.parametrize("scale", [1e-100, 1e-10, 1.0, 1e12])
@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_equals_numpy_in_any_unit(scale: float, offset: float) -> None:
    Y, P = _pair()
    expected = [np.corrcoef(Y[:, k], P[:, k])[0, 1] for k in range(6)]
    np.testing.assert_allclose(pearson_r(scale * (Y + offset), P), expected, atol=1e-10)
    np.testing.assert_allclose(pearson_r(Y, scale * (P + offset)), expected, atol=1e-10)


@pytest.mark.parametrize("constant", [0.0, 0.1, -1e9, 1e-300])
def test_constant_is_nan(constant: float) -> None:
    Y, P = _pair()
    Y[:, 1], P[:, 2] = constant, constant
    assert np.isnan(pearson_r(Y, P)).tolist() == [False, True, True, False, False, False]


def test_perfect_predictions_stay_within_one() -> None:
    Y, _ = _pair(200, 500)
    r = pearson_r(Y, 3 * Y + 1)
    assert r.max() <= 1.0
    np.testing.assert_allclose(r, 1.0)
    np.testing.assert_allclose(pearson_r(Y, -Y), -1.0)


def test_pooled_equals_the_2021_code() -> None:
    Y, P = _pair(10, 5)
    Y += np.arange(5)
    y, p = Y.ravel(), P.ravel()
    as_in_2021 = np.cov(y, p)[0, 1] / (np.std(y) * np.std(p))
    assert pooled_2021_r(Y, P) == pytest.approx(as_in_2021, abs=1e-14)
    assert pooled_2021_r(Y[:, :1], Y[:, :1]) == pytest.approx(10 / 9)


def test_mean_counts_constant_predictions_as_nothing_and_leaves_constant_responses_out() -> None:
    Y, P = _pair(30, 4)
    Y[:, 0], P[:, 1] = 2.0, 5.0
    r = pearson_r(Y, P)
    assert mean_pearson_r(Y, P) == pytest.approx((r[2] + r[3]) / 3)
    assert np.isnan(mean_pearson_r(Y, np.ones_like(P)))
    assert np.isnan(mean_pearson_r(np.ones_like(Y), P))


def test_metrics_by_name() -> None:
    Y, P = _pair()
    assert METRICS["pearson_r"](Y, P) == pytest.approx(pearson_r(Y, P).mean())
    assert METRICS["pooled_2021"](Y, P) == pooled_2021_r(Y, P)


def test_fold_average_equals_the_loop() -> None:
    Y, P = _pair(31)
    folds = np.random.default_rng(1).integers(0, 4, 31)
    expected = np.mean([pearson_r(Y[folds == k], P[folds == k]) for k in range(4)], axis=0)
    np.testing.assert_allclose(fold_pearson_r(Y, P, folds), expected)


def test_folds_of_constant_responses_are_left_out_and_those_of_constant_predictions_count_as_zero() -> None:
    Y, P = _pair(40, 4)
    folds = np.repeat(np.arange(4), 10)
    Y[folds == 2, 0], P[folds == 2, 1], Y[:, 2] = 3.0, 3.0, 1.0
    r = fold_pearson_r(Y, P, folds)
    others = folds != 2
    of_others = fold_pearson_r(Y[others], P[others], folds[others])
    assert r[0] == pytest.approx(of_others[0])
    assert r[1] == pytest.approx(0.75 * of_others[1])
    assert np.isnan(r).tolist() == [False, False, True, False]
    P[:, 1] = folds  # constant in every fold, though not the same in all
    assert np.isnan(fold_pearson_r(Y, P, folds)).tolist() == [False, True, True, False]


def test_a_model_that_knows_only_the_mean_would_score_below_zero_if_folds_were_joined() -> None:
    Y, _ = _pair(60, 400)
    folds = np.arange(60) % 6
    tiny = 1e-6 * np.random.default_rng(2).standard_normal(Y.shape)
    P = np.stack([Y[folds != fold].mean(axis=0) for fold in folds]) + tiny
    assert pearson_r(Y, P).mean() < -0.2
    assert abs(fold_pearson_r(Y, P, folds).mean()) < 0.02


def test_the_cross_validated_score_equals_the_loop() -> None:
    Y, P = _pair(31)
    folds = np.random.default_rng(1).integers(0, 4, 31)
    expected = []
    for fold in range(4):
        held = folds == fold
        known = Y[~held].mean(axis=0)
        y, p = Y[held] - known, P[held] - known
        expected.append(
            olkin_pratt((y * p).sum(axis=0) / np.sqrt((y**2).sum(axis=0) * (p**2).sum(axis=0)), held.sum() + 1)
        )
    np.testing.assert_allclose(cross_validated_r(Y, P, folds), np.mean(expected, axis=0))
    own = [olkin_pratt(pearson_r(Y[folds == k], P[folds == k]), (folds == k).sum()) for k in range(4)]
    np.testing.assert_allclose(cross_validated_r(Y, P, folds, own_baseline=True), np.mean(own, axis=0))
    np.testing.assert_allclose(cross_validated_r(Y, P, 0 * folds), olkin_pratt(pearson_r(Y, P), 31))


def test_the_cross_validated_score_has_no_bias_in_small_folds() -> None:
    # Folds of 8, and an intercept known from the other stimuli: the expected r is .5.
    rng = np.random.default_rng(4)
    P = rng.standard_normal((80, 4000))
    Y = 0.5 * P + np.sqrt(0.75) * rng.standard_normal(P.shape) + 3
    folds = np.arange(80) % 10
    P = np.stack([Y[folds != fold].mean(axis=0) for fold in folds]) + P
    assert cross_validated_r(Y, P, folds).mean() == pytest.approx(0.5, abs=0.005)
    assert fold_pearson_r(Y, P, folds).mean() < 0.475


def test_constant_folds_count_in_a_score_as_in_r() -> None:
    Y, P = _pair(40, 6)
    folds = np.repeat(np.arange(4), 10)
    Y[folds == 2, 0], Y[:, 2], P[:, 5] = 3.0, 1.0, folds
    Y[folds == 1, 4], P[folds == 1, 4] = 2.0, 2.0
    for own_baseline in (False, True):
        whole = cross_validated_r(Y, P, folds, own_baseline=own_baseline)[1]
        flat, fold = P.copy(), folds == 2
        flat[fold, 1] = -0.2
        r = cross_validated_r(Y, flat, folds, own_baseline=own_baseline)
        assert np.isnan(r).tolist() == [False, False, True, False, False, True]
        known = 0 if own_baseline else Y[~fold, 1].mean()
        y, p = ((v - v.mean()) if own_baseline else v - known for v in (Y[fold, 1], P[fold, 1]))
        lost = olkin_pratt(np.array([(y @ p) / np.sqrt((y @ y) * (p @ p))]), 10 + (not own_baseline))[0]
        assert r[1] == pytest.approx(whole - lost / 4)


def test_where_few_models_know_more_than_the_mean_the_score_has_no_bias() -> None:
    # Of noise, a fold's predictions are constant unless its training responses happen to follow the feature.
    rng, scores = np.random.default_rng(5), []
    folds = np.arange(40) % 4
    for _ in range(20):
        X, Y = rng.standard_normal((40, 1)), rng.standard_normal((40, 500))
        P = np.empty(Y.shape)
        for fold in range(4):
            held = folds == fold
            x, y = X[~held] - X[~held].mean(), Y[~held] - Y[~held].mean(axis=0)
            slope = (x * y).mean(axis=0)
            P[held] = Y[~held].mean(axis=0) + np.where(np.abs(slope) > 0.3, slope, 0) * X[held]
        scores.append(np.nanmean(cross_validated_r(Y, P, folds)))
    assert abs(np.mean(scores)) < 3 * np.std(scores) / np.sqrt(20)


def test_olkin_and_pratt_is_unbiased() -> None:
    assert olkin_pratt(np.array([-1.0, 0.0, 1.0]), 8).tolist() == [-1.0, 0.0, 1.0]
    assert np.isnan(olkin_pratt(np.array([np.nan]), 8)).all()
    assert olkin_pratt(np.array([1.0, -1.0]), 2).tolist() == [1.0, -1.0]
    r = np.linspace(-0.99, 0.99, 21)
    np.testing.assert_allclose(olkin_pratt(r, 3), np.sign(r))
    np.testing.assert_allclose(olkin_pratt(r, 1000), r * (1 + (1 - r**2) / (2 * 998)), atol=1e-5)
    rng = np.random.default_rng(0)
    x, e = rng.standard_normal((2, 8, 100_000))
    for rho in (0.3, 0.8):
        assert olkin_pratt(pearson_r(rho * x + np.sqrt(1 - rho**2) * e, x), 8).mean() == pytest.approx(rho, abs=0.004)


def test_refuses_other_shapes_and_no_stimuli() -> None:
    Y, P = _pair()
    with pytest.raises(ShapeError, match=r"\(30, 6\) and \(30, 5\)"):
        pearson_r(Y, P[:, :5])
    with pytest.raises(DataError, match="got 0"):
        pearson_r(Y[:0], P[:0])
    with pytest.raises(ShapeError, match="fold_ids"):
        fold_pearson_r(Y, P, np.zeros(3, dtype=int))
