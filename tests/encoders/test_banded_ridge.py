"""Banded ridge regression against ridge regression on scaled features, and on planted bands."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError

himalaya = pytest.importorskip("himalaya.backend")

from voxelcast.encoders.banded_ridge import ALPHAS, band_weights, fit_banded_ridge  # noqa: E402


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


def test_same_seed_same_bits_and_backend_restored() -> None:
    rng = np.random.default_rng(5)
    Xs, Y = _bands(30, (4, 3)), rng.standard_normal((30, 1))
    before = himalaya.get_backend()
    first, again = (fit_banded_ridge(Xs, Y, np.arange(30) % 3, seed=9) for _ in range(2))
    np.testing.assert_array_equal(first.predict(Xs), again.predict(Xs))
    assert himalaya.get_backend() is before


def test_weights_tried_sum_to_one_and_hold_each_band_alone() -> None:
    weights = band_weights(3, 8, 0)
    assert weights.shape == (12, 3)
    np.testing.assert_allclose(weights.sum(axis=1), 1.0)
    np.testing.assert_array_equal(weights[1:4], np.eye(3))
    np.testing.assert_array_equal(band_weights(3, 0, 0), np.full((1, 3), 1 / 3))


def test_refuses_no_bands() -> None:
    with pytest.raises(OptionError, match="at least one band"):
        fit_banded_ridge([], np.zeros((4, 1)), np.arange(4) % 2)
