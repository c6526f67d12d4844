"""Features that depend on each other, against scikit-learn on stimuli that no model saw."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn import cross_decomposition, linear_model

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.elastic_net import largest_penalty
from voxelcast.encoders.moments import moments
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.ridge import ridge_penalty

_STRICT = {"tol": 1e-22, "max_iter": 1_000_000}


def _features(kind: str, n: int) -> tuple[FloatArray, int]:
    """Make features of rank 4 (or 8, nearly dependent), with their rank."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 8)) * np.geomspace(2, 0.5, 8) + 1
    if kind == "duplicates":
        X[:, 4:] = X[:, :4]
    elif kind == "constant":
        X[:, 4:] = 1000.1
    elif kind == "low rank":
        X = X[:, :4] @ rng.standard_normal((4, 8))
    else:
        X[:, 4:] = X[:, :4] + 1e-3 * X[:, 4:]
        return X, 8
    return X, 4


def _expected(name: str, setting: Params, X: FloatArray, Y: FloatArray, test: FloatArray) -> FloatArray:
    stats = moments(X, Y)
    if name == "ridge":
        model = linear_model.Ridge(alpha=ridge_penalty(stats.S, float(setting["relative_alpha"])), solver="svd")
    elif name == "ols":
        model = linear_model.LinearRegression()
    elif name == "omp":
        model = linear_model.OrthogonalMatchingPursuit(n_nonzero_coefs=int(setting["n_nonzero_coefs"]))
    elif name in ("elastic_net", "lasso"):
        l1_ratio = float(setting.get("l1_ratio", 1.0))
        alpha = float(setting["relative_alpha"]) * largest_penalty(stats) / l1_ratio
        model = linear_model.ElasticNet(alpha=alpha, l1_ratio=l1_ratio, tol=1e-14, max_iter=200_000)
    elif name == "pls":
        model = cross_decomposition.PLSRegression(int(setting["n_components"]), scale=False, **_STRICT)
    else:
        model = cross_decomposition.PLSCanonical(int(setting["n_components"]), scale=False, **_STRICT)
    # Its duality gap cannot be brought below rounding.
    with warnings.catch_warnings(action="ignore"):
        predicted: FloatArray = model.fit(X, Y / Y.std(axis=0) if name in ("elastic_net", "lasso") else Y).predict(test)
    predicted = predicted.reshape(len(test), -1)
    return predicted * Y.std(axis=0) if name in ("elastic_net", "lasso") else predicted


_KINDS = ("duplicates", "constant", "low rank", "nearly dependent")
# Where features are nearly dependent scikit-learn's coordinate descent does not converge; test_elastic_net checks the
# optimality conditions instead.
_CASES = [(name, kind) for name in ("pls", "pls_canonical", "ols", "ridge", "omp") for kind in _KINDS]
_CASES += [(name, kind) for name in ("elastic_net", "lasso") for kind in _KINDS[:3]]


@pytest.mark.parametrize("q", [1, 3, 12])
@pytest.mark.parametrize(("name", "kind"), _CASES)
def test_equals_sklearn_up_to_the_rank(name: str, kind: str, q: int) -> None:
    X, rank = _features(kind, 80)
    rng = np.random.default_rng(1)
    Y = X @ rng.standard_normal((8, q)) + 3 * rng.standard_normal((80, q)) + 7
    train, test, responses = X[:60], X[60:], Y[:60]
    encoder = get_encoder(name)
    settings = encoder.param_grid(ProblemSize(60, 8, q))
    if name in ("pls", "pls_canonical", "omp"):
        # Of features that are nearly the same, only the first components are more than rounding.
        most = 4 if kind == "nearly dependent" else rank
        settings = settings[: min(most, q if name == "pls_canonical" else most)]
    else:
        settings = settings[:: max(1, len(settings) // 8)]
    for setting in settings:
        found = encoder.fit(train, responses, setting).predict(test)
        np.testing.assert_allclose(found, _expected(name, setting, train, responses, test), atol=2e-6)
