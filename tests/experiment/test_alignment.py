"""Features and responses are joined by stimulus id: another order or other ids are an error, never a quiet mix-up."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.experiment.miniature import run, settings
from voxelcast.core.errors import AlignmentError
from voxelcast.datasets.base import ResponseSet
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.registry import close_all
from voxelcast.store.result import ResultWriter

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
def test_features_of_other_stimuli_are_refused(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    write = ResultWriter.json

    def changed(self: ResultWriter, name: str, value: Any) -> None:
        if name == "stimuli" and change == "order":
            value[0], value[1] = value[1], value[0]
        elif name == "stimuli":
            value[0]["stimulus_id"] = "another"
        write(self, name, value)

    monkeypatch.setattr(ResultWriter, "json", changed)
    with pytest.raises(AlignmentError, match=r"features of .* must hold the same stimulus ids"):
        run(settings(images), tmp_path / "out")
