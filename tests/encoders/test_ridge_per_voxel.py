"""Ridge with a penalty per voxel, against the definition of generalised cross-validation with the hat matrix."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.moments import moments
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.ridge import Ridge, RidgePerVoxel, gcv, ridge_penalty


def _data(n: int, p: int, q: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(3, 0.3, p) - 2
    noise = np.geomspace(0.1, 100, q)
    return X, X @ rng.standard_normal((p, q)) + noise * rng.standard_normal((n, q)) + 7


@pytest.mark.parametrize(("n", "p", "q"), [(60, 10, 7), (60, 10, 1), (20, 35, 5)])
def test_equals_the_definition_with_the_hat_matrix(n: int, p: int, q: int) -> None:
    X, Y = _data(n, p, q)
    stats = moments(X, Y)
    Xc, Yc = X - stats.x_mean, Y - stats.y_mean
    penalties = ridge_penalty(stats.S, 1.0) * np.geomspace(1e3, 1e-2, 7)
    errors = gcv(stats, penalties)
    for penalty, error in zip(penalties, errors, strict=True):
        hat = Xc @ np.linalg.solve(stats.S + penalty * np.eye(p), Xc.T) + 1 / n
        residual = Yc - hat @ Yc
        np.testing.assert_allclose(
            error, np.square(residual).mean(axis=0) / np.square(1 - np.trace(hat) / n), rtol=1e-8
        )


@pytest.mark.parametrize("kind", ["many features", "duplicates", "constant"])
def test_loses_no_digits_where_features_leave_next_to_nothing(kind: str) -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((30, 2000 if kind == "many features" else 12))
    if kind == "duplicates":
        X[:, 6:] = X[:, :6]
    if kind == "constant":
        X[:, 6:] = 3.0
    Y = rng.standard_normal((30, 5))
    stats = moments(X, Y)
    penalties = ridge_penalty(stats.S, 1.0) * np.geomspace(1e3, 1e-5, 9)
    Xc, Yc = X - stats.x_mean, Y - stats.y_mean
    left, singular, _ = np.linalg.svd(Xc, full_matrices=False)
    there = singular > 1e-10 * singular[0]
    left, squares = left[:, there], singular[there] ** 2
    outside = Yc - left @ (left.T @ Yc) if there.sum() < 29 else np.zeros_like(Yc)
    for penalty, error in zip(penalties, gcv(stats, penalties), strict=True):
        # What the model leaves, direction by direction: nothing is subtracted from something of its size.
        shrinkage = penalty / (squares + penalty)
        residual = outside + left @ (shrinkage[:, None] * (left.T @ Yc))
        freedom_left = 29 - there.sum() + shrinkage.sum()
        expected = np.square(residual).mean(axis=0) / (freedom_left / 30) ** 2
        np.testing.assert_allclose(error, expected, rtol=1e-6)


@pytest.mark.parametrize(("n", "p"), [(80, 10), (30, 45)])
def test_each_voxel_has_the_ridge_model_of_its_penalty(n: int, p: int) -> None:
    X, Y = _data(n, p, 6)
    stats = moments(X, Y)
    settings = Ridge().param_grid(ProblemSize(n, p, 6))
    chosen = gcv(stats, np.array([ridge_penalty(stats.S, s["relative_alpha"]) for s in settings])).argmin(axis=0)
    assert len(set(chosen)) > 2
    path, found = Ridge().path(stats, settings), RidgePerVoxel().fit(X, Y, {})
    for voxel, place in enumerate(chosen):
        expected = path.coefficients(int(place))[:, voxel]
        np.testing.assert_allclose(found.coefficients[:, voxel], expected, atol=1e-10)


def test_predicts_better_than_one_penalty_for_voxels_of_all_kinds() -> None:
    X, Y = _data(400, 30, 40)
    signal = Y.copy()
    train, test = slice(0, 80), slice(80, None)
    own = RidgePerVoxel().fit(X[train], Y[train], {}).predict(X[test])
    common = [Ridge().fit(X[train], Y[train], s).predict(X[test]) for s in Ridge().param_grid(ProblemSize(80, 30, 40))]

    def error(predicted: FloatArray) -> float:
        return float((np.square(signal[test] - predicted).mean(axis=0) / Y[test].var(axis=0)).mean())

    assert error(own) < min(map(error, common))


def test_constant_voxels_are_predicted_by_their_value() -> None:
    X, Y = _data(50, 8, 4)
    Y[:, 1] = 3.25
    np.testing.assert_allclose(RidgePerVoxel().fit(X, Y, {}).predict(X)[:, 1], 3.25, atol=1e-12)


def test_refuses_a_hyper_parameter() -> None:
    with pytest.raises(OptionError, match="ridge_per_voxel has no hyper-parameter 'relative_alpha'"):
        RidgePerVoxel().fit(np.eye(5), np.eye(5), {"relative_alpha": 1.0})
