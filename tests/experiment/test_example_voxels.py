"""The voxels whose measured and predicted responses are kept for the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.experiment.results import voxels_at_quantiles, write_example_voxels
from voxelcast.experiment.steps.extract import Readable
from voxelcast.store.result import ResultWriter, StepResult


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


def _readable(train_rows: IntArray, test_rows: IntArray) -> Readable:
    train, test = (tuple(str(row) for row in rows) for rows in (train_rows, test_rows))
    return Readable(train, test, train_rows, test_rows, None, None, None, {})


@pytest.mark.parametrize("nested", [True, False])
def test_rows_are_those_of_the_score(tmp_path: Path, nested: bool) -> None:
    rng = np.random.default_rng(0)
    train, test = rng.normal(size=(6, 5)), rng.normal(size=(5, 5))
    readable = _readable(np.array([0, 1, 3, 5]), np.array([0, 2, 4]))
    out_of_fold, predictions = rng.normal(size=(4, 5)), rng.normal(size=(3, 5))
    scores: FloatArray = np.array([0.1, 0.4, 0.2, 0.3, 0.0])
    writer = ResultWriter(tmp_path / "result.npz")
    for name, array in (("train", train), ("test", test), ("out_of_fold", out_of_fold), ("predictions", predictions)):
        writer.array(name, array)
    writer.array("voxels/pearson_r" if nested else "voxels/held_out_r", scores)
    writer.close()
    result = StepResult(tmp_path / "result.npz")
    write_example_voxels(tmp_path / "example.npz", result, result, readable)
    with np.load(tmp_path / "example.npz") as found:
        assert found["voxel"].tolist() == [1, 3, 2]
        np.testing.assert_array_equal(found["score"], scores[[1, 3, 2]])
        measured = train[[0, 1, 3, 5]] if nested else test[[0, 2, 4]]
        np.testing.assert_array_equal(found["measured"], measured[:, [1, 3, 2]])
        np.testing.assert_array_equal(found["predicted"], (out_of_fold if nested else predictions)[:, [1, 3, 2]])


def test_no_score_no_file(tmp_path: Path) -> None:
    writer = ResultWriter(tmp_path / "result.npz")
    writer.array("voxels/noise_ceiling_r", np.ones(3))
    writer.close()
    result = StepResult(tmp_path / "result.npz")
    write_example_voxels(tmp_path / "example.npz", result, result, _readable(np.arange(2), np.arange(0)))
    assert not (tmp_path / "example.npz").exists()
