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

from voxelcast.core.errors import OptionError
from voxelcast.encoders.base import Distribution, Encoder, LinearPath, Moments, Params

# Share of the largest eigenvalue of S below which one is rounding: those of duplicate or constant features lie below
# 1e-14 even where S is a difference between all stimuli's and a fold's.
_EIGENVALUE_TOLERANCE = 1e-12


class OLS(Encoder):
    """Ordinary least squares with an intercept; there is nothing to search, its only setting is empty.

    Directions of the features whose variance is below 1e-12 of the largest are left out, so with duplicate or constant
    features, or with fewer stimuli than features, it is the solution of smallest norm, as of `numpy.linalg.lstsq`.
    """

    name: ClassVar[str] = "ols"

    def space(self, n_train: int, n_features: int, n_voxels: int) -> dict[str, Distribution]:
        """Return no range: there is no hyper-parameter."""
        return {}

    def settings(self, n_train: int, n_features: int, n_voxels: int) -> tuple[Params, ...]:
        """List the one setting, which is empty."""
        return ({},)

    def path(self, moments: Moments, settings: Sequence[Params]) -> LinearPath:
        """Solve the one setting from the training moments.

        Raises
        ------
        OptionError
            If a setting names a hyper-parameter.
        """
        for setting in settings:
            if setting:
                raise OptionError(f"ols has no hyper-parameter; got {dict(setting)}; leave it out or use ridge")
        values, vectors = moments.eigen
        kept = values > _EIGENVALUE_TOLERANCE * values[-1]
        loadings = (vectors[:, kept].T @ moments.C) / values[kept, None]
        return LinearPath(tuple(settings), vectors[:, kept], np.ones((len(settings), loadings.shape[0])), loadings)
