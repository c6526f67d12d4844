"""What would need too large a matrix is known before anything is extracted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiment.miniature import settings, write_dataset
from voxelcast.core.errors import OptionError
from voxelcast.experiment.run import estimate_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.features import compress


@pytest.mark.parametrize(
    ("compression", "match"),
    [
        ({"method": "mds", "components": 2}, r"method=mds allows at most 20 stimuli, .*; got 24 of layer .* colour"),
        ({"method": "pca", "components": "max"}, r"components must be at most 0, what 2\.5 GB .* 24 stimuli of 192"),
    ],
)
def test_too_large_a_matrix_is_refused_before_extraction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: dict[str, object], match: str
) -> None:
    monkeypatch.setattr(compress, "MOST_SQUARE", 20)
    root = write_dataset(tmp_path / "data", n=24, n_voxels=2)
    plain = settings(root, compress=compression, folds={"n": 3, "nested": False})
    plain["networks"][0]["layers"] = ["colour"]
    with pytest.raises(OptionError, match=match):
        estimate_experiment(parse_config(plain, "test"), tmp_path / "out")
