"""Our challenges do what every challenge must."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from voxelcast.challenges import list_challenges
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.formats.algonauts2023 import Algonauts2023Dataset, Algonauts2023Settings
from voxelcast.datasets.registry import open_dataset
from voxelcast.testing.challenges import ChallengeConformance
from voxelcast.testing.miniatures import write_miniature


class TestAlgonauts2021(ChallengeConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def datasets(cls, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Dataset]:
        return [open_dataset(write_miniature("algonauts2021", tmp_path_factory.mktemp("data") / "root"))]


class TestAlgonauts2023(ChallengeConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def datasets(cls, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Dataset]:
        root = tmp_path_factory.mktemp("data") / "root"
        write_miniature("algonauts2023", root)
        return [Algonauts2023Dataset(Algonauts2023Settings(root, subject=subject)) for subject in ("subj01", "subj02")]


class TestAlgonauts2025(ChallengeConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def datasets(cls, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Dataset]:
        return [open_dataset(write_miniature("algonauts2025", tmp_path_factory.mktemp("data") / "root"))]


def test_every_challenge_is_tested_here() -> None:
    tested = {name.removeprefix("Test").lower() for name in globals() if name.startswith("Test")}
    assert tested == set(list_challenges("algonauts*"))
