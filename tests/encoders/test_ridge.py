"""Ridge regression against scikit-learn and its limits."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import linear_model

from voxelcast.core.errors import OptionError
from voxelcast.encoders.moments import moments
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.ridge import Ridge, ridge_penalty


@pytest.mark.parametrize(("n", "p", "q"), [(80, 15, 6), (80, 15, 1), (12, 30, 5)])
def test_equals_sklearn(n: int, p: int, q: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, p)) * np.geomspace(5, 0.5, p) - 2
    Y = X @ rng.standard_normal((p, q)) + rng.standard_normal((n, q)) + 7
    S = moments(X, Y).S
    for setting in Ridge().param_grid(ProblemSize(n, p, q)):
        alpha = ridge_penalty(S, float(setting["relative_alpha"]))
        reference = linear_model.Ridge(alpha=alpha, solver="cholesky" if n > p else "svd").fit(X, Y)
        fitted = Ridge().fit(X, Y, setting)
        np.testing.assert_allclose(fitted.predict(X), reference.predict(X).reshape(n, q), atol=1e-10 * np.abs(Y).max())


def test_penalty_does_not_depend_on_the_unit_of_features() -> None:
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((50, 6)), rng.standard_normal((50, 4))
    setting = {"relative_alpha": 0.3}
    expected = Ridge().fit(X, Y, setting).predict(X)
    np.testing.assert_allclose(Ridge().fit(1000 * X, Y, setting).predict(1000 * X), expected, atol=1e-12)


def test_penalty_of_one_halves_the_solution_for_orthonormal_features() -> None:
    rng = np.random.default_rng(0)
    X = np.linalg.qr(rng.standard_normal((60, 5)) - 0)[0]
    X -= X.mean(axis=0)
    X = np.linalg.qr(X)[0] * 3
    Y = rng.standard_normal((60, 4))
    least_squares = np.linalg.lstsq(X, Y - Y.mean(axis=0), rcond=None)[0]
    np.testing.assert_allclose(Ridge().fit(X, Y, {"relative_alpha": 1.0}).coefficients, least_squares / 2, atol=1e-12)


@pytest.mark.parametrize("setting", [{"relative_alpha": 0.0}, {"relative_alpha": float("nan")}, {"alpha": 1.0}, {}])
def test_refuses_what_is_not_a_penalty(setting: dict[str, float]) -> None:
    with pytest.raises(OptionError, match="relative_alpha"):
        Ridge().fit(np.eye(5), np.eye(5), setting)
