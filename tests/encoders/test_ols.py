"""Ordinary least squares against NumPy and scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.moments import moments
from voxelcast.encoders.ridge import OLS


def _data(n: int, p: int, q: int) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(5, 0.5, p) - 2
    return X, X @ rng.standard_normal((p, q)) + rng.standard_normal((n, q)) + 7


@pytest.mark.parametrize(("n", "p", "q"), [(80, 15, 6), (80, 15, 1), (80, 15, 40), (12, 30, 5)])
def test_equals_sklearn(n: int, p: int, q: int) -> None:
    X, Y = _data(n, p, q)
    fitted, reference = OLS().fit(X, Y, {}), LinearRegression().fit(X, Y)
    np.testing.assert_allclose(fitted.coefficients, reference.coef_.T, atol=1e-10)
    np.testing.assert_allclose(fitted.intercept, reference.intercept_, atol=1e-9)


@pytest.mark.parametrize("kind", ["duplicate", "constant", "collinear"])
def test_rank_deficient_features_give_the_smallest_norm(kind: str) -> None:
    X, Y = _data(80, 10, 4)
    if kind == "duplicate":
        X[:, 6:] = X[:, :4]
    elif kind == "constant":
        X[:, 6:] = 1000.1
    else:
        X[:, 6:] = X[:, :6] @ np.random.default_rng(1).standard_normal((6, 4))
    stats = moments(X, Y)
    expected = np.linalg.lstsq(X - stats.x_mean, Y - stats.y_mean, rcond=1e-10)[0]
    np.testing.assert_allclose(OLS().fit(X, Y, {}).coefficients, expected, atol=1e-10)


def test_refuses_hyper_parameters() -> None:
    X, Y = _data(20, 3, 2)
    with pytest.raises(OptionError, match="ols has no hyper-parameter 'alpha'"):
        OLS().fit(X, Y, {"alpha": 1.0})
