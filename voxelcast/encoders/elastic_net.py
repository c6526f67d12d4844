"""Elastic net and lasso: a path of penalties from the training moments.

With the penalty ``alpha`` and its share ``l1_ratio`` that is taken of absolute values, the coefficients b of a voxel
minimise scikit-learn's objective ::

    |y - X b|^2 / (2 n) + alpha l1_ratio |b|_1 + alpha (1 - l1_ratio) / 2 |b|^2

of which only S = X'X and C = X'Y matter. For each l1_ratio, penalties are solved from large to small, each from the
solution before.

References
----------
.. [1] Zou, H. & Hastie, T. Regularization and variable selection via the elastic net. Journal of the Royal Statistical
   Society B 67, 301-320 (2005). doi:10.1111/j.1467-9868.2005.00503.x
.. [2] Tibshirani, R. Regression shrinkage and selection via the lasso. Journal of the Royal Statistical Society B 58,
   267-288 (1996). doi:10.1111/j.2517-6161.1996.tb02080.x
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.base import Encoder, Moments, Range, Setting, VoxelPath
from voxelcast.encoders.elastic_net_solver import elastic_net_path

_LOWEST, _HIGHEST, _N_ALPHAS = 1e-3, 1.0, 17
_L1_RATIOS = (0.1, 0.5, 1.0)


def largest_penalty(moments: Moments) -> float:
    """Return max |C| / n: the smallest ``alpha * l1_ratio`` at which all coefficients of all voxels are zero."""
    return float(np.abs(moments.C).max(initial=0.0)) / moments.n


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
        """List 16 values of ``relative_alpha``, largest first, each with three of ``l1_ratio``, the strictest first."""
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
        """List 16 penalties, largest first."""
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
