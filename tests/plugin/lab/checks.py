"""The lab's own tests: the suites that ship with voxelcast, and one experiment over all that it adds."""

from __future__ import annotations

import csv
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from voxelcast.challenges.registry import list_challenges
from voxelcast.core.progress import Silent
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import list_datasets, open_dataset
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.encoders.registry import list_encoders
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.networks.registry import list_networks
from voxelcast.networks.settings import NetworkSettings
from voxelcast.testing.challenges import ChallengeConformance
from voxelcast.testing.datasets import DatasetConformance
from voxelcast.testing.encoders import EncoderSuite
from voxelcast.testing.miniatures import write_miniature
from voxelcast.testing.networks import NetworkConformance


@pytest.fixture(scope="module")
def lab_settings(tmp_path_factory: pytest.TempPathFactory) -> DatasetSettings:
    return write_miniature("lab", tmp_path_factory.mktemp("lab") / "data")


class TestOurDataset(DatasetConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def settings(cls, lab_settings: DatasetSettings) -> DatasetSettings:
        return lab_settings


class TestOurChallenge(ChallengeConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def datasets(cls, lab_settings: DatasetSettings) -> Sequence[Dataset]:
        return [open_dataset(lab_settings)]


class TestOurEncoder(EncoderSuite):
    names = ("lab_shrunk",)


class TestOurNetwork(NetworkConformance):
    @pytest.fixture(scope="module")
    def network_settings(self) -> NetworkSettings:
        return NetworkSettings("lab/small", layers="all", weights="random")


def test_they_are_listed_beside_those_of_voxelcast() -> None:
    assert {"folder", "lab"} <= set(list_datasets())
    assert "lab/small" in list_networks()
    assert {"ridge", "lab_shrunk"} <= set(list_encoders())
    assert {"algonauts2023", "lab"} <= set(list_challenges())


def test_an_experiment_over_all_of_them(lab_settings: DatasetSettings, tmp_path: Path) -> None:
    experiment: dict[str, Any] = {
        "name": "lab",
        "dataset": {"kind": "lab", "root": str(lab_settings.root)},
        "networks": [{"name": "lab/small", "layers": "0", "weights": "random"}],
        "pool": "lab_first",
        "compress": {"components": 3},
        "encoders": ["ridge", "lab_shrunk"],
        "folds": {"n": 3},
        "significance": {"permutations": 0},
        "compute": {"workers": 1},
    }
    run_experiment(parse_config(experiment, "lab"), tmp_path / "out", progress=Silent())
    with (tmp_path / "out" / "scores.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["subject"], row["roi"]) == ("monkey", "IT")
    assert float(row["score"]) > 0.8
    with zipfile.ZipFile(tmp_path / "out" / "submission" / "lab.zip") as archive:
        assert archive.namelist() == ["monkey.npy"]
