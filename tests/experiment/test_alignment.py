"""Features and responses are joined by stimulus id: another order or other ids are an error, never a quiet mix-up."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.experiment.miniature import run, settings
from voxelcast.core.errors import AlignmentError
from voxelcast.datasets.base import ResponseSet
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.registry import close_all

pytestmark = pytest.mark.usefixtures("in_process")


def test_responses_in_another_order_are_refused(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = FolderDataset.responses

    def turned_round(self: FolderDataset, *arguments: Any) -> ResponseSet:
        found = read(self, *arguments)
        return replace(found, stimulus_ids=found.stimulus_ids[::-1], values=found.values[::-1])

    monkeypatch.setattr(FolderDataset, "responses", turned_round)
    close_all()
    with pytest.raises(AlignmentError, match=r"responses of .* same ids, other order: at place 0"):
        run(settings(images), tmp_path / "out")


@pytest.mark.parametrize("change", ["order", "other id"])
def test_features_of_other_stimuli_are_refused(images: Path, tmp_path: Path, change: str) -> None:
    output = tmp_path / "out"
    run(settings(images), output)
    path = next((output / "steps" / "extract").glob("*/stimuli.json"))
    records = json.loads(path.read_text())
    if change == "order":
        records[0], records[1] = records[1], records[0]
    else:
        records[0]["stimulus_id"] = "another"
    path.write_text(json.dumps(records))
    shutil.rmtree(output / "steps" / "fit")
    with pytest.raises(AlignmentError, match=r"features of .* must hold the same stimulus ids"):
        run(settings(images), output)
