"""Ordinary least squares: the solution of smallest norm, B = S^+ C.

With S = V diag(l) V', the pseudoinverse is V diag(1 / l) V' over the eigenvalues that differ from zero.

References
----------
.. [1] Penrose, R. On best approximate solutions of linear matrix equations. Mathematical Proceedings of the Cambridge
   Philosophical Society 52, 17-19 (1956). doi:10.1017/S0305004100030929
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import Params, check_params
from voxelcast.encoders.paths import LinearPath
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

    def path(self, moments: Moments, params_list: Sequence[Params]) -> LinearPath:
        """Solve the one set of parameters from the training moments.

        Raises OptionError if parameters name a hyper-parameter.
        """
        for params in params_list:
            check_params(self.name, params, {})
        values, vectors = moments.eigen
        kept = values > _EIGENVALUE_TOLERANCE * values[-1]
        loadings = (vectors[:, kept].T @ moments.C) / values[kept, None]
        return LinearPath(
            tuple(params_list), vectors[:, kept], np.ones((len(params_list), loadings.shape[0])), loadings
        )
