"""Search, selection and nested cross-validation for one subject x ROI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import OptionError, ShapeError
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.base import Encoder
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.scoring.intervals import Judged, influence_weights
from voxelcast.search.banded import banded_result
from voxelcast.search.base import FeatureSpace, PairContext, PairResult, RuleScore, reads, space_names
from voxelcast.search.evaluation_log import EvaluationLog
from voxelcast.search.exact import exact_trials
from voxelcast.search.experts import Searched, atlas_weights, combine_experts
from voxelcast.search.folds import check_folds
from voxelcast.search.joined import JOINED
from voxelcast.search.joint import JointSearch
from voxelcast.search.mixture import (
    Outer,
    final_parts,
    inner_influence,
    members_in_use,
    mixture_weights,
    nested_predictions,
    shares,
    single_weights,
)
from voxelcast.search.proposals import proposed_trials
from voxelcast.search.selection import Member, SearchRecord
from voxelcast.search.settings import RULES, EnsembleSettings, PairSettings, SelectionSettings
from voxelcast.search.stacked import few, stacked_search
from voxelcast.search.training import FINITE, PairData, TrainingCache
from voxelcast.search.trials import Task


def search_pair(
    Y: FloatArray,
    feature_spaces: Sequence[FeatureSpace],
    encoders: Sequence[Encoder],
    fold_ids: IntArray,
    settings: PairSettings = PairSettings(),
    *,
    context: PairContext = PairContext(),
    log: EvaluationLog | None = None,
) -> PairResult:
    """Find the layer, encoder and parameters that predict the responses of one subject x ROI best.

    Every candidate is scored on every fold by a model fitted to the other folds, and the best mean is chosen and fitted
    to all training stimuli. If nested, the whole search is repeated for each fold j on the other folds alone (inner
    fold i is predicted by models fitted without i and j); the winner, fitted without j, predicts j. These predictions,
    which no choice saw, give ``voxel_scores``. Raises OptionError if a setting does not go with the layers or the
    folds; ShapeError if rows do not match; DataError if a value is not finite, or no candidate has a score.

    Parameters
    ----------
    Y : ndarray of shape (n_train, q)
        Responses to the training stimuli, finite; constant voxels are better left out beforehand: their scores are
        NaN.
    feature_spaces : sequence of FeatureSpace
        Their rows are the training stimuli in the order of ``Y``, then the held-out stimuli. With ``ensemble.joined``
        the last one joins the others.
    fold_ids : ndarray of shape (n_train,), int
        See `voxelcast.search.folds.make_folds`.
    log : EvaluationLog, optional
        What an earlier search by proposals has computed before it was killed.
    """
    ensemble = settings.ensemble
    if ensemble.joined and len(feature_spaces) < 3:
        raise OptionError(
            f"ensemble.joined needs two layers and the space that joins them; got {len(feature_spaces)} spaces; "
            "leave it out"
        )
    n_folds = _checked(Y, feature_spaces, encoders, fold_ids, settings)
    if context.sharing and ensemble.method == "banded_ridge":
        raise OptionError("sharing across subjects is for single layers, stacking and averages; got banded_ridge")
    searched, task = _searched(Y, feature_spaces, encoders, fold_ids, settings, context, log)
    if ensemble.method not in ("banded_ridge", "experts"):
        return _result(searched, task, settings, context)
    plain = replace(settings, ensemble=EnsembleSettings())
    single, judged = _result(searched, task, plain, context, inner=False), _judged(searched, context)
    if ensemble.method == "banded_ridge":
        seed = derive_seed(settings.seed, *context.names)
        return banded_result(single, searched.record, searched.trainings, task.outers, ensemble.draws, seed, judged)
    if not context.experts:
        raise OptionError("ensemble.method experts needs the responses of other ROIs; got none; name them in experts")
    plain = replace(plain, selection=SelectionSettings(rule=settings.selection.rule))
    experts = []
    for name, responses in context.experts.items():
        n_there = _checked(responses, feature_spaces, encoders, fold_ids, settings)
        assert n_there == n_folds
        named = replace(context, names=(*context.names[:-1], name), sharing=None)
        experts.append(_searched(responses, feature_spaces, encoders, fold_ids, plain, named, None)[0])
    own = single.single_out_of_fold
    combined = combine_experts(searched, experts, task.outers, own, sum_to_one=ensemble.sum_to_one)
    scores = None
    if combined.out_of_fold is not None:
        scores = cross_validated_r(Y, combined.out_of_fold, fold_ids, own_baseline=judged.own_baseline)
    return replace(
        single,
        parts=combined.parts,
        shares=combined.shares,
        layer_weights=combined.layer_weights,
        predictions=combined.predictions,
        out_of_fold=combined.out_of_fold,
        nested_shares=combined.nested_shares,
        voxel_scores=scores,
        inner=None,
    )


def _searched(
    Y: FloatArray,
    feature_spaces: Sequence[FeatureSpace],
    encoders: Sequence[Encoder],
    fold_ids: IntArray,
    settings: PairSettings,
    context: PairContext,
    log: EvaluationLog | None,
) -> tuple[Searched, Task]:
    """Try everything; see `search_pair`."""
    search, selection = settings.search, settings.selection
    around = Y, fold_ids, int(fold_ids.max()) + 1, context.sharing, settings.inner
    data = PairData(*around, settings.device, search.precision)
    task = Task(data, settings.nested, search.metric, selection.voxel_rule, log, stop=search.stop)
    record = SearchRecord(task.outers, len(feature_spaces), Y.shape[1], selection, single_spaces(feature_spaces))
    trainings = TrainingCache(feature_spaces, data)
    seed = derive_seed(settings.seed, *context.names)
    if search.joint:
        for outer, index, encoder, tried in JointSearch(feature_spaces, encoders, task, context).trials(search, seed):
            record.enter(outer, index, feature_spaces[index], encoder, tried)
    else:
        stacked = stacked_search(feature_spaces, encoders, task) if search.method == "exact" else {}
        if stacked and few(encoders, *Y.shape):  # what is left are fits one by one
            trainings = TrainingCache(feature_spaces, PairData(*around, precision=search.precision))
        for (index, space), encoder in product(enumerate(feature_spaces), encoders):
            if not reads(encoder, space):
                continue
            if (index, encoder.name) in stacked:
                for outer, tried in stacked.pop((index, encoder.name)):
                    record.enter(outer, index, space, encoder, tried)
                continue
            names, trained = space_names(space), encoder.reads != "features"
            if trained:
                found = exact_trials(encoder, trainings[index], replace(task, trained=True))
            elif search.method == "exact":
                found = exact_trials(encoder, trainings[index], task)
            else:
                seed_of_encoder = derive_seed(seed, *names, encoder.name)
                found = proposed_trials(encoder, trainings[index], task, search, seed_of_encoder, " ".join(names))
            for outer, tried in found:
                record.enter(outer, index, space, encoder, tried)
    return Searched(context.names[-1] if context.names else "", record, trainings), task


def single_spaces(spaces: Sequence[FeatureSpace]) -> tuple[int, ...]:
    """Return which spaces the best single candidate comes from.

    A space that joins the others is none; where some are features, nor are predictions of trained encoders, so that a
    gain is that over what reads features.
    """
    layers = [k for k, space in enumerate(spaces) if space.network != JOINED]
    plain = tuple(k for k in layers if not getattr(spaces[k], "trained_by", ""))
    return plain or tuple(layers)


def _judged(searched: Searched, context: PairContext) -> Judged:
    """Say how the stimuli come to be predicted."""
    return Judged(searched.trainings.data.fold_ids, own_baseline=context.own_baseline)


def _result(
    searched: Searched, task: Task, settings: PairSettings, context: PairContext, *, inner: bool = True
) -> PairResult:
    """Weigh and fit what was found, and predict with it; ``inner``: see `PairResult`."""
    selection, ensemble, outers = settings.selection, settings.ensemble, task.outers
    record, trainings, judged = searched.record, searched.trainings, _judged(searched, context)
    data = trainings.data
    singles = {outer: record.single(outer) for outer in outers}
    of_single = {outer: single_weights(member, len(trainings.spaces)) for outer, member in singles.items()}
    alone: dict[int | None, dict[int, tuple[Member, ...]]] = {
        outer: {member.index: (member,)} for outer, member in singles.items()
    }
    weights, members = of_single, alone
    if ensemble.method != "none" or selection.per == "voxel":
        if ensemble.method == "atlases":
            seed = derive_seed(settings.seed, *context.names)
            weights = atlas_weights(searched, ensemble.atlases, context.atlases, outers, seed)
        else:
            weights = mixture_weights(record, trainings, ensemble, outers)
        members = {outer: members_in_use(record, outer, weights[outer]) for outer in outers}
    parts, predictions = final_parts(trainings, members[None], weights[None])
    folds = [outer for outer in outers if outer is not None]
    out_of_fold = single_out_of_fold = scores = of_inner = None
    rules: tuple[RuleScore, ...] = ()
    if folds:
        single_out_of_fold = out_of_fold = nested_predictions(trainings, members, weights)
        if members is not alone:
            single_out_of_fold = nested_predictions(trainings, alone, of_single)
        scores = cross_validated_r(data.Y, out_of_fold, judged.fold_ids, own_baseline=judged.own_baseline)
        if ensemble.compare:
            rules = tuple(_compared(searched, ensemble, outers, judged))
        if inner:
            of_inner = inner_influence(trainings, members, weights, influence_weights(data.Y, out_of_fold, judged))
    chosen = singles[None].candidates[0]
    best = record.layer_scores(None).max(axis=0)
    scored = best[~np.isneginf(best)]
    return PairResult(
        candidates=tuple(record.candidates),
        chosen=chosen,
        selection_score=float(scored.mean()) if selection.per == "voxel" and scored.size else chosen.score,
        parts=parts,
        shares=shares(members[None], weights[None]),
        layer_weights=weights[None],
        predictions=predictions,
        out_of_fold=out_of_fold,
        single_out_of_fold=single_out_of_fold,
        nested_choices=tuple(singles[j].candidates[0] for j in folds),
        nested_shares=tuple(shares(members[j], weights[j]) for j in folds),
        voxel_scores=scores,
        inner=of_inner,
        rules=rules,
    )


def _compared(
    searched: Searched, ensemble: EnsembleSettings, outers: Sequence[int | None], judged: Judged
) -> Iterator[RuleScore]:
    """Score rules that combine models, where they saw all folds and where they did not."""
    record, trainings, Y = searched.record, searched.trainings, searched.trainings.data.Y
    folds = [outer for outer in outers if outer is not None]

    def score(members: Mapping[Outer, Mapping[int, Sequence[Member]]], w: Mapping[Outer, FloatArray]) -> float:
        predictions = nested_predictions(trainings, members, w)
        r = cross_validated_r(Y, predictions, judged.fold_ids, own_baseline=judged.own_baseline)
        return float(np.nanmean(r))

    for name, method, top in RULES:
        rule = replace(ensemble, method=method, top=top, experts=(), atlases=())
        weights = mixture_weights(record, trainings, rule, outers)
        members = {outer: members_in_use(record, outer, weights[outer]) for outer in outers}
        claimed = score(dict.fromkeys(folds, members[None]), dict.fromkeys(folds, weights[None]))
        yield RuleScore(name, claimed, score({j: members[j] for j in folds}, {j: weights[j] for j in folds}))


def _checked(
    Y: FloatArray,
    spaces: Sequence[FeatureSpace],
    encoders: Sequence[Encoder],
    fold_ids: IntArray,
    settings: PairSettings,
) -> int:
    """Check what a search is given and return the number of folds."""
    if Y.ndim != 2 or Y.shape[1] == 0:
        raise ShapeError(f"responses must have shape (n_train, n_voxels) with at least one voxel; got {Y.shape}")
    if settings.device == "cpu":  # else where they will be: see PairData
        check_finite("responses", Y, FINITE)
    if not spaces or not encoders:
        raise OptionError(
            f"a search needs at least one layer and one encoder; got {len(spaces)} layers and {len(encoders)} encoders"
        )
    n_folds = check_folds(fold_ids, Y.shape[0])
    if settings.nested and n_folds < 3:
        raise OptionError(f"nested cross-validation needs at least 3 folds; got {n_folds}; ask for more folds")
    return n_folds
