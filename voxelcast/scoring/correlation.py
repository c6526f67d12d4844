"""Correlation between measured and predicted responses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from scipy.special import hyp2f1

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray, deviations, double, namespace
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, ShapeError

Metric = Literal["pearson_r", "pooled_2021"]

# A column counts as constant if its standard deviation is below this multiple of the rounding of its largest value.
_TINY = 1e-7
_MANY, _TERMS = 14, 60  # of c, and of the series, whose terms fall faster than k^-c
_CONSTANT = 16 * float(np.finfo(np.float64).eps)


def constant_columns(values: FloatArray) -> BoolArray:
    """Tell which columns of an array of shape (n_stimuli, n_voxels) vary no more than their rounding."""
    values = double(values)
    xp = namespace(values)
    return deviations(values) <= _CONSTANT * xp.amax(xp.abs(values), axis=0)


def pearson_r(Y: FloatArray, P: FloatArray) -> FloatArray:
    """Correlate measured with predicted responses, voxel by voxel.

    ``r = sum((y - mean(y)) (p - mean(p))) / sqrt(sum((y - mean(y))**2) sum((p - mean(p))**2))``

    Raises ShapeError if the shapes differ or there are no stimuli.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses, any linear unit.
    P : ndarray of shape (n_stimuli, n_voxels)
        Predicted responses.

    Returns
    -------
    r : ndarray of shape (n_voxels,)
        NaN where the measured or the predicted responses are constant.
    """
    Y, P = checked_pair(Y, P)
    Yc, Pc = Y - Y.mean(axis=0), P - P.mean(axis=0)
    undefined = constant_columns(Y) | constant_columns(P)
    # Norms are taken one by one: the product of the two sums of squares could underflow.
    norms = np.linalg.norm(Yc, axis=0) * np.linalg.norm(Pc, axis=0)
    r = np.full(Y.shape[1], np.nan)
    np.divide(np.einsum("ij,ij->j", Yc, Pc), norms, out=r, where=~undefined & (norms > 0))
    np.clip(r, -1.0, 1.0, out=r)
    return r


def pooled_2021_r(Y: FloatArray, P: FloatArray) -> float:
    """Correlate all voxels and stimuli as one long list, as the 2021 pipeline did; NaN if either is constant.

    It is kept to reproduce its numbers. Differences between the voxels' means alone raise this number, so it is no
    measure of how well responses to stimuli are predicted. As in 2021, the covariance is divided by N - 1 and the
    standard deviations by N, so a perfect prediction scores N / (N - 1), N = n_stimuli * n_voxels.
    """
    Y, P = checked_pair(Y, P)
    y, p = Y.reshape(-1, 1), P.reshape(-1, 1)
    return float(pearson_r(y, p)[0] * (y.size / (y.size - 1))) if y.size > 1 else float("nan")


def mean_pearson_r(Y: FloatArray, P: FloatArray) -> float:
    """Average the voxels' Pearson r to compare models; NaN if no voxel has one.

    The mean runs over the voxels whose measured responses vary, so that all models are compared on the same voxels;
    one with constant predictions counts as 0: a model that leaves voxels out must not win on those it kept.
    """
    r = pearson_r(Y, P)
    if np.isnan(r).all():
        return float("nan")
    return float(np.nansum(r) / np.count_nonzero(~constant_columns(Y)))


METRICS: dict[Metric, Callable[[FloatArray, FloatArray], float]] = {
    "pearson_r": mean_pearson_r,
    "pooled_2021": pooled_2021_r,
}
"""What models can be compared by, (Y, P) -> float. Performance is always reported as ``pearson_r`` per voxel."""


def voxel_scores(Y: FloatArray, P: FloatArray, metric: str) -> FloatArray:
    """Score predictions: each voxel by Pearson r, ndarray of shape (q,), or all together by that of 2021, (1,)."""
    return np.array([pooled_2021_r(Y, P)]) if metric == "pooled_2021" else pearson_r(Y, P)


def fold_pearson_r(Y: FloatArray, P: FloatArray, fold_ids: IntArray) -> FloatArray:
    """Average over folds the Pearson r of each voxel within each fold.

    Out-of-fold predictions are not concatenated into one correlation: the mean of a fold's training responses is
    high where the fold's own mean is low, so the folds' offsets would anticorrelate with the responses, and a model
    that knows nothing but the mean would score below 0.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses.
    P : ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions.
    fold_ids : ndarray of shape (n_stimuli,)
        The fold that each stimulus was held out in.

    Returns
    -------
    r : ndarray of shape (n_voxels,)
        A fold in which a voxel's measured responses are constant says nothing and is left out of its mean; one in which
        its predictions are constant counts as 0: a model that knows nothing but the mean predicts nothing. NaN where
        either is so in all folds.
    """
    Y, P = checked_pair(Y, P)
    check_shape("fold_ids", fold_ids, ("n_stimuli",), (Y.shape[0],))
    return _mean_over_folds(Y, P, fold_ids, lambda held: pearson_r(Y[held], P[held]))


def _mean_over_folds(
    Y: FloatArray, P: FloatArray, fold_ids: IntArray, score: Callable[[BoolArray], FloatArray]
) -> FloatArray:
    """Average a score of each fold, (n_voxels,) of its rows, over the folds in which a voxel's responses vary."""
    total, count, predicted = np.zeros(Y.shape[1]), np.zeros(Y.shape[1]), np.zeros(Y.shape[1], dtype=bool)
    for fold in np.unique(fold_ids):
        held = fold_ids == fold
        varies = ~constant_columns(Y[held])
        both = varies & ~constant_columns(P[held])
        total[both] += score(held)[both]
        count += varies
        predicted |= both
    mean = np.full(Y.shape[1], np.nan)
    np.divide(total, count, out=mean, where=predicted)
    return mean


def olkin_pratt(r: FloatArray, n: int) -> FloatArray:
    """Correct correlations of n normal observations for their bias, about -r (1 - r^2) / (2 n).

    ``G(r) = r 2F1(1/2, 1/2; (n - 2) / 2; 1 - r^2)``, the unbiased estimator of smallest variance [1]_.

    Parameters
    ----------
    r : ndarray
        In [-1, 1], or NaN.
    n : int
        Of fewer than 3, r is returned as it is.

    References
    ----------
    .. [1] Olkin, I. & Pratt, J. W. Unbiased estimation of certain correlation coefficients. Annals of Mathematical
       Statistics 29, 201-211 (1958). doi:10.1214/aoms/1177706717

    Examples
    --------
    >>> import numpy as np
    >>> olkin_pratt(np.array([0.0, 0.5, 1.0]), 10).round(3).tolist()
    [0.0, 0.525, 1.0]
    """
    r = np.asarray(r, dtype=np.float64)
    near_zero = np.abs(r) < _TINY  # of few observations the series diverges at 0, but not its product with r
    if n < 3:
        return r
    x, c = 1 - np.where(near_zero, 1.0, r) ** 2, (n - 2) / 2
    if c < _MANY:
        return np.asarray(np.where(near_zero, r, r * hyp2f1(0.5, 0.5, c, x)))
    term, series = np.ones_like(r), np.ones_like(r)  # SciPy's gamma functions overflow from c of about 170 on
    for k in range(_TERMS):
        term = term * ((k + 0.5) ** 2 / ((c + k) * (k + 1))) * x
        series += term
    return np.asarray(r * series)


def centred_pair(
    Y: FloatArray, P: FloatArray, fold_ids: IntArray, *, own_baseline: bool = False
) -> tuple[FloatArray, FloatArray]:
    """Subtract from responses and predictions the mean response to the stimuli outside a stimulus's fold.

    With ``own_baseline``, or one fold alone, the mean over the fold is subtracted from each instead.
    """
    folds = np.unique(fold_ids)
    y, p = Y - Y.mean(axis=0), P - Y.mean(axis=0)
    for fold in folds:
        held = fold_ids == fold
        if own_baseline or len(folds) == 1:
            y[held] -= y[held].mean(axis=0)
            p[held] -= p[held].mean(axis=0)
        else:
            known = -y[held].sum(axis=0) / (len(y) - np.count_nonzero(held))  # y sums to 0 until its fold is centred
            y[held] -= known
            p[held] -= known
    return y, p


def cross_validated_r(Y: FloatArray, P: FloatArray, fold_ids: IntArray, *, own_baseline: bool = False) -> FloatArray:
    """Score each voxel: Pearson r in each fold, about the mean that the fold's model knew, averaged over folds.

    In a fold of m stimuli, with y and p minus the mean response to the *other* folds' stimuli,
    ``r = sum(y p) / sqrt(sum(y**2) sum(p**2))``, corrected for its bias as a correlation of m + 1 observations about
    their mean (`olkin_pratt`). About the fold's own means r would be the lower the smaller the folds. Raises ShapeError
    or DataError if shapes do not fit, or a fold is too small.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses.
    P : ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions, or those of held-out stimuli, which are one fold.
    fold_ids : ndarray of shape (n_stimuli,)
        The fold that each stimulus was held out in.
    own_baseline : bool
        Subtract the fold's own means, and correct for m observations: of folds that are runs with a baseline of their
        own. Always so with one fold.

    Returns
    -------
    r : ndarray of shape (n_voxels,)
        A fold in which a voxel's measured responses are constant says nothing and is left out of its mean; one in which
        its predictions are constant counts as 0: a model that knows nothing but the mean predicts nothing. NaN where
        either is so in all folds.
    """
    Y, P = checked_pair(Y, P)
    check_shape("fold_ids", fold_ids, ("n_stimuli",), (Y.shape[0],))
    one_more = not own_baseline and len(np.unique(fold_ids)) > 1
    y, p = centred_pair(Y, P, fold_ids, own_baseline=own_baseline)

    def corrected_r(held: BoolArray) -> FloatArray:
        norms = np.linalg.norm(y[held], axis=0) * np.linalg.norm(p[held], axis=0)
        r = np.full(Y.shape[1], np.nan)
        np.divide(np.einsum("ij,ij->j", y[held], p[held]), norms, out=r, where=norms > 0)
        return olkin_pratt(np.clip(r, -1.0, 1.0), int(np.count_nonzero(held)) + one_more)

    return _mean_over_folds(Y, P, fold_ids, corrected_r)


def checked_pair(Y: FloatArray, P: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return measured and predicted responses in float64; raises ShapeError or DataError if they do not fit."""
    Y, P = double(Y), double(P)
    if Y.ndim != 2 or Y.shape != P.shape:
        raise ShapeError(
            f"measured and predicted responses must both have shape (n_stimuli, n_voxels); got {Y.shape} and {P.shape}"
        )
    if Y.shape[0] == 0:
        raise DataError("a correlation needs at least 2 stimuli; got 0; check which stimuli were kept")
    return Y, P
