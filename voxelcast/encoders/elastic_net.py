"""Elastic net and lasso: a path of penalties from the training moments, all voxels side by side.

With the penalty ``alpha`` and its share ``l1_ratio`` that is taken of absolute values, the coefficients b of a voxel
minimise scikit-learn's objective ::

    |y - X b|^2 / (2 n) + alpha l1_ratio |b|_1 + alpha (1 - l1_ratio) / 2 |b|^2

of which only S = X'X and C = X'Y matter. Times n it is b'Hb / 2 - c'b + t |b|_1 with H = S + n alpha (1 - l1_ratio) I
and t = n alpha l1_ratio, minimised by proximal gradient steps with momentum [2]_::

    x <- shrink(y + (c - H y) / L, t / L)          shrink(z, t) = sign(z) max(|z| - t, 0)
    y <- x + m (x - x_before)                      m = (sqrt(L) - sqrt(l)) / (sqrt(L) + sqrt(l))

after the features were scaled to a diagonal of ones; L and l bound the eigenvalues of H. One step of all voxels is one
matrix product. Penalties are solved from large to small, each from the solution before. The error of the coefficients
is at most 1e-9 of the largest; where features are so nearly dependent that this takes long, the equations of the
features in use are solved directly, and kept if the solution meets the optimality conditions.

References
----------
.. [1] Zou, H. & Hastie, T. Regularization and variable selection via the elastic net. Journal of the Royal Statistical
   Society B 67, 301-320 (2005). doi:10.1111/j.1467-9868.2005.00503.x
.. [2] Beck, A. & Teboulle, M. A fast iterative shrinkage-thresholding algorithm for linear inverse problems. SIAM
   Journal on Imaging Sciences 2, 183-202 (2009). doi:10.1137/080716542
.. [3] O'Donoghue, B. & Candes, E. Adaptive restart for accelerated gradient schemes. Foundations of Computational
   Mathematics 15, 715-732 (2015). doi:10.1007/s10208-013-9150-3
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray
from voxelcast.core.errors import DataError, OptionError
from voxelcast.encoders.base import Encoder, Moments, Range, Setting, VoxelPath

_TOLERANCE = 1e-9
_CHECK_EVERY = 4
_DIRECT_TOLERANCE = 1e-12
_BLOCK_BYTES = 16 * 2**20
_FIRST_DIRECT, _MOST_STEPS = 64, 65_536
# Features with less than this share of the largest variance are constant but for rounding.
_VARIANCE_TOLERANCE = 1e-14
_LOWEST, _HIGHEST, _N_ALPHAS = 1e-3, 1.0, 25
_L1_RATIOS = (0.1, 0.5, 1.0)


def largest_penalty(moments: Moments) -> float:
    """Return max |C| / n: the smallest ``alpha * l1_ratio`` at which all coefficients of all voxels are zero."""
    return float(np.abs(moments.C).max(initial=0.0)) / moments.n


def elastic_net_path(S: FloatArray, C: FloatArray, penalties: Sequence[tuple[float, float]]) -> FloatArray:
    """Solve the elastic net for several penalties, each from the solution of the one before.

    Parameters
    ----------
    S : ndarray of shape (p, p)
        X'X of the centred features.
    C : ndarray of shape (p, q)
        X'Y of the centred features and responses.
    penalties : sequence of (float, float)
        n * alpha * l1_ratio and n * alpha * (1 - l1_ratio) of each setting; largest first is quickest.

    Returns
    -------
    coefficients : ndarray of shape (n_penalties, q, p)

    Raises
    ------
    DataError
        If a voxel's coefficients do not converge.
    """
    p, q = C.shape
    coefficients = np.zeros((len(penalties), q, p))
    variances = np.diag(S)
    kept = np.flatnonzero(variances > _VARIANCE_TOLERANCE * variances.max(initial=0.0))
    if not len(kept):
        return coefficients
    S, Ct, variances = S[np.ix_(kept, kept)], np.ascontiguousarray(C[kept].T), variances[kept]
    roots = np.sqrt(variances)
    eigenvalues = np.linalg.eigvalsh(S / np.outer(roots, roots))
    b = np.zeros(Ct.shape)
    for place, (absolute, square) in enumerate(penalties):
        scale = 1 / np.sqrt(variances + square)
        # The scaled S has eigenvalues between these two; the square penalty draws both towards 1.
        towards_one = float(square * np.square(scale).min())
        lowest = max(float(eigenvalues[0]), 0.0) * (1 - towards_one) + towards_one
        highest = float(eigenvalues[-1]) * (1 - towards_one) + towards_one
        H = S * np.outer(scale, scale) + np.diag(square * np.square(scale))
        b = _minimise(_Problem(H, Ct * scale, absolute * scale, lowest, highest), b / scale) * scale
        coefficients[place][:, kept] = b
    return coefficients


@dataclass(frozen=True)
class _Problem:
    """Minimise x'Hx / 2 - c'x + sum(t |x|) for every voxel.

    Parameters
    ----------
    H : ndarray of shape (p, p)
        Diagonal of ones.
    c : ndarray of shape (q, p)
    t : ndarray of shape (p,)
    lowest, highest : float
        Bounds of the eigenvalues of H.
    """

    H: FloatArray
    c: FloatArray
    t: FloatArray
    lowest: float
    highest: float


def _minimise(problem: _Problem, x: FloatArray) -> FloatArray:
    """Return the minimum of every voxel, shape (q, p), starting from x."""
    L = problem.highest
    # Without a lower bound the momentum would not end; restarts choose the better one (at most a thousandfold).
    ratio = max(problem.lowest / L, 1e-6)
    momentum = (1 - np.sqrt(ratio)) / (1 + np.sqrt(ratio))
    M, threshold = np.eye(len(problem.t)) - problem.H / L, problem.t / L
    found = x.copy()
    todo, c, before, y = np.arange(len(x)), problem.c / L, x, x
    direct = _FIRST_DIRECT
    for step in range(1, _MOST_STEPS + 1):
        x = y @ M
        x += c
        x -= np.clip(x, -threshold, threshold)
        moved = x - before
        if step % _CHECK_EVERY == 0:
            gradient = y - x
            # A step of the gradient's length r leaves an error of at most r * L / l.
            done = np.abs(gradient).max(axis=1) <= _TOLERANCE * ratio * np.abs(x).max(axis=1)
            if step == direct:
                direct *= 2
                done |= _solve_directly(problem, problem.c[todo], x)
            found[todo[done]] = x[done]
            if done.all():
                return found
            # Momentum that leads uphill starts anew.
            moved[np.einsum("qp,qp->q", gradient, moved) > 0] = 0.0
            if done.any():
                x, moved, todo, c = x[~done], moved[~done], todo[~done], c[~done]
        before = x
        y = x + momentum * moved
    raise DataError(
        f"the elastic net of {len(todo)} of {len(found)} voxels must converge; it did not in {_MOST_STEPS} steps; "
        "use a larger relative_alpha, or fewer or less dependent features"
    )


def _solve_directly(problem: _Problem, c: FloatArray, x: FloatArray) -> BoolArray:
    """Solve H x = c - t sign(x) on the features in use.

    Where the solution is the minimum it is written to ``x``, shape (m, p).

    Returns
    -------
    solved : ndarray of shape (m,), bool
    """
    solved = np.zeros(len(x), dtype=bool)
    p = len(problem.t)
    size = max(1, _BLOCK_BYTES // (8 * p * p))
    for start in range(0, len(x), size):
        part = slice(start, start + size)
        signs = np.sign(x[part])
        used = signs != 0
        # The rows and columns of the other features are those of the identity. With features in use that depend on
        # each other, as duplicates do, the small addition picks one of the solutions; it is checked like any other.
        equations = problem.H * (used[:, :, None] & used[:, None, :])
        equations[:, np.arange(p), np.arange(p)] = 1 + _DIRECT_TOLERANCE
        right = np.where(used, c[part] - problem.t * signs, 0.0)
        solution = np.linalg.solve(equations, right[:, :, None])[:, :, 0]
        slope = c[part] - solution @ problem.H
        excess = np.where(used, np.abs(slope - problem.t * signs), np.abs(slope) - problem.t)
        fits = excess.max(axis=1) <= _DIRECT_TOLERANCE * np.abs(c[part]).max(axis=1)
        fits &= (solution * signs >= 0).all(axis=1)
        x[part][fits] = solution[fits]
        solved[part] = fits
    return solved


class ElasticNet(Encoder):
    """Elastic net; its hyper-parameters are ``relative_alpha`` and ``l1_ratio``.

    ``relative_alpha`` is the penalty of absolute values, alpha * l1_ratio, in units of the smallest one at which all
    coefficients of all voxels of the training part are zero (`largest_penalty`): the same number is as strict whatever
    the unit of features and responses. All voxels have the same alpha, and the intercept is not penalised.
    scikit-learn's ``ElasticNet(alpha=relative_alpha * largest_penalty(moments) / l1_ratio, l1_ratio=l1_ratio)`` is the
    same model.
    """

    name: ClassVar[str] = "elastic_net"

    def space(self, n_train: int, n_features: int, n_voxels: int) -> dict[str, Range]:
        """Return the ranges: ``relative_alpha`` 1e-3 to 1, logarithmic, and ``l1_ratio`` 0.1 to 1."""
        return {"relative_alpha": Range(_LOWEST, _HIGHEST, log=True), "l1_ratio": Range(_L1_RATIOS[0], 1.0)}

    def settings(self, n_train: int, n_features: int, n_voxels: int) -> tuple[Setting, ...]:
        """List 24 values of ``relative_alpha``, largest first, each with three of ``l1_ratio``, the strictest first."""
        return tuple(
            {"relative_alpha": alpha, "l1_ratio": l1_ratio} for alpha in _relative_alphas() for l1_ratio in _L1_RATIOS
        )

    def path(self, moments: Moments, settings: Sequence[Setting]) -> VoxelPath:
        """Solve every penalty from the training moments.

        Raises
        ------
        OptionError
            If a hyper-parameter is missing or not in (0, 1].
        """
        unit = largest_penalty(moments) * moments.n
        wanted = [_checked_penalty(self.name, setting, ("relative_alpha", "l1_ratio")) for setting in settings]
        return _penalty_path(moments, settings, [(unit * alpha, l1_ratio) for alpha, l1_ratio in wanted])


class Lasso(Encoder):
    """Lasso: the elastic net with ``l1_ratio`` 1; its one hyper-parameter is ``relative_alpha``, see `ElasticNet`."""

    name: ClassVar[str] = "lasso"

    def space(self, n_train: int, n_features: int, n_voxels: int) -> dict[str, Range]:
        """Return the range of ``relative_alpha``: 1e-3 to 1, logarithmic."""
        return {"relative_alpha": Range(_LOWEST, _HIGHEST, log=True)}

    def settings(self, n_train: int, n_features: int, n_voxels: int) -> tuple[Setting, ...]:
        """List 24 penalties, largest first."""
        return tuple({"relative_alpha": alpha} for alpha in _relative_alphas())

    def path(self, moments: Moments, settings: Sequence[Setting]) -> VoxelPath:
        """Solve every penalty from the training moments.

        Raises
        ------
        OptionError
            If ``relative_alpha`` is not in (0, 1].
        """
        unit = largest_penalty(moments) * moments.n
        wanted = [_checked_penalty(self.name, setting, ("relative_alpha",)) for setting in settings]
        return _penalty_path(moments, settings, [(unit * alpha, 1.0) for (alpha,) in wanted])


def _relative_alphas() -> list[float]:
    """Return the values of the exhaustive search; 1 itself would leave no model."""
    return [float(alpha) for alpha in np.geomspace(_HIGHEST, _LOWEST, _N_ALPHAS)[1:]]


def _checked_penalty(encoder: str, setting: Setting, names: tuple[str, ...]) -> tuple[float, ...]:
    values = tuple(float(setting.get(name, np.nan)) for name in names)
    if set(setting) != set(names) or not all(0 < value <= 1 for value in values):
        raise OptionError(
            f"{encoder} needs {' and '.join(names)}, above 0 and at most 1; got {dict(setting)}; give e.g. 0.1"
        )
    return values


def _penalty_path(moments: Moments, settings: Sequence[Setting], wanted: list[tuple[float, float]]) -> VoxelPath:
    """Return the path of settings with (n * alpha * l1_ratio, l1_ratio), solved ratio by ratio, largest alpha first."""
    order = sorted(range(len(wanted)), key=lambda place: (-wanted[place][1], -wanted[place][0]))
    penalties = [(wanted[place][0], wanted[place][0] * (1 / wanted[place][1] - 1)) for place in order]
    S, places = moments.S, np.argsort(order)

    def solve(C: FloatArray) -> FloatArray:
        found: FloatArray = elastic_net_path(S, C, penalties)[places]
        return found

    return VoxelPath(tuple(settings), moments.C, solve)
