"""Networks with random weights that several tests look at, loaded once."""

from __future__ import annotations

from functools import cache

from voxelcast.networks.layer_sets import expand_layers
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import NetworkSettings


@cache
def loaded(settings: NetworkSettings):
    return load_network(settings)


def layers_at_64(name: str, asked: str) -> tuple[str, ...]:
    """Return the layers that are meant by a name, of a network whose layers are all loaded."""
    weights = None if name.startswith("voxelcast/") else "random"
    network = loaded(NetworkSettings(name, "*", weights, 64))
    assert isinstance(network, ModuleNetwork)
    return expand_layers([asked], network.layer_names(), name, network.layer_sets())
