"""What runs left, gathered: each part from one place, and of the right stimuli."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from voxelcast.challenges.predictions import read_outputs, score_predictions
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError
from voxelcast.datasets.base import Dataset

DATASET = cast(
    Dataset,
    SimpleNamespace(
        kind="test",
        challenge="algonauts2021",
        subjects=("s1", "s2"),
        rois=lambda subject: ("V1", "V2"),
        test_stimuli=tuple(SimpleNamespace(stimulus_id=name) for name in "abc"),
        has_test_responses=False,
    ),
)


def _output(folder: Path, subject: str, roi: str, value: float, ids: str = "abc") -> Path:
    (folder / "predictions").mkdir(parents=True, exist_ok=True)
    np.save(folder / "predictions" / f"{subject}_{roi}.npy", np.full((len(ids), 2), value))
    rows = "".join(f"{name},test\n" for name in ids)
    (folder / "predictions" / f"{subject}_{roi}_stimuli.csv").write_text(f"stimulus_id,split\n{rows}")
    return folder


def test_parts_come_from_several_outputs(tmp_path: Path) -> None:
    outputs = [_output(tmp_path / "x", "s2", "V1", 2.0), _output(tmp_path / "y", "s1", "V2", 1.0)]
    found = read_outputs(outputs, DATASET)
    assert {part: values[0, 0] for part, values in found.items()} == {("s2", "V1"): 2.0, ("s1", "V2"): 1.0}


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    first, second = (_output(tmp_path / name, "s1", "V1", 1.0) for name in "xy")
    with pytest.raises(DataError, match="s1 V1 is predicted in both"):
        read_outputs([first, second], DATASET)
    with pytest.raises(AlignmentError, match="at place 1 'c' against 'b'"):
        read_outputs([_output(tmp_path / "z", "s1", "V1", 1.0, ids="acb")], DATASET)
    with pytest.raises(DataError, match="no subject and ROI of this dataset"):
        read_outputs([_output(tmp_path / "other", "s9", "V1", 1.0)], DATASET)
    with pytest.raises(MissingFileError, match="holds no predictions/"):
        read_outputs([tmp_path], DATASET)


def test_a_score_needs_a_file_and_measured_responses(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"none\.zip does not exist"):
        score_predictions(tmp_path / "none.zip", [DATASET])
    with pytest.raises(DataError, match="this test dataset has none"):
        score_predictions(tmp_path, [DATASET])
