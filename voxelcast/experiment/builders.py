"""From settings to networks, made once per process."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from voxelcast.experiment.settings import NetworkConfig
from voxelcast.networks.base import Network


def network_json(config: NetworkConfig, seed: int) -> str:
    """Express a network's settings as the JSON text that travels to a worker process."""
    plain: dict[str, Any] = config.model_dump(mode="json", exclude={"label"})
    return json.dumps({**plain, "weights": config.chosen_weights, "seed": seed})


@lru_cache(maxsize=1)
def network_from_json(text: str, device: str) -> Network:
    """Load the network of a JSON text (torch is imported here, not before)."""
    from voxelcast.networks.registry import load_network

    # JSON knows no tuples, and means and layers are expected to be some: they are looked up.
    plain: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(text).items()
    }
    name = plain.pop("name")
    return load_network(name, device=device, **plain)
