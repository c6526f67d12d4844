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
from scipy.linalg import eigh_tridiagonal
from scipy.linalg.blas import dsymv, dsyr2, dtrsm
from scipy.linalg.lapack import dsyevx

from voxelcast.core.arrays import FloatArray, double, like, namespace, on_cpu, to_numpy, triangle, zeros
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
_TINY = float(np.finfo(np.float64).tiny)
# Components after which the features are rotated anew, of few features and of many.
SHRINK_EVERY = 8
_SHRINK_LARGE = 32
# Of more rows than these, the leading eigenvector is iterated for: all of LAPACK's work would be for one vector. It is
# looked at after every so many iterations, and LAPACK is asked all the same where most of them were not enough. On a
# GPU, more are worth the way there, and a matrix is squared so many times.
_LARGE, _LOOK_EVERY, _MOST_LANCZOS = 256, 20, 240
# Share of the eigenvalue that the residual of its vector may have.
_RESIDUAL = 1e-14
_SQUARINGS = 34


def pls_path(S: FloatArray, C: FloatArray, n_components: int) -> tuple[FloatArray, FloatArray]:
    """Solve PLS regression for 1 to ``n_components`` components.

    The components depend on C only through C C', so with more voxels than features C is first replaced by the small
    triangular factor of its QR decomposition: the cost of a component does not depend on the number of voxels.
    Stacks, with a dimension more in front, are solved together: all but the eigenvectors is done for all of them.

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
        where no covariance is left to explain (the numerical rank): further components would not change the model. Of
        a stack, directions and loadings that a matrix of lower rank lacks are 0.
    """
    p, q = C.shape[-2:]
    if not on_cpu(S):
        if S.ndim > 2 or p > _LARGE:
            return _squared_path(S, C, n_components)
        directions, loadings = pls_path(to_numpy(S), to_numpy(C), n_components)
        return like(directions, S), like(loadings, S)
    if S.ndim == 2:
        directions, loadings = pls_path(double(S)[None], double(C)[None], n_components)
        r = np.count_nonzero(loadings[0].any(axis=1) | directions[0].any(axis=0))
        return directions[0, :, :r], loadings[0, :r]
    every = SHRINK_EVERY if p <= _LARGE else _SHRINK_LARGE
    shape = (len(S), n_components)
    weights, feature_loadings, variances = np.zeros((*shape, p)), np.zeros((*shape, p)), np.zeros(shape)
    floor, first = VARIANCE_TOLERANCE * np.trace(S, axis1=1, axis2=2), np.zeros(len(S))
    # What is left of some of them, in a basis of what is orthogonal to the weights found.
    members, left, residual, basis = np.arange(len(S)), S, _small_factor(C) if q > p else C, np.eye(p)[None]
    done = 0
    while done < n_components and len(members):
        values, W, P, found = _some_components(left, residual, min(every, n_components - done), floor)
        first = np.maximum(first, values)
        alive = (values > COVARIANCE_TOLERANCE * first) & (found[:, 0] > floor)
        if not alive.all():
            members, left, residual, floor, first = (one[alive] for one in (members, left, residual, floor, first))
            basis = basis[alive] if len(basis) == len(alive) else basis
            continue
        now = slice(done, done + W.shape[1])
        weights[members, now], feature_loadings[members, now] = W @ basis.mT, P @ basis.mT
        variances[members, now] = found
        done = now.stop
        if done < n_components:
            complement = _complement(W)
            crossed = complement.mT @ P.mT
            residual = complement.mT @ residual - crossed @ (_directions(W, P) @ residual)
            left = complement.mT @ left @ complement - (crossed * found[:, None]) @ crossed.mT
            basis = basis @ complement
    directions_t = _directions(weights, feature_loadings)
    # Directions that are not there are 0, and so are their loadings.
    return directions_t.mT, (directions_t @ C) / np.where(variances > 0, variances, 1.0)[..., None]


def _squared_path(S: FloatArray, C: FloatArray, n_components: int) -> tuple[FloatArray, FloatArray]:
    """Do what `pls_path` does for tensors, or stacks of them, without once waiting for the GPU.

    S and C are freed of each component as they are, which keeps all digits of what is left. Of a stack, directions and
    loadings that a matrix of lower rank lacks are 0.
    """
    xp, (p, q) = namespace(S), C.shape[-2:]
    left = S + 0.0
    residual = _small_factor(C) if q > p and C.ndim == 2 else C + 0.0
    floor = VARIANCE_TOLERANCE * xp.diagonal(S, 0, -2, -1).sum(-1)
    weights = zeros((*S.shape[:-2], n_components, p), S)
    feature_loadings, inverses = xp.zeros_like(weights), zeros((*S.shape[:-2], n_components), S)
    smallest = alive = None
    for k in range(n_components):
        w, value = _squared_eigenvector(residual @ residual.mT)
        earlier = weights[..., :k, :]
        w = w - ((earlier @ w[..., None]).mT @ earlier)[..., 0, :]
        w = w / xp.linalg.vector_norm(w, dim=-1, keepdim=True).clip(min=_TINY)
        Sw = (left @ w[..., None])[..., 0]
        variance = (w * Sw).sum(-1)
        if alive is None or smallest is None:
            smallest, alive = COVARIANCE_TOLERANCE**2 * value, value > 0
        alive = alive & (variance > floor) & (value > smallest)
        inverse = xp.where(alive, 1.0 / xp.where(alive, variance, 1.0), 0.0)
        weights[..., k, :] = w = xp.where(alive[..., None], w, 0.0)
        feature_loadings[..., k, :] = loading = Sw * inverse[..., None]
        inverses[..., k] = inverse
        residual = residual - loading[..., :, None] * (w[..., None, :] @ residual)
        left = left - loading[..., :, None] * Sw[..., None, :]
    directions_t = _directions(weights, feature_loadings)
    loadings = (directions_t @ C) * inverses[..., None]
    if S.ndim == 2:
        r = int((inverses > 0).sum())
        directions_t, loadings = directions_t[:r], loadings[:r]
    return directions_t.mT, loadings


def _squared_eigenvector(M: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return eigenvectors of the largest eigenvalue of tensors (..., n, n), and these eigenvalues.

    Squared 34 times, a matrix is w w' up to a factor, unless its two largest eigenvalues differ by less than a share of
    1e-9, where LAPACK has no digits of w left either.
    """
    xp = namespace(M)

    def scaled(A: FloatArray) -> FloatArray:
        return A / xp.diagonal(A, 0, -2, -1).sum(-1).clip(min=_TINY)[..., None, None]

    A = scaled(M)
    for number in range(_SQUARINGS):
        A = A @ A
        if number % 4 == 3:
            A = scaled(A)
    longest = xp.diagonal(A, 0, -2, -1).argmax(-1)[..., None, None]
    w = M @ xp.take_along_dim(A, longest, -1)
    w = w / xp.linalg.vector_norm(w, dim=-2, keepdim=True).clip(min=_TINY)
    return w[..., 0], (w * (M @ w)).sum((-2, -1))


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
    crossed = weights @ feature_loadings.mT
    if not on_cpu(weights):
        return namespace(weights).linalg.solve_triangular(crossed, weights, upper=False, unitriangular=True)
    if weights.ndim > 2:
        return np.stack([_directions(*one) for one in zip(weights, feature_loadings, strict=True)])
    # BLAS is called directly: for some small matrices SciPy's checks cost more than the solution.
    return np.asarray(dtrsm(1.0, crossed, weights, lower=1, diag=1))


def _complement(weights: FloatArray) -> FloatArray:
    """Return orthonormal bases, (..., m, m - b), of what is orthogonal to some orthonormal rows, (..., b, m)."""
    basis: FloatArray = np.linalg.qr(weights.mT, mode="complete")[0]
    return basis[..., weights.shape[-2] :]


def _some_components(
    left: FloatArray, residual: FloatArray, most: int, floor: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Find the next components without touching what is left of C: ``G = C C'`` is enough.

    With w the leading eigenvector of G, of eigenvalue l, the deflated C has ``G - l w w' + l (p - w)(p - w)'``, which
    is ``G + l p (p/2 - w)' + l (p/2 - w) p'``. G has half the digits of C, so the search ends early where the
    eigenvalue of one of the stack has become small against its first.

    Parameters
    ----------
    left : ndarray of shape (B, m, m)
        What is left of S.
    residual : ndarray of shape (B, m, q)
        What is left of C.
    floor : ndarray of shape (B,)
        Variance below which a latent variable is rounding.

    Returns
    -------
    first : ndarray of shape (B,)
        Leading singular values of ``residual``.
    weights, feature_loadings : ndarray of shape (B, b, m)
    variances : ndarray of shape (B, b)
        At least one; only the first of them may be rounding, of any of the stack.
    """
    n, m = left.shape[:2]
    G: FloatArray = residual @ residual.mT
    # BLAS updates matrices in Fortran order in place.
    each: list[FloatArray] = [one.T for one in G]
    W, P, scaled = np.zeros((n, most, m)), np.zeros((n, most, m)), np.zeros((n, most, m))
    variances, first, values = np.zeros((n, most)), np.zeros(n), np.zeros(n)
    for b in range(most):
        w, before = W[:, b], scaled[:, :b]
        for k, one in enumerate(each):
            w[k], values[k] = _leading_eigenvector(one)
        Sw = (left @ w[..., None])[..., 0]
        if b:
            Sw -= ((before @ w[..., None]).mT @ before)[:, 0]
        variance = np.vecdot(w, Sw)
        rounding = variance <= floor
        if b == 0:
            first = values.clip(min=0.0)
            if rounding.any():
                variances[:, 0] = variance
                most = 1
                break
        elif rounding.any() or (values < _SQUARES_TOLERANCE * first).any():
            most = b
            break
        variances[:, b], P[:, b] = variance, Sw / variance[:, None]
        if b + 1 < most:
            scaled[:, b] = Sw / np.sqrt(variance)[:, None]
            half = 0.5 * P[:, b] - w
            for one, value, x, y in zip(each, values, P[:, b], half, strict=True):
                dsyr2(value, x, y, a=one, lower=1, overwrite_a=1)
    return np.sqrt(first), W[:, :most], P[:, :most], variances[:, :most]


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
    upper: FloatArray = triangle(A.mT).mT
    return upper.copy() if on_cpu(upper) else upper


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
    if n > _LARGE and (found := _lanczos(M)) is not None:
        return found
    # LAPACK is called directly: for one eigenvector of a small matrix SciPy's checks cost as much as the solution.
    values, vectors, _, _, info = dsyevx(M, range="I", il=n, iu=n, lower=1)
    if info != 0:
        raise DataError(f"the eigenvalues of X'Y Y'X must exist; LAPACK dsyevx gave info={info}; check for NaN")
    return vectors[:, 0], float(values[0])


def _lanczos(M: FloatArray) -> tuple[FloatArray, float] | None:
    """Return what `_leading_eigenvector` does, by Lanczos iterations; None where most of them are not enough.

    Every vector is made orthogonal to all earlier ones twice, so that no eigenvalue is found again. They begin with the
    same random vector, that the leading eigenvector has a part in.
    """
    n = M.shape[0]
    v = dsymv(1.0, M, np.random.default_rng(0).standard_normal(n), lower=1)
    length = float(np.linalg.norm(v))
    if not 0 < length < np.inf:
        return None
    v = v / length
    most = min(_MOST_LANCZOS, n)
    basis, sizes = np.zeros((most, n)), np.zeros((2, most))
    for j in range(most):
        basis[j] = v
        done = basis[: j + 1]
        u = dsymv(1.0, M, v, lower=1)
        parts = done @ u
        u = u - parts @ done
        again = done @ u
        u = u - again @ done
        sizes[0, j], sizes[1, j] = parts[j] + again[j], np.linalg.norm(u)
        v = u / sizes[1, j]
        if (j + 1) % _LOOK_EVERY == 0 or j + 1 == most:
            diagonal, beside = sizes[:, : j + 1]
            if not np.isfinite(diagonal).all():  # the vectors so far span all that there is, exactly
                return None
            values, vectors = eigh_tridiagonal(diagonal, beside[:-1], select="i", select_range=(j, j))
            if beside[-1] * abs(vectors[-1, 0]) <= _RESIDUAL * values[0]:
                w = vectors[:, 0] @ done
                return w / np.linalg.norm(w), float(values[0])
    return None


@register_encoder
class PLS(ComponentEncoder):
    """Partial least squares regression; its one hyper-parameter is ``n_components``.

    There are at most min(n_train - 1, n_features) components; to ask for more is an error. (Of components beyond the
    rank of the moments, scikit-learn makes some from rounding.)
    """

    name: ClassVar[str] = "pls"
    takes_tensors: ClassVar[bool] = True
    stacks: ClassVar[bool] = True
    rotates: ClassVar[bool] = True
    together: ClassVar[bool] = True

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
    stacks: ClassVar[bool] = False
    rotates: ClassVar[bool] = False


@register_encoder
class PLS2021(ScaledPLS):
    """scikit-learn's ``PLSRegression(n_components)`` with its default tolerance, as in 2021; prefer `ScaledPLS`."""

    name: ClassVar[str] = "pls_2021"
    takes_tensors: ClassVar[bool] = False
    together: ClassVar[bool] = False

    def components(self, moments: Moments, most: int) -> tuple[FloatArray, FloatArray]:
        """Solve them by `loose_pls_path`."""
        return loose_pls_path(moments.S, moments.C, most)
