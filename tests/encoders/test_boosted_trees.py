"""Gradient-boosted trees against plain gradient boosting, voxel by voxel."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.ensemble import GradientBoostingRegressor

from voxelcast.encoders.boosted_trees import BoostedTrees
from voxelcast.encoders.params import Params, ProblemSize

SETTING: Params = {"learning_rate": 0.1, "max_leaf_nodes": 6, "min_samples_leaf": 5, "l2": 0.001}


def test_agrees_with_plain_gradient_boosting_of_as_many_trees() -> None:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((400, 4))
    truth = np.stack([np.sin(2 * X[:, 0]) + X[:, 1], np.abs(X[:, 2])], axis=1)
    Y = truth + 0.3 * rng.standard_normal((400, 2))
    model = BoostedTrees(1).fit(X[:300], Y[:300], SETTING)
    predicted = model.predict(X[300:])
    for voxel in range(2):
        reference = GradientBoostingRegressor(
            n_estimators=model.voxels[voxel].n_iter_, learning_rate=0.1, max_leaf_nodes=6, min_samples_leaf=5
        ).fit(X[:300], Y[:300, voxel])
        # Other bins and a tenth fewer stimuli: not the same trees, but as near the truth.
        both = predicted[:, voxel], reference.predict(X[300:])
        ours, theirs = (np.corrcoef(p, truth[300:, voxel])[0, 1] for p in both)
        assert ours > 0.8
        assert abs(ours - theirs) < 0.08


def test_voxels_do_not_depend_on_each_other() -> None:
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((60, 3)), rng.standard_normal((60, 4))
    whole = BoostedTrees(1).fit(X, Y, SETTING).predict(X)
    np.testing.assert_array_equal(BoostedTrees(1).fit(X, Y[:, [2]], SETTING).predict(X)[:, 0], whole[:, 2])


@pytest.mark.parametrize("learning_rate", [0.01, 0.1])
@pytest.mark.parametrize(("unit", "shift"), [(1e-4, 0.0), (1e4, 0.0), (1.0, 1e6)])
def test_the_unit_of_responses_does_not_matter(learning_rate: float, unit: float, shift: float) -> None:
    rng = np.random.default_rng(3)
    X = rng.standard_normal((150, 4))
    Y = np.stack([2 * X[:, 0], np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2]], axis=1) + 0.5 * rng.standard_normal((150, 2))
    setting = {**SETTING, "learning_rate": learning_rate}
    plain, other = (BoostedTrees(1).fit(X, responses, setting) for responses in (Y, Y * unit + shift))
    assert [trees.n_iter_ for trees in other.voxels] == [trees.n_iter_ for trees in plain.voxels]
    np.testing.assert_allclose((other.predict(X) - shift) / unit, plain.predict(X), atol=1e-8)


def test_a_constant_voxel_is_predicted_by_its_value() -> None:
    rng = np.random.default_rng(4)
    X, Y = rng.standard_normal((60, 3)), rng.standard_normal((60, 2))
    Y[:, 1] = 3.5
    np.testing.assert_array_equal(BoostedTrees(1).fit(X, Y, SETTING).predict(X)[:, 1], 3.5)


def test_the_penalty_shrinks_predictions() -> None:
    rng = np.random.default_rng(5)
    X = rng.standard_normal((100, 3))
    Y = 2 * X[:, :1] + 0.5 * rng.standard_normal((100, 1))
    # Ten stimuli are set aside. The first tree has two leaves of n and 90 - n stimuli, whose residuals sum to R and -R:
    # they differ by R / (n + l2) + R / (90 - n + l2), which l2 = 100 makes smaller by the factor below.
    spreads = []
    for l2 in (0.001, 100.0):
        model = BoostedTrees(1).fit(X, Y, {**SETTING, "max_leaf_nodes": 2, "l2": l2})
        spreads.append(np.ptp(next(iter(model.voxels[0].staged_predict(X)))))
    n = np.arange(20, 46)
    shrunk = 290 * n * (90 - n) / (90 * (n + 100) * (190 - n))
    assert shrunk.min() < spreads[1] / spreads[0] < shrunk.max() * 1.001


def test_stops_early_on_noise() -> None:
    rng = np.random.default_rng(2)
    model = BoostedTrees().fit(rng.standard_normal((300, 5)), rng.standard_normal((300, 5)), SETTING)
    assert all(trees.n_iter_ < 60 for trees in model.voxels)


def test_time_grows_with_voxels() -> None:
    one, many = (BoostedTrees().fit_seconds(ProblemSize(900, 50, q)) for q in (1, 300))
    assert many == 300 * one
    assert 10 < many < 600
