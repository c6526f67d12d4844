"""Our challenges do what every challenge must."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from voxelcast.challenges import list_challenges
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.formats.algonauts2021 import Algonauts2021Dataset, Algonauts2021Settings
from voxelcast.datasets.formats.algonauts2023 import Algonauts2023Dataset, Algonauts2023Settings
from voxelcast.datasets.formats.algonauts2025 import Algonauts2025Dataset, Algonauts2025Settings
from voxelcast.testing.challenges import ChallengeConformance
from voxelcast.testing.miniatures import MINIATURES


class TestAlgonauts2021(ChallengeConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def datasets(cls, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Dataset]:
        root = tmp_path_factory.mktemp("data")
        MINIATURES["algonauts2021"](root, 0)
        return [Algonauts2021Dataset(Algonauts2021Settings(root))]


class TestAlgonauts2023(ChallengeConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def datasets(cls, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Dataset]:
        root = tmp_path_factory.mktemp("data")
        MINIATURES["algonauts2023"](root, 0)
        return [Algonauts2023Dataset(Algonauts2023Settings(root, subject=subject)) for subject in ("subj01", "subj02")]


class TestAlgonauts2025(ChallengeConformance):
    @pytest.fixture(scope="class")
    @classmethod
    def datasets(cls, tmp_path_factory: pytest.TempPathFactory) -> Sequence[Dataset]:
        root = tmp_path_factory.mktemp("data")
        MINIATURES["algonauts2025"](root, 0)
        return [Algonauts2025Dataset(Algonauts2025Settings(root))]


def test_every_challenge_is_tested_here() -> None:
    tested = {name.removeprefix("Test").lower() for name in globals() if name.startswith("Test")}
    assert tested == set(list_challenges("algonauts*"))
