"""Experts of single ROIs, and assemblies of clusters of voxels, that together predict a target such as the whole brain.

An expert is the model that an ROI chose for itself. Its out-of-fold predictions F (n, q_e) of the ROI's responses tell
of every voxel v of the target by a readout of one direction, that of their covariance with the voxel::

    p_v = b F F'y_v,   b = |F'y_v|^2 / |F F'y_v|^2   (F and y_v centred on the training stimuli)

The target's own best model and the experts' readouts are then stacked: non-negative weights for each voxel
(`voxelcast.search.ensemble`). For outer fold j all of this is estimated without j: the predictions F of the fold i by
models fitted without i and j, the readout that predicts i by the folds other than i and j. There is no third level of
folds, as for layers.

An atlas of the target divides its voxels into clusters that are encoded alike: k-means of their coefficients in the
best single model. Each cluster chooses its own layer, and the assemblies of several atlases are averaged [1]_.

References
----------
.. [1] Yang, H., Shi, J. & Gee, J. What the brain predicts of videos: the Algonauts Challenge 2021 (winning report).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.encoders.base import FittedModel
from voxelcast.encoders.readout import ReadoutModel
from voxelcast.search.base import Part, Share
from voxelcast.search.choice import first_best
from voxelcast.search.ensemble import StackingSums
from voxelcast.search.mixture import Outer, fit_members, judged_parts
from voxelcast.search.selection import Member, SearchRecord
from voxelcast.search.training import TrainingCache, checked_scores

_SMALLEST = 1e-10  # of singular values, relative to the largest: directions of the predictions that count


@dataclass(frozen=True, eq=False)
class Searched:
    """What a search found of one set of responses; ``name``: of the ROI."""

    name: str
    record: SearchRecord
    trainings: TrainingCache

    def predicted(self, excluded: tuple[int, ...], judged: Mapping[int, Outer]) -> dict[int, FloatArray]:
        """Predict folds by models fitted without the folds ``excluded``.

        ``judged`` maps each fold to be predicted to the outer search whose best single candidate predicts it.
        """
        members = {fold: self.record.single(outer) for fold, outer in judged.items()}
        found = {}
        for index in dict.fromkeys(member.index for member in members.values()):
            folds = [fold for fold, member in members.items() if member.index == index]
            source = self.trainings[index]
            models = fit_members([members[fold] for fold in folds], source, excluded)
            for fold, model in zip(folds, models, strict=True):
                X = source.features(excluded, fold)
                found[fold] = model.predict(X[:, : members[fold].n_features])
        return found

    def final(self) -> tuple[FittedModel, FloatArray]:
        """Fit the candidate chosen on all folds to all training stimuli; return it and its held-out predictions."""
        member, n_train = self.record.single(None), self.trainings.data.n_train
        (model,) = fit_members([member], self.trainings[member.index], ())
        test = checked_scores(self.trainings.spaces[member.index], (), n_train)[n_train:]
        return model, model.predict(test[:, : member.n_features])


@dataclass(frozen=True, eq=False)
class Combined:
    """The target predicted by its own model and by experts; the fields are those of `voxelcast.search.base.PairResult`.

    ``out_of_fold`` is None without nested cross-validation.
    """

    parts: tuple[Part, ...]
    shares: tuple[Share, ...]
    nested_shares: tuple[tuple[Share, ...], ...]
    layer_weights: FloatArray
    predictions: FloatArray
    out_of_fold: FloatArray | None


def combine_experts(
    target: Searched,
    experts: Sequence[Searched],
    outers: Sequence[Outer],
    own_out_of_fold: FloatArray | None,
    *,
    sum_to_one: bool,
) -> Combined:
    """Stack the target's best single model with the experts' readouts.

    Parameters
    ----------
    target : Searched
    experts : sequence of Searched
        Their responses are to the same training stimuli, in the same folds and from the same feature spaces.
    outers : sequence of int or None
        The plain search (None) and the outer folds.
    own_out_of_fold : ndarray of shape (n_train, q) or None
        The nested predictions of the target's best single model; None without outer folds.
    sum_to_one : bool
        Whether each voxel's weights sum to 1.
    """
    data = target.trainings.data
    known = [dict(_out_of_fold(expert, outers)) for expert in experts]
    n_members = 1 + len(experts)
    deviations = np.ones(data.Y.shape[1])
    sums = {outer: StackingSums(n_members, data.Y.shape[1], "voxel", deviations) for outer in outers}

    def add(excluded: tuple[int, ...], judged: Mapping[int, Outer]) -> None:
        for fold, own in target.predicted(excluded, judged).items():
            outer, rows = judged[fold], data.rows[fold]
            learnt = np.flatnonzero(~np.isin(data.fold_ids, excluded))
            readouts = [_readout(F[outer], data.Y, learnt) for F in known]
            predictions = [own, *(_read(F[outer][rows], part) for F, part in zip(known, readouts, strict=True))]
            sums[outer].add(np.stack(predictions), data.held_out[fold].numpy().centred)

    for excluded, judged in judged_parts(data, outers):
        add(excluded, judged)
    own_model = np.zeros(data.Y.shape[1], dtype=int)
    weights = {outer: sums[outer].weights(sum_to_one, own_model) for outer in outers}
    out_of_fold = None
    if own_out_of_fold is not None:
        out_of_fold = np.empty(data.Y.shape)
        for outer in outers:
            if outer is None:
                continue
            rows = data.rows[outer]
            learnt = np.flatnonzero(data.fold_ids != outer)
            predictions = [own_out_of_fold[rows]]
            predictions += [_read(F[outer][rows], _readout(F[outer], data.Y, learnt)) for F in known]
            out_of_fold[rows] = _weighted(predictions, weights[outer], data.mean((outer,)))
    nested = tuple(_shares((target, *experts), outer, weights[outer]) for outer in outers if outer is not None)
    return replace(_final(target, experts, known, weights[None]), nested_shares=nested, out_of_fold=out_of_fold)


def atlas_weights(
    target: Searched, atlases: Sequence[int | str], given: Sequence[IntArray], outers: Sequence[Outer], seed: int
) -> dict[Outer, FloatArray]:
    """Give each cluster of voxels its best layer; return the share of atlases in which each voxel has each layer.

    Of each outer fold, ndarray of shape (n_spaces, q).

    A cluster's best layer has the highest mean over its voxels of their own best scores. Clusters are found without the
    outer fold.

    Parameters
    ----------
    atlases : sequence of int or str
        Numbers of clusters; files stand for the next of ``given``.
    given : sequence of ndarray of shape (q,), int
        Clusters of atlases that were read.
    """
    files, record = iter(given), target.record
    labels_of = [next(files) if isinstance(atlas, str) else atlas for atlas in atlases]
    weights = {}
    for outer in outers:
        scores = record.layer_scores(outer)
        known = np.where(np.isneginf(scores), np.nan, scores)
        total = np.zeros(scores.shape)
        coefficients = _coefficients(target, outer) if any(isinstance(atlas, int) for atlas in atlases) else None
        for number, atlas in enumerate(labels_of):
            labels = _clusters(coefficients, atlas, seed + number) if isinstance(atlas, int) else atlas
            for cluster in np.unique(labels):
                voxels = labels == cluster
                there = ~np.isnan(known[:, voxels]).all(axis=1)
                if there.any():
                    means = np.full(len(scores), -np.inf)
                    means[there] = np.nanmean(known[:, voxels][there], axis=1)
                    total[first_best(means), voxels] += 1.0 / len(labels_of)
        # A voxel without a score on its cluster's layer is predicted by its mean, as everywhere.
        weights[outer] = np.where(np.isneginf(scores), 0.0, total)
    return weights


def checked_atlas(labels: IntArray, n_voxels: int, where: str) -> IntArray:
    """Return the labels of an atlas; raise ShapeError or DataError unless they are a whole number for every voxel."""
    check_shape(f"atlas of {where}", labels, ("n_voxels",), (n_voxels,))
    if not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"atlas of {where} must hold whole numbers, one for each voxel; got {labels.dtype}")
    return labels


def _coefficients(target: Searched, outer: Outer) -> FloatArray:
    """Return the coefficients of each voxel in the best single model, of unit length, ndarray of shape (q, p)."""
    member = target.record.single(outer)
    excluded = () if outer is None else (outer,)
    arrays = fit_members([member], target.trainings[member.index], excluded)[0].arrays()
    if "coefficients" not in arrays:
        raise OptionError(
            f"ensemble.atlases: clusters need a linear encoder; got {member.encoder.name}; name another, or give files"
        )
    found = arrays["coefficients"].T
    lengths = np.linalg.norm(found, axis=1, keepdims=True)
    lengths[lengths == 0] = 1.0
    unit: FloatArray = found / lengths
    return unit


def _clusters(coefficients: FloatArray | None, n_clusters: int, seed: int) -> IntArray:
    """Divide voxels by k-means."""
    from sklearn.cluster import KMeans

    assert coefficients is not None
    n_clusters = min(n_clusters, len(np.unique(coefficients, axis=0)))
    found = KMeans(n_clusters, n_init=3, random_state=seed % 2**32).fit_predict(coefficients)
    return np.asarray(found, dtype=np.int64)


def _out_of_fold(expert: Searched, outers: Sequence[Outer]) -> Iterator[tuple[Outer, FloatArray]]:
    """Predict the expert's own responses: for outer j fold i without i and j, and fold j without j."""
    data = expert.trainings.data
    found = {outer: np.empty(data.Y.shape) for outer in outers}
    for excluded, judged in judged_parts(data, outers):
        for fold, predictions in expert.predicted(excluded, judged).items():
            found[judged[fold]][data.rows[fold]] = predictions
    for outer in outers:
        if outer is not None:
            found[outer][data.rows[outer]] = expert.predicted((outer,), {outer: outer})[outer]
    yield from found.items()


@dataclass(frozen=True)
class _Readout:
    mean: FloatArray
    directions: FloatArray  # (q_e, rank)
    weights: FloatArray  # (rank, q)
    offset: FloatArray


def _readout(F: FloatArray, Y: FloatArray, rows: IntArray) -> _Readout:
    """Estimate the readout of every voxel on some stimuli; voxels without covariance have a constant."""
    mean, offset = F[rows].mean(axis=0), Y[rows].mean(axis=0)
    Fc, Yc = F[rows] - mean, Y[rows] - offset
    _, lengths, directions = np.linalg.svd(Fc, full_matrices=False)
    kept = lengths > _SMALLEST * lengths.max(initial=0.0)
    V = directions[kept].T
    Z = Fc @ V
    covariance = Z.T @ Yc
    squares = np.square(Z @ covariance).sum(axis=0)
    slope = np.divide(np.square(covariance).sum(axis=0), squares, out=np.zeros(len(squares)), where=squares > 0)
    return _Readout(mean, V, covariance * slope, offset)


def _read(F: FloatArray, readout: _Readout) -> FloatArray:
    return ((F - readout.mean) @ readout.directions) @ readout.weights + readout.offset


def _weighted(predictions: Sequence[FloatArray], weights: FloatArray, mean: FloatArray) -> FloatArray:
    total = np.broadcast_to((1.0 - weights.sum(axis=0)) * mean, predictions[0].shape).copy()
    for part, weight in zip(predictions, weights, strict=True):
        total += weight * part
    return total


def _members(searched: Sequence[Searched], outer: Outer) -> list[Member]:
    """Return the best single candidates, experts' under their ROI's name."""
    found = [one.record.single(outer) for one in searched]
    for k, one in enumerate(searched[1:], start=1):
        named = replace(found[k].candidates[0], encoder=f"{found[k].encoder.name} of {one.name}")
        found[k] = replace(found[k], candidates=(named,))
    return found


def _shares(searched: Sequence[Searched], outer: Outer, weights: FloatArray) -> tuple[Share, ...]:
    """Say how much each member counts, heaviest first."""
    members = zip(_members(searched, outer), weights, strict=True)
    found = [Share(m.candidates[0], float(w.mean()), int(np.count_nonzero(w))) for m, w in members if w.any()]
    return tuple(sorted(found, key=lambda share: -share.weight))


def _final(
    target: Searched, experts: Sequence[Searched], known: Sequence[Mapping[Outer, FloatArray]], weights: FloatArray
) -> Combined:
    """Fit everything to all training stimuli."""
    data, searched = target.trainings.data, (target, *experts)
    layer_weights = np.zeros((len(target.trainings.spaces), data.Y.shape[1]))
    parts, predictions = [], []
    for k, (one, member, weight) in enumerate(zip(searched, _members(searched, None), weights, strict=True)):
        model, predicted = one.final()
        if k:
            found = _readout(known[k - 1][None], data.Y, np.arange(data.n_train))
            predicted = _read(predicted, found)
            model = ReadoutModel(model, found.mean, found.directions @ found.weights, found.offset)
        candidate = member.candidates[0]
        layer_weights[member.index] += weight
        n_features = member.n_features or one.trainings[member.index].n_features
        named = candidate.network, candidate.layer, candidate.encoder
        parts.append(Part(*named, model, weight, n_features, candidate.pool))
        predictions.append(predicted)
    total = _weighted(predictions, weights, data.y_mean)
    used = tuple(part for part in parts if part.weights.any())
    return Combined(used, _shares(searched, None, weights), (), layer_weights, total, None)
