"""Representational dissimilarity matrices (RDMs): how different the responses to each pair of stimuli are.

An RDM is kept as the vector of its pairs, ndarray of shape (n_pairs,), n_pairs = n_stimuli (n_stimuli - 1) / 2, in the
order of the upper triangle row by row: that of scipy.spatial.distance.squareform, which turns it into a square.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.spatial.distance import pdist
from sklearn.covariance import ledoit_wolf

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.scoring.correlation import constant_columns


def correlation_rdm(values: FloatArray) -> FloatArray:
    """Return 1 - Pearson r between the patterns of each pair of stimuli.

    Raises ShapeError or DataError if ``values`` is not two-dimensional with two stimuli, not finite, or a pattern is
    constant.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_features)
        Features, or responses of voxels.

    Returns
    -------
    rdm : ndarray of shape (n_pairs,)
        In [0, 2].
    """
    values = _checked(values)
    flat = np.flatnonzero(constant_columns(values.T))
    if flat.size:
        raise DataError(
            f"a correlation needs patterns that vary; {flat.size} of {len(values)} stimuli have the same value in "
            f"every feature (first: number {flat[0]}); use the Euclidean distance, or another layer"
        )
    return np.asarray(np.clip(pdist(values, "correlation"), 0.0, 2.0))


def euclidean_rdm(values: FloatArray) -> FloatArray:
    """Return the root mean squared difference over features between the patterns of each pair of stimuli.

    The Euclidean distance divided by the square root of the number of features, so that it does not grow with it.
    Parameters and errors as `correlation_rdm`.
    """
    values = _checked(values)
    return np.asarray(pdist(values, "euclidean") / np.sqrt(values.shape[1]))


def crossnobis_rdm(values: FloatArray, noise_covariance: FloatArray | None = None) -> FloatArray:
    """Return the cross-validated squared Mahalanobis distance between the patterns of each pair, shape (n_pairs,).

    With d_a = x_ia - x_ja the difference in repetition (or run) a, V voxels and noise covariance S [1]_::

        crossnobis_ij = mean over a != b of  d_a' inv(S) d_b / V

    As the noise of two repetitions is independent, its expectation is the distance of the true patterns, without the
    bias by noise that all other distances have: it is 0 on average where patterns are the same, and then as often
    negative as positive. Raises ShapeError or DataError if shapes do not fit, values are not finite, or the covariance
    is not positive definite.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        Finite, at least two repetitions.
    noise_covariance : ndarray of shape (n_voxels, n_voxels), optional
        See `noise_covariance`; left out, the identity: the cross-validated squared Euclidean distance.

    References
    ----------
    .. [1] Walther, A. et al. Reliability of dissimilarity measures for multi-voxel pattern analysis. NeuroImage 137,
       188-200 (2016), equations 5-7. doi:10.1016/j.neuroimage.2015.12.012
    """
    values = _checked_repetitions(values)
    n_stimuli, n_repetitions, n_voxels = values.shape
    if noise_covariance is not None:
        check_shape("noise_covariance", noise_covariance, ("n_voxels", "n_voxels"), (n_voxels, n_voxels))
        try:
            root = np.linalg.cholesky(noise_covariance)
        except np.linalg.LinAlgError as error:
            raise DataError(
                "noise_covariance must be positive definite; use noise_covariance(), which shrinks"
            ) from error
        values = np.linalg.solve(root, values.reshape(-1, n_voxels).T).T.reshape(values.shape)
    # Centred over stimuli: differences stay the same, and large offsets lose no digits.
    values = values - values.mean(axis=(0, 1))
    total = values.sum(axis=1)
    own = np.einsum("irv,jrv->ij", values, values, optimize=True)
    gram = (total @ total.T - own) / (n_repetitions * (n_repetitions - 1) * n_voxels)
    norms = np.diag(gram)
    square = norms[:, None] + norms[None, :] - 2 * gram
    return np.asarray(square[np.triu_indices(n_stimuli, 1)])


def noise_covariance(values: FloatArray) -> FloatArray:
    """Estimate the covariance of the noise between voxels from repetitions, shrunk towards a multiple of the identity.

    Of the deviations of ``values`` (n_stimuli, n_repetitions, n_voxels) from each stimulus's mean, divided by
    R / (R - 1) to be unbiased, with Ledoit and Wolf's optimal
    shrinkage [1]_, so that it can be inverted with more voxels than presentations. Raises ShapeError or DataError if
    ``values`` is not three-dimensional, not finite, or there is one repetition only.

    References
    ----------
    .. [1] Ledoit, O. & Wolf, M. A well-conditioned estimator for large-dimensional covariance matrices. Journal of
       Multivariate Analysis 88, 365-411 (2004). doi:10.1016/S0047-259X(03)00096-4
    """
    values = _checked_repetitions(values)
    n_repetitions = values.shape[1]
    residuals = (values - values.mean(axis=1, keepdims=True)).reshape(-1, values.shape[2])
    shrunk, _ = ledoit_wolf(residuals, assume_centered=True)
    return np.asarray(shrunk * (n_repetitions / (n_repetitions - 1)))


DISSIMILARITIES: dict[str, Callable[[FloatArray], FloatArray]] = {
    "correlation": correlation_rdm,
    "euclidean": euclidean_rdm,
}
"""Dissimilarities of patterns without repetitions, by name."""


def _checked(values: FloatArray) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise ShapeError(f"patterns must have shape (n_stimuli, n_features), two stimuli or more; got {values.shape}")
    check_finite("patterns", values, "leave out those stimuli or features")
    return values


def _checked_repetitions(values: FloatArray) -> FloatArray:
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 3 or values.shape[0] < 2:
        raise ShapeError(f"values must have shape (n_stimuli, n_repetitions, n_voxels); got {values.shape}")
    if values.shape[1] < 2:
        raise DataError(f"cross-validation over repetitions needs at least 2; got {values.shape[1]}")
    check_finite("responses", values, "leave out stimuli without all repetitions")
    return values
