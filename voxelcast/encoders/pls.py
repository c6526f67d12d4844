"""Partial least squares regression (PLS2): every number of components from one pass over the training moments.

Component k is the direction w_k of the features whose covariance with the responses is largest, i.e. the leading left
singular vector of C = X'Y; S and C are then freed of what it explains and the next one is sought::

    w = leading left singular vector of C      t't = w'Sw      p = Sw / t't      q = C'w / t't
    C <- C - t't p q'                          S <- S - t't p p'

    R = W (P'W)^-1,      B_k = R[:, :k] Q[:, :k]'

This is the exact limit of the power iterations of NIPALS, as scikit-learn's ``PLSRegression(scale=False)`` reaches it
with a tight tolerance. Features and responses are centred and not scaled. SIMPLS is another model for q > 1.

References
----------
.. [1] Wold, S., Sjostrom, M. & Eriksson, L. PLS-regression: a basic tool of chemometrics. Chemometrics and Intelligent
   Laboratory Systems 58, 109-130 (2001). doi:10.1016/S0169-7439(01)00155-1
.. [2] Lindgren, F., Geladi, P. & Wold, S. The kernel algorithm for PLS. Journal of Chemometrics 7, 45-59 (1993).
   doi:10.1002/cem.1180070104
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.blas import dger
from scipy.linalg.lapack import dsyevr

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.encoders.base import Encoder, LinearPath, Moments, Range, Setting, checked_count

# Below these shares of the first covariance and of the total variance, what is left is rounding: measured on
# rank-deficient features, residues of the covariance lie below 1e-14.
_COVARIANCE_TOLERANCE = 1e-12
_VARIANCE_TOLERANCE = 1e-14
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
    residual: FloatArray = np.array(_small_factor(C) if q > p else C, dtype=np.float64, order="F")
    weights, feature_loadings = np.empty((n_components, p)), np.empty((n_components, p))
    variances = np.empty(n_components)
    r, first_value, total = 0, 0.0, float(np.trace(S))
    basis: FloatArray = np.eye(p)
    recent = 0
    while r < n_components:
        if recent == SHRINK_EVERY:
            basis, left, residual = shrink_basis(basis, weights[r - recent : r], left, residual)
            recent = 0
        w, value = leading_left_singular_vector(residual)
        first_value = max(first_value, value)
        Sw = left @ w
        variance = float(w @ Sw)
        if value <= _COVARIANCE_TOLERANCE * first_value or variance <= _VARIANCE_TOLERANCE * total:
            break
        loading = Sw / variance
        residual = dger(-1.0, loading, w @ residual, a=residual, overwrite_a=1)
        left = dger(-1.0, loading, Sw, a=left, overwrite_a=1)
        weights[r], feature_loadings[r], variances[r] = basis @ w, basis @ loading, variance
        r, recent = r + 1, recent + 1
    if r == 0:
        return np.empty((p, 0)), np.empty((0, q))
    # P'W is upper triangular with a diagonal of ones, so R' = (W'P)^-1 W' is one substitution.
    crossed = weights[:r] @ feature_loadings[:r].T
    directions_t: FloatArray = solve_triangular(
        crossed, weights[:r], lower=True, unit_diagonal=True, check_finite=False
    )
    return directions_t.T, (directions_t @ C) / variances[:r, None]


def shrink_basis(
    basis: FloatArray, weights: FloatArray, S: FloatArray, residual: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Express what is left of S and C in a basis of the complement of the weights found.

    Deflated S and C are orthogonal to every earlier weight, so nothing is lost, and the eigenvectors still to be
    found get cheaper with every component.
    """
    found = (weights @ basis).T
    complement = np.linalg.qr(found, mode="complete").Q[:, found.shape[1] :]
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
    """Return the eigenvector of the largest eigenvalue of a symmetric matrix, and that eigenvalue."""
    n = M.shape[0]
    # LAPACK is called directly: for one eigenvector of a small matrix SciPy's checks cost as much as the solution.
    values, vectors, _, _, info = dsyevr(M.T, range="I", il=n, iu=n, lower=1, overwrite_a=1)
    if info != 0:
        raise DataError(f"the eigenvalues of X'Y Y'X must exist; LAPACK dsyevr gave info={info}; check for NaN")
    vector: FloatArray = vectors[:, 0]
    return vector, float(values[0])


class PLS(Encoder):
    """Partial least squares regression; its one hyper-parameter is ``n_components``.

    There are at most min(n_train - 1, n_features) components; to ask for more is an error. Where the moments have a
    smaller rank (constant or duplicate features), the components beyond it do not exist and a model that asks for
    them *is* the model with the last one that does, as in scikit-learn, which warns. Their scores are then equal to
    the bit, and a tie goes to fewer components, so a search never chooses a component that adds nothing.
    """

    name: ClassVar[str] = "pls"

    def space(self, n_train: int, n_features: int, n_voxels: int) -> dict[str, Range]:
        """Return the range of ``n_components``: 1 to min(n_train - 1, n_features)."""
        return {"n_components": Range(1, _most_components(n_train, n_features), integer=True)}

    def settings(self, n_train: int, n_features: int, n_voxels: int) -> tuple[Setting, ...]:
        """List every number of components, fewest first."""
        return tuple({"n_components": k} for k in range(1, _most_components(n_train, n_features) + 1))

    def path(self, moments: Moments, settings: Sequence[Setting]) -> LinearPath:
        """Solve every number of components from the training moments.

        Raises
        ------
        OptionError
            If ``n_components`` is not a whole number in 1 to min(n_train - 1, n_features).
        """
        most = _most_components(moments.n, moments.S.shape[0])
        wanted = [checked_count(self.name, setting, "n_components", most) for setting in settings]
        directions, loadings = pls_path(moments.S, moments.C, max(wanted, default=0))
        filters = (np.arange(loadings.shape[0]) < np.array(wanted, dtype=np.intp)[:, None]).astype(np.float64)
        return LinearPath(tuple(settings), directions, filters, loadings)


def _most_components(n_train: int, n_features: int) -> int:
    return max(min(n_train - 1, n_features), 0)
