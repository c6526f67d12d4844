"""Bootstrap interval of a score over stimuli."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray, blocks
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.seeds import generator
from voxelcast.scoring.correlation import checked_pair, constant_columns, fold_pearson_r
from voxelcast.scoring.settings import IntervalSettings

_BLOCK_BYTES = 32 * 2**20
_FEWEST_GROUPS = 3


def bootstrap_interval(
    Y: FloatArray,
    P: FloatArray,
    fold_ids: IntArray,
    interval: IntervalSettings = IntervalSettings(),
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Estimate how much the mean score would vary with other stimuli.

    The score is Pearson r per voxel within each fold, averaged over folds and voxels. Stimuli are drawn with
    replacement within each fold (whole groups where groups are given; whole folds where a fold has fewer than three,
    such as one run), the same for all voxels, and the interval runs between the (1 - level) / 2 and (1 + level) / 2
    quantiles of the resampled scores [1]_. The models are not fitted again: the interval is that of *these*
    predictions. Raises ShapeError, OptionError or DataError if the shapes differ, a setting is out of range, or the
    values are not finite.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses.
    P : ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions, or predictions of held-out stimuli with one fold for all of them.
    fold_ids : ndarray of shape (n_stimuli,)
    interval : IntervalSettings
        Resamples and coverage.
    groups : sequence of str, optional
        The group of each stimulus; groups are drawn whole.

    Returns
    -------
    low, high : float
        NaN if no voxel has a score, or there is one group only.

    References
    ----------
    .. [1] Efron, B. & Tibshirani, R. J. An Introduction to the Bootstrap. Chapman & Hall (1993).
       doi:10.1201/9780429246593
    """
    means = bootstrap_scores(Y, P, fold_ids, interval.resamples, seed, groups)
    return _quantiles(means, interval.level)


def bootstrap_difference(
    Y: FloatArray,
    P: FloatArray,
    Q: FloatArray,
    fold_ids: IntArray,
    interval: IntervalSettings = IntervalSettings(),
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> tuple[float, float]:
    """Estimate how much the difference between two models' mean scores would vary with other stimuli.

    The same stimuli are drawn for both, so that what is common to both cancels: the interval of the difference is
    narrower than the two scores' intervals suggest. Only voxels that both models have a score for take part.

    Parameters
    ----------
    Y, fold_ids, interval, seed, groups
        As for `bootstrap_interval`.
    P, Q : ndarray of shape (n_stimuli, n_voxels)
        Predictions of the two models.

    Returns
    -------
    low, high : float
        Of score(P) - score(Q); NaN if no voxel has both scores, or there is one group only.
    """
    both = np.isfinite(fold_pearson_r(Y, P, fold_ids)) & np.isfinite(fold_pearson_r(Y, Q, fold_ids))
    if not both.any():
        return float("nan"), float("nan")
    Y, P, Q = (_columns(part, both) for part in (Y, P, Q))
    of_p, of_q = (bootstrap_scores(Y, part, fold_ids, interval.resamples, seed, groups) for part in (P, Q))
    return _quantiles(of_p - of_q, interval.level)


def _quantiles(scores: FloatArray, level: float) -> tuple[float, float]:
    """Return the ends of the interval in which the share ``level`` of resampled scores lies; NaN without any."""
    if np.isnan(scores).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(scores, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_scores(
    Y: FloatArray,
    P: FloatArray,
    fold_ids: IntArray,
    n_resamples: int = 1000,
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> FloatArray:
    """Return the resampled mean scores, ndarray of shape (n_resamples,); see `bootstrap_interval`.

    Voxels without a score (see `fold_pearson_r`) are left out, and so is a voxel that becomes constant in a resample
    of a fold from that fold's mean.
    """
    Y, P = checked_pair(Y, P)
    if n_resamples < 1:
        raise OptionError(f"n_resamples must be at least 1; got {n_resamples}")
    if not (np.isfinite(Y).all() and np.isfinite(P).all()):
        raise DataError("responses and predictions must be finite; got NaN or infinite values; remove those stimuli")
    scored = np.isfinite(fold_pearson_r(Y, P, fold_ids))
    Y, P = _columns(Y, scored), _columns(P, scored)
    if _draws_whole_folds(fold_ids, groups):
        return _whole_fold_scores(Y, P, fold_ids, n_resamples, seed)
    sums, folds = np.zeros((n_resamples, Y.shape[1])), np.zeros((n_resamples, Y.shape[1]))
    for rows, weights in drawn_stimuli(fold_ids, groups, n_resamples, seed):
        _add_weighted_r(Y[rows], P[rows], weights, sums, folds)
    return _mean_scores(sums, folds)


def drawn_stimuli(
    fold_ids: IntArray, groups: Sequence[str] | None, n_resamples: int, seed: int
) -> Iterator[tuple[IntArray, FloatArray]]:
    """Yield each fold's rows with how often each is drawn in each resample, ndarray of shape (n_resamples, n_rows).

    Nothing where there is one group: one run or movie says nothing of how much others would differ.
    """
    if groups is not None and len(set(groups)) == 1:
        return
    folds = [np.flatnonzero(fold_ids == fold) for fold in np.unique(fold_ids)]
    if _draws_whole_folds(fold_ids, groups):
        counts = _resampled_folds(len(folds), n_resamples, seed)
        yield from ((rows, np.repeat(counts[:, [k]], len(rows), axis=1)) for k, rows in enumerate(folds))
        return
    for rows in folds:
        in_fold = None if groups is None else [groups[int(row)] for row in rows]
        yield rows, resampling_weights(in_fold, len(rows), n_resamples, seed, int(fold_ids[rows[0]]))


def _mean_scores(sums: FloatArray, folds: FloatArray) -> FloatArray:
    """Average over folds and then voxels; ``sums`` of r and numbers of ``folds`` have shape (n_resamples, n_voxels)."""
    means = np.full(len(sums), np.nan)
    for some in blocks(len(sums), 8 * max(sums.shape[1], 1), _BLOCK_BYTES):
        score = np.full(sums[some].shape, np.nan)
        np.divide(sums[some], folds[some], out=score, where=folds[some] > 0)
        known = np.isfinite(score)
        total = np.where(known, score, 0.0).sum(axis=1)
        np.divide(total, known.sum(axis=1), out=means[some], where=known.any(axis=1))
    return means


def _columns(values: FloatArray, chosen: BoolArray) -> FloatArray:
    """Take some voxels; all of them without a copy."""
    return values if chosen.all() else values[:, chosen]


def _draws_whole_folds(fold_ids: IntArray, groups: Sequence[str] | None) -> bool:
    """Tell whether there are several groups, but in some fold too few to draw from.

    Drawn within a fold, n groups show (n - 1) / n of the variance between groups: one shows none, two show half.
    """
    if groups is None or len(set(groups)) == 1:
        return False
    groups_of_fold = Counter(fold for fold, _ in set(zip(fold_ids.tolist(), groups, strict=True)))
    return min(groups_of_fold.values()) < _FEWEST_GROUPS


def _whole_fold_scores(Y: FloatArray, P: FloatArray, fold_ids: IntArray, n_resamples: int, seed: int) -> FloatArray:
    """Draw whole folds with replacement; return the mean scores, ndarray of shape (n_resamples,)."""
    folds = np.unique(fold_ids)
    r, known = np.zeros((len(folds), Y.shape[1])), np.zeros((len(folds), Y.shape[1]))
    for place, fold in enumerate(folds):
        held = fold_ids == fold
        ones = np.ones((1, int(held.sum())))
        _add_weighted_r(Y[held], P[held], ones, r[place : place + 1], known[place : place + 1])
    counts = _resampled_folds(len(folds), n_resamples, seed)
    return _mean_scores(counts @ r, counts @ known)


def _resampled_folds(n_folds: int, n_resamples: int, seed: int) -> FloatArray:
    """Draw how often each whole fold appears in each resample, ndarray of shape (n_resamples, n_folds)."""
    return _draw_units(generator(seed, "bootstrap", "folds"), n_folds, n_resamples)


def resampling_weights(groups: Sequence[str] | None, n: int, n_resamples: int, seed: int, fold: int) -> FloatArray:
    """Draw how often each stimulus of a fold appears in each resample, ndarray of shape (n_resamples, n)."""
    rng = generator(seed, "bootstrap", fold)
    unit_of_row = np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    return _draw_units(rng, int(unit_of_row.max()) + 1, n_resamples)[:, unit_of_row]


def _draw_units(rng: np.random.Generator, n_units: int, n_resamples: int) -> FloatArray:
    """Draw as many units as there are, with replacement; return their counts, of shape (n_resamples, n_units)."""
    return rng.multinomial(n_units, np.full(n_units, 1.0 / n_units), size=n_resamples).astype(np.float64)


def _add_weighted_r(Y: FloatArray, P: FloatArray, weights: FloatArray, sums: FloatArray, folds: FloatArray) -> None:
    """Add the weighted correlations of one fold, voxel block by voxel block, to ``sums`` and their count to ``folds``.

    With weights w: r = (Swyp - Swy Swp / W) / sqrt((Swyy - Swy^2 / W) (Swpp - Swp^2 / W)), on centred columns.
    """
    varies = ~(constant_columns(Y) | constant_columns(P))
    W = weights.sum(axis=1, keepdims=True)
    columns = np.flatnonzero(varies)
    for some in blocks(len(columns), 8 * 5 * max(weights.shape[0], Y.shape[0]), _BLOCK_BYTES):
        chosen = columns[some]
        # Unit variance as well as centred: one threshold then tells a constant resample from a varying one.
        y, p = (part - part.mean(axis=0) for part in (Y[:, chosen], P[:, chosen]))
        y, p = y / y.std(axis=0), p / p.std(axis=0)
        sy, sp = weights @ y, weights @ p
        yy = weights @ (y * y) - sy * sy / W
        pp = weights @ (p * p) - sp * sp / W
        yp = weights @ (y * p) - sy * sp / W
        known = (yy > 1e-12 * W) & (pp > 1e-12 * W)
        r = np.divide(yp, np.sqrt(np.where(known, yy * pp, 1.0)), out=np.zeros_like(yp), where=known)
        sums[:, chosen] += r
        folds[:, chosen] += known
