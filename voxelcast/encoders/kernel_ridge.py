"""Kernel ridge regression: every penalty from one eigendecomposition of the centred training kernel.

With kernel values K_ij = k(x_i, x_j) of the n training stimuli and H = I - 11'/n, the centred kernel is
Kc = H K H = V diag(l) V', and the model with penalty a predicts::

    y(x) = y_mean + (k(x) - k_mean)' A,      A = (Kc + a I)^-1 (Y - y_mean) = V diag(1 / (l + a)) V'(Y - y_mean)

where k(x) holds the kernel values of x with the training stimuli and k_mean their means over the training stimuli.
Centring the kernel gives the model an intercept that is not penalised: this is scikit-learn's
``KernelRidge(kernel="precomputed")`` on the output of ``KernelCenterer``, fitted to centred responses.

References
----------
.. [1] Saunders, C., Gammerman, A. & Vovk, V. Ridge regression learning algorithm in dual variables. ICML (1998).
.. [2] Scholkopf, B., Smola, A. & Muller, K.-R. Nonlinear component analysis as a kernel eigenvalue problem. Neural
   Computation 10, 1299-1319 (1998). doi:10.1162/089976698300017467
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.base import RATE, Encoder
from voxelcast.encoders.moments import check_features
from voxelcast.encoders.params import Distribution, Params, ProblemSize
from voxelcast.encoders.registry import register_encoder

_ALPHAS = tuple(float(alpha) for alpha in np.geomspace(1e5, 1e-5, 31))
_GAMMAS = tuple(float(gamma) for gamma in np.geomspace(0.01, 10.0, 7))
_DEGREES = (2, 3, 4)
_SCORED = 1e-3  # seconds in which a few voxels are predicted and scored with one set of parameters


@dataclass(frozen=True)
class KernelModel:
    """A fitted kernel ridge model.

    Parameters
    ----------
    X : ndarray of shape (n_train, p)
        Centred training features.
    x_mean : ndarray of shape (p,)
    dual : ndarray of shape (n_train, q)
        A of the formula above.
    intercept : ndarray of shape (q,)
        y_mean - k_mean'A.
    """

    encoder: KernelRidge
    params: Params
    X: FloatArray
    x_mean: FloatArray
    dual: FloatArray
    intercept: FloatArray

    def predict(self, X: FloatArray) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from features of shape (n_samples, p)."""
        check_features(X, len(self.x_mean))
        values = self.encoder.kernel(np.asarray(X, dtype=np.float64) - self.x_mean, self.X, self.params)
        return np.asarray(values @ self.dual + self.intercept)

    def arrays(self) -> dict[str, FloatArray]:
        """Return training features and dual coefficients."""
        return {"x_train": self.X, "x_mean": self.x_mean, "dual": self.dual, "intercept": self.intercept}


class KernelRidge(Encoder):
    """Kernel ridge regression; ``relative_alpha`` is the penalty in units of the mean eigenvalue of the centred kernel.

    So the same number shrinks as much whatever the unit of the features. Kernels see features centred on their
    training means.
    """

    parameters: ClassVar[dict[str, tuple[float, ...]]] = {}
    unsaved: ClassVar[str] = ""

    @abstractmethod
    def kernel(self, A: FloatArray, B: FloatArray, params: Params) -> FloatArray:
        """Return kernel values, (n_a, n_train), of centred features (n_a, p) with training features (n_train, p)."""

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        """Return the ranges of the kernel's parameters and of ``relative_alpha`` (1e-5 to 1e5, logarithmic)."""
        ranges = {
            name: Distribution(min(values), max(values), integer=name == "degree", log=name != "degree")
            for name, values in self.parameters.items()
        }
        return ranges | {"relative_alpha": Distribution(min(_ALPHAS), max(_ALPHAS), log=True)}

    def param_grid(self, size: ProblemSize) -> tuple[Params, ...]:
        """List every kernel of the grid with 31 penalties each, smoothest kernel and largest penalty first."""
        return tuple(
            dict(zip(self.parameters, kernel, strict=True)) | {"relative_alpha": alpha}
            for kernel in product(*self.parameters.values())
            for alpha in _ALPHAS
        )

    def fit(self, X: FloatArray, Y: FloatArray, params: Params) -> KernelModel:
        """Fit one model; see `Encoder.fit`."""
        X, Y = self._checked(X, Y, params)
        solved = _Solved(self, X, Y, params)
        dual = (solved.vectors * solved.filters([params])[0]) @ solved.loadings
        dual -= dual.mean(axis=0)  # exactly 0, but for eigenvectors that rounding mixed with the constant one
        return KernelModel(self, params, solved.X, solved.x_mean, dual, solved.y_mean - solved.k_mean @ dual)

    def predict_all(
        self, X: FloatArray, Y: FloatArray, params_list: Sequence[Params], tests: Sequence[FloatArray]
    ) -> Iterator[list[FloatArray]]:
        """Predict with all parameters; neighbouring parameters of one kernel share its eigendecomposition."""
        for params in params_list:
            X, Y = self._checked(X, Y, params)
        for _, group in groupby(params_list, key=lambda params: [params[name] for name in self.parameters]):
            same = list(group)
            solved = _Solved(self, X, Y, same[0])
            projected = [solved.project(test) for test in tests]
            for gains in solved.filters(same):
                yield [(T * gains) @ solved.loadings + solved.y_mean for T in projected]

    def fit_seconds(self, size: ProblemSize, rate: float = RATE) -> float:
        """Count a kernel, its eigenvectors, and the responses in their terms."""
        n = float(size.n_train)
        return n * (2.0 * n * (size.n_features + size.n_voxels) + 10.0 * n**2) / rate

    def evaluate_seconds(self, size: ProblemSize, n_held_out: int, rate: float = RATE, *, grid: bool = False) -> float:
        """Count a fit for each kernel, and predictions and scores with all parameters."""
        n_params = len(self.param_grid(size)) if grid else 1
        scored = _SCORED + (2.0 * size.n_train + 100.0) * n_held_out * size.n_voxels / rate
        return n_params / (len(_ALPHAS) if grid else 1) * self.fit_seconds(size, rate) + n_params * scored

    def evaluate_bytes(self, size: ProblemSize) -> float:
        """Count three kernels besides copies of the training part."""
        return super().evaluate_bytes(size) + 8.0 * 3 * size.n_train**2


class _Solved:
    """The eigendecomposition of one centred training kernel: vectors (n, r), values (r,), loadings V'Yc (r, q)."""

    def __init__(self, encoder: KernelRidge, X: FloatArray, Y: FloatArray, params: Params) -> None:
        self._encoder, self._params = encoder, params
        self.x_mean, self.y_mean = X.mean(axis=0), Y.mean(axis=0)
        self.X = X - self.x_mean
        K = encoder.kernel(self.X, self.X, params)
        self.k_mean = K.mean(axis=0)
        Kc = K - self.k_mean - self.k_mean[:, None] + self.k_mean.mean()
        values, vectors = np.linalg.eigh(Kc)
        # Directions without variance predict nothing: a test stimulus has no part in them either.
        kept = values > len(X) * np.finfo(np.float64).eps * max(float(np.abs(K).max()), 0.0)
        self.values, self.vectors = values[kept], vectors[:, kept]
        self._mean_value = float(np.trace(Kc)) / len(X)
        self.loadings: FloatArray = self.vectors.T @ (Y - self.y_mean)

    def filters(self, params_list: Sequence[Params]) -> FloatArray:
        """Return 1 / (l + a) of each set of parameters, ndarray of shape (n_params, r)."""
        penalties = np.array([params["relative_alpha"] for params in params_list]) * self._mean_value
        return np.asarray(1.0 / (self.values + penalties[:, None]))

    def project(self, X: FloatArray) -> FloatArray:
        """Return (k(x) - k_mean)'V, ndarray of shape (n_samples, r)."""
        K = self._encoder.kernel(np.asarray(X, dtype=np.float64) - self.x_mean, self.X, self._params)
        K -= self.k_mean
        # Eigenvectors of small values are not quite orthogonal to the constant vector: rows are centred as well.
        return np.asarray((K - K.mean(axis=1, keepdims=True)) @ self.vectors)


@register_encoder
class LinearKernelRidge(KernelRidge):
    """Kernel k(x, z) = x'z: ridge regression in its dual form, for many more features than stimuli."""

    name: ClassVar[str] = "kernel_ridge_linear"

    def kernel(self, A: FloatArray, B: FloatArray, params: Params) -> FloatArray:
        """Return x'z."""
        return np.asarray(A @ B.T)


@register_encoder
class RBFKernelRidge(KernelRidge):
    """Kernel k(x, z) = exp(-g |x - z|^2) with g = ``relative_gamma`` / (mean squared distance of training stimuli)."""

    name: ClassVar[str] = "kernel_ridge_rbf"
    parameters: ClassVar[dict[str, tuple[float, ...]]] = {"relative_gamma": _GAMMAS}

    def kernel(self, A: FloatArray, B: FloatArray, params: Params) -> FloatArray:
        """Return exp(-g |x - z|^2)."""
        a, b = np.einsum("ij,ij->i", A, A), np.einsum("ij,ij->i", B, B)
        squared = np.maximum(a[:, None] + b - 2 * (A @ B.T), 0.0)
        # The training features are centred: their squared distances are twice their squared norms on average.
        return np.asarray(np.exp(-params["relative_gamma"] * squared / _unit(2 * b.mean())))


@register_encoder
class PolynomialKernelRidge(KernelRidge):
    """Kernel k(x, z) = (1 + g x'z)^``degree`` with g = ``relative_gamma`` / (mean squared norm of training stimuli)."""

    name: ClassVar[str] = "kernel_ridge_polynomial"
    parameters: ClassVar[dict[str, tuple[float, ...]]] = {"degree": _DEGREES, "relative_gamma": _GAMMAS}

    def kernel(self, A: FloatArray, B: FloatArray, params: Params) -> FloatArray:
        """Return (1 + g x'z)^degree."""
        g = params["relative_gamma"] / _unit(np.einsum("ij,ij->i", B, B).mean())
        return np.asarray((1 + g * (A @ B.T)) ** int(params["degree"]))


def _unit(variance: float) -> float:
    """Return a positive unit; features without variance give any."""
    return float(variance) if variance > 0 else 1.0
