"""Orthogonal matching pursuit: every number of non-zero coefficients of every voxel from one pass over the moments.

Each voxel starts without features. In each step it takes the feature j whose product with its residual is largest in
absolute value, and its coefficients become the least-squares solution on the features taken so far. With the features
taken made orthonormal one after the other (Cholesky), a step needs S = X'X and C = X'Y alone::

    j = argmax |a|            a = X'residual, at first the voxel's column of C
    w = (S_j - sum_i w_i[j] w_i) / d       d^2 = S_jj - sum_i w_i[j]^2       w = X'e, e the new orthonormal feature
    r = (1_j - sum_i w_i[j] r_i) / d       e = X r
    z = a_j / d               a <- a - z w                                    b <- b + z r

scikit-learn's ``OrthogonalMatchingPursuit(n_nonzero_coefs=k, precompute=True)`` is the same model, for every k.

References
----------
.. [1] Pati, Y. C., Rezaiifar, R. & Krishnaprasad, P. S. Orthogonal matching pursuit: recursive function approximation
   with applications to wavelet decomposition. Asilomar Conference on Signals, Systems and Computers 1, 40-44 (1993).
   doi:10.1109/ACSSC.1993.342465
.. [2] Rubinstein, R., Zibulevsky, M. & Elad, M. Efficient implementation of the K-SVD algorithm using batch orthogonal
   matching pursuit. Technion CS Technical Report CS-2008-08 (2008).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray, blocks
from voxelcast.encoders.linear import CountEncoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import Params
from voxelcast.encoders.paths import VoxelPath
from voxelcast.encoders.registry import register_encoder

# Share of a feature's variance that must be its own, given the features taken; and share of the largest first product
# that a product must have. Below them is rounding.
_VARIANCE_TOLERANCE = 1e-12
_PRODUCT_TOLERANCE = 1e-12
# Voxels solved together: their orthonormal features are to stay in the processor's cache.
_CACHE_BYTES = 8 * 2**20


def omp_path(S: FloatArray, C: FloatArray, most: int) -> FloatArray:
    """Solve orthogonal matching pursuit for 1 to ``most`` non-zero coefficients, all voxels side by side.

    Parameters
    ----------
    S, C : ndarray of shape (p, p) and (p, q)
        See `voxelcast.encoders.base.Moments`.

    Returns
    -------
    coefficients : ndarray of shape (most, q, p)
        A voxel whose responses are explained, or that has no independent feature left, keeps its last model.
    """
    p, q = C.shape
    coefficients = np.empty((most, q, p))
    for voxels in blocks(q, 16 * max(most, 1) * p, _CACHE_BYTES):
        _pursue(S, C[:, voxels], coefficients[:, voxels])
    return coefficients


def _pursue(S: FloatArray, C: FloatArray, out: FloatArray) -> None:
    """Write the coefficients after each step into ``out``, shape (most, q, p)."""
    p, q = C.shape
    voxels = np.arange(q)
    products, own = C.T.copy(), np.tile(np.diag(S), (q, 1))
    enough, floor = _VARIANCE_TOLERANCE * np.diag(S), _PRODUCT_TOLERANCE * np.abs(C).max(axis=0)
    # Of every voxel, the orthonormal features so far: their products w with all features, then their r.
    basis = np.empty((q, len(out), 2 * p))
    for k in range(len(out)):
        j = np.where(own > enough, np.abs(products), 0.0).argmax(axis=1)
        variance, product = own[voxels, j], products[voxels, j]
        going = (variance > enough[j]) & (np.abs(product) > floor)
        new = basis[:, k]
        new[:, :p] = S[j]
        new[:, p:] = 0.0
        new[voxels, p + j] = 1.0
        if k > 0:
            new -= (basis[voxels, :k, j][:, None, :] @ basis[:, :k])[:, 0]
        # A voxel that has stopped adds nothing.
        new *= np.divide(1.0, np.sqrt(variance, where=going, out=variance), where=going, out=np.zeros(q))[:, None]
        product = product * new[voxels, p + j]
        products -= product[:, None] * new[:, :p]
        # What this leaves of the feature taken is rounding, so it is not taken again.
        own -= np.square(new[:, :p])
        np.multiply(product[:, None], new[:, p:], out=out[k])
        if k > 0:
            out[k] += out[k - 1]


@register_encoder
class OMP(CountEncoder):
    """Orthogonal matching pursuit; its one hyper-parameter is ``n_nonzero_coefs``, the features that a voxel may use.

    Features are centred and not scaled: a feature of larger variance is taken earlier, as in scikit-learn. There are
    at most min(n_train - 1, n_features) non-zero coefficients.
    """

    counted: ClassVar[str] = "n_nonzero_coefs"
    name: ClassVar[str] = "omp"

    def path(self, moments: Moments, params_list: Sequence[Params]) -> VoxelPath:
        """Solve every number of non-zero coefficients from the training moments."""
        counts, S, C = self.counts(moments, params_list), moments.S, moments.C
        whole = np.array_equal(counts, np.arange(len(counts)) + 1)

        def solve(voxels: slice) -> FloatArray:
            found = omp_path(S, C[:, voxels], int(counts.max(initial=0)))
            return found if whole else found[counts - 1]

        return VoxelPath(tuple(params_list), (C.shape[0], C.shape[1]), solve)
