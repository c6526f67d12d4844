"""Features of a folder of stimuli: the same files wherever they are extracted, and one extraction at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import ENERGY, contents, write_dataset
from voxelcast.core.errors import ConfigError, StimulusError, StoreError
from voxelcast.execution.profile import THIS_MACHINE, LocalProfile, SlurmProfile
from voxelcast.execution.status import read_status
from voxelcast.experiment.extraction import FolderExtraction, extract_folder
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.store.lock import locked

N_STIMULI = 40  # two steps: 32 and 8


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return write_dataset(tmp_path / "data", n=N_STIMULI) / "stimuli"


def extract(source: Path, output: Path, **changes: Any) -> dict[str, bytes]:
    """Extract two layers and return the files that the user gets."""
    network = NetworkSettings(name=ENERGY, layers=("colour", "static.4"), input_size=64)
    on = changes.pop("on", THIS_MACHINE)
    extraction = ExtractionSettings(spatial_pool=changes.pop("spatial_pool", "none"))
    extract_folder(FolderExtraction(source, network, extraction, **changes), output, on=on)
    found = contents(output)
    return {name: found[name] for name in ("colour.npy", "static.4.npy", "stimuli.csv", "settings.json")}


def marks(output: Path) -> dict[str, int]:
    return {str(mark.parent): mark.stat().st_mtime_ns for mark in (output / "steps").glob("[!.]*/[!.]*/DONE")}


def spoil(pictures: Path) -> tuple[Path, bytes]:
    """Cut off a picture of the second step; return its file and what it was."""
    path = pictures / sorted(p.name for p in pictures.iterdir())[35]
    whole = path.read_bytes()
    path.write_bytes(whole[:60])
    return path, whole


def test_an_extraction_goes_on_and_says_how_far_it_is(pictures: Path, tmp_path: Path, in_process: None) -> None:
    output = tmp_path / "out"
    path, whole = spoil(pictures)
    with pytest.raises(StimulusError, match=path.name):
        extract(pictures, output)
    status = read_status(output)
    assert status.state == "not running"
    assert status.stages[0].line().endswith("1 of 2 done, 1 failed")
    assert path.name in status.troubles[0]
    before = marks(output)
    path.write_bytes(whole)
    here = extract(pictures, output)
    assert before.items() <= marks(output).items()
    assert read_status(output).state == "finished"
    assert np.load(output / "colour.npy").shape[0] == N_STIMULI
    assert extract(pictures, tmp_path / "undisturbed") == here


@pytest.mark.slow
def test_files_are_the_same_wherever_they_are_extracted(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="needs pip install 'voxelcast[cluster]'")
    from tests.execution.local_dask import LocalDask

    here = extract(pictures, tmp_path / "here", on=LocalProfile(scheduler="local", workers=1))
    monkeypatch.setattr("voxelcast.experiment.extraction.open_engine", lambda *arguments: LocalDask())
    path, whole = spoil(pictures)
    with pytest.raises(StimulusError, match=path.name):
        extract(pictures, tmp_path / "away")
    path.write_bytes(whole)
    assert extract(pictures, tmp_path / "away") == here


def test_a_gpu_that_the_profile_does_not_have(pictures: Path, tmp_path: Path) -> None:
    workers = {"jobs": 1, "memory": "1GB", "time": "00:10:00"}
    profile = SlurmProfile.model_validate({"scheduler": "slurm", "shared_folder": tmp_path, "workers": workers})
    with pytest.raises(ConfigError, match="--device cuda is asked for but the profile has no workers with GPUs"):
        extract(pictures, tmp_path / "out", device="cuda", on=profile)
    assert not (tmp_path / "out").exists()


def test_two_extractions_do_not_work_in_one_folder(pictures: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "out"), pytest.raises(StoreError, match=r"under way in .*out; wait for it"):
        extract(pictures, tmp_path / "out")


def test_an_extraction_that_came_first_is_noticed(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_process: None
) -> None:
    """Both looked at the empty folder; the other one wrote its features while this one loaded its network."""
    from voxelcast.experiment import extraction

    load, others = extraction.load, []

    def slowly(*arguments: Any) -> Any:
        monkeypatch.setattr(extraction, "load", load)
        others.append(extract(pictures, tmp_path / "out", spatial_pool="mean"))
        return load(*arguments)

    monkeypatch.setattr(extraction, "load", slowly)
    with pytest.raises(StoreError, match="holds features of other settings"):
        extract(pictures, tmp_path / "out")
    found = contents(tmp_path / "out")
    assert {name: found[name] for name in others[0]} == others[0]
