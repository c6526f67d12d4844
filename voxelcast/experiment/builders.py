"""From settings to objects: datasets and networks, made once per process."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter

from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import DATASETS
from voxelcast.experiment.dataset_config import DatasetConfig, FolderConfig
from voxelcast.networks.base import Network
from voxelcast.networks.settings import NetworkSettings

_DATASET: TypeAdapter[DatasetConfig] = TypeAdapter(DatasetConfig)


def dataset_arguments(config: DatasetConfig) -> dict[str, Any]:
    """Return the constructor arguments that the settings stand for."""
    arguments = {name: getattr(config, name) for name in type(config).model_fields if name != "kind"}
    if isinstance(config, FolderConfig):
        arguments |= {"rois": arguments.pop("roi_table"), "roi_selection": config.rois}
    return arguments


def build_dataset(config: DatasetConfig) -> Dataset:
    """Open the dataset that the settings describe."""
    return DATASETS[config.kind](**dataset_arguments(config))


@lru_cache(maxsize=2)
def dataset_from_json(text: str) -> Dataset:
    """Open the dataset of a JSON text: what travels to a worker process."""
    return build_dataset(_DATASET.validate_python(json.loads(text)))


def network_json(config: NetworkSettings, seed: int) -> str:
    """Express a network's settings as the JSON text that travels to a worker process."""
    return json.dumps({**asdict(replace(config, label=None)), "weights": config.chosen_weights, "seed": seed})


@lru_cache(maxsize=1)
def network_from_json(text: str, device: str) -> Network:
    """Load the network of a JSON text (torch is imported here, not before)."""
    from voxelcast.networks.registry import load_network

    plain: dict[str, Any] = json.loads(text)
    seed = plain.pop("seed")
    return load_network(NetworkSettings(**plain), seed=seed, device=device)
