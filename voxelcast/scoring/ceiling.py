"""Noise ceilings: the best score that a model could reach, given how repeatable the responses are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import comb

import numpy as np
from scipy.special import betaln, fdtrc

from voxelcast.core.arrays import FloatArray, IntArray, blocks
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import generator

_BLOCK_BYTES = 64 * 2**20
_FEWEST_STIMULI = 4
"""With fewer, the reliability has no unbiased estimate."""
_STANDARD_ERRORS = 2.0
"""A voxel's own normalised score is given where its reliability is at least so many standard errors without signal."""
_DRIFT_R = 0.05
"""Ceilings with and without drift that differ by more are said to differ, where the drift is significant."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """How reliable each voxel's mean response is: the signal's share of its variance over stimuli.

    Parameters
    ----------
    share, se : ndarray of shape (n_voxels,)
        Estimate, at most 1 and below 0 by chance, and its standard error; NaN where it cannot be estimated.
    share_with_drift : ndarray of shape (n_voxels,)
        The same where drift over repetitions counts as noise.
    drift_p : ndarray of shape (n_voxels,)
        p-value of responses that differ between repetitions by the same for all stimuli (F test).
    """

    share: FloatArray
    se: FloatArray
    share_with_drift: FloatArray
    drift_p: FloatArray

    @property
    def ceiling_r(self) -> FloatArray:
        """See `noise_ceiling_r`."""
        return _root(self.share)

    def drift(self) -> str:
        """Say in a sentence where drift changes the ceiling by more than .05; empty where it does nowhere."""
        with_drift, without = _root(self.share_with_drift), self.ceiling_r
        n_tests = np.isfinite(self.drift_p).sum()
        drifts = np.flatnonzero((np.abs(without - with_drift) > _DRIFT_R) & (self.drift_p * n_tests < 0.05))
        if not drifts.size:
            return ""
        most = drifts[np.argmax(np.abs(without - with_drift)[drifts])]
        return (
            f"Responses of {drifts.size} of {n_tests} voxels drift over repetitions. The noise ceilings are of splits "
            "into the same repetitions for all stimuli, which cancel drift as the mean response does; splits drawn for "
            f"each stimulus do not ({without[most]:.2f} against {with_drift[most]:.2f} in voxel {most})."
        )


def noise_ceiling_r(values: FloatArray) -> FloatArray:
    """Estimate the highest correlation with the mean response that a model can reach, for each voxel.

    The square root of the `reliability`. That is unbiased and, without signal, as often below 0 as above; no
    correlation is the root of a negative number, so below 0 counts as 0. Clipping raises the mean over voxels of little
    signal: for that mean see `mean_noise_ceiling_r`. Raises ShapeError or DataError if ``values`` is not
    three-dimensional or infinite.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        Responses in any linear unit; NaN marks a missing repetition.

    Returns
    -------
    ceiling : ndarray of shape (n_voxels,)
        In [0, 1]; NaN where no stimulus was repeated, fewer than four were shown, or the mean responses are constant.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> signal = rng.standard_normal((1000, 1, 1))
    >>> noise_ceiling_r(signal + rng.standard_normal((1000, 4, 1))).round(1)  # sqrt(1 / (1 + 1 / 4))
    array([0.9])
    """
    return reliability(values).ceiling_r


def reliability(values: FloatArray) -> Reliability:
    """Estimate the signal's share of the variance of each voxel's mean response over stimuli.

    Of all stimuli that a score is computed on, each with its own k_i repetitions, one stimulus shown once among them::

        y_ij  = m + s_i + d_j + e_ij                        stimulus i, repetition j (least squares)
        noise = var(e) mean(1 / k_i) + var_i(mean_j d_j)    in the mean response of a stimulus
        share = 1 - (n - 3) / (n - 1)  noise / var_i(mean_j y_ij)

    With the same repetitions of all n stimuli this is Cronbach's alpha, the mean over all splits of the repetitions
    into halves of their generalised Spearman-Brown reliability, whatever their number, with the correction that makes
    it unbiased for normal data [1]_. What a repetition adds to the responses to all stimuli, d_j, is in both halves and
    cancels in the mean response: it is noise only as far as stimuli lack different repetitions. The standard error is
    that of the infinitesimal jackknife over stimuli, which holds for any distribution, times sqrt((n - 1) / (n - 3)).
    Raises ShapeError or DataError if ``values`` is not three-dimensional or infinite.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        Responses in any linear unit; NaN marks a missing repetition.

    References
    ----------
    .. [1] Kristof, W. The statistical theory of stepped-up reliability coefficients when a test has been divided into
       several equivalent parts. Psychometrika 28, 221-238 (1963). doi:10.1007/BF02289571
    """
    check_shape("values", values, ("n_stimuli", "n_repetitions", "n_voxels"), (None, None, None))
    if np.isinf(values).any():
        raise DataError("responses must not be infinite; mark missing repetitions by NaN, or leave those voxels out")
    n_stimuli, n_repetitions, n_voxels = values.shape
    found = np.full((4, n_voxels), np.nan)
    if n_repetitions > 1 and n_stimuli >= _FEWEST_STIMULI:
        for part in blocks(n_voxels, 8 * n_stimuli * n_repetitions, _BLOCK_BYTES):
            found[:, part] = _block_reliability(np.asarray(values[:, :, part], dtype=np.float64))
    return Reliability(*found)


def _block_reliability(values: FloatArray) -> FloatArray:
    """Return the four arrays of `Reliability` of a block of voxels, stacked."""
    there = ~np.isnan(values)
    counts = there.sum(axis=1)
    used, k = counts > 0, np.maximum(counts, 1)
    n, total = used.sum(axis=0), counts.sum(axis=0)
    scale = np.nanmax(np.abs(values), axis=(0, 1), initial=0.0)
    # Deviations from the grand mean first: the sums of squares then lose no digits to a large offset.
    centre = np.where(there, values, 0.0).sum(axis=(0, 1)) / np.maximum(total, 1)
    filled = np.where(there, values - centre, 0.0)
    means = filled.sum(axis=1) / k
    within = np.where(there, filled - means[:, None], 0.0)
    drift, rank = _repetition_effects(within, there, k)
    mean_drift = np.einsum("ijv,jv->iv", there, drift) / k
    squares = (np.where(there, within - drift + mean_drift[:, None], 0.0) ** 2).sum(axis=1)
    free = total - n - rank
    inverse = np.where(used, 1 / k, 0.0).sum(axis=0) / np.maximum(n, 1)
    deviations = _deviations(means, used, n) ** 2
    variance = deviations.sum(axis=0) / np.maximum(n - 1, 1)
    known = (free > 0) & (n >= _FEWEST_STIMULI) & (variance > (16 * np.finfo(np.float64).eps * scale) ** 2)
    with np.errstate(divide="ignore", invalid="ignore"):
        error = squares.sum(axis=0) / free
        error_with_drift = (within**2).sum(axis=(0, 1)) / (total - n)
        noise = error * inverse + (_deviations(mean_drift, used, n) ** 2).sum(axis=0) / (n - 1)
        unbiased = (n - 3) / (n - 1) / variance
        share, with_drift = 1 - unbiased * noise, 1 - unbiased * error_with_drift * inverse
        # What each stimulus adds to the logarithms of noise and variance, by the infinitesimal jackknife.
        own = squares - error * free * (counts - used) / (total - n)
        of_noise = np.where(noise > 0, n * inverse * own / (free * noise), 0.0)
        influence = np.where(used, of_noise - n * deviations / ((n - 1) * variance) + 1, 0.0)
        se = (1 - share) * np.sqrt((influence**2).sum(axis=0) / (n * (n - 3)))
        ratio = ((within**2).sum(axis=(0, 1)) - squares.sum(axis=0)) / (rank * error)
        drift_p = fdtrc(rank, free, ratio)
    return np.where(known, np.stack([share, se, with_drift, drift_p]), np.nan)


def _deviations(values: FloatArray, used: FloatArray, n: IntArray) -> FloatArray:
    return np.where(used, values - np.where(used, values, 0.0).sum(axis=0) / np.maximum(n, 1), 0.0)


def _repetition_effects(within: FloatArray, there: FloatArray, k: IntArray) -> tuple[FloatArray, IntArray]:
    """Fit what each repetition adds to all stimuli, (n_repetitions, n_voxels); and how many can be told apart, less 1.

    ``within`` are deviations from each stimulus's mean, 0 where nothing is ``there``.
    """
    n_repetitions, n_voxels = within.shape[1:]
    if there.all():
        return within.mean(axis=0), np.full(n_voxels, n_repetitions - 1)
    weights = there.astype(np.float64)
    normal = -np.einsum("ijv,ilv->vjl", weights / k[:, None], weights, optimize=True)
    diagonal = np.arange(n_repetitions)
    normal[:, diagonal, diagonal] += weights.sum(axis=0).T
    values, vectors = np.linalg.eigh(normal)
    kept = values > 1e-9 * np.maximum(values[:, -1:], 1.0)
    inverse = np.where(kept, 1 / np.where(kept, values, 1.0), 0.0)
    along = np.einsum("vjl,jv->vl", vectors, within.sum(axis=0))
    return np.einsum("vjl,vl->jv", vectors, inverse * along), kept.sum(axis=1)


def _root(share: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(np.clip(share, 0.0, 1.0)))


def mean_noise_ceiling_r(share: FloatArray, se: FloatArray) -> float:
    """Estimate the mean over voxels of the highest correlation that a model can reach.

    The mean of the voxels' own ceilings is too high where there is little signal, because they are clipped at 0, and
    too low where they are uncertain, because a root is concave. So it is estimated from the mean M of all ``share``,
    clipped nowhere, and their variance less that of their errors, T: the mean of the root of a beta variable [1]_ of
    this mean and variance; with T below 0, which is by chance, ``sqrt(M) (1 - T / (8 M**2))``, which continues it.
    It is biased where voxels fall into extremes with nothing between: of half without signal and half at .6, it is .37
    (the mean of clipped ceilings is as high, and the root of M .42).

    Parameters
    ----------
    share, se : ndarray of shape (n_voxels,)
        See `Reliability`; voxels that are NaN are left out.

    Returns
    -------
    ceiling : float
        In [0, 1]; 0 where M is not positive; NaN where no voxel is known.

    References
    ----------
    .. [1] Johnson, N. L., Kotz, S. & Balakrishnan, N. Continuous Univariate Distributions, volume 2, chapter 25. Wiley
       (1995).
    """
    known = np.isfinite(share) & np.isfinite(se)
    if not known.any():
        return float("nan")
    share, error = share[known], se[known] ** 2
    mean = float(share.mean())
    if mean <= 0 or mean >= 1:
        return float(np.clip(mean, 0.0, 1.0))
    spread = float(share.var(ddof=1) - error.mean()) if share.size > 1 else 0.0
    if spread <= 1e-4 * mean**2:
        return float(min(np.sqrt(mean) * (1 + min(-spread / mean**2, 1.0) / 8), 1.0))
    total = mean * (1 - mean) / min(spread, 0.999 * mean * (1 - mean)) - 1
    a, b = mean * total, (1 - mean) * total
    return float(np.exp(betaln(a + 0.5, b) - betaln(a, b)))


def normalised_mean(r: FloatArray, share: FloatArray, se: FloatArray) -> tuple[float, float]:
    """Return the mean noise ceiling of the voxels that have a score, and their mean score divided by it.

    For a perfect model that is 1 on average, also where repetitions are few and noisy: a ratio of means, not a mean of
    ratios (see `mean_noise_ceiling_r`). Parameters as `noise_normalised_r`; NaN where no voxel has both, and the ratio
    where the ceiling is 0.
    """
    both = np.isfinite(r) & np.isfinite(share)
    ceiling = mean_noise_ceiling_r(share[both], se[both])
    return ceiling, float(r[both].mean() / ceiling) if ceiling > 0 else float("nan")


def noise_normalised_r(r: FloatArray, share: FloatArray, se: FloatArray) -> FloatArray:
    """Divide each voxel's score by its noise ceiling where that means something.

    Where the reliability is less than twice the standard error that it would have without signal, se / (1 - share), the
    ratio is mostly noise. Just above, ceilings are too high more often than too low, as they are chosen for being high:
    a mean over voxels is normalised by `mean_noise_ceiling_r` instead.

    Parameters
    ----------
    r : ndarray of shape (n_voxels,)
        Scores of the mean responses.
    share, se : ndarray of shape (n_voxels,)
        See `Reliability`.

    Returns
    -------
    normalised : ndarray of shape (n_voxels,)
        May be above 1; NaN for a voxel whose ``share`` is below ``2 se / (1 - share)``, or unknown.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        clear = (share > 0) & (share >= _STANDARD_ERRORS * np.where(se > 0, se / (1 - share), 0.0))
    root = np.sqrt(np.where(clear, share, 1.0))
    return np.asarray(np.divide(r, root, out=np.full(share.shape, np.nan), where=clear))


def split_half_ceiling_r(values: FloatArray, max_splits: int = 1000, seed: int = 0) -> FloatArray:
    """Estimate the highest correlation by the rule of Algonauts 2021 [1]_, for each voxel.

    The repetitions are split into two halves in every way (h = floor(R / 2) against h others), the halves' means are
    correlated over stimuli, and the Spearman-Brown formula with the factor f = R / h gives the reliability of the mean
    of all R repetitions: ``f r / (1 + (f - 1) r)``, averaged over splits. With an odd R, of which the rule says
    nothing, the formula has a pole at r = -1 / (f - 1) > -1, so r is averaged first.

    Raises ShapeError if ``values`` is not three-dimensional; OptionError if ``max_splits`` is below 1.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        Responses in any linear unit; NaN marks a missing repetition. A stimulus enters a split if both halves hold
        at least one of its repetitions.
    max_splits : int
        With more splits than this (10 repetitions have 126), a random sample of that many is used.
    seed : int
        Of that sample.

    Returns
    -------
    ceiling : ndarray of shape (n_voxels,)
        In [0, 1]; 0 where the mean reliability is negative; NaN with fewer than two repetitions, or where a half is
        constant in every split.

    References
    ----------
    .. [1] Cichy, R. M. et al. The Algonauts Project 2021 Challenge: how the human brain makes sense of a world in
       motion. arXiv:2104.13714 (2021). doi:10.48550/arXiv.2104.13714
    """
    check_shape("values", values, ("n_stimuli", "n_repetitions", "n_voxels"), (None, None, None))
    if max_splits < 1:
        raise OptionError(f"max_splits must be at least 1; got {max_splits}")
    n_stimuli, n_repetitions, n_voxels = values.shape
    ceiling = np.full(n_voxels, np.nan)
    if n_repetitions < 2 or n_stimuli < 2:
        return ceiling
    splits = half_splits(n_repetitions, max_splits, seed)
    for part in blocks(n_voxels, 8 * n_stimuli * n_repetitions, _BLOCK_BYTES):
        ceiling[part] = _block_ceiling(np.asarray(values[:, :, part], dtype=np.float64), splits)
    return ceiling


def half_splits(n_repetitions: int, max_splits: int, seed: int = 0) -> list[tuple[IntArray, IntArray]]:
    """List the ways to take two disjoint halves of h = floor(R / 2) repetitions, each pair of halves once.

    There are C(R, 2h) C(2h, h) / 2 of them; with more than ``max_splits``, a random sample of that many is drawn.
    """
    h = n_repetitions // 2
    if comb(n_repetitions, 2 * h) * comb(2 * h, h) // 2 > max_splits:
        return _sampled_splits(n_repetitions, h, max_splits, seed)
    splits = []
    for used in combinations(range(n_repetitions), 2 * h):
        # The first repetition used stays in the first half, so that no split appears twice with its halves swapped.
        for others in combinations(used[1:], h - 1):
            first = (used[0], *others)
            second = tuple(k for k in used if k not in first)
            splits.append((np.array(first), np.array(second)))
    return splits


def _sampled_splits(n_repetitions: int, h: int, n_splits: int, seed: int) -> list[tuple[IntArray, IntArray]]:
    rng = generator(seed, "half_splits")
    seen: dict[tuple[tuple[int, ...], tuple[int, ...]], None] = {}
    while len(seen) < n_splits:
        order = rng.permutation(n_repetitions)
        first, second = sorted((tuple(sorted(order[:h].tolist())), tuple(sorted(order[h : 2 * h].tolist()))))
        seen[first, second] = None
    return [(np.array(first), np.array(second)) for first, second in seen]


def _block_ceiling(values: FloatArray, splits: list[tuple[IntArray, IntArray]]) -> FloatArray:
    """Return the ceiling of a block of voxels, values of shape (n_stimuli, n_repetitions, n_voxels) in float64."""
    n_repetitions, n_voxels = values.shape[1:]
    by_repetition = np.ascontiguousarray(values.transpose(1, 0, 2))
    factor = n_repetitions / (n_repetitions // 2)
    total, count = np.zeros(n_voxels), np.zeros(n_voxels)
    missing = np.isnan(by_repetition)
    present = None if not missing.any() else (~missing).astype(np.float64)
    filled = by_repetition if present is None else np.where(missing, 0.0, by_repetition)
    odd = n_repetitions % 2 == 1
    for first, second in splits:
        r = _split_r(filled, present, first, second)
        value = r if odd else _lengthened(r, factor)
        known = ~np.isnan(value)
        total[known] += value[known]
        count += known
    mean = np.full(n_voxels, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return _root(_lengthened(mean, factor) if odd else mean)


def _lengthened(r: FloatArray, factor: float) -> FloatArray:
    """Correct a correlation between halves for length (Spearman-Brown); -inf at the pole."""
    left = 1 + (factor - 1) * r
    return np.asarray(np.divide(factor * r, left, out=np.where(np.isnan(r), np.nan, -np.inf), where=left > 0))


def _split_r(filled: FloatArray, present: FloatArray | None, first: IntArray, second: IntArray) -> FloatArray:
    """Correlate the means of two halves, filled of shape (n_repetitions, n_stimuli, n_voxels) with 0 where missing."""
    a, b = filled[first].mean(axis=0), filled[second].mean(axis=0)
    if present is None:
        weights = np.ones((a.shape[0], 1))
    else:
        n_a, n_b = present[first].mean(axis=0), present[second].mean(axis=0)
        weights = ((n_a > 0) & (n_b > 0)).astype(np.float64)
        a, b = a / np.where(n_a > 0, n_a, 1.0), b / np.where(n_b > 0, n_b, 1.0)
    n = np.maximum(weights.sum(axis=0), 1.0)
    scale = np.maximum(np.abs(a).max(axis=0), np.abs(b).max(axis=0))
    a = (a - (a * weights).sum(axis=0) / n) * weights
    b = (b - (b * weights).sum(axis=0) / n) * weights
    norms_a, norms_b = np.sqrt(np.einsum("ij,ij->j", a, a)), np.sqrt(np.einsum("ij,ij->j", b, b))
    # Constant up to the rounding of its mean: the correlation would be one of rounding errors.
    known = np.minimum(norms_a, norms_b) > 16 * np.finfo(np.float64).eps * scale * np.sqrt(n)
    r = np.full(a.shape[1], np.nan)
    np.divide(np.einsum("ij,ij->j", a, b), norms_a * norms_b, out=r, where=known)
    return r
