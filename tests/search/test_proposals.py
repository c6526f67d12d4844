"""Bayesian optimisation against the exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.encoders.registry import ENCODERS, get_encoder
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair

from .spaces import Fixed, simulated


@pytest.mark.parametrize("encoder", sorted(ENCODERS))
@pytest.mark.parametrize("seed", range(3))
def test_the_exact_optimum_is_never_worse(encoder: str, seed: int) -> None:
    features, Y = simulated(80, 5, 15, 6, noise=6.0, seed=seed)
    folds = make_folds(80, 5, seed)
    found = {
        method: search_pair(
            Y, [Fixed(features[0])], [get_encoder(encoder)], folds, method=method, trials=12, seed=seed, nested=False
        )
        for method in ("exact", "bayes")
    }
    exact, bayes = found["exact"], found["bayes"]
    assert exact.chosen.score >= bayes.chosen.score - 1e-12
    assert len(bayes.candidates) == (1 if encoder == "ols" else 12)
    by_setting = {tuple(c.setting.items()): c.fold_scores for c in exact.candidates}
    for candidate in bayes.candidates:
        np.testing.assert_allclose(candidate.fold_scores, by_setting[tuple(candidate.setting.items())], atol=1e-10)


def test_all_trials_of_a_small_space_find_the_exact_optimum() -> None:
    features, Y = simulated(80, 5, 4, 6)
    folds = make_folds(80, 5, 0)
    exact, bayes = (
        search_pair(Y, [Fixed(features[0])], [get_encoder("pls")], folds, method=method, trials=40)
        for method in ("exact", "bayes")
    )
    assert bayes.chosen.setting == exact.chosen.setting
    assert [c.setting for c in bayes.nested_choices] == [c.setting for c in exact.nested_choices]
    np.testing.assert_allclose(bayes.predictions, exact.predictions, atol=1e-10)
    np.testing.assert_allclose(bayes.voxel_scores, exact.voxel_scores, atol=1e-10)


def test_proposals_depend_on_the_seed_and_on_the_pair() -> None:
    features, Y = simulated(80, 5, 15, 6)
    folds = make_folds(80, 5, 0)

    def proposed(seed: int, *names: str) -> list[object]:
        result = search_pair(
            Y, [Fixed(features[0])], [get_encoder("ridge")], folds, method="bayes", trials=6, seed=seed, names=names,
            nested=False,
        )  # fmt: skip
        return [c.setting for c in result.candidates]

    assert proposed(0, "sub01", "V1") == proposed(0, "sub01", "V1")
    assert proposed(0, "sub01", "V1") != proposed(1, "sub01", "V1")
    assert proposed(0, "sub01", "V1") != proposed(0, "sub01", "V2")


def test_a_layer_without_scores_leaves_the_search_to_the_others() -> None:
    features, Y = simulated(60, 5, 6, 4)
    result = search_pair(
        Y,
        [Fixed(np.ones((65, 6)), "dead"), Fixed(features[0], "alive")],
        [get_encoder("pls")],
        make_folds(60, 4, 0),
        method="bayes",
        trials=3,
    )
    assert result.chosen.layer == "alive"
    assert np.isnan([c.score for c in result.candidates if c.layer == "dead"]).all()
