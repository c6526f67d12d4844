"""Canonical PLS and canonical correlation analysis (CCA): every number of components from one factorisation.

Both look for pairs of latent variables, t = X w of the features and s = Y v of the responses, one pair after the other:
of largest covariance (canonical PLS) or of largest correlation (CCA), w and v of length 1. X is then freed of t and Y
of s. The prediction from k components is that of scikit-learn's ``PLSCanonical`` and ``CCA`` (``scale=False``) ::

    P_k = sum_j t_j q_j'        q_j = Y's_j / s_j's_j          j = 1 ... k

It is *not* a least-squares regression: t_j stands in for s_j as if both had the same scale, though s_j is not
predicted to have it. It is worse in squares than regression on t would be, and the weights of the components, hence
their correlations with the responses, depend on the units of features and responses.

CCA needs no iterations: with orthonormal bases X A and Y B of both sides, the singular vectors U, V of A'CB give all
pairs at once, T = X A U, and the lengths of the w_j that scikit-learn's deflation leads to are the diagonal of the R
of the QR decomposition of A U (likewise of B V).

References
----------
.. [1] Wegelin, J. A. A survey of partial least squares (PLS) methods, with emphasis on the two-block case. University
   of Washington, Department of Statistics, technical report 371 (2000).
.. [2] Hotelling, H. Relations between two sets of variates. Biometrika 28, 321-377 (1936).
   doi:10.1093/biomet/28.3-4.321
.. [3] Bjorck, A. & Golub, G. H. Numerical methods for computing angles between linear subspaces. Mathematics of
   Computation 27, 579-594 (1973). doi:10.1090/S0025-5718-1973-0348991-3
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.linear import ComponentEncoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.pls import (
    COVARIANCE_TOLERANCE,
    SHRINK_EVERY,
    VARIANCE_TOLERANCE,
    leading_left_singular_vector,
    power_iterations,
    shrink_basis,
)
from voxelcast.encoders.registry import register_encoder

_EIGENVALUE_TOLERANCE = 1e-12


Leading = Callable[[FloatArray], FloatArray]
"""Finds the leading left singular vector of C, (p, q)."""


def _exact_leading(C: FloatArray) -> FloatArray:
    return leading_left_singular_vector(C)[0]


def _loose_leading(C: FloatArray) -> FloatArray:
    return power_iterations(C, C[:, int(np.any(C, axis=0).argmax())])


def pls_canonical_path(
    moments: Moments, n_components: int, leading: Leading = _exact_leading
) -> tuple[FloatArray, FloatArray]:
    """Solve canonical PLS for 1 to ``n_components`` components.

    The pair of a component is the leading pair of singular vectors w, v of C = X'Y, or nearly so, v = C'w / sigma with
    sigma = |C'w|; with p = X't / t't and q = Y's / s's, the covariance left is C - sigma p v' - (C v - sigma p) q'.

    Returns
    -------
    directions : ndarray of shape (p, r)
        T = X @ directions.
    loadings : ndarray of shape (r, q)
        ``r`` is ``n_components``, or fewer where no covariance is left.
    """
    p, q = moments.C.shape
    S, C = moments.S.copy(), moments.C.copy()
    basis: FloatArray = np.eye(p)
    squares = _squares_of(moments)
    total_x, total_y = float(np.trace(S)), float(moments.y_squares.sum())
    weights, feature_loadings = np.empty((n_components, p)), np.empty((n_components, p))
    loadings, sizes = np.empty((n_components, q)), np.empty(n_components)
    pair_left, right = np.empty((p, 2)), np.empty((2, q))
    r, first = 0, 0.0
    while r < n_components:
        if r and r % SHRINK_EVERY == 0:
            basis, S, C = shrink_basis(basis, weights[r - SHRINK_EVERY : r], S, C)
        w = leading(C)
        product = w @ C
        sigma = float(np.linalg.norm(product))
        first = max(first, sigma)
        if sigma <= COVARIANCE_TOLERANCE * first:
            break
        v = product / sigma
        Sw, Yv = S @ w, squares(v)
        Yv -= (sizes[:r] * (loadings[:r] @ v)) @ loadings[:r]
        t_size, s_size = float(w @ Sw), float(v @ Yv)
        if t_size <= VARIANCE_TOLERANCE * total_x or s_size <= VARIANCE_TOLERANCE * total_y:
            break
        feature_loading = Sw / t_size
        weights[r], feature_loadings[r] = basis @ w, basis @ feature_loading
        loadings[r], sizes[r] = Yv / s_size, s_size
        S -= feature_loading[:, None] * Sw
        left = pair_left[: len(w)]
        left[:, 0], left[:, 1] = sigma * feature_loading, C @ v - sigma * feature_loading
        right[0], right[1] = v, loadings[r]
        C -= left @ right
        r += 1
    if r == 0:
        return np.empty((p, 0)), np.empty((0, q))
    # As in PLS regression: R = W (P'W)^-1, with P'W upper triangular and a diagonal of ones.
    crossed = weights[:r] @ feature_loadings[:r].T
    directions_t: FloatArray = solve_triangular(
        crossed, weights[:r], lower=True, unit_diagonal=True, check_finite=False
    )
    return directions_t.T, loadings[:r]


def cca_path(S: FloatArray, C: FloatArray, Y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Solve canonical correlation analysis for every number of components.

    Parameters
    ----------
    S, C : ndarray of shape (p, p) and (p, q)
        See `voxelcast.encoders.base.Moments`.
    Y : ndarray of shape (n, q)
        Centred responses.

    Returns
    -------
    directions : ndarray of shape (p, r)
        T = X @ directions.
    loadings : ndarray of shape (r, q)
        ``r`` is the smaller rank of features and responses, or less where the other correlations are zero.
    """
    A, _ = _whitening(S)
    if len(Y) < Y.shape[1]:
        left, values = _whitening(Y @ Y.T)
        # Y = U diag(d) V' with V = Y'U / d; columns of ``left`` are U / d.
        V: FloatArray = Y.T @ left
        B: FloatArray = V / np.sqrt(values)
    else:
        B, values = _whitening(Y.T @ Y)
        V = B * np.sqrt(values)
    left_vectors, correlations, right_vectors_t = np.linalg.svd(A.T @ C @ B, full_matrices=False)
    r = int(np.count_nonzero(correlations > COVARIANCE_TOLERANCE * correlations.max(initial=0.0)))
    x_weights, y_weights = A @ left_vectors[:, :r], B @ right_vectors_t[:r].T
    x_lengths = np.abs(np.diag(np.linalg.qr(x_weights, mode="r")))
    y_lengths = np.abs(np.diag(np.linalg.qr(y_weights, mode="r")))
    return x_weights / x_lengths, y_lengths[:, None] * ((right_vectors_t[:r] * np.sqrt(values)) @ V.T)


def _squares_of(moments: Moments) -> Callable[[FloatArray], FloatArray]:
    """Return the product with Y'Y, which is formed only where it is smaller than Y."""
    if moments.C.shape[1] > moments.n:
        Y = moments.responses()
        return lambda v: (Y @ v) @ Y
    squares = moments.response_squares()
    return lambda v: squares @ v


def _whitening(gram: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return V / sqrt(l) of the eigenvectors V and the eigenvalues l that are not zero."""
    values, vectors = np.linalg.eigh(gram)
    kept = values > _EIGENVALUE_TOLERANCE * values[-1]
    return vectors[:, kept] / np.sqrt(values[kept]), values[kept]


class _Canonical(ComponentEncoder):
    """The common part of canonical PLS and CCA: at most min(n_train - 1, n_features, n_voxels) components."""

    def most(self, size: ProblemSize) -> int:
        """Return the largest number of components."""
        return min(size.max_rank, size.n_voxels)

    def components(self, moments: Moments, most: int) -> tuple[FloatArray, FloatArray]:
        """Solve them from moments and responses."""
        directions, loadings = self._solve(moments, most)
        loadings[:, moments.y_squares == 0] = 0.0  # of voxels that do not vary only rounding is left
        return directions, loadings

    @abstractmethod
    def _solve(self, moments: Moments, n_components: int) -> tuple[FloatArray, FloatArray]:
        """Return directions (p, r) and loadings (r, q), r at most ``n_components``."""


@register_encoder
class PLSCanonical(_Canonical):
    """Canonical PLS; features and responses are centred and not scaled.

    The exact limit of scikit-learn's ``PLSCanonical(n_components, scale=False)`` with a tight tolerance. Components
    beyond the rank of the training part are those of `voxelcast.encoders.pls.PLS`: the model is the last that exists.
    """

    name: ClassVar[str] = "pls_canonical"

    def _solve(self, moments: Moments, n_components: int) -> tuple[FloatArray, FloatArray]:
        return pls_canonical_path(moments, n_components)


@register_encoder
class PLSCanonical2021(PLSCanonical):
    """scikit-learn's ``PLSCanonical(n_components)`` with its defaults, as 2021 fitted it.

    Features and responses have standard deviation 1 over the training part; see `voxelcast.encoders.pls.PLS2021`.
    """

    name: ClassVar[str] = "pls_canonical_2021"
    scale: ClassVar[bool] = True

    def _solve(self, moments: Moments, n_components: int) -> tuple[FloatArray, FloatArray]:
        return pls_canonical_path(moments, n_components, _loose_leading)


@register_encoder
class CCA(_Canonical):
    """Canonical correlation analysis; features and responses are centred and not scaled.

    The exact limit of scikit-learn's ``CCA(n_components, scale=False)`` with a tight tolerance. CCA is meant for more
    stimuli than features and voxels together. With fewer, some latent variables of both sides correlate perfectly
    whatever the data; which of them come first is then not determined by the data, and it predicts badly.

    Directions whose variance, of features or of responses, is below 1e-12 of the largest are left out. Features in
    units so different that their standard deviations span a factor of about 1e6 lose some so, though correlations
    do not depend on units: compress with ``scale: true``, or bring features to one unit first.
    """

    name: ClassVar[str] = "cca"

    def _solve(self, moments: Moments, n_components: int) -> tuple[FloatArray, FloatArray]:
        directions, loadings = cca_path(moments.S, moments.C, moments.responses())
        return directions[:, :n_components], loadings[:n_components]


@register_encoder
class CCA2021(CCA):
    """CCA of features and responses with standard deviation 1 over the training part.

    The exact limit of scikit-learn's ``CCA(n_components)``, which 2021 fitted with its default tolerance.
    """

    name: ClassVar[str] = "cca_2021"
    scale: ClassVar[bool] = True
