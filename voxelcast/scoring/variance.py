"""Signal and noise variance of repeated responses, and the ceilings in units of variance that follow from them."""

from __future__ import annotations

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray, blocks
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, OptionError

_BLOCK_BYTES = 64 * 2**20


def signal_and_noise_variance(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Estimate the variance of the noiseless response over stimuli and that of the noise, for each voxel.

    One-way analysis of variance with k_i repetitions of stimulus i and N = sum(k_i) [1]_. Both are unbiased, whatever
    the k_i, for signal and noise of any distribution::

        noise  = sum_i sum_j (y_ij - mean_i)**2 / (N - n_stimuli)
        signal = (sum_i k_i (mean_i - mean)**2 / (n_stimuli - 1) - noise) / k0
        k0     = (N - sum(k_i**2) / N) / (n_stimuli - 1)

    Raises ShapeError if ``values`` is not three-dimensional.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        Responses in any linear unit; NaN marks a missing repetition.

    Returns
    -------
    signal, noise : ndarray of shape (n_voxels,)
        In the responses' unit squared. ``signal`` may be negative by chance: it is not clipped, so that its mean over
        voxels is unbiased. NaN where no stimulus has two repetitions, or fewer than two stimuli have one.

    References
    ----------
    .. [1] Searle, S. R., Casella, G. & McCulloch, C. E. Variance Components, section 3.6. Wiley (1992).
       doi:10.1002/9780470316856
    """
    _check_values(values)
    n_stimuli, n_repetitions, n_voxels = values.shape
    signal, noise = np.full(n_voxels, np.nan), np.full(n_voxels, np.nan)
    for part in blocks(n_voxels, 8 * n_stimuli * n_repetitions, _BLOCK_BYTES):
        signal[part], noise[part] = _variances(np.asarray(values[:, :, part], dtype=np.float64))
    return signal, noise


def _variances(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    there = ~np.isnan(values)
    counts = there.sum(axis=1)
    n_used, total = (counts > 0).sum(axis=0), counts.sum(axis=0)
    known = (total > n_used) & (n_used > 1)
    filled = np.where(there, values, 0.0)
    # Deviations from the grand mean first: the sums of squares then lose no digits to a large offset.
    grand = filled.sum(axis=(0, 1)) / np.maximum(total, 1)
    filled = np.where(there, filled - grand, 0.0)
    means = filled.sum(axis=1) / np.maximum(counts, 1)
    within = ((filled - means[:, None]) ** 2 * there).sum(axis=(0, 1))
    between = (counts * means**2).sum(axis=0)
    nan = np.full(values.shape[2], np.nan)
    noise = np.divide(within, total - n_used, out=nan.copy(), where=known)
    mean_square = np.divide(between, n_used - 1, out=nan.copy(), where=known)
    k0 = np.divide(total - (counts**2).sum(axis=0) / np.maximum(total, 1), n_used - 1, out=nan.copy(), where=known)
    return np.asarray((mean_square - noise) / k0), noise


def ncsnr(values: FloatArray, total_variance: float | None = None) -> FloatArray:
    """Estimate the noise-ceiling signal-to-noise ratio of one presentation, sd(signal) / sd(noise), for each voxel.

    As defined for the Natural Scenes Dataset [1]_; BOLD Moments uses it too. There responses are z-scored, so the
    signal's variance is taken to be 1 minus the noise's: ``total_variance=1`` does that. Without it, the signal's
    variance is estimated from the data themselves (`signal_and_noise_variance`), in any unit. Raises ShapeError or
    OptionError if ``values`` is not three-dimensional, or ``total_variance`` is not positive.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        NaN marks a missing repetition.
    total_variance : float, optional
        Variance of single presentations, where it is known.

    Returns
    -------
    ncsnr : ndarray of shape (n_voxels,)
        At least 0; infinite without noise; NaN where it cannot be estimated, or where responses are constant.

    References
    ----------
    .. [1] Allen, E. J. et al. A massive 7T fMRI dataset to bridge cognitive neuroscience and artificial intelligence.
       Nature Neuroscience 25, 116-126 (2022), Methods, "Noise ceiling estimation". doi:10.1038/s41593-021-00962-x
    """
    if total_variance is not None and not total_variance > 0:
        raise OptionError(f"total_variance must be positive; got {total_variance}; give 1 for z-scored responses")
    signal, noise = signal_and_noise_variance(values)
    if total_variance is not None:
        signal = total_variance - noise
    signal = np.maximum(signal, 0.0)
    ratio = np.full(noise.shape, np.nan)
    np.divide(signal, noise, out=ratio, where=noise > 0)
    ratio[(noise == 0) & (signal > 0)] = np.inf
    return np.asarray(np.sqrt(ratio))


def noise_ceiling_r2(snr: FloatArray, repetitions: int | IntArray) -> FloatArray:
    """Return the highest share of the mean response's variance over stimuli that a model can explain, in [0, 1].

    ``ncsnr**2 / (ncsnr**2 + 1 / n)``; where stimuli have different numbers k_i of repetitions, 1 / n is the mean of the
    1 / k_i, which is the rule of the Natural Scenes Dataset and of Algonauts 2023. Its square root, not this number, is
    the highest correlation. Raises OptionError if no stimulus has a repetition, or a number is negative.

    Parameters
    ----------
    snr : ndarray of shape (n_voxels,)
        See `ncsnr`.
    repetitions : int, or ndarray of shape (n_stimuli,) or (n_stimuli, n_voxels)
        Repetitions averaged in the responses that a model is scored on; stimuli without any are left out.

    Returns
    -------
    ceiling : ndarray of shape (n_voxels,)
        In [0, 1].
    """
    counts = np.asarray(repetitions, dtype=np.float64)
    if counts.size == 0 or (counts < 0).any() or not (counts > 0).any():
        raise OptionError("repetitions must be numbers of presentations, at least one above 0; got none above 0")
    counts = counts.reshape(1, 1) if counts.ndim == 0 else counts.reshape(len(counts), -1)
    shown = counts > 0
    inverse = np.where(shown, 1.0 / np.where(shown, counts, 1.0), 0.0).sum(axis=0)
    per_mean = np.divide(inverse, shown.sum(axis=0), out=np.full(inverse.shape, np.nan), where=shown.any(axis=0))
    squared = np.asarray(snr, dtype=np.float64) ** 2
    # Divided through by ncsnr**2, so that an infinite ratio gives 1.
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / (1.0 + per_mean / squared))


def explainable_variance(values: FloatArray) -> FloatArray:
    """Estimate the share of one presentation's variance over stimuli that is signal, corrected for bias.

    ``signal / (signal + noise)``, with the unbiased variances of `signal_and_noise_variance`: the intraclass
    correlation ICC(1, 1) [1]_. With the same number R of repetitions everywhere, it is the explainable variance
    EV = var(mean over repetitions) / mean(var of a repetition), corrected as EV - (1 - EV) / (R - 1) [2]_, but for
    effects of the repetition as such, which count as noise here.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        NaN marks a missing repetition.

    Returns
    -------
    explainable_variance : ndarray of shape (n_voxels,)
        At most 1; about 0 without signal, where it is as often negative as positive. NaN where it cannot be
        estimated, or where responses are constant.

    References
    ----------
    .. [1] Shrout, P. E. & Fleiss, J. L. Intraclass correlations: uses in assessing rater reliability. Psychological
       Bulletin 86, 420-428 (1979). doi:10.1037/0033-2909.86.2.420
    .. [2] Hsu, A., Borst, A. & Theunissen, F. E. Quantifying variability in neural responses and its application for
       the validation of model predictions. Network 15, 91-109 (2004). doi:10.1088/0954-898X_15_2_002
    """
    signal, noise = signal_and_noise_variance(values)
    total = signal + noise
    share = np.full(total.shape, np.nan)
    np.divide(signal, total, out=share, where=total > 0)
    return share


def repetition_counts(values: FloatArray) -> IntArray:
    """Count the repetitions that are there, ndarray of int, shape (n_stimuli, n_voxels).

    Raises ShapeError if ``values`` is not three-dimensional.
    """
    _check_values(values)
    return np.asarray((~np.isnan(values)).sum(axis=1))


def _check_values(values: FloatArray) -> None:
    check_shape("values", values, ("n_stimuli", "n_repetitions", "n_voxels"), (None, None, None))
    if np.isinf(values).any():
        raise DataError("responses must not be infinite; mark missing repetitions by NaN, or leave those voxels out")
