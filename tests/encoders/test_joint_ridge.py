"""Joint ridge against scikit-learn in loops, and against banded ridge with equal weights."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import PredefinedSplit

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.encoders.banded_ridge import ALPHAS, fit_banded_ridge
from voxelcast.encoders.joint_ridge import fit_joint_ridge

N, Q = 60, 6
FOLDS = np.arange(N) % 5


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
    model = fit_joint_ridge(Xs, Y, FOLDS, alphas=ALPHAS[::4])
    predictions = model.predict(new)
    for voxel in range(Q):
        reference = RidgeCV(ALPHAS[::4], cv=PredefinedSplit(FOLDS), scoring="neg_mean_squared_error").fit(
            Z, Y[:, voxel]
        )
        assert model.alphas[voxel] == reference.alpha_
        np.testing.assert_allclose(predictions[:, voxel], reference.predict(Z_new), rtol=1e-8)
    assert len(set(model.alphas)) > 2


@pytest.mark.parametrize("draws", [0, 4])
@pytest.mark.parametrize("sizes", [(6, 9), (50, 40, 3)])
def test_equals_himalayas_banded_ridge(sizes: tuple[int, ...], draws: int) -> None:
    pytest.importorskip("himalaya")
    Xs, Y, new = data(sizes, seed=1)
    banded = fit_banded_ridge(Xs, Y, FOLDS, n_draws=draws, seed=3)
    model = fit_joint_ridge(Xs, Y, FOLDS, n_draws=draws, seed=3)
    np.testing.assert_allclose(model.predict(new), banded.predict(new), rtol=1e-7)
    assert len(np.unique(model.weights, axis=1).T) > 1 or not draws  # voxels differ in what they choose


def test_a_group_that_says_nothing_is_left_out() -> None:
    rng = np.random.default_rng(2)
    Xs = [rng.standard_normal((N, 4)), rng.standard_normal((N, 40))]
    Y = Xs[0] @ rng.standard_normal((4, Q)) + 0.1 * rng.standard_normal((N, Q))
    model = fit_joint_ridge(Xs, Y, FOLDS, n_draws=2)
    np.testing.assert_array_equal(model.weights, [[1] * Q, [0] * Q])
    alone = fit_joint_ridge(Xs[:1], Y, FOLDS)
    np.testing.assert_allclose(model.predict(Xs), alone.predict(Xs[:1]))
    assert not model.coefficients[1].any()


def test_the_unit_of_a_group_does_not_matter() -> None:
    Xs, Y, new = data((6, 9))
    plain = fit_joint_ridge(Xs, Y, FOLDS).predict(new)
    other = fit_joint_ridge([1e3 * Xs[0], Xs[1]], Y, FOLDS).predict([1e3 * new[0], new[1]])
    np.testing.assert_allclose(other, plain, rtol=1e-9)


def test_features_without_variance_predict_the_mean() -> None:
    Y = data((3,))[1]
    model = fit_joint_ridge([np.ones((N, 3))], Y, FOLDS)
    np.testing.assert_allclose(model.predict([np.ones((2, 3))]), np.tile(Y.mean(axis=0), (2, 1)))


def test_refuses_bad_input() -> None:
    Xs, Y, _ = data((3,))
    with pytest.raises(OptionError, match="at least one group"):
        fit_joint_ridge([], Y, FOLDS)
    with pytest.raises(OptionError, match="positive penalties"):
        fit_joint_ridge(Xs, Y, FOLDS, alphas=(0.0, 1.0))
    with pytest.raises(OptionError, match="no negative n_draws"):
        fit_joint_ridge(Xs, Y, FOLDS, n_draws=-1)
    with pytest.raises(ShapeError, match="each group"):
        fit_joint_ridge([Xs[0][:-1]], Y, FOLDS)
    with pytest.raises(ShapeError, match="fold_ids"):
        fit_joint_ridge(Xs, Y, FOLDS[:-1])
    with pytest.raises(DataError, match="at least 2 folds"):
        fit_joint_ridge(Xs, Y, np.zeros(N, dtype=int))
