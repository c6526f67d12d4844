"""Banded ridge regression against himalaya, scikit-learn in loops, and planted bands."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.model_selection import PredefinedSplit

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.encoders.banded_ridge import ALPHAS, band_weights, fit_banded_ridge

N, Q = 60, 6
FOLDS = np.arange(N) % 5


def _bands(n: int, sizes: tuple[int, ...], seed: int = 0) -> list[FloatArray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, p)) * scale + 2 for p, scale in zip(sizes, (1.0, 5.0, 0.2), strict=False)]


@pytest.mark.parametrize("sizes", [(4, 6, 3), (40, 30, 20)])
def test_equals_ridge_with_the_penalties_it_reports(sizes: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    Xs = _bands(60, sizes)
    Y = Xs[0][:50] @ rng.standard_normal((sizes[0], 5)) + rng.standard_normal((50, 5)) + 7
    train, test = [X[:50] for X in Xs], [X[50:] for X in Xs]
    model = fit_banded_ridge(train, Y, np.arange(50) % 5)
    predicted = model.predict(test)
    for voxel in range(5):
        # Dividing a band by the root of its penalty leaves a penalty of 1 for all.
        roots = [np.sqrt(a) for a in model.penalties[:, voxel]]
        scaled = [np.hstack([X / root for X, root in zip(part, roots, strict=True)]) for part in (train, test)]
        reference = Ridge(alpha=1.0, solver="svd").fit(scaled[0], Y[:, voxel])
        np.testing.assert_allclose(predicted[:, voxel], reference.predict(scaled[1]), atol=1e-7 * np.abs(Y).max())


def test_chosen_penalties_have_the_least_error_over_folds() -> None:
    rng = np.random.default_rng(2)
    Xs = _bands(40, (4, 6))
    Y = Xs[1] @ rng.standard_normal((6, 2)) + 8 * rng.standard_normal((40, 2))
    folds = np.arange(40) % 4
    model = fit_banded_ridge(Xs, Y, folds, n_draws=3, seed=5)
    sizes = [np.square(X - X.mean(axis=0)).sum() / 40 for X in Xs]
    found = {}
    for weights in band_weights(2, 3, 5):
        # himalaya centres the kernels of all stimuli, then again on each training part.
        whole = np.hstack([X * np.sqrt(g / s) for X, g, s in zip(Xs, weights, sizes, strict=True)])
        for alpha in ALPHAS:
            errors = np.zeros(2)
            for fold in range(4):
                kept = folds != fold
                fitted = Ridge(alpha=alpha, solver="svd").fit(whole[kept], Y[kept])
                errors += np.square(Y[~kept] - fitted.predict(whole[~kept])).mean(axis=0)
            found[tuple(weights), alpha] = errors
    for voxel in range(2):
        weights, alpha = min(found, key=lambda key: found[key][voxel])
        with np.errstate(divide="ignore"):
            expected = alpha * np.array(sizes) / np.array(weights)
        np.testing.assert_allclose(model.penalties[:, voxel], expected, rtol=1e-9)


@pytest.mark.parametrize("unit", [1e-9, 1e6])
def test_a_voxel_in_another_unit_is_predicted_alike(unit: float) -> None:
    rng = np.random.default_rng(4)
    Xs = _bands(60, (4, 6, 3))
    Y = Xs[1] @ rng.standard_normal((6, 3)) + 9 * rng.standard_normal((60, 3))
    units = np.array([1.0, unit, 1.0])
    expected, found = (fit_banded_ridge(Xs, responses, np.arange(60) % 5, n_draws=4) for responses in (Y, Y * units))
    np.testing.assert_allclose(found.penalties, expected.penalties)
    np.testing.assert_allclose(found.predict(Xs) / units, expected.predict(Xs), atol=1e-9)


def test_one_voxel_and_a_constant_band() -> None:
    rng = np.random.default_rng(4)
    Xs = [*_bands(60, (4, 6)), np.full((60, 3), 2.5)]
    y = Xs[0] @ rng.standard_normal((4, 1)) + rng.standard_normal((60, 1))
    model = fit_banded_ridge(Xs, y, np.arange(60) % 5, n_draws=4)
    assert np.corrcoef(model.predict(Xs)[:, 0], y[:, 0])[0, 1] > 0.8
    assert not model.coefficients[2].any()


def test_recovers_planted_bands() -> None:
    rng = np.random.default_rng(3)
    Xs = _bands(200, (10, 10, 10))
    signals = [(X - X.mean(axis=0)) / X.std() @ rng.standard_normal((10, 3)) for X in Xs]
    # The first voxels follow bands 0, 1 and 2, the next ones 0 and 1 alike, the last ones nothing.
    both = (signals[0] + signals[1]) / np.sqrt(2)
    Y = np.hstack([np.stack([signals[b][:, 0] for b in range(3)], axis=1), both, np.zeros((200, 3))])
    Y = Y + rng.standard_normal(Y.shape) * 1.5
    model = fit_banded_ridge(Xs, Y, np.arange(200) % 5)
    assert (np.diag(model.shares[:, :3]) > 0.9).all()
    assert (np.abs(model.shares[:2, 3:6] - 0.5) < 0.2).all()
    np.testing.assert_allclose(model.shares.sum(axis=0), 1.0, atol=1e-9)
    assert model.predict(Xs)[:, 6:].var() < 0.3 * model.predict(Xs)[:, :6].var()


def test_two_planted_bands_are_predicted_better_than_by_either_alone() -> None:
    rng = np.random.default_rng(4)
    Xs = _bands(300, (20, 20))
    Y = sum(X / X.std() @ rng.standard_normal((20, 8)) for X in Xs) + 5 * rng.standard_normal((300, 8))
    folds = np.arange(200) % 5

    def score(bands: list[FloatArray]) -> float:
        predicted = fit_banded_ridge([X[:200] for X in bands], Y[:200], folds).predict([X[200:] for X in bands])
        return float(np.mean([np.corrcoef(predicted[:, v], Y[200:, v])[0, 1] for v in range(8)]))

    assert score(Xs) > 1.1 * max(score(Xs[:1]), score(Xs[1:]))


def test_same_seed_same_bits() -> None:
    rng = np.random.default_rng(5)
    Xs, Y = _bands(30, (4, 3)), rng.standard_normal((30, 1))
    first, again = (fit_banded_ridge(Xs, Y, np.arange(30) % 3, seed=9) for _ in range(2))
    np.testing.assert_array_equal(first.predict(Xs), again.predict(Xs))


def test_weights_tried_sum_to_one_and_hold_each_band_alone() -> None:
    weights = band_weights(3, 8, 0)
    assert weights.shape == (12, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_array_equal(weights[1:4], np.eye(3))
    np.testing.assert_array_equal(band_weights(3, 0, 0), np.full((1, 3), 1 / 3))


def data(sizes: tuple[int, ...], seed: int = 0) -> tuple[list[FloatArray], FloatArray, list[FloatArray]]:
    """Groups of features of different scales with offsets, responses that need different penalties, new features."""
    rng = np.random.default_rng(seed)
    groups = [10.0**k * (rng.standard_normal((N + 20, p)) + k) for k, p in enumerate(sizes)]
    signal = sum(
        X[:, :4] @ rng.standard_normal((min(p, 4), Q)) / 10.0**k
        for k, (X, p) in enumerate(zip(groups, sizes, strict=True))
    )
    Y = signal[:N] + np.geomspace(0.1, 30, Q) * rng.standard_normal((N, Q)) + 5
    return [X[:N] for X in groups], Y, [X[N:] for X in groups]


@pytest.mark.parametrize("sizes", [(6,), (6, 9), (50, 40, 3)], ids=["one group", "two groups", "more features"])
def test_equals_ridge_cv_in_a_loop_over_voxels(sizes: tuple[int, ...]) -> None:
    Xs, Y, new = data(sizes)
    scales = [np.sqrt(X.var(axis=0).sum() * len(Xs)) for X in Xs]
    Z, Z_new = (np.hstack([X / s for X, s in zip(part, scales, strict=True)]) for part in (Xs, new))
    model = fit_banded_ridge(Xs, Y, FOLDS, n_draws=0, alphas=ALPHAS[::4], average_over="stimuli")
    predictions = model.predict(new)
    for voxel in range(Q):
        reference = RidgeCV(ALPHAS[::4], cv=PredefinedSplit(FOLDS), scoring="neg_mean_squared_error").fit(
            Z, Y[:, voxel]
        )
        assert model.alphas[voxel] == reference.alpha_
        np.testing.assert_allclose(predictions[:, voxel], reference.predict(Z_new), rtol=1e-8)
    assert len(set(model.alphas)) > 2


def _himalaya(
    Xs: list[FloatArray], Y: FloatArray, folds: IntArray, n_draws: int, seed: int
) -> tuple[list[FloatArray], FloatArray]:
    """Return coefficients of each band and penalties, (n_bands, q), by himalaya's solver on the bands' kernels."""
    pytest.importorskip("himalaya")
    from himalaya.backend import set_backend
    from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search

    set_backend("numpy")
    centred = [X - X.mean(axis=0) for X in Xs]
    norms = np.array([np.square(X).sum() / len(X) for X in centred])
    deviations = Y.std(axis=0)
    with np.errstate(divide="ignore"):
        log_weights, dual, *_ = solve_multiple_kernel_ridge_random_search(
            np.stack([X @ X.T / norm for X, norm in zip(centred, norms, strict=True)]),
            (Y - Y.mean(axis=0)) / deviations,
            n_iter=band_weights(len(Xs), n_draws, seed),
            alphas=np.array(ALPHAS),
            cv=PredefinedSplit(folds),
            fit_intercept=True,
            return_weights="dual",
            progress_bar=False,
        )
        weights = np.exp(log_weights) / norms[:, None]
        return [(X.T @ dual) * (w * deviations) for X, w in zip(centred, weights, strict=True)], 1.0 / weights


@pytest.mark.parametrize("n", [60, 57], ids=["equal folds", "unequal folds"])
@pytest.mark.parametrize("draws", [0, 6])
@pytest.mark.parametrize("sizes", [(6, 9), (50, 40, 3)], ids=["fewer features", "more features"])
def test_equals_himalaya(sizes: tuple[int, ...], draws: int, n: int) -> None:
    Xs, Y, _ = data(sizes, seed=1)
    Xs, Y, folds = [X[:n] for X in Xs], Y[:n], FOLDS[:n]
    coefficients, penalties = _himalaya(Xs, Y, folds, draws, 3)
    model = fit_banded_ridge(Xs, Y, folds, n_draws=draws, seed=3)
    # A weight of 1e-13 that was drawn and a band that is left out are the same up to rounding.
    found, expected = (np.where(some > 1e9, np.inf, some) for some in (model.penalties, penalties))
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    for B, reference in zip(model.coefficients, coefficients, strict=True):
        np.testing.assert_allclose(B, reference, atol=1e-8 * np.abs(reference).max())
    assert len(np.unique(model.weights, axis=1).T) > 1 or not draws  # voxels differ in what they choose


def test_a_group_that_says_nothing_is_left_out() -> None:
    rng = np.random.default_rng(2)
    Xs = [rng.standard_normal((N, 4)), rng.standard_normal((N, 40))]
    Y = Xs[0] @ rng.standard_normal((4, Q)) + 0.1 * rng.standard_normal((N, Q))
    model = fit_banded_ridge(Xs, Y, FOLDS, n_draws=2)
    np.testing.assert_array_equal(model.weights, [[1] * Q, [0] * Q])
    alone = fit_banded_ridge(Xs[:1], Y, FOLDS, n_draws=0)
    np.testing.assert_allclose(model.predict(Xs), alone.predict(Xs[:1]))
    assert not model.coefficients[1].any()


def test_the_unit_of_a_group_does_not_matter() -> None:
    Xs, Y, new = data((6, 9))
    plain = fit_banded_ridge(Xs, Y, FOLDS, n_draws=0).predict(new)
    other = fit_banded_ridge([1e3 * Xs[0], Xs[1]], Y, FOLDS, n_draws=0).predict([1e3 * new[0], new[1]])
    np.testing.assert_allclose(other, plain, rtol=1e-9)


def test_features_without_variance_predict_the_mean() -> None:
    Y = data((3,))[1]
    model = fit_banded_ridge([np.ones((N, 3))], Y, FOLDS)
    np.testing.assert_allclose(model.predict([np.ones((2, 3))]), np.tile(Y.mean(axis=0), (2, 1)))


def test_refuses_bad_input() -> None:
    Xs, Y, _ = data((3,))
    with pytest.raises(OptionError, match="at least one band"):
        fit_banded_ridge([], Y, FOLDS)
    with pytest.raises(OptionError, match="positive penalties"):
        fit_banded_ridge(Xs, Y, FOLDS, alphas=(0.0, 1.0))
    with pytest.raises(OptionError, match="no negative n_draws"):
        fit_banded_ridge(Xs, Y, FOLDS, n_draws=-1)
    with pytest.raises(ShapeError, match="each band"):
        fit_banded_ridge([Xs[0][:-1]], Y, FOLDS)
    with pytest.raises(ShapeError, match="fold_ids"):
        fit_banded_ridge(Xs, Y, FOLDS[:-1])
    with pytest.raises(DataError, match="at least 2 folds"):
        fit_banded_ridge(Xs, Y, np.zeros(N, dtype=int))
