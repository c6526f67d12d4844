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
from voxelcast.encoders.elastic_net_solver import elastic_net_path
from voxelcast.encoders.linear import LinearEncoder, PenaltyEncoder, peak
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import Distribution, Params, ProblemSize, check_params, is_number
from voxelcast.encoders.paths import VoxelPath
from voxelcast.encoders.registry import register_encoder

_LOWEST, _HIGHEST = 1e-3, 1.0
_N_ALPHAS_LASSO, _N_ALPHAS = 17, 9
_L1_RATIOS = (0.1, 0.5, 1.0)
_GRID_2021 = {"alpha": 7, "l1_ratio": 5}
# Of the parameters tried, those around the best from which the peak in between is estimated.
_WINDOW = 5


def _relative_alphas(n: int) -> tuple[float, ...]:
    """Return the values of the exhaustive search, one fewer than ``n``; 1 itself would leave no model."""
    return tuple(float(alpha) for alpha in np.geomspace(_HIGHEST, _LOWEST, n)[1:])


def largest_penalty(moments: Moments) -> float:
    """Return the smallest ``alpha * l1_ratio`` at which all coefficients of all voxels are zero.

    It is max |C| / n of responses in units of their standard deviation over the training part.
    """
    return float(np.abs(_standardised(moments)[0]).max(initial=0.0)) / moments.n


def _standardised(moments: Moments) -> tuple[FloatArray, FloatArray]:
    """Return C of responses in units of their standard deviations, 0 where these are 0, and the deviations."""
    deviations = np.sqrt(np.maximum(moments.y_squares, 0.0) / moments.n)
    C = np.divide(moments.C, deviations, out=np.zeros_like(moments.C), where=deviations > 0)
    return C, deviations


@register_encoder
class ElasticNet(LinearEncoder):
    """Elastic net; its hyper-parameters are ``relative_alpha`` and ``l1_ratio``.

    ``relative_alpha`` is the penalty of absolute values, alpha * l1_ratio, in units of the smallest one at which all
    coefficients of all voxels of the training part are zero (`largest_penalty`). All voxels have the same alpha, with
    responses in units of their standard deviation over the training part: the same number is as strict whatever the
    unit of features and of each voxel. The intercept is not penalised. scikit-learn's
    ``ElasticNet(alpha=relative_alpha * largest_penalty(moments) / l1_ratio, l1_ratio=l1_ratio)`` fitted to responses so
    divided is the same model.
    """

    name: ClassVar[str] = "elastic_net"

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        """Return the ranges: ``relative_alpha`` 1e-3 to 1, logarithmic, and ``l1_ratio`` 0.1 to 1."""
        return {
            "relative_alpha": Distribution(_LOWEST, _HIGHEST, log=True),
            "l1_ratio": Distribution(_L1_RATIOS[0], 1.0),
        }

    def param_grid(self, size: ProblemSize) -> tuple[Params, ...]:
        """List 8 values of ``relative_alpha``, largest first, each with three of ``l1_ratio``, the strictest first.

        The best is refined between them in both hyper-parameters.
        """
        return tuple(
            {"relative_alpha": alpha, "l1_ratio": l1_ratio}
            for alpha in _relative_alphas(_N_ALPHAS)
            for l1_ratio in _L1_RATIOS
        )

    def refined(self, params_list: Sequence[Params], scores: FloatArray) -> tuple[Params, ...]:
        """Return the peaks over ``relative_alpha`` at the best ``l1_ratio`` and its neighbours, then one in between."""
        by_ratio: dict[float, list[tuple[float, float]]] = {}
        for params, score in zip(params_list, scores, strict=True):
            if np.isfinite(score):
                by_ratio.setdefault(params["l1_ratio"], []).append((float(np.log(params["relative_alpha"])), score))
        ratios = sorted(by_ratio)
        tops = [max(by_ratio[ratio], key=lambda point: point[1]) for ratio in ratios]
        best = max(range(len(ratios)), key=lambda place: tops[place][1], default=0)
        near = ratios[best - 1 : best + 2] if 0 < best < len(ratios) - 1 else ratios[best : best + 1]
        columns = [(ratio, np.array(by_ratio[ratio])) for ratio in near]
        peaks = [(ratio, peak(column[:, 0], column[:, 1], _WINDOW)) for ratio, column in columns]
        found = [(found[0], ratio) for ratio, found in peaks if found is not None]
        if not found and (between := peak(ratios, [score for _, score in tops])) is not None:
            found = [(float(np.interp(between[0], ratios, [alpha for alpha, _ in tops])), between[0])]
        return tuple({"relative_alpha": float(np.exp(alpha)), "l1_ratio": ratio} for alpha, ratio in found)

    def order(self, params: Params) -> tuple[float, ...]:
        """Sort the largest ``relative_alpha`` first, and of equal ones the smallest ``l1_ratio``."""
        return (-params["relative_alpha"], params["l1_ratio"])

    def path(self, moments: Moments, params_list: Sequence[Params]) -> VoxelPath:
        """Solve every penalty from the training moments."""
        checked = [_checked_penalty(self.name, params, ("relative_alpha", "l1_ratio")) for params in params_list]
        return _penalty_path(moments, params_list, checked)


@register_encoder
class ElasticNet2021(LinearEncoder):
    """scikit-learn's ``ElasticNet(alpha, l1_ratio)`` in the range of 2021: ``alpha`` .01 to .25, ``l1_ratio`` .01 to 1.

    ``alpha`` is in the units of features and responses: it is strict with a voxel of small variance. Prefer
    `ElasticNet`.
    """

    name: ClassVar[str] = "elastic_net_2021"
    _bounds: ClassVar[dict[str, Distribution]] = {
        "alpha": Distribution(0.01, 0.25),
        "l1_ratio": Distribution(0.01, 1.0),
    }

    def search_space(self, size: ProblemSize) -> dict[str, Distribution]:
        """Return the ranges, linear."""
        return dict(self._bounds)

    def param_grid(self, size: ProblemSize) -> tuple[Params, ...]:
        """List 7 values of ``alpha``, largest first, each with 5 of ``l1_ratio``."""
        ranges = [np.linspace(self._bounds[name].low, self._bounds[name].high, n) for name, n in _GRID_2021.items()]
        return tuple({"alpha": float(a), "l1_ratio": float(share)} for a in ranges[0][::-1] for share in ranges[1])

    def order(self, params: Params) -> tuple[float, ...]:
        """Call all alike: a smaller ``l1_ratio`` is neither simpler nor more complex."""
        return ()

    def path(self, moments: Moments, params_list: Sequence[Params]) -> VoxelPath:
        """Solve every penalty from the training moments."""
        for params in params_list:
            check_params(self.name, params, self._bounds)
        shares = [(moments.n * params["alpha"], params["l1_ratio"]) for params in params_list]
        penalties = [(penalty * share, penalty * (1 - share)) for penalty, share in shares]
        return _solved(params_list, moments.S, moments.C, np.ones(moments.C.shape[1]), penalties)


@register_encoder
class Lasso(PenaltyEncoder):
    """Lasso: the elastic net with ``l1_ratio`` 1; its one hyper-parameter is ``relative_alpha``, see `ElasticNet`."""

    name: ClassVar[str] = "lasso"
    bounds: ClassVar[tuple[float, float]] = (_LOWEST, _HIGHEST)
    alphas: ClassVar[tuple[float, ...]] = _relative_alphas(_N_ALPHAS_LASSO)
    window: ClassVar[int] = _WINDOW

    def path(self, moments: Moments, params_list: Sequence[Params]) -> VoxelPath:
        """Solve every penalty from the training moments."""
        checked = [_checked_penalty(self.name, params, ("relative_alpha",)) for params in params_list]
        return _penalty_path(moments, params_list, [(alpha, 1.0) for (alpha,) in checked])


def _checked_penalty(encoder: str, params: Params, names: tuple[str, ...]) -> tuple[float, ...]:
    given = [params.get(name) for name in names]
    values = tuple(float(value) for value in given if is_number(value) and 0 < value <= 1)
    if set(params) != set(names) or len(values) < len(names):
        raise OptionError(
            f"{encoder} needs {' and '.join(names)}, above 0 and at most 1; got {dict(params)}; give e.g. 0.1"
        )
    return values


def _penalty_path(moments: Moments, params_list: Sequence[Params], wanted: list[tuple[float, ...]]) -> VoxelPath:
    """Return the path of parameters with (relative_alpha, l1_ratio)."""
    (C, deviations), unit = _standardised(moments), largest_penalty(moments) * moments.n
    penalties = [(unit * alpha, unit * alpha * (1 / l1_ratio - 1)) for alpha, l1_ratio in wanted]
    return _solved(params_list, moments.S, C, deviations, penalties)


def _solved(
    params_list: Sequence[Params],
    S: FloatArray,
    C: FloatArray,
    deviations: FloatArray,
    penalties: list[tuple[float, float]],
) -> VoxelPath:
    """Return the path of penalties; coefficients are multiplied by the voxels' deviations."""

    def solve(voxels: slice) -> FloatArray:
        found = elastic_net_path(S, C[:, voxels], penalties)
        found *= deviations[voxels, None]
        return found

    return VoxelPath(tuple(params_list), (C.shape[0], C.shape[1]), solve)
