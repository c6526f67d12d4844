"""From settings to objects: datasets and networks, made once per process."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from voxelcast.datasets.algonauts2021 import Algonauts2021Dataset
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.simulated import SimulatedDataset
from voxelcast.experiment.config import NetworkConfig
from voxelcast.experiment.dataset_config import Algonauts2021Config, DatasetConfig, FolderConfig
from voxelcast.networks.base import Network

_DATASET: TypeAdapter[DatasetConfig] = TypeAdapter(DatasetConfig)


def build_dataset(config: DatasetConfig) -> Dataset:
    """Open the dataset that the settings describe."""
    if isinstance(config, Algonauts2021Config):
        return Algonauts2021Dataset(config.root, track=config.track, subjects=config.subjects, rois=config.rois)
    if isinstance(config, FolderConfig):
        return FolderDataset(
            config.root,
            stimuli=config.stimuli,
            responses=config.responses,
            axes=config.axes,
            stimulus_ids=config.stimulus_ids,
            rois=config.roi_table,
            split=config.split,
            groups=config.groups,
            subjects=config.subjects,
            roi_selection=config.rois,
            unit=config.unit,
        )
    return SimulatedDataset(config.root, subjects=config.subjects, rois=config.rois)


@lru_cache(maxsize=2)
def dataset_from_json(text: str) -> Dataset:
    """Open the dataset of a JSON text: what travels to a worker process."""
    return build_dataset(_DATASET.validate_python(json.loads(text)))


def network_json(config: NetworkConfig, seed: int) -> str:
    """Express a network's settings as the JSON text that travels to a worker process."""
    plain: dict[str, Any] = config.model_dump(mode="json", exclude={"label"})
    return json.dumps({**plain, "weights": config.chosen_weights, "seed": seed})


@lru_cache(maxsize=1)
def network_from_json(text: str, device: str) -> Network:
    """Load the network of a JSON text (torch is imported here, not before)."""
    from voxelcast.networks.registry import load_network

    plain = json.loads(text)
    name = plain.pop("name")
    return load_network(name, device=device, **plain)
