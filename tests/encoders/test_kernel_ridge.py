"""Kernel ridge regression against scikit-learn's, and the linear kernel against ridge regression."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.gaussian_process.kernels import RBF
from sklearn.kernel_ridge import KernelRidge as Reference
from sklearn.metrics.pairwise import polynomial_kernel
from sklearn.preprocessing import KernelCenterer

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.kernel_ridge import KernelRidge, LinearKernelRidge, PolynomialKernelRidge, RBFKernelRidge
from voxelcast.encoders.params import Params
from voxelcast.encoders.ridge import Ridge

CASES: list[tuple[type[KernelRidge], Params]] = [
    (LinearKernelRidge, {"relative_alpha": 0.3}),
    (RBFKernelRidge, {"relative_gamma": 0.7, "relative_alpha": 0.02}),
    (PolynomialKernelRidge, {"degree": 3, "relative_gamma": 0.5, "relative_alpha": 2.0}),
]


def _data(n: int, p: int, q: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n + 7, p)) * np.geomspace(2, 0.2, p) + 3
    Y = np.sin(X[:n]) @ rng.standard_normal((p, q)) + 0.3 * rng.standard_normal((n, q)) - 5
    return X[:n], Y, X[n:]


def _kernel(name: str, setting: Params, A: FloatArray, train: FloatArray) -> FloatArray:
    """Compute the kernel by scikit-learn from uncentred features."""
    centre = train.mean(axis=0)
    A, train = A - centre, train - centre
    variance = float(np.square(train).sum(axis=1).mean())
    if name == "kernel_ridge_linear":
        return np.asarray(A @ train.T)
    if name == "kernel_ridge_rbf":
        length = np.sqrt(variance / setting["relative_gamma"])  # exp(-d2 / (2 length^2)), mean d2 = 2 * variance
        return np.asarray(RBF(length)(A, train))
    gamma = setting["relative_gamma"] / variance
    return np.asarray(polynomial_kernel(A, train, degree=setting["degree"], gamma=gamma, coef0=1))


@pytest.mark.parametrize(("encoder", "setting"), CASES)
@pytest.mark.parametrize(("n", "p", "q"), [(40, 6, 5), (12, 20, 1), (15, 1, 3)])
def test_equals_scikit_learn_on_the_centred_kernel(
    encoder: type[KernelRidge], setting: Params, n: int, p: int, q: int
) -> None:
    X, Y, test = _data(n, p, q)
    centerer = KernelCenterer().fit(_kernel(encoder.name, setting, X, X))
    K = centerer.transform(_kernel(encoder.name, setting, X, X))
    alpha = setting["relative_alpha"] * np.trace(K) / n
    reference = Reference(kernel="precomputed", alpha=alpha).fit(K, Y - Y.mean(axis=0))
    expected = reference.predict(centerer.transform(_kernel(encoder.name, setting, test, X))) + Y.mean(axis=0)
    np.testing.assert_allclose(encoder().fit(X, Y, setting).predict(test), expected, atol=1e-9 * np.abs(Y).max())


@pytest.mark.parametrize(("n", "p"), [(50, 6), (20, 40)])
def test_the_linear_kernel_is_ridge_regression(n: int, p: int) -> None:
    X, Y, test = _data(n, p, 4)
    # Both penalties are in units of the mean eigenvalue, of n by n and of p by p values.
    dual = LinearKernelRidge().fit(X, Y, {"relative_alpha": 0.5}).predict(test)
    primal = Ridge().fit(X, Y, {"relative_alpha": 0.5 * p / n}).predict(test)
    np.testing.assert_allclose(dual, primal, atol=1e-10)


def test_a_nonlinear_kernel_predicts_what_a_linear_one_cannot() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 3))
    Y = np.square(X) @ rng.standard_normal((3, 2)) + 0.1 * rng.standard_normal((300, 2))

    def score(encoder: KernelRidge, setting: Params) -> float:
        predicted = encoder.fit(X[:200], Y[:200], setting).predict(X[200:])
        return float(np.corrcoef(predicted[:, 0], Y[200:, 0])[0, 1])

    assert score(LinearKernelRidge(), {"relative_alpha": 1.0}) < 0.4
    assert score(RBFKernelRidge(), {"relative_gamma": 1.0, "relative_alpha": 0.01}) > 0.95
    assert score(PolynomialKernelRidge(), {"degree": 2, "relative_gamma": 1.0, "relative_alpha": 0.01}) > 0.95


@pytest.mark.parametrize(
    "setting", [{"relative_alpha": 1.0}, {"relative_gamma": 99.0, "relative_alpha": 1.0}, {"relative_gamma": 1.0}]
)
def test_refuses_what_is_outside_the_space(setting: Params) -> None:
    with pytest.raises(OptionError, match="kernel_ridge_rbf needs relative_"):
        RBFKernelRidge().fit(np.eye(5), np.eye(5), setting)
