"""The voxels whose measured and predicted responses are kept for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experiment.miniature import run, settings
from tests.models.helpers import held_out
from voxelcast.core.arrays import FloatArray
from voxelcast.experiment.results import example_voxels, voxels_at_quantiles
from voxelcast.results.read import read_results
from voxelcast.scoring.correlation import cross_validated_r


@pytest.mark.parametrize(
    ("scores", "voxels", "quantiles"),
    [
        ([0.5, 0.1, 0.4, 0.2, 0.3], [0, 2, 4], [1.0, 0.75, 0.5]),
        ([0.2, 0.3, 0.1], [1, 0], [1.0, 0.5]),
        ([np.nan, 0.1, np.nan, 0.3], [3, 1], [1.0, 0.5]),
        ([0.2], [0], [1.0]),
        ([np.nan, np.nan], [], []),
    ],
)
def test_best_upper_quartile_and_median(scores: list[float], voxels: list[int], quantiles: list[float]) -> None:
    found = voxels_at_quantiles(np.array(scores))
    assert [array.tolist() for array in found] == [voxels, quantiles]


def test_responses_are_those_of_the_voxels() -> None:
    rng = np.random.default_rng(0)
    measured, predicted = rng.normal(size=(4, 5)), rng.normal(size=(4, 5))
    scores: FloatArray = np.array([0.1, 0.4, 0.2, 0.3, 0.0])
    found = example_voxels(scores, measured, predicted)
    assert found["voxel"].tolist() == [1, 3, 2]
    np.testing.assert_array_equal(found["score"], scores[[1, 3, 2]])
    np.testing.assert_array_equal(found["measured"], measured[:, [1, 3, 2]])
    np.testing.assert_array_equal(found["predicted"], predicted[:, [1, 3, 2]])


def test_no_score_no_example() -> None:
    assert example_voxels(np.full(3, np.nan), np.zeros((2, 3)), np.zeros((2, 3))) == {}


@pytest.mark.parametrize("nested", [True, False])
def test_stimuli_are_those_of_the_score(images: Path, tmp_path: Path, in_process: None, nested: bool) -> None:
    held_out(images)
    run(settings(images, encoders=["ridge"], folds={"n": 4, "nested": nested}), tmp_path / "out")
    (of_pair,) = read_results(tmp_path / "out").examples.values()
    predictions = np.load(tmp_path / "out" / "predictions" / "ann_all.npy")
    voxels = of_pair["voxel"].astype(int)
    assert of_pair["predicted"].shape == ((36, 3) if nested else (12, 3))
    if nested:
        return
    np.testing.assert_array_equal(of_pair["predicted"], predictions[:, voxels])
    scored = cross_validated_r(of_pair["measured"], of_pair["predicted"], np.zeros(12, dtype=int))
    np.testing.assert_allclose(of_pair["score"], scored, atol=1e-12)
