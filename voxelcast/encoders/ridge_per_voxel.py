"""Ridge regression whose penalty every voxel chooses for itself, by generalised cross-validation.

With S = V diag(l) V' of rank r and z = V'c of a voxel's column c of C, the residual sum of squares and the degrees of
freedom of penalty a need nothing but the moments (sums over the r eigenvalues that are not zero)::

    RSS(a) = y'y - sum_j z_j^2 / l_j  +  sum_j (a / (l_j + a))^2 z_j^2 / l_j
    n - df(a) = n - 1 - r  +  sum_j a / (l_j + a)
    GCV(a) = (RSS(a) / n) / (1 - df(a) / n)^2

So written they lose no digits where a model of many features leaves next to nothing.

GCV is leave-one-out cross-validation with every stimulus given the mean leverage [1]_. The choice is part of the fit:
inside cross-validation it sees the training part alone.

References
----------
.. [1] Golub, G. H., Heath, M. & Wahba, G. Generalized cross-validation as a method for choosing a good ridge parameter.
   Technometrics 21, 215-223 (1979). doi:10.1080/00401706.1979.10489751
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import Params, ProblemSize, check_params
from voxelcast.encoders.paths import LinearPath
from voxelcast.encoders.registry import register_encoder
from voxelcast.encoders.ridge import Ridge, ridge_penalty

# Eigenvalues below this share of the largest are rounding.
_EIGENVALUE_TOLERANCE = 1e-12


def gcv(moments: Moments, penalties: FloatArray) -> FloatArray:
    """Return the generalised cross-validation error of every penalty and voxel.

    Parameters
    ----------
    penalties : ndarray of shape (n_penalties,)
        Added to the diagonal of S; above 0.

    Returns
    -------
    errors : ndarray of shape (n_penalties, q)
    """
    values, vectors = moments.eigen
    there = values > _EIGENVALUE_TOLERANCE * values[-1]
    values = values[there]
    parts = np.square(vectors[:, there].T @ moments.C) / values[:, None]
    kept = penalties[:, None] / (values + penalties[:, None])
    left = moments.n - 1 - len(values)
    # With as many directions as stimuli nothing lies outside of them.
    outside = np.maximum(moments.y_squares - parts.sum(axis=0), 0.0) if left > 0 else 0.0
    residual = outside + np.square(kept) @ parts
    errors: FloatArray = residual * (moments.n / np.square(left + kept.sum(axis=1)))[:, None]
    return errors


@register_encoder
class RidgePerVoxel(LinearEncoder):
    """Ridge regression with a penalty per voxel, the one of fifty with the smallest generalised cross-validation error.

    The penalties are those of `voxelcast.encoders.ridge.Ridge`. There is no hyper-parameter to search: its only
    parameters is empty.
    """

    name: ClassVar[str] = "ridge_per_voxel"

    def path(self, moments: Moments, params_list: Sequence[Params]) -> LinearPath:
        """Choose the penalties and solve the one set of parameters from the training moments.

        Raises OptionError if parameters name a hyper-parameter.
        """
        for params in params_list:
            check_params(self.name, params, {})
        (p, q), n_params = moments.C.shape, len(params_list)
        unit = ridge_penalty(moments.S, 1.0)
        if not unit > 0:
            # Features without any variance: the model is the mean response.
            return LinearPath(tuple(params_list), np.empty((p, 0)), np.ones((n_params, 0)), np.empty((0, q)))
        grid = [unit * params["relative_alpha"] for params in Ridge().param_grid(ProblemSize(moments.n, p, q))]
        penalties = np.array(grid)
        values, vectors = moments.eigen
        # Of equal errors the first, i.e. the largest penalty.
        chosen = penalties[gcv(moments, penalties).argmin(axis=0)]
        loadings = (vectors.T @ moments.C) / (values[:, None] + chosen)
        return LinearPath(tuple(params_list), vectors, np.ones((n_params, p)), loadings)
