"""A small study in a folder of its own, and what an experiment found in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.experiment.conftest import _Here
from tests.experiment.miniature import ENERGY, write_dataset
from voxelcast.api.experiment import run

EXPERIMENT: dict[str, Any] = {
    "name": "small",
    "dataset": {"kind": "folder", "root": "my_study"},
    "networks": [{"name": ENERGY, "layers": "colour", "input_size": 64}],
    "compress": {"components": 5},
    "encoders": "ridge",
    "folds": {"n": 3},
}
"""The one in the docstring of ``run``."""


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``my_study`` and ``outputs/small``, what the experiment found in it."""
    folder = tmp_path_factory.mktemp("study")
    write_dataset(folder / "my_study", n=36, n_voxels=4, subjects=("sub01",))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("voxelcast.execution.workers.ProcessPoolExecutor", _Here)
        run(EXPERIMENT, progress=False)
    return folder
