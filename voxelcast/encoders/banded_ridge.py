"""Banded ridge regression: one ridge regression on several feature spaces, with a penalty of its own for each of them.

With the bands X_b (one per layer or network), centred on their training means, the model of a voxel minimises::

    |y - sum_b X_b B_b|^2 + sum_b a_b |B_b|^2

Penalties are written a_b = a s_b / g_b with weights g_b >= 0 that sum to 1 and the mean squared norm s_b = |X_b|^2 /
n of a band's stimuli, so that equal weights treat a large band as a small one; a band of weight 0 is left out.
Weights are drawn from Dirichlet distributions and tried with every penalty a, under cross-validation within the
training data; each voxel takes those of least squared error. Equal weights and every band alone are always tried. The
solver is himalaya's random search on the bands' kernels [1]_.

References
----------
.. [1] Dupre la Tour, T., Eickenberg, M., Nunez-Elizalde, A. O. & Gallant, J. L. Feature-space selection with banded
   ridge regression. NeuroImage 264, 119728 (2022). doi:10.1016/j.neuroimage.2022.119728
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from sklearn.model_selection import PredefinedSplit

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import MissingPackageError, OptionError
from voxelcast.core.seeds import generator
from voxelcast.encoders.side_by_side import mean_squared_norm, predict_jointly

ALPHAS = tuple(float(alpha) for alpha in np.geomspace(1e-3, 1e5, 25))
N_DRAWS = 20
_CONCENTRATIONS = (0.1, 1.0)
_BATCH = 2000


@dataclass(frozen=True)
class BandedRidgeModel:
    """A fitted banded ridge model: prediction = intercept + sum_b X_b @ coefficients[b].

    Parameters
    ----------
    coefficients : tuple of ndarray of shape (p_b, q)
    intercept : ndarray of shape (q,)
    penalties : ndarray of shape (n_bands, q)
        a_b of each band and voxel; infinite where a band is left out.
    shares : ndarray of shape (n_bands, q)
        Part of the variance of a voxel's fitted training responses that each band makes, cov(p_b, p) / var(p); they sum
        to 1, and one can be negative. 0 where the prediction is constant.
    """

    coefficients: tuple[FloatArray, ...]
    intercept: FloatArray
    penalties: FloatArray
    shares: FloatArray

    def predict(self, Xs: Sequence[FloatArray]) -> FloatArray:
        """Predict responses, ndarray of shape (n_samples, q), from the bands' features of shape (n_samples, p_b)."""
        return predict_jointly(Xs, self.coefficients, self.intercept)


def fit_banded_ridge(
    Xs: Sequence[FloatArray], Y: FloatArray, fold_ids: IntArray, *, n_draws: int = N_DRAWS, seed: int = 0
) -> BandedRidgeModel:
    """Choose each voxel's penalties by cross-validation and fit.

    Parameters
    ----------
    Xs : sequence of ndarray of shape (n_samples, p_b)
    Y : ndarray of shape (n_samples, q)
    fold_ids : ndarray of shape (n_samples,), int
        Folds of the cross-validation by which penalties are chosen.
    n_draws : int
        How many band weights are drawn; 0: all bands alike.
    seed : int

    Returns
    -------
    model : BandedRidgeModel

    Raises
    ------
    MissingPackageError
        If himalaya is not installed.
    OptionError
        If there is no band, or ``n_draws`` is negative.
    ShapeError
        If rows do not match.
    DataError
        If a value is NaN or infinite.
    """
    if not Xs or n_draws < 0:
        raise OptionError(f"banded ridge needs at least one band and no negative n_draws; got {len(Xs)} and {n_draws}")
    check_responses(Y, fold_ids)
    for X in Xs:
        check_shape("each band", X, ("n_samples", "p"), (len(Y), None))
        check_finite("each band", X)
    with _numpy_backend():
        from himalaya.kernel_ridge import solve_multiple_kernel_ridge_random_search

        means = [np.asarray(X, dtype=np.float64).mean(axis=0) for X in Xs]
        centred = [np.asarray(X, dtype=np.float64) - mean for X, mean in zip(Xs, means, strict=True)]
        sizes = np.array([mean_squared_norm(X) for X in centred])
        kernels = np.stack([X @ X.T / size for X, size in zip(centred, sizes, strict=True)])
        y_mean, deviations = Y.mean(axis=0, dtype=np.float64), Y.std(axis=0, dtype=np.float64)
        # himalaya compares squared errors with small absolute numbers: all voxels are brought to unit variance.
        deviations[deviations == 0] = 1.0
        # A band of weight 0 has the log weight -inf, which is what is meant.
        with np.errstate(divide="ignore"):
            log_weights, dual, *_ = solve_multiple_kernel_ridge_random_search(
                kernels,
                (np.asarray(Y, dtype=np.float64) - y_mean) / deviations,
                n_iter=band_weights(len(Xs), n_draws, seed),
                alphas=np.array(ALPHAS),
                cv=PredefinedSplit(fold_ids),
                fit_intercept=True,
                return_weights="dual",
                n_targets_batch=_BATCH,
                progress_bar=False,
            )
    # himalaya's weights are of kernels weighted by exp(log_weights), which holds g / a.
    weights = np.exp(log_weights) / sizes[:, None]
    coefficients = tuple((X.T @ dual) * (w * deviations) for X, w in zip(centred, weights, strict=True))
    intercept = y_mean - sum(mean @ B for mean, B in zip(means, coefficients, strict=True))
    with np.errstate(divide="ignore"):
        penalties = 1.0 / weights
    return BandedRidgeModel(coefficients, intercept, penalties, _shares(centred, coefficients))


def check_responses(Y: FloatArray, fold_ids: IntArray) -> None:
    """Raise ShapeError or DataError unless Y is a finite array of shape (n_samples, q) and each row has a fold."""
    check_shape("responses Y", Y, ("n_samples", "n_voxels"), (None, None))
    check_finite("responses Y", Y)
    check_shape("fold_ids", fold_ids, ("n_samples",), (len(Y),))


def band_weights(n_bands: int, n_draws: int, seed: int) -> FloatArray:
    """Return the weights to be tried, ndarray of shape (1 + n_bands + n_draws, n_bands); each row sums to 1.

    Equal weights come first, then every band alone, then draws from two Dirichlet distributions in turn: a sparse one
    and an even one. Without draws there are equal weights alone: one ridge regression on all bands, scaled alike.
    """
    fixed = np.vstack([np.full((1, n_bands), 1.0 / n_bands), np.eye(n_bands)])
    if n_bands == 1 or n_draws == 0:
        return fixed[:1]
    rng = generator(seed, "band weights", n_bands)
    drawn = [rng.dirichlet(np.full(n_bands, _CONCENTRATIONS[k % 2])) for k in range(n_draws)]
    weights: FloatArray = np.vstack([fixed, *(draw[None] for draw in drawn)])
    return weights


def _shares(centred: Sequence[FloatArray], coefficients: Sequence[FloatArray]) -> FloatArray:
    total = sum((X @ B for X, B in zip(centred, coefficients, strict=True)), start=np.zeros(1))
    variance = np.square(total).sum(axis=0)
    shares = np.zeros((len(centred), variance.size))
    for band, (X, B) in enumerate(zip(centred, coefficients, strict=True)):
        np.divide(((X @ B) * total).sum(axis=0), variance, out=shares[band], where=variance > 0)
    return shares


def check_himalaya() -> None:
    """Raise MissingPackageError if himalaya is not installed."""
    if find_spec("himalaya") is None:
        raise MissingPackageError(
            "banded ridge needs himalaya, which is not installed; install it with: pip install 'voxelcast[himalaya]'"
        )


@contextmanager
def _numpy_backend() -> Iterator[None]:
    """Have himalaya compute with NumPy, and restore its global setting."""
    check_himalaya()
    from himalaya.backend import get_backend, set_backend

    before = get_backend()
    set_backend("numpy")
    try:
        yield
    finally:
        set_backend(before)
