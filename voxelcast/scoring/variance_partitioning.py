"""Which part of the explained variance belongs to one set of features alone, and which to several; with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray, blocks
from voxelcast.core.checks import check_finite, check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.scoring.correlation import checked_pair, constant_columns, cross_validated_r
from voxelcast.scoring.intervals import NO_INNER, Judged, Units, units_of, voxel_r_without

_BLOCK_BYTES = 128 * 2**20

Sets = frozenset[str]
_Named = dict[tuple[str, Sets | tuple[str, str]], FloatArray]


def fold_r2(Y: FloatArray, P: FloatArray, fold_ids: IntArray) -> FloatArray:
    """Return the share of each voxel's variance within folds that the predictions explain.

    ``R2 = 1 - sum((d - mean of d in its fold)**2) / sum((y - mean of y in its fold)**2)``, d = y - p, sums over all
    stimuli. Unlike the square of r it falls, below 0 even, where predictions have the wrong scale, so shares of several
    models can be subtracted. Like r within folds it takes no notice of a fold's offset: a model that predicts its
    training mean has 0. Without that it would have -1 / (n - 1) with n stimuli in a fold, and parts that do not cancel
    it, such as shared variance, would be as much too low. Raises ShapeError if the shapes differ.

    Parameters
    ----------
    Y, P : ndarray of shape (n_stimuli, n_voxels)
        Measured responses and out-of-fold predictions.
    fold_ids : ndarray of shape (n_stimuli,)

    Returns
    -------
    r2 : ndarray of shape (n_voxels,)
        At most 1; NaN where responses are constant within every fold.
    """
    Y, P = checked_pair(Y, P)
    check_shape("fold_ids", fold_ids, ("n_stimuli",), (Y.shape[0],))
    total, left, varies = np.zeros(Y.shape[1]), np.zeros(Y.shape[1]), np.zeros(Y.shape[1], dtype=bool)
    for fold in np.unique(fold_ids):
        held = fold_ids == fold
        y, d = Y[held], Y[held] - P[held]
        total += ((y - y.mean(axis=0)) ** 2).sum(axis=0)
        left += ((d - d.mean(axis=0)) ** 2).sum(axis=0)
        varies |= ~constant_columns(y)
    unexplained = np.divide(left, total, out=np.full(Y.shape[1], np.nan), where=varies)
    return np.asarray(1.0 - unexplained)


def partition_variance(r2: Mapping[Sets, FloatArray]) -> dict[Sets, FloatArray]:
    """Divide the variance that all sets of features explain together into what is unique and what is shared.

    With R2(M) of the model on the sets M, and U all sets, the part that exactly the sets in S have in common is
    (commonality analysis [1]_, as in [2]_)::

        part(S) = sum over T within S of  (-1)**(|T| + 1)  R2((U - S) + T),        R2(no set) = 0

    For S = {A} that is unique variance, R2(U) - R2(U without A); for two sets, the shared part is R2(A) + R2(B) - R2(A
    + B). The parts sum to R2(U). Shared parts may be negative: sets that explain more together than the sum of each
    alone (suppression), or by chance where R2 are estimates. Raises OptionError if there are fewer than two sets, or a
    combination that is needed is missing; DataError if the numbers of voxels differ.

    Parameters
    ----------
    r2 : mapping of frozenset of str to ndarray of shape (n_voxels,)
        R2 of the model on each combination of sets, from the same folds (`fold_r2`): of every combination (3 for two
        sets, 7 for three), or only of all sets together and of all but one.

    Returns
    -------
    parts : dict of frozenset of str to ndarray of shape (n_voxels,)
        The part of each combination; where only those but one are given, the unique parts alone.

    References
    ----------
    .. [1] Seibold, D. R. & McPhee, R. D. Commonality analysis: a method for decomposing explained variance in multiple
       regression analyses. Human Communication Research 5, 355-365 (1979). doi:10.1111/j.1468-2958.1979.tb00649.x
    .. [2] Lescroart, M. D., Stansbury, D. E. & Gallant, J. L. Fourier power, subjective distance, and object categories
       all provide plausible models of BOLD responses in scene-selective visual areas. Frontiers in Computational
       Neuroscience 9, 135 (2015). doi:10.3389/fncom.2015.00135
    """
    everything = frozenset().union(*r2) if r2 else frozenset()
    names = sorted(everything)
    if len(names) < 2:
        raise OptionError(f"variance is divided between at least 2 sets of features; got {len(names)}")
    sizes = {np.shape(values) for values in r2.values()}
    if len(sizes) > 1:
        raise DataError(f"all R2 must be of the same voxels; got shapes {', '.join(map(str, sorted(sizes)))}")
    every = [frozenset(chosen) for size in range(1, len(names) + 1) for chosen in combinations(names, size)]
    complete = all(chosen in r2 for chosen in every)
    needed = every if complete else [everything, *(everything - {name} for name in names)]
    missing = [" + ".join(sorted(chosen)) for chosen in needed if chosen not in r2]
    if missing:
        raise OptionError(
            f"R2 of {missing[0]} is missing; give it of all sets, and of all but each one (for unique parts), or of "
            "every combination (for shared parts too)"
        )
    known = {frozenset[str](): np.zeros(next(iter(sizes))), **r2}
    return {chosen: _part(chosen, everything, known) for chosen in every if complete or len(chosen) == 1}


def _part(chosen: Sets, everything: Sets, r2: Mapping[Sets, FloatArray]) -> FloatArray:
    rest = everything - chosen
    within = (frozenset(part) for size in range(len(chosen) + 1) for part in combinations(sorted(chosen), size))
    return np.asarray(sum((-1) ** (len(part) + 1) * np.asarray(r2[rest | part], dtype=np.float64) for part in within))


@dataclass(frozen=True)
class VariancePart:
    """A share of the variance of the responses, of each voxel and of all together.

    Parameters
    ----------
    kind : str
        ``"model"``: R2 of the model on the sets; ``"unique"``: what no other set explains; ``"shared"``: what exactly
        these sets have in common; ``"lead"``: R2 of the model on one set alone minus that of the best other one;
        ``"lesion"``: fall of r where the set is taken from the model on all.
    r2, low, high : ndarray of shape (n_voxels,)
        The share (of a lesion, the fall of r), and the ends of its interval. NaN where responses are constant within
        every fold; all but models can be negative.
    mean, mean_low, mean_high : float
        The mean over voxels and its interval, of a lead the lead of means; NaN if no voxel has a share.
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
    judged: Judged,
    level: float = 0.95,
    *,
    lesioned: Mapping[str, FloatArray] | None = None,
) -> list[VariancePart]:
    """Divide what models on combinations of feature sets explain, with intervals.

    R2 is that of `fold_r2` and the parts are those of `partition_variance`. The intervals are those of Student's t, by
    the jackknife over stimuli or groups (`voxelcast.scoring.intervals`): everything is computed again from the squared
    errors and responses of the others, and the variance is doubled for what folds share. Raises OptionError if a
    combination is missing; ShapeError or DataError if shapes differ, or values are not finite.

    Parameters
    ----------
    Y : ndarray of shape (n_stimuli, n_voxels)
        Measured responses.
    predictions : mapping of frozenset of str to ndarray of shape (n_stimuli, n_voxels)
        Out-of-fold predictions by the model on each combination of sets; see `partition_variance`.
    judged : Judged
        Folds and groups.
    lesioned : mapping of str to ndarray of shape (n_stimuli, n_voxels), optional
        Predictions by the model on all sets where one set's features are at their means.

    Returns
    -------
    parts : list of VariancePart
        Models first, smallest combinations first, then the unique and the shared parts; then leads, where there is a
        model on each set alone, and lesions. Intervals are NaN where a fold has fewer than two groups. That of a lead
        over several sets is above 0 where the intervals of its differences from all of them are.
    """
    Y = np.asarray(Y, dtype=np.float64)
    check_finite("responses", Y, "leave out those stimuli")
    for P in predictions.values():
        check_finite("predictions", P, "leave out those stimuli")
    models = {sets: fold_r2(Y, predictions[sets], judged.fold_ids) for sets in sorted(predictions, key=_order)}
    values, falls = _named(models), dict(lesioned or {})
    full, known = predictions[frozenset().union(*predictions)], np.isfinite(next(iter(models.values())))
    for one, P in falls.items():
        check_finite("predictions", P, "leave out those stimuli")
        values["lesion", frozenset({one})] = np.where(known, _r(Y, full, judged) - _r(Y, P, judged), np.nan)
    half = {name: np.full(Y.shape[1], np.nan) for name in values}
    of_means = dict.fromkeys(values, float("nan"))
    units = units_of(judged)
    if not units.reason and known.any():
        sums = {name: np.zeros(units.n) for name in values}
        voxels = np.flatnonzero(known)
        for rows in blocks(len(voxels), 8 * len(Y) * 2 * len(values), _BLOCK_BYTES):
            block = voxels[rows]
            without = _r2_without(Y[:, block], {sets: predictions[sets][:, block] for sets in models}, judged, units)
            named = _named(without)
            for one, P in falls.items():
                r = [voxel_r_without(Y[:, block], both[:, block], judged, units) for both in (full, P)]
                named["lesion", frozenset({one})] = r[0] - r[1]
            for name, replicates in named.items():
                half[name][block] = units.half_width(replicates, level, NO_INNER)
                sums[name] += replicates.sum(axis=1)
        of_means = {n: float(units.half_width(total / len(voxels), level, NO_INNER)) for n, total in sums.items()}
    parts: list[VariancePart] = []
    differences: dict[str, list[VariancePart]] = {}
    for name, value in values.items():
        kind, sets = name
        mean = float(value[known].mean()) if known.any() else float("nan")
        width, of_mean = half[name], of_means[name]
        ends = value - width, value + width, mean, mean - of_mean, mean + of_mean
        parts.append(part := VariancePart(kind, frozenset(sets), value, *ends))
        if isinstance(sets, tuple):
            differences.setdefault(sets[0], []).append(parts.pop())
            differences.setdefault(sets[1], []).append(_reversed(part))
    first = sum(part.kind != "lesion" for part in parts)
    return [*parts[:first], *(_lead(name, differences[name]) for name in sorted(differences)), *parts[first:]]


def preferred(parts: Sequence[VariancePart], names: Sequence[str]) -> FloatArray:
    """Return which of the sets each voxel prefers, ndarray of shape (n_voxels,): 1 for the first name, and so on.

    A set is preferred where the interval of its lead lies above 0; NaN where no set is: undecided.

    Parameters
    ----------
    parts : sequence of VariancePart
        With the leads.
    """
    leads = {part.sets: part for part in parts if part.kind == "lead"}
    found = np.full(next(iter(leads.values())).r2.shape, np.nan)
    for number, name in enumerate(names, start=1):
        found[leads[frozenset({name})].low > 0] = number
    return found


def average_parts(parts: Sequence[VariancePart]) -> VariancePart:
    """Average a part over partitions into folds."""
    names = ("r2", "low", "high", "mean", "mean_low", "mean_high")
    return replace(parts[0], **{name: sum(getattr(part, name) for part in parts) / len(parts) for name in names})


def _order(sets: Sets) -> tuple[int, list[str]]:
    return len(sets), sorted(sets)


def _named(models: Mapping[Sets, FloatArray]) -> _Named:
    """Add the parts, and the differences between single sets, to the models' R2, by kind and sets."""
    parts = partition_variance(models)
    named: _Named = {("model", sets): r2 for sets, r2 in models.items()}
    for sets in sorted(parts, key=_order):
        named["unique" if len(sets) == 1 else "shared", sets] = parts[sets]
    alone = {name: r2 for sets, r2 in models.items() if len(sets) == 1 for name in sets}
    for one, other in combinations(alone, 2):
        named["difference", (one, other)] = alone[one] - alone[other]
    return named


def _r(Y: FloatArray, P: FloatArray, judged: Judged) -> FloatArray:
    """Return r of each voxel; 0 of constant predictions, which a lesion can leave."""
    return np.nan_to_num(cross_validated_r(Y, P, judged.fold_ids, own_baseline=judged.own_baseline))


def _reversed(part: VariancePart) -> VariancePart:
    ends = -part.r2, -part.high, -part.low, -part.mean, -part.mean_high, -part.mean_low
    return VariancePart(part.kind, part.sets, *ends)


def _lead(name: str, differences: Sequence[VariancePart]) -> VariancePart:
    """Return the least of a set's differences from the others, and of their intervals' ends."""
    ends = ("r2", "low", "high", "mean", "mean_low", "mean_high")
    least = {end: np.min([getattr(part, end) for part in differences], axis=0) for end in ends}
    return VariancePart("lead", frozenset({name}), **least)


def _r2_without(
    Y: FloatArray, predictions: Mapping[Sets, FloatArray], judged: Judged, units: Units
) -> dict[Sets, FloatArray]:
    """Compute R2 again without each unit, ndarray of shape (n_units, m) for each model."""
    total = _squares_without(Y, judged.fold_ids, units)
    nan = np.full(total.shape, np.nan)
    left = {sets: _squares_without(Y - P, judged.fold_ids, units) for sets, P in predictions.items()}
    return {sets: 1.0 - np.divide(own, total, out=nan.copy(), where=total > 0) for sets, own in left.items()}


def _squares_without(values: FloatArray, fold_ids: IntArray, units: Units) -> FloatArray:
    """Sum the squares about the folds' means, these too without each unit, ndarray of shape (n_units, m)."""
    centred = values.copy()
    for fold in np.unique(fold_ids):
        centred[fold_ids == fold] -= centred[fold_ids == fold].mean(axis=0)
    squares = np.square(centred)
    left = units.others_in_fold(fold_ids)[:, None]
    return np.asarray(squares.sum(axis=0) - units.sums(squares) - np.square(units.sums(centred)) / left)
