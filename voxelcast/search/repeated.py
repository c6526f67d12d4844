"""Repeated cross-validation: the nested search over several partitions of the stimuli into folds, put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.search.base import PairResult, Part, Share

_ROUNDING = 1e-7


def combine_repeats(results: Sequence[PairResult]) -> PairResult:
    """Put the results of several partitions together.

    Scores are averaged over the partitions. Final predictions are the mean of those of the partitions' final models:
    where all partitions chose alike, that is the one model they chose.

    Parameters
    ----------
    results : sequence of PairResult
        Of the same responses and feature spaces, each with folds of its own.

    Returns
    -------
    result : PairResult
        ``candidates``, ``chosen``, ``out_of_fold`` and ``single_out_of_fold`` are the first partition's;
        ``nested_choices`` and ``nested_shares`` list the folds of all partitions, one partition after the other.
        A share's ``n_voxels`` is the largest over the partitions.
    """
    n = len(results)
    scores = [result.voxel_scores for result in results if result.voxel_scores is not None]
    return replace(
        results[0],
        selection_score=float(np.mean([result.selection_score for result in results])),
        parts=_merged_parts([part for result in results for part in result.parts], n),
        shares=_merged_shares([share for result in results for share in result.shares], n),
        layer_weights=_mean([result.layer_weights for result in results]),
        predictions=_mean([result.predictions for result in results]),
        nested_choices=tuple(choice for result in results for choice in result.nested_choices),
        nested_shares=tuple(shares for result in results for shares in result.nested_shares),
        voxel_scores=_mean(scores) if scores else None,
        inner=None,
    )


def _mean(arrays: Sequence[FloatArray]) -> FloatArray:
    return np.asarray(sum(arrays[1:], start=arrays[0]) / len(arrays))


def _merged_parts(parts: Sequence[Part], n: int) -> tuple[Part, ...]:
    """Join parts whose models are the same and divide weights by the number of partitions."""
    merged: list[Part] = []
    for part in parts:
        for k, known in enumerate(merged):
            if _same_model(known, part):
                merged[k] = replace(known, weights=known.weights + part.weights)
                break
        else:
            merged.append(part)
    # Divided last, so that a model that all partitions chose has a weight of exactly 1.
    return tuple(replace(part, weights=part.weights / n) for part in merged)


def _same_model(one: Part, other: Part) -> bool:
    names = [(part.network, part.layer, part.pool, part.encoder) for part in (one, other)]
    if names[0] != names[1]:
        return False
    arrays = [part.model.arrays() for part in (one, other)]
    if arrays[0].keys() != arrays[1].keys():
        return False
    return all(_nearly_equal(array, arrays[1][name]) for name, array in arrays[0].items())


def _nearly_equal(a: FloatArray, b: FloatArray) -> bool:
    """Say whether two arrays differ by rounding alone: sums run over the folds in another order."""
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=0, atol=_ROUNDING * float(np.abs(a).max(initial=0.0))))


def _merged_shares(shares: Sequence[Share], n: int) -> tuple[Share, ...]:
    merged: dict[tuple[object, ...], Share] = {}
    for share in shares:
        own = share.candidate
        key = (own.network, own.layer, own.pool, own.encoder, own.n_features, *sorted(own.params.items()))
        known = merged.get(key, replace(share, weight=0.0))
        weight, n_voxels = known.weight + share.weight, max(known.n_voxels, share.n_voxels)
        merged[key] = replace(known, weight=weight, n_voxels=n_voxels)
    divided = (replace(share, weight=share.weight / n) for share in merged.values())
    return tuple(sorted(divided, key=lambda share: -share.weight))
