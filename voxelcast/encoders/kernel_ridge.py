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
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import Any, ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray, column_products, double, like, namespace, to_numpy
from voxelcast.encoders.base import RATE, Encoder, FittedModel, FoldData, Picked, PickedModels
from voxelcast.encoders.moments import check_features
from voxelcast.encoders.params import Distribution, Params, ProblemSize, check_params
from voxelcast.encoders.path_scores import path_scores
from voxelcast.encoders.paths import ShrinkagePath
from voxelcast.encoders.registry import register_encoder
from voxelcast.encoders.ridge import shrinkage

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
        """Predict responses, (n_samples, q), from features of shape (n_samples, p), and leave them where these are."""
        check_features(X, len(self.x_mean))
        values = self.encoder.kernel(like(double(X), self.X) - self.x_mean, self.X, self.params)
        return like(values @ self.dual + self.intercept, X)

    def arrays(self) -> dict[str, FloatArray]:
        """Return training features and dual coefficients."""
        found = {"x_train": self.X, "x_mean": self.x_mean, "dual": self.dual, "intercept": self.intercept}
        return {name: to_numpy(array) for name, array in found.items()}


class KernelRidge(Encoder):
    """Kernel ridge regression; ``relative_alpha`` is the penalty in units of the mean eigenvalue of the centred kernel.

    So the same number shrinks as much whatever the unit of the features. Kernels see features centred on their
    training means.
    """

    parameters: ClassVar[dict[str, tuple[float, ...]]] = {}
    unsaved: ClassVar[str] = ""
    takes_tensors: ClassVar[bool] = True
    dual: ClassVar[bool] = True

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
        return solved.model(params, solved.path([params]).coefficients(0))

    def evaluate(
        self,
        data: FoldData,
        params_list: Sequence[Params],
        excluded: tuple[int, ...],
        folds: Sequence[int],
        metric: str = "pearson_r",
    ) -> list[FloatArray]:
        """Score all penalties of a kernel from one path, without predictions; see `Encoder.evaluate`."""
        responses = [data.held_out(fold) for fold in folds]
        X, Y = self._training_part(data, excluded, params_list)
        tests = [like(data.features(excluded, fold), X) for fold in folds]
        scores: list[list[FloatArray]] = []
        for _, group in groupby(params_list, key=self._kernel_params):
            same = list(group)
            solved = _Solved(self, X, Y, same[0])
            features = [solved.features(test) for test in tests]
            scores.append(path_scores(solved.path(same), features, solved.y_mean, responses, metric))
        return [np.concatenate([to_numpy(part) for part in of_fold]) for of_fold in zip(*scores, strict=True)]

    def fit_members(
        self, data: FoldData, members: Sequence[Picked], excluded: tuple[int, ...] = ()
    ) -> list[FittedModel]:
        """Fit what was chosen: a model of each kernel, whose voxels may have penalties of their own."""
        X, Y = self._training_part(data, excluded, [params for params_list, _ in members for params in params_list])
        solved: dict[tuple[Any, ...], _Solved] = {}
        models: list[FittedModel] = []
        for params_list, pick in members:
            kernels = [self._kernel_params(params) for params in params_list]
            distinct = list(dict.fromkeys(kernels))
            for kernel, params in zip(kernels, params_list, strict=True):
                if kernel not in solved:
                    solved[kernel] = _Solved(self, X, Y, params)
            fitted = []
            for kernel in distinct:
                same = [k for k, other in enumerate(kernels) if other == kernel]
                # Voxels of another kernel have any penalty here: they are not predicted by this model.
                place = np.array([same.index(k) if k in same else 0 for k in range(len(kernels))])
                dual = solved[kernel].path([params_list[k] for k in same]).picked_coefficients(place[pick])
                fitted.append(solved[kernel].model(params_list[same[0]], dual))
            which = np.array([distinct.index(kernel) for kernel in kernels])[pick]
            models.append(fitted[0] if len(fitted) == 1 else PickedModels(tuple(fitted), which))
        return models

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
        """Count ten arrays of the size of the kernel, and sums and scores of its penalties, besides what others do."""
        return super().evaluate_bytes(size) + 80.0 * (size.n_train**2 + len(_ALPHAS) * size.n_voxels)

    def _training_part(
        self, data: FoldData, excluded: tuple[int, ...], params_list: Sequence[Params]
    ) -> tuple[FloatArray, FloatArray]:
        """Return features and responses outside the folds ``excluded``, where held-out responses are."""
        there = data.held_out(0).centred
        X, Y = like(data.samples(excluded), there), like(data.targets(excluded), there)
        for params in params_list:
            check_params(self.name, params, self.search_space(ProblemSize(len(X), X.shape[1], Y.shape[1])))
        return X, Y

    def _kernel_params(self, params: Params) -> tuple[float, ...]:
        return tuple(params[name] for name in self.parameters)


class _Solved:
    """The eigendecomposition of one centred training kernel: vectors (n, r), values (r,), loadings V'Yc (r, q)."""

    def __init__(self, encoder: KernelRidge, X: FloatArray, Y: FloatArray, params: Params) -> None:
        self._encoder, self._params = encoder, params
        self.x_mean, self.y_mean = X.mean(axis=0), Y.mean(axis=0)
        self.X = X - self.x_mean
        xp, K = namespace(X), encoder.kernel(self.X, self.X, params)
        self.k_mean = K.mean(axis=0)
        Kc = K - self.k_mean - self.k_mean[:, None] + self.k_mean.mean()
        values, vectors = xp.linalg.eigh(Kc)
        # Directions without variance predict nothing: a test stimulus has no part in them either.
        kept = values > len(X) * np.finfo(np.float64).eps * max(float(xp.abs(K).max()), 0.0)
        self.values, self.vectors = values[kept], vectors[:, kept]
        self._mean_value = float(Kc.trace()) / len(X)
        self.loadings: FloatArray = self.vectors.T @ (Y - self.y_mean)

    def path(self, params_list: Sequence[Params]) -> ShrinkagePath:
        """Return the dual coefficients of all penalties: V diag(1 / (l + a)) V'Yc."""
        penalties = np.array([params["relative_alpha"] for params in params_list]) * self._mean_value
        there = like(penalties, self.values)
        filters = shrinkage(self.values, there)
        shared = {"eigenvalues": self.values, "penalties": there}
        return ShrinkagePath(tuple(params_list), self.vectors, filters, self.loadings, **shared)

    def features(self, X: FloatArray) -> FloatArray:
        """Return k(x) - k_mean, ndarray of shape (n_samples, n)."""
        K = self._encoder.kernel(double(X) - self.x_mean, self.X, self._params) - self.k_mean
        # Eigenvectors of small values are not quite orthogonal to the constant vector: rows are centred as well.
        return K - K.mean(axis=1)[:, None]

    def model(self, params: Params, dual: FloatArray) -> KernelModel:
        """Return the model with some dual coefficients."""
        dual = dual - dual.mean(axis=0)  # exactly 0, but for eigenvectors that rounding mixed with the constant one
        return KernelModel(self._encoder, params, self.X, self.x_mean, dual, self.y_mean - self.k_mean @ dual)


@register_encoder
class LinearKernelRidge(KernelRidge):
    """Kernel k(x, z) = x'z: ridge regression in its dual form, for many more features than stimuli."""

    name: ClassVar[str] = "kernel_ridge_linear"

    def kernel(self, A: FloatArray, B: FloatArray, params: Params) -> FloatArray:
        """Return x'z."""
        return A @ B.T


@register_encoder
class RBFKernelRidge(KernelRidge):
    """Kernel k(x, z) = exp(-g |x - z|^2) with g = ``relative_gamma`` / (mean squared distance of training stimuli)."""

    name: ClassVar[str] = "kernel_ridge_rbf"
    parameters: ClassVar[dict[str, tuple[float, ...]]] = {"relative_gamma": _GAMMAS}

    def kernel(self, A: FloatArray, B: FloatArray, params: Params) -> FloatArray:
        """Return exp(-g |x - z|^2)."""
        a, b = column_products(A.T, A.T), column_products(B.T, B.T)
        squared = (a[:, None] + b - 2 * (A @ B.T)).clip(min=0.0)
        # The training features are centred: their squared distances are twice their squared norms on average.
        squared *= -params["relative_gamma"] / _unit(2 * b.mean())
        return namespace(A).exp(squared)


@register_encoder
class PolynomialKernelRidge(KernelRidge):
    """Kernel k(x, z) = (1 + g x'z)^``degree`` with g = ``relative_gamma`` / (mean squared norm of training stimuli)."""

    name: ClassVar[str] = "kernel_ridge_polynomial"
    parameters: ClassVar[dict[str, tuple[float, ...]]] = {"degree": _DEGREES, "relative_gamma": _GAMMAS}

    def kernel(self, A: FloatArray, B: FloatArray, params: Params) -> FloatArray:
        """Return (1 + g x'z)^degree."""
        g = params["relative_gamma"] / _unit(column_products(B.T, B.T).mean())
        return (1 + g * (A @ B.T)) ** int(params["degree"])


def _unit(variance: Any) -> float:
    """Return a positive unit; features without variance give any."""
    return float(variance) if variance > 0 else 1.0
