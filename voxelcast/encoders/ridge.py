"""Least squares and ridge regression, from one eigendecomposition of the training moments, S = V diag(l) V'.

- Ordinary least squares: the solution of smallest norm, B = S^+ C [1]_. The pseudoinverse is V diag(1 / l) V' over the
  eigenvalues that differ from zero.
- Ridge regression [2]_: the model B(a) = (S + a I)^-1 C of penalty a is V diag(1 / (l + a)) V'C.
- Ridge regression whose penalty every voxel chooses for itself, by generalised cross-validation. With S of rank r and
  z = V'c of a voxel's column c of C, the residual sum of squares and the degrees of freedom of penalty a need nothing
  but the moments (sums over the r eigenvalues that are not zero)::

    RSS(a) = y'y - sum_j z_j^2 / l_j  +  sum_j (a / (l_j + a))^2 z_j^2 / l_j
    n - df(a) = n - 1 - r  +  sum_j a / (l_j + a)
    GCV(a) = (RSS(a) / n) / (1 - df(a) / n)^2

  So written they lose no digits where a model of many features leaves next to nothing. GCV is leave-one-out
  cross-validation with every stimulus given the mean leverage [3]_. The choice is part of the fit: inside
  cross-validation it sees the training part alone.

References
----------
.. [1] Penrose, R. On best approximate solutions of linear matrix equations. Mathematical Proceedings of the Cambridge
   Philosophical Society 52, 17-19 (1956). doi:10.1017/S0305004100030929
.. [2] Hoerl, A. E. & Kennard, R. W. Ridge regression: biased estimation for nonorthogonal problems. Technometrics 12,
   55-67 (1970). doi:10.1080/00401706.1970.10488634
.. [3] Golub, G. H., Heath, M. & Wahba, G. Generalized cross-validation as a method for choosing a good ridge parameter.
   Technometrics 21, 215-223 (1979). doi:10.1080/00401706.1979.10489751
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray, like, namespace, to_numpy, zeros
from voxelcast.core.errors import OptionError
from voxelcast.encoders.linear import LinearEncoder, PenaltyEncoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import Params, check_params, is_number
from voxelcast.encoders.paths import LinearPath, ShrinkagePath
from voxelcast.encoders.registry import register_encoder

# Share of the largest eigenvalue of S below which one is rounding: those of duplicate or constant features lie below
# 1e-14 even where S is a difference between all stimuli's and a fold's.
_EIGENVALUE_TOLERANCE = 1e-12


@register_encoder
class OLS(LinearEncoder):
    """Ordinary least squares with an intercept; there is nothing to search, its only parameters is empty.

    Directions of the features whose variance is below 1e-12 of the largest are left out, so with duplicate or constant
    features, or with fewer stimuli than features, it is the solution of smallest norm, as of `numpy.linalg.lstsq`.
    """

    name: ClassVar[str] = "ols"
    takes_tensors: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    rotates: ClassVar[bool] = True

    def path(self, moments: Moments, params_list: Sequence[Params]) -> LinearPath:
        """Solve the one set of parameters from the training moments."""
        for params in params_list:
            check_params(self.name, params, {})
        xp, (values, vectors) = namespace(moments.S), moments.eigen
        kept = values > _EIGENVALUE_TOLERANCE * values[..., -1:]
        filters = xp.where(kept, 1.0 / xp.where(kept, values, 1.0), 0.0)[..., None, :]
        return LinearPath(tuple(params_list), vectors, filters[..., [0] * len(params_list), :], vectors.mT @ moments.C)


def ridge_penalty(S: FloatArray, relative_alpha: float) -> float:
    """Return the penalty a = ``relative_alpha`` * trace(S) / p that is added to the diagonal of S."""
    return float(relative_alpha * S.trace() / S.shape[0])


@register_encoder
class Ridge(PenaltyEncoder):
    """Ridge regression; its one hyper-parameter is ``relative_alpha``.

    ``relative_alpha`` is the penalty in units of the mean eigenvalue of S = X'X of the training part, so the same
    number shrinks as much whatever the unit of the features or the number of stimuli: 1 halves a direction of average
    variance. The intercept is not penalised. scikit-learn's ``Ridge(alpha=ridge_penalty(S, relative_alpha))`` is the
    same model.
    """

    name: ClassVar[str] = "ridge"
    takes_tensors: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    rotates: ClassVar[bool] = True
    bounds: ClassVar[tuple[float, float]] = (1e-5, 1e5)
    alphas: ClassVar[tuple[float, ...]] = tuple(float(alpha) for alpha in np.geomspace(1e5, 1e-5, 50))
    window: ClassVar[int] = 11

    def path(self, moments: Moments, params_list: Sequence[Params]) -> ShrinkagePath:
        """Solve every penalty from the training moments."""
        alphas = np.array([_checked_alpha(params) for params in params_list])
        (values, vectors), unit = moments.eigen, moments.mean_eigenvalue
        penalties = like(alphas, values) * (unit if moments.S.ndim == 2 else unit[..., None])
        filters = shrinkage(values, penalties)
        loadings = vectors.mT @ moments.C
        return ShrinkagePath(tuple(params_list), vectors, filters, loadings, eigenvalues=values, penalties=penalties)

    def refined_path(self, path: LinearPath, params: Sequence[Sequence[Params]]) -> LinearPath:
        """Give each training part of a stack a penalty of its own; see `LinearEncoder.refined_path`."""
        assert isinstance(path, ShrinkagePath)
        unit = path.penalties[..., :1] / _checked_alpha(path.params_list[0])
        alphas = like(np.array([[_checked_alpha(one) for one in some] for some in params]), unit)
        penalties = unit * alphas[..., None]
        filters = shrinkage(path.eigenvalues, penalties)
        return replace(path, params_list=path.params_list[:1], filters=filters, penalties=penalties)


def shrinkage(values: FloatArray, penalties: FloatArray) -> FloatArray:
    """Return 1 / (eigenvalue + penalty), (n_penalties, r), of stacks too.

    Features without any variance have no direction to shrink: there it is 0, and the model is the mean response.
    """
    xp, shrunk = namespace(values), values[..., None, :] + penalties[..., :, None]
    return xp.where(shrunk > 0, 1.0 / xp.where(shrunk > 0, shrunk, 1.0), 0.0)


def _checked_alpha(params: Params) -> float:
    alpha = params.get("relative_alpha")
    if not is_number(alpha) or len(params) != 1 or not alpha > 0:
        raise OptionError(f"ridge needs relative_alpha, a positive finite number; got {dict(params)}; give e.g. 1.0")
    return float(alpha)


def gcv(moments: Moments, penalties: FloatArray) -> FloatArray:
    """Return the generalised cross-validation error of every penalty and voxel, ndarray of shape (n_penalties, q).

    ``penalties``, (n_penalties,), are above 0 and added to the diagonal of S.
    """
    values, vectors = moments.eigen
    xp, there = namespace(values), values > _EIGENVALUE_TOLERANCE * values[-1]
    values, penalties = values[there], like(penalties, values)
    parts = xp.square(vectors[:, there].T @ moments.C) / values[:, None]
    kept = penalties[:, None] / (values + penalties[:, None])
    left = moments.n - 1 - len(values)
    # With as many directions as stimuli nothing lies outside of them.
    outside = (moments.y_squares - parts.sum(axis=0)).clip(min=0.0) if left > 0 else 0.0
    residual = outside + xp.square(kept) @ parts
    return residual * (moments.n / xp.square(left + kept.sum(axis=1)))[:, None]


@register_encoder
class RidgePerVoxel(LinearEncoder):
    """Ridge regression with a penalty per voxel, the one of fifty with the smallest generalised cross-validation error.

    The penalties are those of `Ridge`. There is no hyper-parameter to search.
    """

    name: ClassVar[str] = "ridge_per_voxel"
    takes_tensors: ClassVar[bool] = True
    rotates: ClassVar[bool] = True

    def path(self, moments: Moments, params_list: Sequence[Params]) -> LinearPath:
        """Choose the penalties and solve the one set of parameters from the training moments."""
        for params in params_list:
            check_params(self.name, params, {})
        (p, q), n_params = moments.C.shape, len(params_list)
        unit = moments.mean_eigenvalue
        if not unit > 0:
            # Features without any variance: the model is the mean response.
            empty = (zeros(shape, moments.S) for shape in ((p, 0), (n_params, 0), (0, q)))
            return LinearPath(tuple(params_list), *empty)
        penalties = unit * np.array(Ridge.alphas)
        values, vectors = moments.eigen
        # Of equal errors the first, i.e. the largest penalty.
        chosen = like(penalties[to_numpy(gcv(moments, penalties)).argmin(axis=0)], values)
        loadings = (vectors.T @ moments.C) / (values[:, None] + chosen)
        return LinearPath(tuple(params_list), vectors, like(np.ones((n_params, p)), values), loadings)
