"""Ridge regression: every penalty from one eigendecomposition of the training moments.

With S = V diag(l) V', the model B(a) = (S + a I)^-1 C of penalty a is V diag(1 / (l + a)) V'C.

References
----------
.. [1] Hoerl, A. E. & Kennard, R. W. Ridge regression: biased estimation for nonorthogonal problems. Technometrics 12,
   55-67 (1970). doi:10.1080/00401706.1970.10488634
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.checks import is_number
from voxelcast.encoders.linear import PenaltyEncoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import Params
from voxelcast.encoders.paths import ShrinkagePath
from voxelcast.encoders.registry import register_encoder


def ridge_penalty(S: FloatArray, relative_alpha: float) -> float:
    """Return the penalty a = ``relative_alpha`` * trace(S) / p that is added to the diagonal of S."""
    return float(relative_alpha * np.trace(S) / S.shape[0])


@register_encoder
class Ridge(PenaltyEncoder):
    """Ridge regression; its one hyper-parameter is ``relative_alpha``.

    ``relative_alpha`` is the penalty in units of the mean eigenvalue of S = X'X of the training part, so the same
    number shrinks as much whatever the unit of the features or the number of stimuli: 1 halves a direction of average
    variance. The intercept is not penalised. scikit-learn's ``Ridge(alpha=ridge_penalty(S, relative_alpha))`` is the
    same model.
    """

    name: ClassVar[str] = "ridge"
    bounds: ClassVar[tuple[float, float]] = (1e-5, 1e5)
    alphas: ClassVar[tuple[float, ...]] = tuple(float(alpha) for alpha in np.geomspace(1e5, 1e-5, 50))
    window: ClassVar[int] = 11

    def path(self, moments: Moments, params_list: Sequence[Params]) -> ShrinkagePath:
        """Solve every penalty from the training moments.

        Raises OptionError if ``relative_alpha`` is not a positive number.
        """
        alphas = np.array([_checked_alpha(params) for params in params_list])
        values, vectors = moments.eigen
        penalties = alphas * (float(np.trace(moments.S)) / moments.S.shape[0])
        shrunk = values + penalties[:, None]
        # Features without any variance have no direction to shrink: the model is the mean response.
        filters = np.divide(1.0, shrunk, out=np.zeros_like(shrunk), where=shrunk > 0)
        return ShrinkagePath(tuple(params_list), vectors, filters, vectors.T @ moments.C, values, penalties)


def _checked_alpha(params: Params) -> float:
    alpha = params.get("relative_alpha")
    if not is_number(alpha) or len(params) != 1 or not alpha > 0:
        raise OptionError(f"ridge needs relative_alpha, a positive finite number; got {dict(params)}; give e.g. 1.0")
    return float(alpha)
