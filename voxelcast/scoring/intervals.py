"""Intervals of scores, by the jackknife over stimuli or groups, wide enough for what folds share.

The score S is the mean over voxels of `cross_validated_r`. With the responses y and predictions p of a voxel, centred
as for the score, y divided by its root mean square over all n stimuli and p by its own over the stimuli of a fold, the
pooled correlation r = sum(y p) / n has about the same sampling variance. Deleting one stimulus (or group) after the
other gives its standard error se with the models as they are [1]_. Folds share training data: a stimulus that is
predicted also trains the models that predict the others. Without signal that doubles the variance, with a strong signal
it does nothing, and in between the factor is

    f = (1 + e)^2 (2 - e) / 2,      e = V_e / V_n in [0, 1]

where V_n is the variance over stimuli i of their influence U_i = y p - r (y^2 + p^2) / 2, mean over voxels, and V_e the
part of it that comes from the other folds' stimuli in the models, by the jackknife over folds:

    V_e = sum_i (K - 2) / (K - 1) sum_j (u_ij - mean_j u_ij)^2,      u_ij = mean over voxels of (y - r p)_i p_ij

with p_ij the prediction of i by the model fitted without its fold and fold j. Where no such models are there, e = 1.
The interval is one of Student's t in Fisher's z, with N stimuli or groups, and n stimuli in K folds:

    tanh(atanh(S) +- t(N - 1) se sqrt(f n / (n - K)) / (1 - S^2))

Held-out stimuli are one fold of which no model knows anything: f n / (n - K) is 1.

References
----------
.. [1] Efron, B. & Stein, C. The jackknife estimate of variance. Annals of Statistics 9, 586-596 (1981).
   doi:10.1214/aos/1176345462
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from scipy.special import stdtr, stdtrit

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray, blocks
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.scoring.correlation import centred_pair, checked_pair, constant_columns, cross_validated_r

_BLOCK_BYTES = 32 * 2**20
_TINY = 1e-12
FEWEST = 8
"""Stimuli of a fold from which on the score's bias is below .005."""
NO_INNER = 2.0
"""Factor of the variance where nothing is known of how far the models would differ."""


@dataclass(frozen=True, eq=False)
class Judged:
    """How stimuli came to be predicted, and what of them would be drawn anew.

    Parameters
    ----------
    fold_ids : ndarray of shape (n_stimuli,), int
        The fold that each stimulus was held out in; one fold for stimuli that no model was fitted to.
    groups : sequence of str, optional
        The group of each stimulus (movie, run), which lies in one fold; None: each stimulus by itself.
    own_baseline : bool
        Whether a fold's responses have a baseline of their own, as the runs of a time series do.
    """

    fold_ids: IntArray
    groups: Sequence[str] | None = None
    own_baseline: bool = False


@dataclass(frozen=True)
class Interval:
    """The ends of an interval; NaN where there is none, for the stated reason."""

    low: float
    high: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Units:
    """What is left out in turn by the jackknife: stimuli, or whole groups.

    Parameters
    ----------
    of_row : ndarray of shape (n_stimuli,), int
        Unit of each stimulus.
    n, n_folds : int
        Numbers of units and folds.
    reason : str
        Why no interval can be had of them; else empty.
    """

    of_row: IntArray
    n: int
    n_folds: int
    reason: str

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum the rows of ``values`` over each unit, ndarray of shape (n, ...)."""
        if self.n == len(values):
            return values
        sums = np.zeros((self.n, *values.shape[1:]))
        np.add.at(sums, self.of_row, values)
        return sums

    def others_in_fold(self, fold_ids: IntArray) -> FloatArray:
        """Count the stimuli of other units in the fold of each unit, ndarray of shape (n,)."""
        _, fold_of_row, sizes = np.unique(fold_ids, return_inverse=True, return_counts=True)
        first = np.unique(self.of_row, return_index=True)[1]
        return np.asarray(sizes[fold_of_row[first]] - np.bincount(self.of_row), dtype=np.float64)

    def half_width(self, replicates: FloatArray, level: float, shared: float) -> FloatArray:
        """Return half the width of the interval at ``level`` of a statistic.

        Parameters
        ----------
        replicates : ndarray of shape (n, ...)
            The statistic without each unit.
        shared : float
            Factor of the variance for what folds share; it counts with several folds alone.
        """
        squares = np.square(replicates - replicates.mean(axis=0)).sum(axis=0)
        variance = (self.n - 1) / self.n * squares
        if self.n_folds > 1:
            n_stimuli = len(self.of_row)
            variance = variance * (shared * n_stimuli / (n_stimuli - self.n_folds))
        return np.asarray(stdtrit(self.n - 1, (1 + level) / 2) * np.sqrt(variance))


def units_of(judged: Judged) -> Units:
    """Find what is left out in turn; `Units.reason` says where a fold has too few groups."""
    folds, groups = np.asarray(judged.fold_ids), judged.groups
    n_folds = len(np.unique(folds))
    if groups is None:
        return Units(np.arange(len(folds)), len(folds), n_folds, "")
    names, of_row = np.unique(np.asarray(groups), return_inverse=True)
    check_shape("groups", of_row, ("n_stimuli",), (len(folds),))
    in_fold = [len(np.unique(of_row[folds == fold])) for fold in np.unique(folds)]
    reason = ""
    if min(in_fold) < 2:
        where = "all stimuli are one group" if n_folds == 1 else f"{in_fold.count(1)} of {n_folds} folds have one group"
        reason = f"{where}, and an interval over groups needs two in every fold"
    return Units(of_row, len(names), n_folds, reason)


def few_stimuli(fold_ids: IntArray) -> str:
    """Say in a sentence that folds are small, where one has fewer than eight stimuli; else return an empty string."""
    smallest = int(np.unique(fold_ids, return_counts=True)[1].min())
    if smallest >= FEWEST:
        return ""
    return (
        f"The smallest fold has {smallest} stimuli: with fewer than {FEWEST} the score within a fold is uncertain and "
        "its bias is not fully corrected; ask for fewer folds (folds.n)."
    )


def score_interval(
    Y: FloatArray, P: FloatArray, judged: Judged, level: float = 0.95, inner: FloatArray | None = None
) -> Interval:
    """Estimate between which ends the expected score lies: that of models fitted to as many other stimuli, on new ones.

    Raises ShapeError or DataError if shapes differ or values are not finite.

    Parameters
    ----------
    Y, P : ndarray of shape (n_stimuli, n_voxels)
        Measured responses and out-of-fold predictions; voxels without a score (`cross_validated_r`) are left out.
    judged : Judged
        Folds and groups.
    level : float
        Share of intervals that are to hold the expected score.
    inner : ndarray of shape (n_stimuli, n_folds), optional
        u_ij times the number of voxels with a score: `influence_weights` times p_ij, summed over voxels; that of a
        stimulus's own fold is ignored.

    Returns
    -------
    interval : Interval

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> P = rng.standard_normal((100, 5))
    >>> held_out = Judged(np.zeros(100, dtype=int))
    >>> interval = score_interval(P + rng.standard_normal((100, 5)), P, held_out)
    >>> interval.low < 0.5**0.5 < interval.high
    True
    """
    units = units_of(judged)
    Y, P = _checked(Y, P)
    r = cross_validated_r(Y, P, judged.fold_ids, own_baseline=judged.own_baseline)
    scored = np.isfinite(r)
    if units.reason or not scored.any():
        return Interval(float("nan"), float("nan"), units.reason or "no voxel has a score")
    without, influence = _replicates(Y, P, judged, units, scored)
    shared = NO_INNER if inner is None else _sharing(inner / int(scored.sum()), judged.fold_ids, units, influence)
    half, score = float(units.half_width(without, level, shared)), float(r[scored].mean())
    if abs(score) > 1 - _TINY:
        return Interval(score, score)
    z, half = np.arctanh(score), half / (1 - score**2)
    return Interval(float(np.tanh(z - half)), float(np.tanh(z + half)))


def difference_interval(Y: FloatArray, P: FloatArray, Q: FloatArray, judged: Judged, level: float = 0.95) -> Interval:
    """Estimate between which ends the expected difference of two models' scores lies, score(P) - score(Q).

    The same stimuli are left out for both, so that what is common to both cancels. Only voxels that both have a score
    for take part. Raises ShapeError or DataError if shapes differ or values are not finite.

    Parameters
    ----------
    Y, judged, level
        As for `score_interval`.
    P, Q : ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions of two layers or experiments, of the same folds.
    """
    units = units_of(judged)
    (Y, P), (_, Q) = _checked(Y, P), _checked(Y, Q)
    r = [cross_validated_r(Y, part, judged.fold_ids, own_baseline=judged.own_baseline) for part in (P, Q)]
    both = np.isfinite(r[0]) & np.isfinite(r[1])
    if units.reason or not both.any():
        return Interval(float("nan"), float("nan"), units.reason or "no voxel has both scores")
    of_p, of_q = (_replicates(Y, part, judged, units, both)[0] for part in (P, Q))
    half = float(units.half_width(of_p - of_q, level, NO_INNER))
    difference = float((r[0] - r[1])[both].mean())
    return Interval(difference - half, difference + half)


@dataclass(frozen=True, eq=False)
class Jackknife:
    """A score without each unit in turn, from which differences between experiments can be judged later.

    Parameters
    ----------
    without : ndarray of shape (n_units,)
        The pooled r, mean over voxels, without the unit.
    units : ndarray of shape (n_units,), uint64
        Hashes of the stimuli's ids, or of the groups' names.
    n_folds : int
    """

    without: FloatArray
    units: IntArray
    n_folds: int


def score_without(Y: FloatArray, P: FloatArray, judged: Judged, ids: Sequence[str]) -> Jackknife | None:
    """Return the score without each stimulus or group; None where no interval can be had.

    Parameters
    ----------
    Y, P, judged
        As for `score_interval`.
    ids : sequence of str
        Of the stimuli.
    """
    units = units_of(judged)
    Y, P = _checked(Y, P)
    scored = np.isfinite(cross_validated_r(Y, P, judged.fold_ids, own_baseline=judged.own_baseline))
    if units.reason or not scored.any():
        return None
    names = ids if judged.groups is None else np.unique(np.asarray(judged.groups)).tolist()
    hashes = [int.from_bytes(blake2b(str(name).encode(), digest_size=8).digest()) for name in names]
    without, _ = _replicates(Y, P, judged, units, scored)
    return Jackknife(without, np.array(hashes, dtype=np.uint64), units.n_folds)


@dataclass(frozen=True)
class Difference:
    """A difference with its interval and the two-sided p-value of there being none."""

    value: float
    low: float
    high: float
    p: float


def judge_difference(value: float, without: FloatArray, n_folds: int, level: float = 0.95) -> Difference:
    """Judge a difference of two scores, or a mean of such differences, by the jackknife; see `difference_interval`.

    Parameters
    ----------
    without : ndarray of shape (n_units,)
        The difference without each unit.
    """
    n = len(without)
    half = float(Units(np.arange(n), n, n_folds, "").half_width(without, level, NO_INNER))
    se = half / float(stdtrit(n - 1, (1 + level) / 2))
    p = 2 * float(stdtr(n - 1, -abs(value) / se)) if se > 0 else float(value == 0)
    return Difference(value, value - half, value + half, p)


def influence_weights(Y: FloatArray, P: FloatArray, judged: Judged) -> FloatArray:
    """Return how the score would change with each prediction, ndarray of shape (n_stimuli, n_voxels).

    (y - r p) / s, with s the root mean square of a fold's predictions; 0 in voxels without a score. See
    `score_interval`, which takes the sums of their products with other predictions.
    """
    scored = np.isfinite(cross_validated_r(Y, P, judged.fold_ids, own_baseline=judged.own_baseline))
    weights = np.zeros(Y.shape)
    for voxels in _voxel_blocks(scored, len(Y)):
        y, p, scale = _standardised(Y[:, voxels], P[:, voxels], judged)
        weights[:, voxels] = (y - (y * p).mean(axis=0) * p) / scale
    return weights


def _checked(Y: FloatArray, P: FloatArray) -> tuple[FloatArray, FloatArray]:
    Y, P = checked_pair(Y, P)
    for name, values in (("responses", Y), ("predictions", P)):
        check_finite(name, values, "leave out those stimuli")
    return Y, P


def _voxel_blocks(scored: BoolArray, n: int) -> list[IntArray]:
    voxels = np.flatnonzero(scored)
    return [voxels[part] for part in blocks(len(voxels), 8 * 8 * n, _BLOCK_BYTES)]


def _standardised(Y: FloatArray, P: FloatArray, judged: Judged) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return y, p and the s that p was divided by, all of shape (n, m).

    Where the predictions of a fold are constant, s is infinite, p 0, and p^2 counts as 1, as it does in other folds:
    the fold's r is 0 and not unknown.
    """
    y, p = centred_pair(Y, P, judged.fold_ids, own_baseline=judged.own_baseline)
    scale = np.empty(p.shape)
    for fold in np.unique(judged.fold_ids):
        held = judged.fold_ids == fold
        size = np.sqrt(np.square(p[held]).mean(axis=0))
        scale[held] = np.where(constant_columns(P[held]), np.inf, size)
    return y / np.sqrt(np.square(y).mean(axis=0)), p / scale, scale


def _replicates(
    Y: FloatArray, P: FloatArray, judged: Judged, units: Units, scored: BoolArray
) -> tuple[FloatArray, FloatArray]:
    """Return the pooled r without each unit and the units' influence, means over voxels, both (n_units,)."""
    without, influence = np.zeros(units.n), np.zeros(units.n)
    for voxels in _voxel_blocks(scored, len(Y)):
        of_voxels, yp, squares = _r_without(Y[:, voxels], P[:, voxels], judged, units)
        influence += (yp - yp.sum(axis=0) / len(Y) / 2 * squares).sum(axis=1)
        without += of_voxels.sum(axis=1)
    return without / int(scored.sum()), influence / int(scored.sum())


def voxel_r_without(Y: FloatArray, P: FloatArray, judged: Judged, units: Units) -> FloatArray:
    """Return each voxel's pooled r without each unit, (n_units, n_voxels); 0 where predictions are constant."""
    return _r_without(Y, P, judged, units)[0]


def _r_without(Y: FloatArray, P: FloatArray, judged: Judged, units: Units) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the pooled r without each unit, and the units' sums of y p and of y y + p p, all (n_units, m)."""
    y, p, scale = _standardised(Y, P, judged)
    products = [y * p, y * y, np.where(np.isinf(scale), 1.0, p * p)]
    sums = [units.sums(product) for product in products]
    yp, yy, pp = sums
    if units.n_folds == 1 or judged.own_baseline:
        # Without a unit the mean of its fold is another one, too.
        of_y, of_p, left = units.sums(y), units.sums(p), units.others_in_fold(judged.fold_ids)[:, None]
        yp, yy, pp = yp + of_y * of_p / left, yy + of_y**2 / left, pp + of_p**2 / left
    kept = [product.sum(axis=0) - own for product, own in zip(products, (yp, yy, pp), strict=True)]
    return kept[0] / np.sqrt(kept[1] * kept[2]), sums[0], sums[1] + sums[2]


def _sharing(inner: FloatArray, fold_ids: IntArray, units: Units, influence: FloatArray) -> float:
    """Return f from u_ij, ndarray of shape (n_stimuli, n_folds), and the units' influence, (n_units,)."""
    n_folds = inner.shape[1]
    others = np.arange(n_folds) != np.asarray(fold_ids)[:, None]
    mean = np.where(others, inner, 0.0).sum(axis=1, keepdims=True) / (n_folds - 1)
    deviations = units.sums(np.where(others, inner - mean, 0.0))
    of_models = (n_folds - 2) / (n_folds - 1) * float(np.square(deviations).sum())
    total = float(np.square(influence - influence.mean()).sum())
    e = min(of_models / total, 1.0) if total > 0 else 1.0
    return (1 + e) ** 2 * (2 - e) / 2
