"""Banded ridge regression over all layers of a subject x ROI, judged by nested cross-validation like the single layers.

Penalties are chosen by cross-validation over the training folds alone: the outer fold takes no part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxelcast.core.arrays import FloatArray, put
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.banded_ridge import BandedRidgeModel, fit_banded_ridge
from voxelcast.encoders.linear import LinearModel
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.scoring.intervals import Judged
from voxelcast.search.base import Candidate, PairResult, Part, Share
from voxelcast.search.selection import SearchRecord
from voxelcast.search.training import TrainingCache, checked_scores


@dataclass(frozen=True)
class _Fit:
    """A model, the layers' training means, and its predictions of the stimuli it was not fitted to."""

    model: BandedRidgeModel
    x_means: tuple[FloatArray, ...]
    y_mean: FloatArray
    predictions: FloatArray


def banded_result(
    single: PairResult,
    record: SearchRecord,
    trainings: TrainingCache,
    outers: Sequence[int | None],
    draws: int,
    seed: int,
    judged: Judged,
) -> PairResult:
    """Replace the predictions of single layers by those of one banded ridge regression on all layers.

    Parameters
    ----------
    single : PairResult
        What the search found without an ensemble; ``chosen``, ``selection_score``, ``nested_choices`` and
        ``single_out_of_fold`` stay as they are, to compare.
    outers : sequence of int or None
        None for the fit to all training stimuli, and the outer folds.
    draws : int
        How many weights of the layers are drawn.

    Returns
    -------
    result : PairResult
        ``layer_weights`` and ``shares`` hold the parts of the predicted variance that the layers make.
    """
    data = trainings.data
    fits = {outer: _fit(trainings, outer, draws, seed) for outer in outers}
    folds = [outer for outer in outers if outer is not None]
    out_of_fold = scores = None
    if folds:
        out_of_fold = np.empty(data.Y.shape)
        for fold in folds:
            out_of_fold[data.rows[fold]] = fits[fold].predictions
        scores = cross_validated_r(data.Y, out_of_fold, data.fold_ids, own_baseline=judged.own_baseline)
    whole = fits[None]
    return replace(
        single,
        parts=_parts(whole, trainings),
        shares=_shares(whole.model, record, trainings, None),
        layer_weights=whole.model.shares,
        predictions=whole.predictions,
        out_of_fold=out_of_fold,
        nested_shares=tuple(_shares(fits[fold].model, record, trainings, fold) for fold in folds),
        voxel_scores=scores,
        inner=None,
    )


def _fit(trainings: TrainingCache, outer: int | None, draws: int, seed: int) -> _Fit:
    """Fit to the training stimuli outside the outer fold and predict it, or to all and predict the held-out stimuli."""
    data = trainings.data
    excluded = () if outer is None else (outer,)
    kept = np.flatnonzero(~np.isin(data.fold_ids, excluded))
    judged = np.s_[data.n_train :] if outer is None else data.rows[outer]
    features = [checked_scores(space, excluded, data.n_train) for space in trainings.spaces]
    Xs, Y = [X[kept] for X in features], data.Y[kept]
    there = [put(values, data.device) for values in (*Xs, Y)]
    own = derive_seed(seed, "banded ridge", "all" if outer is None else outer)
    model = fit_banded_ridge(there[:-1], there[-1], data.fold_ids[kept], n_draws=draws, seed=own)
    x_means = tuple(X.mean(axis=0) for X in Xs)
    return _Fit(model, x_means, Y.mean(axis=0), model.predict([X[judged] for X in features]))


def _parts(fit: _Fit, trainings: TrainingCache) -> tuple[Part, ...]:
    """Divide the model into one per layer, each with the mean response as the prediction for its mean features."""
    parts = []
    for space, x_mean, B in zip(trainings.spaces, fit.x_means, fit.model.coefficients, strict=True):
        model = LinearModel({}, B, fit.y_mean - x_mean @ B)
        parts.append(Part(space.network, space.layer, "banded_ridge", model, np.ones(B.shape[1]), len(B), space.pool))
    return tuple(parts)


def _shares(
    model: BandedRidgeModel, record: SearchRecord, trainings: TrainingCache, outer: int | None
) -> tuple[Share, ...]:
    """Say how much of the predicted variance each layer makes, largest first; its score is its best candidate's."""
    found = []
    for index, (space, share) in enumerate(zip(trainings.spaces, model.shares, strict=True)):
        members = record.members(outer, index)
        if members:
            scores = members[0].candidates[0].fold_scores
            candidate = Candidate(space.network, space.layer, "banded_ridge", {}, scores, pool=space.pool)
            found.append(Share(candidate, float(share.mean()), int(np.count_nonzero(share))))
    return tuple(sorted(found, key=lambda share: -share.weight))
