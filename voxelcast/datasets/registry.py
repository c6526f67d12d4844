"""The kinds of dataset that an experiment can name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from voxelcast.datasets.base import Dataset
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.formats.algonauts2021 import Algonauts2021Dataset
from voxelcast.datasets.formats.algonauts2023 import Algonauts2023Dataset
from voxelcast.datasets.formats.algonauts2025 import Algonauts2025Dataset
from voxelcast.datasets.formats.bold_moments import BoldMomentsDataset
from voxelcast.datasets.formats.simulated import SimulatedDataset
from voxelcast.datasets.time_series import TimeSeriesDataset

DATASETS: dict[str, type[Dataset]] = {
    dataset.kind: dataset
    for dataset in (
        Algonauts2021Dataset,
        Algonauts2023Dataset,
        Algonauts2025Dataset,
        BoldMomentsDataset,
        FolderDataset,
        SimulatedDataset,
        TimeSeriesDataset,
    )
}
"""Class of each kind; a new one is added here and to ``tests/datasets/test_conformance.py``."""


def list_datasets(pattern: str = "*") -> tuple[str, ...]:
    """List the kinds of dataset that match a pattern such as ``"algonauts*"``, sorted."""
    return tuple(sorted(kind for kind in DATASETS if fnmatchcase(kind, pattern)))
