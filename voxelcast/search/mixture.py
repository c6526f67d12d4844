"""Predictions of what was selected: one candidate, each voxel's own, or a weighted combination of layers.

A mixture predicts ``(1 - sum_l w_l) y_mean + sum_l w_l p_l`` with the layers' predictions p_l, their weights w_l in
each voxel and the training mean of the responses.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import numpy as np

from voxelcast.core.arrays import FloatArray, column_products, like, to_numpy, zeros
from voxelcast.encoders.base import FittedModel
from voxelcast.search.base import Part, Share
from voxelcast.search.choice import first_best
from voxelcast.search.ensemble import StackingSums, average_weights, softmax_weights
from voxelcast.search.selection import Member, SearchRecord
from voxelcast.search.settings import EnsembleSettings
from voxelcast.search.training import PairData, Training, TrainingCache, checked_scores, training, truncated
from voxelcast.search.trials import without

Outer = int | None


def fit_members(members: Sequence[Member], training: Training, excluded: tuple[int, ...]) -> list[FittedModel]:
    """Fit members of one layer to the training stimuli outside the folds ``excluded``.

    Members of the same encoder (two outer folds' choices, say) are fitted together, which may save work.
    """
    models: dict[int, FittedModel] = {}
    groups = [(member.encoder.name, member.n_features) for member in members]
    for group in dict.fromkeys(groups):
        indices = [k for k in range(len(members)) if groups[k] == group]
        picked = [([c.params for c in members[k].candidates], members[k].pick) for k in indices]
        fitted = members[indices[0]].encoder.fit_members(truncated(training, group[1]), picked, excluded)
        models |= dict(zip(indices, fitted, strict=True))
    return [models[k] for k in range(len(members))]


def mixture_weights(
    record: SearchRecord, trainings: TrainingCache, ensemble: EnsembleSettings, outers: Sequence[Outer]
) -> dict[Outer, FloatArray]:
    """Weigh the layers, each weight of shape (n_spaces, q), in the plain search (outer None) and in each outer fold.

    Weights are chosen by what is outside the outer fold.
    """
    scores = {outer: record.layer_scores(outer) for outer in outers}
    if ensemble.method == "stacking":
        sums = _stacking_sums(record, trainings, ensemble.per, outers)
        weights = {}
        for outer in outers:
            best = np.where(np.isneginf(scores[outer]).all(axis=0), -1, first_best(scores[outer]))
            # One set of weights for the ROI: where it has none, its best layer is that of the best single candidate.
            units = best if ensemble.per == "voxel" else np.array([record.single(outer).index])
            found = sums[outer].weights(ensemble.sum_to_one, units)
            weights[outer] = np.broadcast_to(found, scores[outer].shape)
        return weights
    if ensemble.method == "softmax":
        return {outer: softmax_weights(scores[outer], ensemble.temperature) for outer in outers}
    top = {"average": ensemble.top, "mean": len(trainings.spaces)}.get(ensemble.method, 1)
    return {outer: average_weights(scores[outer], top) for outer in outers}


def _stacking_sums(
    record: SearchRecord, trainings: TrainingCache, per: str, outers: Sequence[Outer]
) -> dict[Outer, StackingSums]:
    """Sum over out-of-fold predictions: inner fold i of outer fold j is predicted by models fitted without i and j.

    A model without i and j serves outer fold i as well, with the parameters that i chose.
    """
    data, n_spaces = trainings.data, len(trainings.spaces)
    deviations = {outer: like(_deviations(data, outer), data.Yc) for outer in outers}
    sums = {outer: StackingSums(n_spaces, data.Y.shape[1], per, deviations[outer]) for outer in outers}

    def add(excluded: tuple[int, ...], judged: Mapping[int, Outer]) -> None:
        """``judged`` maps each fold to be predicted to the outer search whose choices predict it."""
        sizes = {fold: (n_spaces, len(data.rows[fold]), data.Y.shape[1]) for fold in judged}
        predictions = {fold: zeros(size, data.Yc, float) for fold, size in sizes.items()}
        for index, space in enumerate(trainings.spaces):
            # Made anew for every part: no part is asked for twice, and what all layers would keep is gigabytes.
            source = training(space, data)
            members = {fold: record.members(outer, index) for fold, outer in judged.items()}
            models = fit_members([m for some in members.values() for m in some], source, excluded)
            for fold, chosen in members.items():
                fitted, models = models[: len(chosen)], models[len(chosen) :]
                _add_layer(predictions[fold][index], chosen, fitted, source.features(excluded, fold), None)
        for fold, outer in judged.items():
            sums[outer].add(predictions[fold], data.held_out[fold].centred)

    for excluded, judged in judged_parts(data, outers):
        add(excluded, judged)
    return sums


def judged_parts(data: PairData, outers: Sequence[Outer]) -> Iterator[tuple[tuple[int, ...], dict[int, Outer]]]:
    """Yield the folds left out of a fit, and for each of them the outer search whose choices predict it.

    Fold i of the plain search without i; with outer folds, too, inner fold i of j, and j of i, without both.
    """
    for i in range(data.n_folds):
        yield (i,), {i: None}
    if len(outers) > 1:
        for i in range(data.n_folds):
            for j in (j for j in data.inner_folds(i) if j > i):
                yield (i, j), {i: j, j: i}


def _deviations(data: PairData, outer: Outer) -> FloatArray:
    """Return the standard deviations of the responses outside the outer fold, ndarray of shape (q,)."""
    excluded = () if outer is None else (outer,)
    return np.asarray(np.sqrt(np.maximum(data.squares(excluded), 0.0) / data.size(excluded)))


def _add_layer(
    total: FloatArray,
    members: Sequence[Member],
    models: Sequence[FittedModel],
    X: FloatArray,
    weights: FloatArray | None,
) -> None:
    """Add the weighted predictions of a layer's members to ``total``, (n, q), where that is."""
    for member, model in zip(members, models, strict=True):
        given, weight = X[:, : member.n_features], np.where(member.used, 1.0 if weights is None else weights, 0.0)
        predicted = model.predict(like(given, total) if member.encoder.takes_tensors else given)
        total += like(weight, total) * like(predicted, total)


def single_weights(member: Member, n_spaces: int) -> FloatArray:
    """Return weight 1 for the layer of the best single candidate, ndarray of shape (n_spaces, q)."""
    weights = np.zeros((n_spaces, len(member.pick)))
    weights[member.index] = 1.0
    return weights


def members_in_use(record: SearchRecord, outer: Outer, weights: FloatArray) -> dict[int, tuple[Member, ...]]:
    """Return the members of every layer that has a weight somewhere."""
    return {index: record.members(outer, index) for index in np.flatnonzero(weights.any(axis=1)).tolist()}


def nested_predictions(
    trainings: TrainingCache,
    members: Mapping[Outer, Mapping[int, Sequence[Member]]],
    weights: Mapping[Outer, FloatArray],
) -> FloatArray:
    """Predict every fold by what was selected and weighted without it, ndarray of shape (n_train, q).

    ``members``, by layer, and ``weights``, (n_spaces, q), are those of each outer fold.
    """
    data = trainings.data
    predictions = zeros(data.Y.shape, data.Yc, float)
    folds = [outer for outer in weights if outer is not None]
    for outer in folds:
        mean = (1.0 - weights[outer].sum(axis=0)) * data.mean((outer,))
        predictions[data.rows[outer]] = like(mean, predictions)
    for index in sorted({index for outer in folds for index in members[outer]}):
        source = trainings[index]
        for outer in folds:
            if index not in members[outer]:
                continue
            chosen, rows = members[outer][index], data.rows[outer]
            models = fit_members(chosen, source, (outer,))
            fold = predictions[rows]
            _add_layer(fold, chosen, models, source.features((outer,), outer), weights[outer][index])
            predictions[rows] = fold
    return to_numpy(predictions)


def inner_influence(
    trainings: TrainingCache,
    members: Mapping[Outer, Mapping[int, Sequence[Member]]],
    weights: Mapping[Outer, FloatArray],
    influence: FloatArray,
) -> FloatArray | None:
    """Predict every fold i again by what was selected without it, fitted without i and one fold j more.

    Parameters
    ----------
    members, weights
        As of `nested_predictions`.
    influence : ndarray of shape (n_train, q)
        See `voxelcast.scoring.intervals.influence_weights`.

    Returns
    -------
    inner : ndarray of shape (n_train, n_folds) or None
        Sum over voxels of influence and prediction, of each j; 0 in a stimulus's own fold. None where an encoder's fit
        is a search against the clock, or a training, and where outer folds have few inner ones.
    """
    data, folds = trainings.data, [outer for outer in weights if outer is not None]
    used = {index for outer in folds for index in members[outer]}
    encoders = [m.encoder for outer in folds for some in members[outer].values() for m in some]
    if data.inner or any(encoder.uses_automl or encoder.reads != "features" for encoder in encoders):
        return None
    inner, there = np.zeros((data.n_train, data.n_folds)), like(influence, data.Yc)
    for outer in folds:
        rows, left = data.rows[outer], 1.0 - weights[outer].sum(axis=0)
        for other in folds if left.any() else ():
            if other != outer:
                inner[rows, other] = influence[rows] @ (left * data.mean(without(other, outer)))
    for index, i in product(sorted(used), folds):
        for j in range(i + 1, data.n_folds):
            chosen = {fold: members[fold].get(index, ()) for fold in (i, j)}
            if not any(chosen.values()):
                continue
            models = fit_members([m for some in chosen.values() for m in some], trainings[index], (i, j))
            for fold, other in ((i, j), (j, i)):
                fitted, models = models[: len(chosen[fold])], models[len(chosen[fold]) :]
                rows = data.rows[fold]
                predicted = zeros((len(rows), data.Y.shape[1]), data.Yc, float)
                X = trainings[index].features((i, j), fold)
                _add_layer(predicted, chosen[fold], fitted, X, weights[fold][index])
                inner[rows, other] += to_numpy(column_products(there[rows].T, predicted.T))
    return inner


def final_parts(
    trainings: TrainingCache, members: Mapping[int, Sequence[Member]], weights: FloatArray
) -> tuple[tuple[Part, ...], FloatArray]:
    """Fit to all training stimuli and predict the held-out stimuli, ndarray of shape (n_test, q)."""
    data, parts = trainings.data, []
    predictions: FloatArray | None = None
    for index, chosen in members.items():
        space = trainings.spaces[index]
        test = checked_scores(space, (), data.n_train)[data.n_train :]
        if predictions is None:
            predictions = np.tile((1.0 - weights.sum(axis=0)) * data.y_mean, (len(test), 1))
        models = fit_members(chosen, trainings[index], ())
        _add_layer(predictions, chosen, models, test, weights[index])
        for member, model in zip(chosen, models, strict=True):
            kept_weights = np.where(member.used, weights[index], 0.0)
            n_features = member.n_features or test.shape[1]
            named = space.network, space.layer, member.encoder.name
            parts.append(Part(*named, model, kept_weights, n_features, space.pool))
    return tuple(parts), predictions if predictions is not None else np.empty((0, data.Y.shape[1]))


def shares(members: Mapping[int, Sequence[Member]], weights: FloatArray) -> tuple[Share, ...]:
    """Say how much each candidate counts, heaviest first; those without any weight are left out."""
    found = []
    for index, chosen in members.items():
        for member in chosen:
            for k, candidate in enumerate(member.candidates):
                w = np.where(member.used & (member.pick == k), weights[index], 0.0)
                if w.any():
                    found.append(Share(candidate, float(w.mean()), int(np.count_nonzero(w))))
    return tuple(sorted(found, key=lambda share: -share.weight))
