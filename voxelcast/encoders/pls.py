"""Partial least squares regression (PLS2): every number of components from one pass over the training moments.

Component k is the direction w_k of the features whose covariance with the responses is largest, i.e. the leading left
singular vector of C = X'Y; S and C are then freed of what it explains and the next one is sought::

    w = leading left singular vector of C      t't = w'Sw      p = Sw / t't      q = C'w / t't
    C <- C - t't p q'                          S <- S - t't p p'

    R = W (P'W)^-1,      B_k = R[:, :k] Q[:, :k]'

This is the exact limit of the power iterations of NIPALS, as scikit-learn's ``PLSRegression`` reaches it with a tight
tolerance. SIMPLS is another model for q > 1. `PLS2021` stops the iterations where scikit-learn stops them by default:
w goes from one power iteration, w <- C C'w / |C C'w|, to the next, from the first column of C on, until it moves by
less than 1e-3. Its models differ from the limit by up to some percent.

References
----------
.. [1] Wold, S., Sjostrom, M. & Eriksson, L. PLS-regression: a basic tool of chemometrics. Chemometrics and Intelligent
   Laboratory Systems 58, 109-130 (2001). doi:10.1016/S0169-7439(01)00155-1
.. [2] Lindgren, F., Geladi, P. & Wold, S. The kernel algorithm for PLS. Journal of Chemometrics 7, 45-59 (1993).
   doi:10.1002/cem.1180070104
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from scipy.linalg.blas import dsymm, dsymv, dsyr, dtrsm
from scipy.linalg.lapack import dgeqrf, dorgqr, dsyevr

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.encoders.linear import ComponentEncoder
from voxelcast.encoders.moments import Moments
from voxelcast.encoders.registry import register_encoder

# Below these shares of the first covariance (or correlation) and of the total variance, what is left is rounding:
# measured on rank-deficient features, residues of the covariance lie below 1e-14.
COVARIANCE_TOLERANCE = 1e-12
VARIANCE_TOLERANCE = 1e-14
# Share of the first eigenvalue of C C' below which an eigenvector has lost too many digits to be taken from it.
_SQUARES_TOLERANCE = 1e-3
# scikit-learn's defaults: most iterations, and the squared move of w that ends them.
_MOST_ITERATIONS, _LOOSE_TOLERANCE = 500, 1e-6
# Components after which the features are rotated anew.
SHRINK_EVERY = 8


def pls_path(S: FloatArray, C: FloatArray, n_components: int) -> tuple[FloatArray, FloatArray]:
    """Solve PLS regression for 1 to ``n_components`` components.

    The components depend on C only through C C', so with more voxels than features C is first replaced by the small
    triangular factor of its QR decomposition: the cost of a component does not depend on the number of voxels.

    Parameters
    ----------
    S : ndarray of shape (p, p)
        X'X of the centred features.
    C : ndarray of shape (p, q)
        X'Y of the centred features and responses.
    n_components : int
        The most components wanted.

    Returns
    -------
    directions : ndarray of shape (p, r)
        R; the latent variables are T = X R, orthogonal to each other.
    loadings : ndarray of shape (r, q)
        Q'; the model with k components is ``directions[:, :k] @ loadings[:k]``. ``r`` is ``n_components``, or fewer
        where no covariance is left to explain (the numerical rank): further components would not change the model.
    """
    p, q = C.shape
    # BLAS updates matrices in Fortran order in place.
    left: FloatArray = np.array(S, dtype=np.float64, order="F")
    residual: FloatArray = _small_factor(C) if q > p else np.asarray(C, dtype=np.float64)
    floor, first_value = VARIANCE_TOLERANCE * float(np.trace(S)), 0.0
    basis: FloatArray = np.eye(p)
    weights, feature_loadings, variances = np.empty((0, p)), np.empty((0, p)), np.empty(0)
    while len(variances) < n_components:
        most = min(SHRINK_EVERY, n_components - len(variances))
        value, W, P, found = _some_components(left, residual, most, floor)
        first_value = max(first_value, value)
        if value <= COVARIANCE_TOLERANCE * first_value or not len(found):
            break
        weights, feature_loadings = np.vstack([weights, W @ basis.T]), np.vstack([feature_loadings, P @ basis.T])
        variances = np.concatenate([variances, found])
        if len(variances) < n_components:
            complement = _complement(W)
            residual = complement.T @ residual - (complement.T @ P.T) @ (_directions(W, P) @ residual)
            left = np.asfortranarray(complement.T @ dsymm(1.0, left, complement, lower=1))
            basis = basis @ complement
    if not len(variances):
        return np.empty((p, 0)), np.empty((0, q))
    directions_t = _directions(weights, feature_loadings)
    return directions_t.T, (directions_t @ C) / variances[:, None]


def power_iterations(C: FloatArray, start: FloatArray) -> FloatArray:
    """Iterate from ``start``, shape (p,), to the leading left singular vector of C, as far as scikit-learn does."""
    G = C @ C.T
    w: FloatArray = start / (float(np.linalg.norm(start)) or 1.0)
    for _ in range(_MOST_ITERATIONS - 1):
        new = G @ w
        new /= float(np.linalg.norm(new)) or 1.0
        moved = new - w
        w = new
        if moved @ moved < _LOOSE_TOLERANCE:
            break
    return w


def loose_pls_path(S: FloatArray, C: FloatArray, n_components: int) -> tuple[FloatArray, FloatArray]:
    """Solve PLS regression with the power iterations of scikit-learn's default; arrays are those of `pls_path`."""
    p, q = C.shape
    left, residual = np.array(S, dtype=np.float64), np.array(C, dtype=np.float64)
    first_voxel = int(np.any(C, axis=0).argmax())
    floor = VARIANCE_TOLERANCE * float(np.trace(S))
    weights, feature_loadings, loadings = (np.empty((n_components, size)) for size in (p, p, q))
    first = 0.0
    for r in range(n_components):
        w = power_iterations(residual, residual[:, first_voxel])
        product, Sw = w @ residual, left @ w
        variance, covariance = float(w @ Sw), float(np.linalg.norm(product))
        first = max(first, covariance)
        if variance <= floor or covariance <= COVARIANCE_TOLERANCE * first:
            weights, feature_loadings, loadings = weights[:r], feature_loadings[:r], loadings[:r]
            break
        weights[r], feature_loadings[r], loadings[r] = w, Sw / variance, product / variance
        residual -= np.outer(Sw, loadings[r])
        left -= np.outer(feature_loadings[r], Sw)
    return _directions(weights, feature_loadings).T, loadings


def _directions(weights: FloatArray, feature_loadings: FloatArray) -> FloatArray:
    """Return R' = (W'P)^-1 W'; W and P are given as rows, and W'P is lower triangular with a diagonal of ones."""
    # BLAS is called directly: for some small matrices SciPy's checks cost more than the solution.
    return np.asarray(dtrsm(1.0, weights @ feature_loadings.T, weights, lower=1, diag=1))


def _complement(weights: FloatArray) -> FloatArray:
    """Return an orthonormal basis of what is orthogonal to some orthonormal rows, ndarray of shape (m, m - b)."""
    b, m = weights.shape
    Q: FloatArray = np.zeros((m, m), order="F")
    Q[:, :b], tau, _, _ = dgeqrf(weights.T)
    return np.asarray(dorgqr(Q, np.concatenate([tau, np.zeros(m - b)]), overwrite_a=1)[0][:, b:])


def _some_components(
    left: FloatArray, residual: FloatArray, most: int, floor: float
) -> tuple[float, FloatArray, FloatArray, FloatArray]:
    """Find the next components without touching what is left of C: ``G = C C'`` is enough.

    With w the leading eigenvector of G, of eigenvalue l, the deflated C has ``G - l w w' + l (p - w)(p - w)'``.
    G has half the digits of C, so the search ends early where the eigenvalue has become small against the first.

    Parameters
    ----------
    left : ndarray of shape (m, m), in Fortran order
        What is left of S; its lower triangle is deflated in place.
    residual : ndarray of shape (m, q)
        What is left of C.
    floor : float
        Variance below which a latent variable is rounding.

    Returns
    -------
    first : float
        Leading singular value of ``residual``.
    weights, feature_loadings : ndarray of shape (b, m)
    variances : ndarray of shape (b,)
    """
    m = len(left)
    G: FloatArray = (residual @ residual.T).T
    W, P, variances = np.empty((most, m)), np.empty((most, m)), np.empty(most)
    first = 0.0
    for b in range(most):
        w, value = _leading_eigenvector(G)
        if b == 0:
            first = value
        elif value < _SQUARES_TOLERANCE * first:
            most = b
            break
        Sw = dsymv(1.0, left, w, lower=1)
        variance = float(w @ Sw)
        if variance <= floor:
            most = b
            break
        W[b], variances[b] = w, variance
        np.divide(Sw, variance, out=P[b])
        G = dsyr(-value, w, a=G, lower=1, overwrite_a=1)
        G = dsyr(value, P[b] - w, a=G, lower=1, overwrite_a=1)
        dsyr(-1.0 / variance, Sw, a=left, lower=1, overwrite_a=1)
    return float(np.sqrt(max(first, 0.0))), W[:most], P[:most], variances[:most]


def shrink_basis(
    basis: FloatArray, weights: FloatArray, S: FloatArray, residual: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Express what is left of S and C in a basis of the complement of the weights found.

    Deflated S and C are orthogonal to every earlier weight, so nothing is lost, and the eigenvectors still to be
    found get cheaper with every component.
    """
    found = (weights @ basis).T
    complement = _complement(found.T)
    return basis @ complement, complement.T @ S @ complement, complement.T @ residual


def _small_factor(A: FloatArray) -> FloatArray:
    """Return a square L with L L' = A A', for A with more columns than rows."""
    upper: FloatArray = np.asarray(np.linalg.qr(A.T, mode="r"))
    return upper.T.copy()


def leading_left_singular_vector(A: FloatArray) -> tuple[FloatArray, float]:
    """Return the leading left singular vector of A, shape (p, q), and its singular value."""
    p, q = A.shape
    if q < p:
        w: FloatArray = A @ _leading_eigenvector(A.T @ A)[0]
        norm = float(np.linalg.norm(w))
        return (w / norm if norm > 0 else w), norm
    w, value = _leading_eigenvector(A @ A.T)
    return w, float(np.sqrt(max(value, 0.0)))


def _leading_eigenvector(M: FloatArray) -> tuple[FloatArray, float]:
    """Return the eigenvector of the largest eigenvalue of a symmetric matrix, and that eigenvalue.

    Only the lower triangle is read.
    """
    n = M.shape[0]
    # LAPACK is called directly: for one eigenvector of a small matrix SciPy's checks cost as much as the solution.
    values, vectors, _, _, info = dsyevr(M, range="I", il=n, iu=n, lower=1)
    if info != 0:
        raise DataError(f"the eigenvalues of X'Y Y'X must exist; LAPACK dsyevr gave info={info}; check for NaN")
    vector: FloatArray = vectors[:, 0]
    return vector, float(values[0])


@register_encoder
class PLS(ComponentEncoder):
    """Partial least squares regression; its one hyper-parameter is ``n_components``.

    There are at most min(n_train - 1, n_features) components; to ask for more is an error. (Of components beyond the
    rank of the moments, scikit-learn makes some from rounding.)
    """

    name: ClassVar[str] = "pls"

    def components(self, moments: Moments, most: int) -> tuple[FloatArray, FloatArray]:
        """Solve them by `pls_path`."""
        return pls_path(moments.S, moments.C, most)


@register_encoder
class ScaledPLS(PLS):
    """Partial least squares regression of features and responses in units of their training standard deviations.

    The exact limit of scikit-learn's ``PLSRegression(n_components)`` with a tight tolerance: every feature counts alike
    in the search for covariance, and so does every voxel, whatever its unit.
    """

    name: ClassVar[str] = "pls_scaled"
    scale: ClassVar[bool] = True


@register_encoder
class PLS2021(ScaledPLS):
    """scikit-learn's ``PLSRegression(n_components)`` with its default tolerance, as in 2021; prefer `ScaledPLS`."""

    name: ClassVar[str] = "pls_2021"

    def components(self, moments: Moments, most: int) -> tuple[FloatArray, FloatArray]:
        """Solve them by `loose_pls_path`."""
        return loose_pls_path(moments.S, moments.C, most)
