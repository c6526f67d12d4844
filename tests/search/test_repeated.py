"""Repeated cross-validation: averages over partitions, and one model where all partitions chose alike."""

from __future__ import annotations

import numpy as np

from tests.search.spaces import search
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.search.base import PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.repeated import combine_repeats
from voxelcast.search.settings import EnsembleSettings

from .spaces import Fixed, layer_names, simulated

PARTITIONS = [make_folds(48, 4, seed) for seed in range(3)]


def _results(noise: float, ensemble: EnsembleSettings) -> tuple[np.ndarray, list[PairResult]]:
    raw, Y = simulated(48, 6, 4, 3, layers=2, noise=noise)
    spaces = [Fixed(X, name) for X, name in zip(raw, layer_names(2), strict=True)]
    return Y, [search(Y, spaces, [get_encoder("pls")], folds, ensemble=ensemble) for folds in PARTITIONS]


def test_scores_are_averaged_over_partitions() -> None:
    Y, results = _results(6.0, EnsembleSettings())
    combined = combine_repeats(results)
    of_each = [cross_validated_r(Y, r.out_of_fold, f) for r, f in zip(results, PARTITIONS, strict=True)]
    assert not np.allclose(of_each[0], of_each[1])
    np.testing.assert_allclose(combined.voxel_scores, np.mean(of_each, axis=0))
    assert len(combined.nested_choices) == len(combined.nested_shares) == 12


def test_partitions_that_chose_alike_leave_one_model() -> None:
    _, results = _results(0.5, EnsembleSettings())
    assert len({(r.chosen.layer, tuple(r.chosen.params.items())) for r in results}) == 1
    combined = combine_repeats(results)
    (part,) = combined.parts
    (share,) = combined.shares
    np.testing.assert_array_equal(part.weights, 1.0)
    assert share.weight == 1.0
    np.testing.assert_allclose(combined.predictions, results[0].predictions)


def test_weights_of_partitions_that_differ_are_averaged() -> None:
    _, results = _results(6.0, EnsembleSettings("stacking"))
    combined = combine_repeats(results)
    X = simulated(48, 6, 4, 3, layers=2, noise=6.0)[0]
    test = {name: x[48:] for name, x in zip(layer_names(2), X, strict=True)}
    total = sum(part.weights * part.model.predict(test[part.layer]) for part in combined.parts)
    # Stacking weights sum to 1, so that nothing is left for the mean response.
    np.testing.assert_allclose(total, combined.predictions, atol=1e-10)
    np.testing.assert_allclose(combined.layer_weights.sum(axis=0), 1.0)
