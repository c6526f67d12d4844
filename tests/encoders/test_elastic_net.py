"""Elastic net and lasso against scikit-learn, their optimality conditions and their limits."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import linear_model

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, OptionError
from voxelcast.encoders.elastic_net import ElasticNet, ElasticNet2021, Lasso, largest_penalty
from voxelcast.encoders.elastic_net_solver import elastic_net_path
from voxelcast.encoders.moments import moments
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.ridge import Ridge

from .paths import all_coefficients


def _data(n: int, p: int, q: int, kind: str = "full") -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(2, 0.5, p) - 2
    if kind == "duplicate":
        X[:, p // 2 :] = X[:, : p - p // 2]
    if kind == "constant":
        X[:, p // 2 :] = 1000.1
    if kind == "correlated":
        X += 30 * rng.standard_normal((n, 1))
    return X, X @ (rng.standard_normal((p, q)) * (rng.random((p, q)) < 0.5)) + 2 * rng.standard_normal((n, q)) + 7


def _sklearn(X: FloatArray, Y: FloatArray, alpha: float, l1_ratio: float) -> FloatArray:
    deviations = Y.std(axis=0)
    with warnings.catch_warnings():
        # Its duality gap cannot be brought below rounding.
        warnings.simplefilter("ignore")
        model = linear_model.ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=1e-14, max_iter=200_000)
        model.fit(X, Y / deviations)
    prediction: FloatArray = model.predict(X).reshape(Y.shape) * deviations
    return prediction


@pytest.mark.parametrize(("n", "p", "q"), [(80, 15, 6), (80, 15, 1), (80, 15, 40), (12, 30, 5)])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.5, 0.1])
def test_equals_sklearn(n: int, p: int, q: int, l1_ratio: float) -> None:
    X, Y = _data(n, p, q)
    unit = largest_penalty(moments(X, Y))
    for relative_alpha in (0.5, 0.1, 0.01):
        fitted = ElasticNet().fit(X, Y, {"relative_alpha": relative_alpha, "l1_ratio": l1_ratio})
        expected = _sklearn(X, Y, relative_alpha * unit / l1_ratio, l1_ratio)
        np.testing.assert_allclose(fitted.predict(X), expected, atol=1e-7)
        if l1_ratio == 1.0:
            lasso = Lasso().fit(X, Y, {"relative_alpha": relative_alpha})
            np.testing.assert_array_equal(lasso.coefficients, fitted.coefficients)


@pytest.mark.parametrize("kind", ["duplicate", "constant", "correlated"])
@pytest.mark.parametrize("l1_ratio", [1.0, 0.3])
def test_equals_sklearn_for_dependent_features(kind: str, l1_ratio: float) -> None:
    X, Y = _data(60, 12, 9, kind)
    unit = largest_penalty(moments(X, Y))
    for relative_alpha in (0.1, 0.003):
        fitted = ElasticNet().fit(X, Y, {"relative_alpha": relative_alpha, "l1_ratio": l1_ratio})
        expected = _sklearn(X, Y, relative_alpha * unit / l1_ratio, l1_ratio)
        np.testing.assert_allclose(fitted.predict(X), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("n", "p", "kind"),
    [(80, 15, "full"), (12, 40, "full"), (60, 12, "duplicate"), (60, 12, "correlated"), (20, 40, "correlated")],
)
@pytest.mark.parametrize("name", ["elastic_net", "lasso"])
def test_whole_path_meets_the_optimality_conditions(n: int, p: int, kind: str, name: str) -> None:
    X, Y = _data(n, p, 7, kind)
    stats = moments(X, Y)
    encoder = Lasso() if name == "lasso" else ElasticNet()
    path = encoder.path(stats, encoder.param_grid(ProblemSize(n, p, 7)))
    for setting, B in zip(path.params_list, all_coefficients(path), strict=True):
        l1_ratio = setting.get("l1_ratio", 1.0)
        penalty = n * setting["relative_alpha"] * largest_penalty(stats)
        absolute = penalty * Y.std(axis=0)
        slope = stats.C - stats.S @ B - penalty * (1 / l1_ratio - 1) * B
        tolerance = 1e-7 * np.abs(stats.C).max()
        assert (np.abs(slope) <= absolute + tolerance).all()
        np.testing.assert_allclose(slope[B != 0], (absolute * np.sign(B))[B != 0], atol=tolerance)


def test_nearly_dependent_features_are_solved_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    # Neither do the steps end here, nor is it necessary to follow the paths.
    monkeypatch.setattr("voxelcast.encoders.elastic_net_solver._follow_path", refuse)
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 30)) * np.geomspace(1, 0.05, 30) + 30 * rng.standard_normal((300, 1))
    Y = X @ rng.standard_normal((30, 40)) + rng.standard_normal((300, 40))
    stats = moments(X, Y)
    absolute = 0.002 * largest_penalty(stats) * 300 * Y.std(axis=0)
    B = Lasso().fit(X, Y, {"relative_alpha": 0.002}).coefficients
    slope = stats.C - stats.S @ B
    assert (np.abs(slope) <= absolute * (1 + 1e-6)).all()
    np.testing.assert_allclose(slope[B != 0], (absolute * np.sign(B))[B != 0], rtol=1e-6)


@pytest.mark.parametrize(("n", "p", "smallest"), [(20, 40, 1e-4), (100, 150, 1e-5), (60, 90, 1.0)])
def test_more_features_than_stimuli_and_a_weak_penalty_end(n: int, p: int, smallest: float) -> None:
    rng = np.random.default_rng(2)
    X = (rng.standard_normal((n, p)) * np.geomspace(3, smallest, p)) @ rng.standard_normal((p, p))
    Y = X @ (rng.standard_normal((p, 5)) * (rng.random((p, 5)) < 0.1)) + 5 * rng.standard_normal((n, 5))
    stats = moments(X, Y)
    absolute = 0.001 * largest_penalty(stats) * n * Y.std(axis=0)
    B = Lasso().fit(X, Y, {"relative_alpha": 0.001}).coefficients
    slope = stats.C - stats.S @ B
    assert (np.abs(slope) <= absolute * (1 + 1e-5)).all()
    np.testing.assert_allclose(slope[B != 0], (absolute * np.sign(B))[B != 0], rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "seed", "relative_alpha"),
    [
        # Six stimuli and thirty features: only following the path finds which features are in use.
        ("noise", 4, 0.001),
        ("noise", 7, 0.001),
        # Features of zeros and ones: whole steps go round in circles, and following the path is in vain too.
        ("binary", 12, 0.01),
        ("binary", 20, 0.03),
    ],
)
def test_ends_where_whole_steps_or_direct_solutions_do_not(kind: str, seed: int, relative_alpha: float) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((6, 30)) if kind == "noise" else rng.integers(0, 2, (12, 34)).astype(float)
    Y = rng.standard_normal((len(X), 10 if kind == "noise" else 40))
    stats = moments(X, Y)
    absolute = relative_alpha * largest_penalty(stats) * len(X) * Y.std(axis=0)
    B = Lasso().fit(X, Y, {"relative_alpha": relative_alpha}).coefficients
    slope = stats.C - stats.S @ B
    assert (np.abs(slope) <= absolute * (1 + 1e-5)).all()
    np.testing.assert_allclose(slope[B != 0], (absolute * np.sign(B))[B != 0], rtol=1e-5)


def test_orthonormal_features_have_a_closed_form() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60, 5))
    X = np.linalg.qr(X - X.mean(axis=0))[0]
    C = X.T @ rng.standard_normal((60, 4))
    found = elastic_net_path(X.T @ X, C, [(0.4, 0.0), (0.4, 1.5)])
    shrunk = np.sign(C) * np.maximum(np.abs(C) - 0.4, 0)
    np.testing.assert_allclose(found[0].T, shrunk, atol=1e-12)
    np.testing.assert_allclose(found[1].T, shrunk / 2.5, atol=1e-12)
    assert (found[0] == 0).any()


def test_without_absolute_values_it_is_ridge() -> None:
    X, Y = _data(60, 8, 5)
    stats = moments(X, Y)
    penalty = 0.3 * float(np.trace(stats.S)) / 8
    expected = Ridge().fit(X, Y, {"relative_alpha": 0.3}).coefficients
    np.testing.assert_allclose(elastic_net_path(stats.S, stats.C, [(0.0, penalty)])[0].T, expected, atol=1e-8)


def test_the_largest_penalty_is_the_smallest_that_leaves_nothing() -> None:
    X, Y = _data(60, 8, 5)
    assert not Lasso().fit(X, Y, {"relative_alpha": 1.0}).coefficients.any()
    assert np.count_nonzero(Lasso().fit(X, Y, {"relative_alpha": 0.999}).coefficients) == 1


@pytest.mark.parametrize("name", ["elastic_net", "lasso"])
def test_a_voxel_in_another_unit_changes_nothing(name: str) -> None:
    X, Y = _data(60, 8, 5)
    units = np.array([1.0, 1e3, 1e-6, 1e9, 1.0])
    encoder = Lasso() if name == "lasso" else ElasticNet()
    settings = encoder.param_grid(ProblemSize(60, 8, 5))
    expected, found = (encoder.path(moments(X, responses), settings) for responses in (Y, Y * units))
    for wanted, got in zip(all_coefficients(expected), all_coefficients(found), strict=True):
        np.testing.assert_allclose(got / units, wanted, atol=1e-8 * np.abs(wanted).max(initial=1.0))


def test_a_constant_voxel_leaves_the_others_as_they_are() -> None:
    X, Y = _data(60, 8, 5)
    constant = Y.copy()
    constant[:, 2] = 4.2
    others = [0, 1, 3, 4]
    expected = ElasticNet().fit(X, Y[:, others], {"relative_alpha": 0.1, "l1_ratio": 0.5}).coefficients
    found = ElasticNet().fit(X, constant, {"relative_alpha": 0.1, "l1_ratio": 0.5}).coefficients
    assert not found[:, 2].any()
    np.testing.assert_allclose(found[:, others], expected, atol=1e-9)


def test_settings_in_any_order() -> None:
    X, Y = _data(60, 8, 5)
    stats = moments(X, Y)
    settings = [{"relative_alpha": a, "l1_ratio": r} for a, r in ((0.01, 0.5), (0.3, 1.0), (0.1, 0.5), (0.02, 1.0))]
    path = ElasticNet().path(stats, settings)
    for index, setting in enumerate(settings):
        expected = ElasticNet().path(stats, [setting]).coefficients(0)
        np.testing.assert_allclose(path.coefficients(index), expected, atol=1e-8)


def test_says_so_where_it_does_not_converge(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = _data(60, 12, 9, "correlated")
    monkeypatch.setattr("voxelcast.encoders.elastic_net_solver._MOST_STEPS", 8)
    with pytest.raises(DataError, match="of 9 voxels must converge; it did not in 8 steps"):
        Lasso().fit(X, Y, {"relative_alpha": 0.001})


@pytest.mark.parametrize(
    "setting",
    [
        {"relative_alpha": 0.0, "l1_ratio": 0.5},
        {"relative_alpha": 0.5},
        {"relative_alpha": 0.5, "l1_ratio": 1.5},
        {"relative_alpha": float("nan"), "l1_ratio": 0.5},
    ],
)
def test_refuses_what_is_not_a_penalty(setting: dict[str, float]) -> None:
    X, Y = _data(20, 4, 3)
    with pytest.raises(OptionError, match="elastic_net needs relative_alpha and l1_ratio, above 0 and at most 1"):
        ElasticNet().fit(X, Y, setting)


def test_2021_takes_sklearns_penalty_as_it_is() -> None:
    X, Y = _data(120, 8, 5)
    Y *= np.geomspace(0.1, 10, 5)
    for params in ElasticNet2021().param_grid(ProblemSize(120, 8, 5))[::6]:
        expected = linear_model.ElasticNet(**params, tol=1e-10, max_iter=50_000).fit(X, Y).predict(X)
        np.testing.assert_allclose(ElasticNet2021().fit(X, Y, params).predict(X), expected, atol=1e-5)
    with pytest.raises(OptionError, match=r"alpha, a number in 0\.01 to 0\.25"):
        ElasticNet2021().fit(X, Y, {"alpha": 1.0, "l1_ratio": 0.5})
