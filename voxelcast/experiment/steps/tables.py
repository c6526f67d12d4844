"""The step that writes features that come with the dataset as if a network's layer had been extracted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite
from voxelcast.core.errors import ShapeError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import open_once
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.execution.steps import Step
from voxelcast.experiment.steps.extract import layer_path
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId

VERSION = 1


def table_steps(dataset: Dataset, settings: DatasetSettings, tables: Sequence[str], ids: Sequence[str]) -> list[Step]:
    """Make the one step that writes some tables; its key is their content.

    Raises
    ------
    UnknownNameError
        For a table that the dataset does not have.
    ShapeError, DataError
        If a table has another number of rows than there are stimuli, or values that are not finite.
    """
    content = {table: _checked(dataset, table, len(ids)).tolist() for table in tables}
    key = content_key({"version": VERSION, "tables": content, "stimuli": list(ids)})
    arguments = {"dataset": settings, "tables": tuple(tables), "ids": tuple(ids)}
    return [Step(StepId("extract", "dataset", key), write_tables, arguments, size=len(ids))]


def write_tables(folder: Path, *, dataset: DatasetSettings, tables: Sequence[str], ids: Sequence[str]) -> None:
    """Write ``<table>.npy`` (n_stimuli, n_features) float64 for each table and ``stimuli.json``, as `extract_shard`."""
    source = open_once(dataset)
    for table in tables:
        np.save(layer_path(folder, table), _checked(source, table, len(ids)))
    records = [{"stimulus_id": stimulus_id, "n_frames": 0, "broken": None} for stimulus_id in ids]
    (folder / "stimuli.json").write_text(json.dumps(records))


def _checked(dataset: Dataset, table: str, n_stimuli: int) -> FloatArray:
    features = np.asarray(dataset.features(table), dtype=np.float64)
    if features.ndim != 2 or len(features) != n_stimuli:
        raise ShapeError(f"features {table} must have shape (n_stimuli={n_stimuli}, n_features); got {features.shape}")
    check_finite(f"features {table}", features)
    return features
