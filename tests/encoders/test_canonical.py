"""Canonical PLS and CCA against scikit-learn and their definitions."""

from __future__ import annotations

import dataclasses
import tracemalloc
import warnings

import numpy as np
import pytest
from scipy.linalg import hadamard
from sklearn import cross_decomposition

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.canonical import CCA, CCA2021, PLSCanonical, PLSCanonical2021, cca_path, pls_canonical_path
from voxelcast.encoders.moments import moments
from voxelcast.encoders.params import ProblemSize

ENCODERS = {"cca": CCA, "pls_canonical": PLSCanonical}
REFERENCES = {"cca": cross_decomposition.CCA, "pls_canonical": cross_decomposition.PLSCanonical}


def _data(n: int, p: int, q: int, kind: str = "full", seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, p)) * np.geomspace(2, 0.5, p) - 2
    # Signals of distinct strength: canonical correlations that are nearly equal would take scikit-learn very long.
    gain = np.geomspace(3, 0.05, min(p, q))
    left, right = np.linalg.qr(rng.standard_normal((p, len(gain))))[0], np.linalg.qr(rng.standard_normal((q, q)))[0]
    Y = (X @ left * gain) @ right[: len(gain)] + 0.3 * rng.standard_normal((n, q)) * np.geomspace(3, 0.3, q) + 7
    if kind == "duplicate":
        X[:, p // 2 :] = X[:, : p - p // 2]
    if kind == "constant":
        X[:, p // 2 :] = 1000.1
    return X, Y


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize(("n", "p", "q"), [(120, 8, 5), (120, 8, 20), (120, 8, 1), (120, 1, 6), (90, 6, 6)])
def test_equals_sklearn_with_a_tight_tolerance(name: str, n: int, p: int, q: int) -> None:
    X, Y = _data(n, p, q)
    encoder = ENCODERS[name]()
    settings = encoder.param_grid(ProblemSize(n, p, q))
    assert len(settings) == min(p, q)
    path = encoder.path(moments(X, Y), settings)
    for index, setting in enumerate(settings):
        with warnings.catch_warnings():
            # The tolerance lies below what rounding lets the iterations reach in the last digit.
            warnings.simplefilter("ignore")
            reference = REFERENCES[name](index + 1, scale=False, tol=1e-26, max_iter=20_000).fit(X, Y)
        expected = reference.predict(X).reshape(n, q)
        fitted = encoder.fit(X, Y, setting)
        np.testing.assert_allclose(fitted.predict(X), expected, atol=1e-8 * np.abs(Y).max())
        np.testing.assert_allclose(path.coefficients(index), fitted.coefficients, atol=1e-10)


@pytest.mark.parametrize(("n", "p", "q"), [(200, 30, 60), (120, 20, 7), (120, 20, 1)])
def test_2021_is_sklearn_with_its_defaults(n: int, p: int, q: int) -> None:
    X, Y = _data(n, p, q)
    for k in range(1, min(p, q) + 1, 4):
        expected = cross_decomposition.PLSCanonical(k).fit(X, Y).predict(X).reshape(n, q)
        found = PLSCanonical2021().fit(X, Y, {"n_components": k}).predict(X)
        np.testing.assert_allclose(found, expected, atol=1e-12 * n * np.abs(Y).max())


@pytest.mark.parametrize(("n", "p", "q"), [(120, 8, 5), (120, 8, 20), (120, 8, 1)])
def test_cca_2021_is_the_limit_of_sklearn_with_scaling(n: int, p: int, q: int) -> None:
    X, Y = _data(n, p, q)
    for k in range(1, min(p, q) + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = cross_decomposition.CCA(k, tol=1e-26, max_iter=20_000).fit(X, Y)
        found = CCA2021().fit(X, Y, {"n_components": k}).predict(X)
        np.testing.assert_allclose(found, reference.predict(X).reshape(n, q), atol=1e-8 * np.abs(Y).max())


@pytest.mark.parametrize(("n", "p", "q"), [(20, 30, 4), (20, 5, 40), (15, 20, 25)])
def test_pls_canonical_equals_sklearn_with_few_stimuli(n: int, p: int, q: int) -> None:
    X, Y = _data(n, p, q)
    for k in range(1, min(p, q, 6) + 1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference = cross_decomposition.PLSCanonical(k, scale=False, tol=1e-26, max_iter=20_000).fit(X, Y)
        fitted = PLSCanonical().fit(X, Y, {"n_components": k})
        np.testing.assert_allclose(fitted.predict(X), reference.predict(X), atol=1e-8 * np.abs(Y).max())


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("kind", ["duplicate", "constant"])
def test_components_beyond_the_rank_change_nothing(name: str, kind: str) -> None:
    X, Y = _data(80, 12, 9, kind)
    stats = moments(X, Y)
    encoder = ENCODERS[name]()
    path = encoder.path(stats, encoder.param_grid(ProblemSize(80, 12, 9)))
    assert path.loadings.shape == (6, 9)
    for index in (6, 8):
        np.testing.assert_array_equal(path.coefficients(index), path.coefficients(5))
    reference = X[:, :6]
    expected = encoder.fit(reference, Y, {"n_components": 6}).predict(reference)
    if kind == "constant":
        np.testing.assert_allclose(stats.y_mean + (X - stats.x_mean) @ path.coefficients(5), expected, atol=1e-9)


def test_constant_voxels_are_predicted_by_their_mean() -> None:
    X, Y = _data(80, 6, 9)
    Y[:, 4] = 3.0
    for encoder in (CCA(), PLSCanonical()):
        fitted = encoder.fit(X, Y, {"n_components": 3})
        np.testing.assert_allclose(fitted.predict(X)[:, 4], 3.0, atol=1e-9)


def test_cca_finds_the_canonical_correlations() -> None:
    X, Y = _data(200, 6, 9)
    stats = moments(X, Y)
    directions, _ = cca_path(stats.S, stats.C, stats.responses())
    T = (X - stats.x_mean) @ directions
    explained = stats.responses() @ np.linalg.lstsq(stats.responses(), T, rcond=None)[0]
    found = [np.corrcoef(T[:, k], explained[:, k])[0, 1] for k in range(6)]
    Qx, Qy = np.linalg.qr(X - stats.x_mean)[0], np.linalg.qr(stats.responses())[0]
    np.testing.assert_allclose(found, np.linalg.svd(Qx.T @ Qy)[1], atol=1e-10)
    crossed = np.corrcoef(T.T)
    np.testing.assert_allclose(crossed, np.eye(6), atol=1e-10)


def test_canonical_pls_ends_where_the_covariance_is_used_up() -> None:
    signs = hadamard(16).astype(float)
    X = signs[:, [1, 2, 3]]
    for shared, responses in ((0, signs[:, [4, 5, 6]]), (1, signs[:, [1, 5, 6]])):
        directions, loadings = pls_canonical_path(moments(X, responses), 3)
        assert directions.shape == (3, shared)
        assert loadings.shape == (shared, 3)
    np.testing.assert_array_equal(directions @ loadings, [[1, 0, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_voxels_beyond_the_stimuli_need_no_square_of_their_number(name: str) -> None:
    X, Y = _data(30, 4, 800)
    stats = moments(X, Y)
    tracemalloc.start()
    fitted = ENCODERS[name]().path(stats, [{"n_components": 4}]).loadings
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert fitted.shape == (4, 800)
    # Some arrays as large as the responses; Y'Y alone would take 27 times as much as they do.
    assert peak < 8 * Y.nbytes


def test_few_voxels_are_handled_by_their_products() -> None:
    def refuse() -> FloatArray:
        raise AssertionError

    stats = moments(*_data(60, 6, 5))
    few = dataclasses.replace(stats, responses=refuse)
    np.testing.assert_array_equal(pls_canonical_path(few, 3)[1], pls_canonical_path(stats, 3)[1])


def test_rotated_responses_have_rotated_loadings() -> None:
    X, Y = _data(30, 4, 300)
    wide, stats = moments(X, Y), moments(X, Y @ np.linalg.qr(np.random.default_rng(1).standard_normal((300, 300)))[0])
    found, rotated = (pls_canonical_path(s, 4) for s in (wide, stats))
    np.testing.assert_allclose(np.abs(found[0]), np.abs(rotated[0]), atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(found[1], axis=1), np.linalg.norm(rotated[1], axis=1), atol=1e-9)


def test_moments_are_left_unchanged() -> None:
    X, Y = _data(40, 6, 5)
    stats, same = moments(X, Y), moments(X, Y)
    for encoder in (CCA(), PLSCanonical()):
        encoder.path(stats, encoder.param_grid(ProblemSize(40, 6, 5)))
        for name in ("S", "C"):
            np.testing.assert_array_equal(getattr(stats, name), getattr(same, name))
        np.testing.assert_array_equal(stats.responses(), same.responses())


@pytest.mark.parametrize("name", sorted(ENCODERS))
@pytest.mark.parametrize("setting", [{"n_components": 0}, {"n_components": 4}, {"n_components": 2.5}, {}])
def test_refuses_settings_outside_the_rank(name: str, setting: dict[str, float]) -> None:
    X, Y = _data(30, 8, 3)
    with pytest.raises(OptionError, match=f"{name} needs n_components, a whole number in 1 to 3"):
        ENCODERS[name]().fit(X, Y, setting)
