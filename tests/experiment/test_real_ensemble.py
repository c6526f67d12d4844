"""What combining layers is worth on real responses: macaque V4 and six blocks of MobileNetV2."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.experiment.miniature import read_table
from voxelcast.core.progress import Silent
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings_file import load_config

pytestmark = pytest.mark.slow

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "v4_stacking.yaml"


def test_stacking_beats_the_best_layer_by_three_percent(real_data: Path, tmp_path: Path) -> None:
    """Run the example with fewer components and folds, on every second block around the best one."""
    config = load_config(
        EXAMPLE,
        [
            f"dataset.root={real_data / 'v4_macaque'}",
            f"networks.0.weights={real_data / 'weights' / 'mobilenet_v2_1.0_224_coral_tv.pth'}",
            "networks.0.layers=[features.4, features.6, features.8, features.10, features.12, features.14]",
            "compress.components=200",
            "folds.n=5",
            "significance.permutations=0",
        ],
    )
    output = tmp_path / "out"
    run_experiment(config, output, progress=Silent())
    (row,) = read_table(output / "scores.csv")
    single, gain, low = (float(row[name]) for name in ("single_score", "gain", "gain_low"))
    assert row["n_voxels"] == "89"
    assert single > 0.57
    assert gain >= 0.03 * single
    assert low > 0
    # Neither the blocks nor the model on all of them do it alone.
    (weights,) = (np.load(path) for path in (output / "weights").glob("*.npy"))
    assert weights.shape == (7, 89)
    assert 0.2 < weights[-1].mean() < 0.8
