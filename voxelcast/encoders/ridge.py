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
from voxelcast.encoders.base import Distribution, Encoder, Moments, Params, ShrinkagePath
from voxelcast.encoders.checks import is_number
from voxelcast.encoders.refinement import peak

_LOWEST, _HIGHEST, _N_ALPHAS = 1e-5, 1e5, 50


def ridge_penalty(S: FloatArray, relative_alpha: float) -> float:
    """Return the penalty a = ``relative_alpha`` * trace(S) / p that is added to the diagonal of S."""
    return float(relative_alpha * np.trace(S) / S.shape[0])


class Ridge(Encoder):
    """Ridge regression; its one hyper-parameter is ``relative_alpha``.

    ``relative_alpha`` is the penalty in units of the mean eigenvalue of S = X'X of the training part, so the same
    number shrinks as much whatever the unit of the features or the number of stimuli: 1 halves a direction of average
    variance. The intercept is not penalised. scikit-learn's ``Ridge(alpha=ridge_penalty(S, relative_alpha))`` is the
    same model.
    """

    name: ClassVar[str] = "ridge"

    def space(self, n_train: int, n_features: int, n_voxels: int) -> dict[str, Distribution]:
        """Return the range of ``relative_alpha``: 1e-5 to 1e5, logarithmic."""
        return {"relative_alpha": Distribution(_LOWEST, _HIGHEST, log=True)}

    def settings(self, n_train: int, n_features: int, n_voxels: int) -> tuple[Params, ...]:
        """List fifty penalties spaced evenly in logarithm, largest first; the best is refined between them."""
        grid = np.geomspace(_HIGHEST, _LOWEST, _N_ALPHAS)
        return tuple({"relative_alpha": float(alpha)} for alpha in grid)

    def refined(self, settings: Sequence[Params], scores: FloatArray) -> tuple[Params, ...]:
        """Return the penalty at the peak of a polynomial through the best scores, in the logarithm of the penalty."""
        found = peak(np.log([setting["relative_alpha"] for setting in settings]), scores)
        return () if found is None else ({"relative_alpha": float(np.exp(found[0]))},)

    def order(self, setting: Params) -> tuple[float, ...]:
        """Sort the largest penalty first."""
        return (-setting["relative_alpha"],)

    def path(self, moments: Moments, settings: Sequence[Params]) -> ShrinkagePath:
        """Solve every penalty from the training moments.

        Raises
        ------
        OptionError
            If ``relative_alpha`` is not a positive number.
        """
        alphas = np.array([_checked_alpha(setting) for setting in settings])
        values, vectors = moments.eigen
        penalties = alphas * (float(np.trace(moments.S)) / moments.S.shape[0])
        shrunk = values + penalties[:, None]
        # Features without any variance have no direction to shrink: the model is the mean response.
        filters = np.divide(1.0, shrunk, out=np.zeros_like(shrunk), where=shrunk > 0)
        return ShrinkagePath(tuple(settings), vectors, filters, vectors.T @ moments.C, values, penalties)


def _checked_alpha(setting: Params) -> float:
    alpha = setting.get("relative_alpha")
    if not is_number(alpha) or len(setting) != 1 or not alpha > 0:
        raise OptionError(f"ridge needs relative_alpha, a positive finite number; got {dict(setting)}; give e.g. 1.0")
    return float(alpha)
