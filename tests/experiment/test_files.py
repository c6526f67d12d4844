"""The files of an output: few, and none for two things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experiment.miniature import read_table, run, settings, stimulus_ids, write_dataset, write_table
from voxelcast.challenges.predictions import read_outputs
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.folder_settings import FolderSettings
from voxelcast.experiment.planning.held_out import LAYERS_TOGETHER
from voxelcast.results.read import read_results

pytestmark = pytest.mark.usefixtures("in_process")


def test_each_has_its_own_files(tmp_path: Path) -> None:
    root, pairs = write_dataset(tmp_path / "data", subjects=("a", "a_b")), {("a", "b_c"): 3, ("a_b", "c"): 2}
    rows = [(subject, voxel, roi) for (subject, roi), n in pairs.items() for voxel in range(n)]
    write_table(root / "rois.csv", ("subject", "voxel", "roi"), rows)
    split = [(name, "test" if k < 6 else "train") for k, name in enumerate(stimulus_ids(root))]
    write_table(root / "split.csv", ("stimulus_id", "split"), split)
    layers = {"variance_partitioning": {"groups": {"x": ["colour"], "y": ["static.4"]}, "draws": 0}}
    run(settings(root, encoders=["ridge"], **layers), tmp_path / "out")
    results = read_results(tmp_path / "out")
    assert {pair: len(arrays["pearson_r"]) for pair, arrays in results.voxels.items()} == pairs
    scores = {(row["subject"], row["roi"]): float(row["score"]) for row in read_table(tmp_path / "out" / "scores.csv")}
    for pair, arrays in results.voxels.items():
        assert arrays["pearson_r"].mean() == pytest.approx(scores[pair])
    predicted = read_outputs([tmp_path / "out"], FolderDataset(FolderSettings(root)))
    assert {pair: values.shape for pair, values in predicted.items()} == {pair: (6, n) for pair, n in pairs.items()}
    assert {pair: arrays["measured"].shape[0] for pair, arrays in results.examples.items()} == dict.fromkeys(pairs, 42)
    assert not np.array_equal(predicted["a", "b_c"][:, :2], predicted["a_b", "c"])
    assert len(list((tmp_path / "out" / "variance_partitioning").iterdir())) == 2


def test_they_are_few(tmp_path: Path) -> None:
    """Counted by parts, 90 subjects x ROI, 25 layers and the 1,102 videos of the challenge leave fewer than 1,000."""
    root = write_dataset(tmp_path / "data", n=40, subjects=("ann", "bob", "cat"))
    run(settings(root, encoders=["ridge"]), tmp_path / "out")
    files = [path.relative_to(tmp_path / "out") for path in (tmp_path / "out").rglob("*") if path.is_file()]
    steps = [path for path in files if path.parts[0] == "steps" and path.name != ".users"]  # who uses the store
    assert len(steps) == 2 * (3 + 2 + 2 + 3 + 1)  # responses, shards of 32 stimuli, layers, fits, axes
    models = [path for path in files if path.parts[0] == "models"]
    assert len(models) == 3 + 2 + 1  # subjects, card and README, the layer that all weigh
    of_pairs = [path for path in files if len(path.parts) == 2 and path not in models and path.parts[0] != "steps"]
    others = [path for path in files if len(path.parts) == 1]
    assert len(of_pairs) + len(others) + len(steps) + 1 + len(models) == len(files)
    assert len(of_pairs) == 3 * 4
    submission, shards = 3, [-(-1000 // 32), -(-102 // 32)]
    of_models = 10 + 2 + 25 + 2 * -(-25 // LAYERS_TOGETHER)
    held_out = 2 * (10 + shards[1])
    everything = 90 * (2 + 2 + 4) + 25 * 2 + sum(shards) * 2 + of_models + held_out + len(others) + submission
    assert everything < 1000
