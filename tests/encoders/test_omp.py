"""Orthogonal matching pursuit against scikit-learn and least squares."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import OrthogonalMatchingPursuit, orthogonal_mp_gram

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.moments import moments
from voxelcast.encoders.omp import OMP, omp_path
from voxelcast.encoders.params import ProblemSize


def _data(n: int, p: int, q: int, kind: str = "full") -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(2, 0.5, p) - 2
    if kind == "duplicate":
        X[:, p // 2 :] = X[:, : p - p // 2]
    if kind == "constant":
        X[:, p // 2 :] = 1000.1
    return X, X @ rng.standard_normal((p, q)) + 2 * rng.standard_normal((n, q)) + 7


@pytest.mark.parametrize(("n", "p", "q"), [(80, 15, 6), (80, 15, 1), (80, 15, 40), (12, 30, 5)])
def test_equals_sklearn(n: int, p: int, q: int) -> None:
    X, Y = _data(n, p, q)
    stats = moments(X, Y)
    path = OMP().path(stats, OMP().param_grid(ProblemSize(n, p, q)))
    assert len(path.params_list) == min(n - 1, p)
    for k in range(1, min(n - 1, p) + 1):
        reference = orthogonal_mp_gram(stats.S, stats.C, n_nonzero_coefs=k).reshape(p, q)
        np.testing.assert_allclose(path.coefficients(k - 1), reference, atol=1e-10)
    fitted = OMP().fit(X, Y, {"n_nonzero_coefs": 5})
    model = OrthogonalMatchingPursuit(n_nonzero_coefs=5).fit(X, Y)
    np.testing.assert_allclose(fitted.predict(X), model.predict(X).reshape(n, q), atol=1e-10)


@pytest.mark.parametrize("kind", ["duplicate", "constant"])
def test_stops_at_the_rank(kind: str) -> None:
    X, Y = _data(60, 12, 9, kind)
    stats = moments(X, Y)
    found = omp_path(stats.S, stats.C, 12).transpose(0, 2, 1)
    expected = np.minimum(np.arange(1, 13), 6)[:, None]
    np.testing.assert_array_equal(np.count_nonzero(found, axis=1), np.tile(expected, 9))
    for k in range(6, 12):
        np.testing.assert_array_equal(found[k], found[5])
    least_squares = np.linalg.lstsq(X - stats.x_mean, Y - stats.y_mean, rcond=1e-10)[0]
    np.testing.assert_allclose((X - stats.x_mean) @ found[-1], (X - stats.x_mean) @ least_squares, atol=1e-10)


def test_a_voxel_that_is_explained_keeps_its_model() -> None:
    X, Y = _data(60, 12, 3)
    Y[:, 0] = 4 * X[:, 3]
    Y[:, 1] = 5.5
    stats = moments(X, Y)
    found = omp_path(stats.S, stats.C, 12).transpose(0, 2, 1)
    np.testing.assert_allclose(found[:, :, 0], np.tile(4.0 * (np.arange(12) == 3), (12, 1)), atol=1e-12)
    assert not found[:, :, 1].any()
    np.testing.assert_array_equal(np.count_nonzero(found[:, :, 2], axis=1), np.arange(1, 13))


def test_settings_in_any_order_and_blocks_of_voxels(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = _data(60, 12, 30)
    stats = moments(X, Y)
    whole = OMP().path(stats, OMP().param_grid(ProblemSize(60, 12, 30)))
    monkeypatch.setattr("voxelcast.encoders.omp._CACHE_BYTES", 8 * 12 * 24 * 7)
    monkeypatch.setattr("voxelcast.encoders.paths._BLOCK_BYTES", 8 * 3 * 12 * 11)
    wanted = (7, 2, 12)
    some = OMP().path(stats, [{"n_nonzero_coefs": k} for k in wanted])
    assert len(list(some.blocks())) == 3
    for index, k in enumerate(wanted):
        np.testing.assert_allclose(some.coefficients(index), whole.coefficients(k - 1), atol=1e-12)


@pytest.mark.parametrize("setting", [{"n_nonzero_coefs": 0}, {"n_nonzero_coefs": 9}, {"n_components": 2}, {}])
def test_refuses_settings_outside_the_rank(setting: dict[str, float]) -> None:
    X, Y = _data(30, 8, 3)
    with pytest.raises(OptionError, match="omp needs n_nonzero_coefs, a whole number in 1 to 8"):
        OMP().fit(X, Y, setting)
