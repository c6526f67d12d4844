"""What several models explain, divided into unique and shared parts, with bootstrap intervals over stimuli."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError
from voxelcast.scoring.bootstrap import draws_whole_folds, resampled_folds, resampling_weights
from voxelcast.scoring.settings import IntervalSettings
from voxelcast.scoring.variance_partitioning import Sets, fold_r2, partition_variance

_BLOCK_BYTES = 128 * 2**20
_TINY = 1e-12


@dataclass(frozen=True)
class VariancePart:
    """A share of the variance of the responses, of each voxel and of all together.

    Parameters
    ----------
    kind : str
        ``"model"``: R2 of the model on the sets; ``"unique"``: what no other set explains; ``"shared"``: what exactly
        these sets have in common.
    r2, low, high : ndarray of shape (n_voxels,)
        The share, and the ends of its interval. NaN where responses are constant within every fold; unique and
        shared parts can be negative.
    mean, mean_low, mean_high : float
        The mean over voxels and its interval; NaN if no voxel has a share.
    """

    kind: str
    sets: Sets
    r2: FloatArray
    low: FloatArray
    high: FloatArray
    mean: float
    mean_low: float
    mean_high: float


def variance_parts(
    Y: FloatArray,
    predictions: Mapping[Sets, FloatArray],
    fold_ids: IntArray,
    interval: IntervalSettings = IntervalSettings(),
    seed: int = 0,
    groups: Sequence[str] | None = None,
) -> list[VariancePart]:
    """Divide what models on combinations of feature sets explain, with intervals.

    R2 is that of `fold_r2` and the parts are those of `partition_variance`. For the intervals, stimuli are drawn with
    replacement within each fold, the same for all models and voxels (whole groups where groups are given; whole folds
    where a fold has fewer than three), and everything is computed again from their squared errors and responses; the
    models are not fitted again. With the same seed they are the stimuli that `voxelcast.scoring.bootstrap` draws.
    Raises OptionError if a combination is missing; ShapeError or DataError if shapes differ, or values are not finite.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses.
    predictions : mapping of frozenset of str to ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions by the model on each combination of sets; see `partition_variance`.
    fold_ids : ndarray of shape (n_stimuli,)
    groups : sequence of str, optional
        The group of each stimulus; groups are drawn whole.

    Returns
    -------
    parts : list of VariancePart
        Models first, smallest combinations first, then the unique and the shared parts. Intervals are NaN where there
        is one group only.
    """
    Y = np.asarray(Y, dtype=np.float64)
    if not all(np.isfinite(values).all() for values in (Y, *predictions.values())):
        raise DataError("responses and predictions must be finite; got NaN or infinite values; remove those stimuli")
    models = {sets: fold_r2(Y, predictions[sets], fold_ids) for sets in sorted(predictions, key=_order)}
    values = _named(models)
    known = np.isfinite(next(iter(models.values())))
    drawn = _drawn_stimuli(fold_ids, groups, interval.resamples, seed)
    ends = {name: np.full((2, Y.shape[1]), np.nan) for name in values}
    means = {name: np.full(2, np.nan) for name in values}
    if drawn and known.any():
        quantiles = [(1 - interval.level) / 2, (1 + interval.level) / 2]
        own = {sets: predictions[sets] for sets in models}
        means = _fill_ends(ends, Y, own, drawn, np.flatnonzero(known), quantiles)
    parts = []
    for (kind, sets), r2 in values.items():
        mean = float(r2[known].mean()) if known.any() else float("nan")
        (low, high), (mean_low, mean_high) = ends[kind, sets], means[kind, sets].tolist()
        parts.append(VariancePart(kind, sets, r2, low, high, mean, mean_low, mean_high))
    return parts


def average_parts(parts: Sequence[VariancePart]) -> VariancePart:
    """Average a part over partitions into folds."""
    names = ("r2", "low", "high", "mean", "mean_low", "mean_high")
    return replace(parts[0], **{name: sum(getattr(part, name) for part in parts) / len(parts) for name in names})


def _fill_ends(
    ends: Mapping[tuple[str, Sets], FloatArray],
    Y: FloatArray,
    predictions: Mapping[Sets, FloatArray],
    drawn: Sequence[tuple[IntArray, FloatArray]],
    voxels: IntArray,
    quantiles: Sequence[float],
) -> dict[tuple[str, Sets], FloatArray]:
    """Fill in the ends of the voxels' intervals, (2, n_voxels), and return those of their means, (2,)."""
    n_resamples = len(drawn[0][1])
    sums, counts = {name: np.zeros(n_resamples) for name in ends}, np.zeros(n_resamples)
    for block in _blocks(voxels, n_resamples, 2 * len(ends)):
        resampled = _named(_resampled_r2(Y[:, block], {sets: P[:, block] for sets, P in predictions.items()}, drawn))
        there = np.isfinite(next(iter(resampled.values())))
        counts += there.sum(axis=1)
        quantile = np.quantile if there.all() else np.nanquantile  # the latter goes voxel by voxel
        for name, shares in resampled.items():
            ends[name][:, block] = quantile(shares, quantiles, axis=0)
            sums[name] += np.where(there, shares, 0.0).sum(axis=1)
    some = counts > 0
    return {name: np.asarray(np.quantile(own[some] / counts[some], quantiles)) for name, own in sums.items()}


def _order(sets: Sets) -> tuple[int, list[str]]:
    return len(sets), sorted(sets)


def _named(models: Mapping[Sets, FloatArray]) -> dict[tuple[str, Sets], FloatArray]:
    """Add the parts to the models' R2, by kind and sets."""
    parts = partition_variance(models)
    named = {("model", sets): r2 for sets, r2 in models.items()}
    return named | {("unique" if len(sets) == 1 else "shared", sets): parts[sets] for sets in sorted(parts, key=_order)}


def _blocks(voxels: IntArray, n_resamples: int, n_arrays: int) -> Iterator[IntArray]:
    size = max(1, _BLOCK_BYTES // (8 * n_resamples * n_arrays))
    for start in range(0, len(voxels), size):
        yield voxels[start : start + size]


def _drawn_stimuli(
    fold_ids: IntArray, groups: Sequence[str] | None, n_resamples: int, seed: int
) -> list[tuple[IntArray, FloatArray]]:
    """List each fold's rows with how often each is drawn, (n_resamples, n_rows); nothing where there is one group."""
    if groups is not None and len(set(groups)) == 1:
        return []
    folds = [np.flatnonzero(fold_ids == fold) for fold in np.unique(fold_ids)]
    if groups is not None and draws_whole_folds(fold_ids, groups):
        counts = resampled_folds(len(folds), n_resamples, seed)
        return [(rows, np.repeat(counts[:, [k]], len(rows), axis=1)) for k, rows in enumerate(folds)]
    drawn: list[tuple[IntArray, FloatArray]] = []
    for rows in folds:
        own = None if groups is None else [groups[int(row)] for row in rows]
        drawn.append((rows, resampling_weights(own, len(rows), n_resamples, seed, int(fold_ids[rows[0]]))))
    return drawn


def _resampled_r2(
    Y: FloatArray, predictions: Mapping[Sets, FloatArray], drawn: Sequence[tuple[IntArray, FloatArray]]
) -> dict[Sets, FloatArray]:
    """Compute R2 again for each resample, ndarray of shape (n_resamples, m) for each model.

    With weights w of a fold's stimuli, W their sum, and v = y for the whole or y - p for what is left unexplained:
    sum(w v^2) - sum(w v)^2 / W.
    """
    shape = (len(drawn[0][1]), Y.shape[1])
    total, whole = np.zeros(shape), np.zeros(Y.shape[1])
    left = {sets: np.zeros(shape) for sets in predictions}
    for rows, weights in drawn:
        total += _squares(Y[rows], weights)
        whole += np.square(Y[rows] - Y[rows].mean(axis=0)).sum(axis=0)
        for sets, P in predictions.items():
            left[sets] += _squares(Y[rows] - P[rows], weights)
    varies = total > _TINY * whole
    nan = np.full(shape, np.nan)
    return {sets: 1.0 - np.divide(own, total, out=nan.copy(), where=varies) for sets, own in left.items()}


def _squares(values: FloatArray, weights: FloatArray) -> FloatArray:
    """Sum the weighted squares about the weighted means, ndarray of shape (n_resamples, m)."""
    centred = values - values.mean(axis=0)
    size = np.maximum(weights.sum(axis=1, keepdims=True), 1.0)  # a fold may not be drawn at all
    squares: FloatArray = weights @ centred**2 - (weights @ centred) ** 2 / size
    return squares
