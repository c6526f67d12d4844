"""PLS against scikit-learn and least squares."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.cross_decomposition import PLSRegression

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.moments import moments
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.pls import PLS, PLS2021, ScaledPLS, pls_path


def _responses(X: FloatArray, q: int, seed: int = 1) -> FloatArray:
    rng = np.random.default_rng(seed)
    responses: FloatArray = X @ rng.standard_normal((X.shape[1], q)) + 3 * rng.standard_normal((len(X), q)) + 4
    return responses


def _features(n: int, p: int, kind: str, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(1, 0.1, p) + 2
    if kind == "duplicate":
        X[:, p // 2 :] = X[:, : p - p // 2]
    if kind == "constant":
        X[:, p // 2 :] = 1000.1
    if kind == "last bit":
        X[:, p // 2 :] = 1e6 * (1 + 2**-52 * rng.integers(0, 2, (n, p - p // 2)))
    return X


@pytest.mark.parametrize(("n", "p", "q"), [(120, 20, 60), (120, 20, 20), (120, 20, 7), (120, 20, 1), (15, 30, 50)])
def test_equals_sklearn_with_a_tight_tolerance(n: int, p: int, q: int) -> None:
    X = _features(n, p, "full")
    Y = _responses(X, q)
    most = min(n - 1, p, 12)
    for k in range(1, most + 1):
        with warnings.catch_warnings():
            # The tolerance lies below what rounding lets the iterations reach in the last digit.
            warnings.simplefilter("ignore")
            reference = PLSRegression(k, scale=False, tol=1e-22, max_iter=20_000).fit(X, Y)
        fitted = PLS().fit(X, Y, {"n_components": k})
        expected = reference.predict(X).reshape(n, q)
        np.testing.assert_allclose(fitted.predict(X), expected, atol=1e-9 * np.abs(Y).max())


@pytest.mark.parametrize(("n", "p", "q"), [(200, 50, 232), (120, 20, 7), (120, 20, 1), (15, 30, 50)])
def test_2021_is_sklearn_with_its_defaults(n: int, p: int, q: int) -> None:
    X = _features(n, p, "full") * np.geomspace(1, 30, p)
    Y = _responses(X, q) * np.geomspace(1, 50, q)
    most = min(n - 1, p)
    path = PLS2021().path(moments(X, Y), PLS2021().param_grid(ProblemSize(n, p, q)))
    for k in {1, 2, 3, 5, 8, most}:
        expected = PLSRegression(k).fit(X, Y).predict(X).reshape(n, q)
        found = X @ path.coefficients(k - 1)
        found += Y.mean(axis=0) - found.mean(axis=0)
        np.testing.assert_allclose(found / Y.std(axis=0), expected / Y.std(axis=0), atol=1e-12 * n)


@pytest.mark.parametrize(("n", "p", "q"), [(120, 20, 40), (120, 20, 7), (120, 20, 1)])
def test_scaled_is_sklearn_with_a_tight_tolerance(n: int, p: int, q: int) -> None:
    X = _features(n, p, "full") * np.geomspace(1, 30, p)
    Y = _responses(X, q) * np.geomspace(1, 50, q)
    for k in (1, 2, 5, 12):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = PLSRegression(k, tol=1e-26, max_iter=20_000).fit(X, Y).predict(X).reshape(n, q)
        found = ScaledPLS().fit(X, Y, {"n_components": k}).predict(X)
        np.testing.assert_allclose(found / Y.std(axis=0), expected / Y.std(axis=0), atol=1e-10)


@pytest.mark.parametrize("encoder", [ScaledPLS(), PLS2021()])
def test_units_of_features_and_voxels_do_not_matter_once_scaled(encoder: PLS) -> None:
    X, Y = _features(60, 8, "full"), _responses(_features(60, 8, "full"), 5)
    units = np.geomspace(1e-4, 1e3, 8), np.geomspace(1e5, 1e-2, 5)
    plain = encoder.fit(X, Y, {"n_components": 3}).predict(X)
    np.testing.assert_allclose(
        encoder.fit(X * units[0], Y * units[1], {"n_components": 3}).predict(X * units[0]) / units[1], plain, rtol=1e-7
    )


def test_constant_features_and_voxels_change_nothing_once_scaled() -> None:
    X, Y = _features(60, 8, "full"), _responses(_features(60, 8, "full"), 5)
    more = np.column_stack([np.full(60, 3.0), X]), np.column_stack([np.full(60, 2.0), Y])
    for encoder in (ScaledPLS(), PLS2021()):
        found = encoder.fit(*more, {"n_components": 3}).predict(more[0])
        np.testing.assert_allclose(found[:, 0], 2.0)
        np.testing.assert_allclose(found[:, 1:], encoder.fit(X, Y, {"n_components": 3}).predict(X), atol=1e-9)


@pytest.mark.parametrize(("n", "p", "q"), [(50, 10, 25), (50, 10, 1), (12, 10, 4), (50, 30, 3), (200, 60, 90)])
def test_all_components_are_least_squares(n: int, p: int, q: int) -> None:
    X = _features(n, p, "full")
    Y = _responses(X, q)
    stats = moments(X, Y)
    fitted = PLS().fit(X, Y, {"n_components": min(n - 1, p)})
    expected = np.linalg.lstsq(X - stats.x_mean, Y - stats.y_mean, rcond=None)[0]
    np.testing.assert_allclose(fitted.coefficients, expected, atol=1e-6)


@pytest.mark.parametrize("q", [1, 3, 40])
@pytest.mark.parametrize(
    ("n", "kind", "rank"), [(80, "duplicate", 10), (80, "constant", 10), (80, "last bit", 10), (9, "full", 8)]
)
def test_stops_at_the_rank(n: int, kind: str, rank: int, q: int) -> None:
    X = _features(n, 20, kind)
    Y = _responses(X, q)
    stats = moments(X, Y)
    directions, loadings = pls_path(stats.S, stats.C, 20)
    assert directions.shape == (20, rank)
    assert loadings.shape == (rank, q)
    least_squares = (X - stats.x_mean) @ np.linalg.lstsq(X - stats.x_mean, Y - stats.y_mean, rcond=1e-8)[0]
    np.testing.assert_allclose((X - stats.x_mean) @ directions @ loadings, least_squares, atol=1e-7)


@pytest.mark.parametrize("q", [1, 5, 70])
@pytest.mark.parametrize("smallest", [1.0, 1e-3, 1e-5])
def test_equals_deflation_by_the_definition_however_fast_covariance_falls(q: int, smallest: float) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 30)) * np.geomspace(1, smallest, 30)
    stats = moments(X, _responses(X, q))
    S, C, B = stats.S.copy(), stats.C.copy(), np.zeros(stats.C.shape)
    directions: list[FloatArray] = []
    loadings: list[FloatArray] = []
    found = pls_path(stats.S, stats.C, 30)
    for k in range(12):
        w = np.linalg.svd(C)[0][:, 0]
        r = w - sum((d * (loading @ w) for d, loading in zip(directions, loadings, strict=True)), np.zeros(30))
        size, p = w @ S @ w, S @ w / (w @ S @ w)
        directions.append(r)
        loadings.append(p)
        B += np.outer(r, w @ C / size)
        C, S = C - np.outer(p, w @ C), S - size * np.outer(p, p)
        kept = found[0][:, : k + 1] @ found[1][: k + 1]
        fitted, expected = (X - stats.x_mean) @ kept, (X - stats.x_mean) @ B
        np.testing.assert_allclose(fitted, expected, atol=1e-8 * np.abs(expected).max())


def test_components_beyond_the_rank_change_nothing() -> None:
    X = _features(80, 20, "duplicate")
    Y = _responses(X, 6)
    path = PLS().path(moments(X, Y), PLS().param_grid(ProblemSize(80, 20, 6)))
    for k in range(11, 21):
        np.testing.assert_array_equal(path.coefficients(k - 1), path.coefficients(9))
    assert not np.array_equal(path.coefficients(9), path.coefficients(8))


def test_latent_variables_are_orthogonal() -> None:
    X = _features(300, 50, "full")
    stats = moments(X, _responses(X, 120))
    directions, _ = pls_path(stats.S, stats.C, 50)
    crossed = directions.T @ stats.S @ directions
    norms = np.sqrt(np.diag(crossed))
    np.testing.assert_allclose(crossed / np.outer(norms, norms), np.eye(50), atol=1e-9)


def test_no_covariance_leaves_no_component() -> None:
    directions, loadings = pls_path(np.eye(4), np.zeros((4, 6)), 4)
    assert directions.shape == (4, 0)
    assert loadings.shape == (0, 6)


@pytest.mark.parametrize("q", [1, 3])
def test_ends_where_the_covariance_is_used_up(q: int) -> None:
    # Features of equal variance, uncorrelated: as many components as voxels explain all of it, and what is left of C is
    # rounding, while the variance left is not.
    X = np.random.default_rng(0).standard_normal((60, 12))
    X = np.linalg.qr(X - X.mean(axis=0))[0]
    stats = moments(X, _responses(X, q))
    directions, loadings = pls_path(stats.S, stats.C, 12)
    assert directions.shape == (12, q)
    np.testing.assert_allclose(directions @ loadings, stats.C, atol=1e-12)


def test_moments_are_left_unchanged() -> None:
    X = _features(40, 12, "full")
    for q in (3, 30):
        stats = moments(X, _responses(X, q))
        S, C = stats.S.copy(), stats.C.copy()
        pls_path(stats.S, stats.C, 12)
        np.testing.assert_array_equal(stats.S, S)
        np.testing.assert_array_equal(stats.C, C)


@pytest.mark.parametrize(
    "setting", [{"n_components": 0}, {"n_components": 9}, {"n_components": 2.5}, {}, {"n_components": 2, "alpha": 1}]
)
def test_refuses_settings_outside_the_rank(setting: dict[str, float]) -> None:
    X = _features(30, 8, "full")
    with pytest.raises(OptionError, match="1 to 8"):
        PLS().fit(X, _responses(X, 3), setting)


@pytest.mark.parametrize("q", [3, 70])
def test_a_stack_is_solved_as_each_of_it(q: int) -> None:
    """Of full and of lower rank, with constant voxels and features, without covariance, and with equal eigenvalues."""
    rng = np.random.default_rng(q)
    X, Y = rng.standard_normal((90, 20)), rng.standard_normal((90, q))
    orthonormal = np.linalg.qr(X - X.mean(axis=0))[0]
    cases = [
        (X, X[:, :3] @ rng.standard_normal((3, q)) + Y),
        (np.hstack([X[:, :12], X[:, :8]]), Y),
        (np.hstack([X[:, :19], np.ones((90, 1))]), Y * (np.arange(q) > 0)),
        (X, 0 * Y),
        (X * np.geomspace(1, 1e-5, 20), Y),
        (orthonormal, orthonormal[:, :q] @ np.eye(min(q, 20), q)),
    ]
    stats = [moments(*case) for case in cases]
    directions, loadings = pls_path(np.stack([one.S for one in stats]), np.stack([one.C for one in stats]), 20)
    for number, (one, R, Q) in enumerate(zip(stats, directions, loadings, strict=True)):
        expected_R, expected_Q = pls_path(one.S, one.C, 20)
        r = len(expected_Q)
        assert not R[:, r:].any()
        assert not Q[r:].any()
        # Of equal eigenvalues any vector may come first.
        for k in range(1 if number < 5 else 20, 21):
            expected = expected_R[:, :k] @ expected_Q[:k]
            np.testing.assert_allclose(
                R[:, :k] @ Q[:k], expected, rtol=0, atol=1e-9 * (np.abs(expected).max() + 1e-300)
            )
