"""The kinds of dataset that an experiment can name."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from pathlib import Path

from voxelcast.datasets.algonauts2021 import Algonauts2021Dataset
from voxelcast.datasets.algonauts2023 import Algonauts2023Dataset
from voxelcast.datasets.algonauts2025 import Algonauts2025Dataset
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.bold_moments import BoldMomentsDataset
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.miniature_algonauts2021 import write_algonauts2021
from voxelcast.datasets.miniature_algonauts2023 import write_algonauts2023
from voxelcast.datasets.miniature_algonauts2025 import write_algonauts2025
from voxelcast.datasets.miniature_bold_moments import write_bold_moments
from voxelcast.datasets.simulated import SimulatedDataset
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


MINIATURES: dict[str, Callable[[Path, int], None]] = {
    Algonauts2021Dataset.kind: write_algonauts2021,
    Algonauts2023Dataset.kind: write_algonauts2023,
    Algonauts2025Dataset.kind: write_algonauts2025,
    BoldMomentsDataset.kind: write_bold_moments,
}
"""Writer of a miniature of each kind with a fixed layout; called with the root and the seed."""


def list_datasets(pattern: str = "*") -> tuple[str, ...]:
    """List the kinds of dataset that match a pattern such as ``"algonauts*"``, sorted."""
    return tuple(sorted(kind for kind in DATASETS if fnmatchcase(kind, pattern)))
