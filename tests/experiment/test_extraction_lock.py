from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from voxelcast.core.errors import StoreError
from voxelcast.core.progress import Silent
from voxelcast.experiment.config import NetworkConfig
from voxelcast.experiment.extraction import extract_folder
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.store.lock import locked


def test_two_extractions_do_not_work_in_one_folder(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "in" / "a.png")
    network = NetworkConfig(name="voxelcast/motion_energy", layers=("static.*",), input_size=64)
    with locked(tmp_path / "out"), pytest.raises(StoreError, match=r"under way in .*out; wait for it"):
        extract_folder(
            tmp_path / "in", network, FrameSampling(every=1), tmp_path / "out",
            seed=0, device="cpu", recursive=False, on_broken="stop", progress=Silent(),
        )  # fmt: skip
