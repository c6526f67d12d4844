"""Ties by rounding, and what must not depend on the units of voxels."""

from __future__ import annotations

import numpy as np
import pytest

from tests.search.spaces import search
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.choice import choose, first_best
from voxelcast.search.ensemble import average_weights
from voxelcast.search.folds import make_folds
from voxelcast.search.settings import EnsembleSettings, SelectionSettings

from .spaces import Fixed


def test_scores_that_differ_by_rounding_are_equal() -> None:
    mean = np.array([[0.5], [0.5 + 1e-15], [0.5 - 1e-15], [0.4]])
    error = np.zeros((4, 1))
    for rule in ("best", "one_standard_error"):
        assert choose(mean, error, np.arange(4), rule).pick[0] == 0
        assert choose(mean, error, np.array([3, 2, 1, 0]), rule).pick[0] == 2
    assert choose(np.array([[0.5], [0.5 + 1e-9]]), error[:2], np.arange(2), "best").pick[0] == 1
    assert choose(np.array([[np.nan], [np.nan]]), error[:2], np.arange(2), "best").score[0] == -np.inf
    np.testing.assert_array_equal(first_best(np.array([[0.2, -np.inf], [0.2 + 1e-16, -np.inf]])), [0, 0])
    np.testing.assert_array_equal(average_weights(np.array([[0.2], [0.2 + 1e-16]]), 1), [[1.0], [0.0]])


@pytest.mark.parametrize("per", ["roi", "voxel"])
def test_penalties_that_change_nothing_leave_the_simplest(per: str) -> None:
    # Of one feature, every penalty makes a multiple of the same prediction: r is the same but for rounding.
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 1))
    Y = x @ rng.standard_normal((1, 4)) + rng.standard_normal((60, 4))
    folds = make_folds(60, 5, 0)
    found = search(Y, [Fixed(x)], [get_encoder("ridge")], folds, selection=SelectionSettings(per=per))
    assert {share.candidate.params["relative_alpha"] for share in found.shares} == {1e5}
    chosen = {share.candidate.params["relative_alpha"] for shares in found.nested_shares for share in shares}
    assert chosen == {1e5}


@pytest.mark.parametrize("method", ["stacking", "banded_ridge"])
def test_an_ensemble_of_the_roi_does_not_depend_on_the_unit_of_a_voxel(method: str) -> None:
    rng = np.random.default_rng(1)
    layers = [rng.standard_normal((90, 4)) for _ in range(2)]
    signal = [X @ rng.standard_normal((4, 5)) for X in layers]
    Y = np.hstack([signal[0], signal[1][:, :1]]) + rng.standard_normal((90, 6))
    units = np.array([1.0, 1, 1, 1, 1, 1e4])
    folds, spaces = make_folds(90, 5, 0), [Fixed(X, layer=f"layer{k}") for k, X in enumerate(layers)]
    ensemble = EnsembleSettings(method=method, per="roi", draws=3)
    plain, scaled = (
        search(responses, spaces, [get_encoder("ridge")], folds, ensemble=ensemble) for responses in (Y, Y * units)
    )
    np.testing.assert_allclose(scaled.layer_weights, plain.layer_weights, atol=1e-6)
    assert plain.out_of_fold is not None
    assert scaled.out_of_fold is not None
    np.testing.assert_allclose(scaled.out_of_fold / units, plain.out_of_fold, atol=1e-6)


def test_a_voxel_that_varies_in_one_fold_alone_is_predicted_by_its_mean() -> None:
    rng = np.random.default_rng(2)
    layers = [rng.standard_normal((60, 3)) for _ in range(2)]
    Y = layers[0] @ rng.standard_normal((3, 3)) + rng.standard_normal((60, 3))
    folds = make_folds(60, 5, 0)
    Y[:, 1] = np.where(folds == 0, Y[:, 1], 7.0)
    spaces = [Fixed(X, layer=f"layer{k}") for k, X in enumerate(layers)]
    found = search(
        Y,
        spaces,
        [get_encoder("ridge")],
        folds,
        selection=SelectionSettings(per="voxel"),
        ensemble=EnsembleSettings(method="stacking"),
    )
    assert found.out_of_fold is not None
    np.testing.assert_allclose(found.out_of_fold[folds == 0, 1], 7.0, atol=1e-9)


@pytest.mark.parametrize("name", ["mlp", "boosted_trees"])
def test_one_standard_error_takes_the_simplest_of_the_settings_tried(name: str) -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((40, 3))
    Y = X @ rng.standard_normal((3, 2)) + rng.standard_normal((40, 2))
    encoder = get_encoder(name)
    found = search(
        Y,
        [Fixed(X)],
        [encoder],
        make_folds(40, 3, 0),
        method="random",
        trials=6,
        nested=False,
        selection=SelectionSettings(rule="one_standard_error"),
    )
    scores = np.array([candidate.fold_scores for candidate in found.candidates])
    best = int(scores.mean(axis=1).argmax())
    slack = scores[best].std(ddof=1) / np.sqrt(3)
    near = [c for c in found.candidates if c.score >= found.candidates[best].score - slack]
    assert len(near) > 1
    assert found.chosen.params == min((c.params for c in near), key=encoder.order)
