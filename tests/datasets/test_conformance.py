"""What every dataset must do, on a small one of each kind; a new kind needs a maker in miniatures.py."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.datasets.miniatures import MAKERS, OPENED
from voxelcast.datasets.registry import DATASETS, dataset_settings, list_datasets
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.testing.datasets import DatasetConformance
from voxelcast.testing.miniatures import write_miniature


class TestDatasets(DatasetConformance):
    @pytest.fixture(scope="class", params=sorted(DATASETS))
    @classmethod
    def settings(
        cls,
        request: pytest.FixtureRequest,
        miniature: Callable[[str], Path],
        tmp_path_factory: pytest.TempPathFactory,
    ) -> DatasetSettings:
        kind = request.param
        if kind in MAKERS:
            return MAKERS[kind](tmp_path_factory.mktemp(kind))
        return dataset_settings({"kind": kind, "root": miniature(kind), **OPENED[kind]})


class TestMiniatures(DatasetConformance):
    @pytest.fixture(scope="class", params=["folder", "time_series"])
    @classmethod
    def settings(cls, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> DatasetSettings:
        return write_miniature(request.param, tmp_path_factory.mktemp("miniature") / request.param)


def test_registry_lists_kinds_by_pattern() -> None:
    assert list_datasets() == tuple(sorted(DATASETS))
    assert list_datasets("algo*202[13]") == ("algonauts2021", "algonauts2023")
    assert list_datasets("nothing*") == ()
