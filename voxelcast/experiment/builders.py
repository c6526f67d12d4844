"""From settings to datasets, opened once per process."""

from __future__ import annotations

from typing import Any

from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import DATASETS
from voxelcast.experiment.dataset_config import DatasetConfig, FolderConfig

_OPEN: dict[str, Dataset] = {}


def dataset_arguments(config: DatasetConfig) -> dict[str, Any]:
    """Return the constructor arguments that the settings stand for."""
    arguments = {name: getattr(config, name) for name in type(config).model_fields if name != "kind"}
    if isinstance(config, FolderConfig):
        arguments |= {"rois": arguments.pop("roi_table"), "roi_selection": config.rois}
    return arguments


def build_dataset(config: DatasetConfig) -> Dataset:
    """Open the dataset that the settings describe."""
    return DATASETS[config.kind](**dataset_arguments(config))


def dataset_of(settings: DatasetConfig) -> Dataset:
    """Open the dataset that the settings describe, once per process."""
    key = repr(settings)
    if key not in _OPEN:
        _OPEN.clear()
        _OPEN[key] = build_dataset(settings)
    return _OPEN[key]
