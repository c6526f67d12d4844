"""The step that writes features that come with the dataset as if a network's layer had been extracted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import ShapeError
from voxelcast.core.settings import NO_EFFECT, content
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import open_once
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.experiment.steps.extract import layer_path
from voxelcast.store.keys import content_key


@dataclass(frozen=True)
class FeatureTable:
    """A table of features by its name, and the hash of its values."""

    name: str
    hash: str


@dataclass(frozen=True)
class TableJob(Job):
    """Write some tables."""

    kind = "extract"
    version = 1
    dataset: Annotated[DatasetSettings, NO_EFFECT]
    tables: tuple[FeatureTable, ...]
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """What stands for a network's name."""
        return "dataset"

    def run(self, folder: Path, context: StepContext) -> None:
        """Write ``<table>.npy`` (n_stimuli, n_features) float64 of each table; ``stimuli.json`` as `ExtractJob`."""
        source = open_once(self.dataset)
        for table in self.tables:
            np.save(layer_path(folder, table.name), _checked(source, table.name, len(self.ids)))
        records = [{"stimulus_id": stimulus_id, "n_frames": 0, "broken": None} for stimulus_id in self.ids]
        (folder / "stimuli.json").write_text(json.dumps(records))


def table_step(settings: DatasetSettings, dataset: Dataset, names: Sequence[str], ids: Sequence[str]) -> Step:
    """Make the step that writes some tables, which must have a row of finite values for each stimulus."""
    tables = [FeatureTable(name, content_key(content(_checked(dataset, name, len(ids))))) for name in names]
    return Step(TableJob(settings, tuple(tables), tuple(ids)), size=len(ids))


def _checked(dataset: Dataset, table: str, n_stimuli: int) -> FloatArray:
    features = np.asarray(dataset.features(table), dtype=np.float64)
    if features.ndim != 2 or len(features) != n_stimuli:
        raise ShapeError(f"features {table} must have shape (n_stimuli={n_stimuli}, n_features); got {features.shape}")
    check_finite(f"features {table}", features)
    return features
