"""A family of another package, and what the layers of a network cost."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.networks.loading import loaded
from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.features.pooling import POOLS, MeanPool, list_pools, make_pool, register_pool
from voxelcast.networks.family import FAMILIES, Family, register_network
from voxelcast.networks.layer_sizes import extraction_cost
from voxelcast.networks.recipe import Recipe
from voxelcast.networks.registry import find_family, list_networks, load_network
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings


class Lab(Family):
    prefix = "lab/"

    def names(self):
        return ["lab/tiny"]

    def recipe(self, settings: NetworkSettings) -> Recipe:
        return Recipe(
            name=settings.name,
            build=lambda _size, _random: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()),
            input_size=8,
            mean=(0.5,) * 3,
            std=(0.5,) * 3,
            default="the weights of 'lab/tiny' are in the safe",
        )


@pytest.fixture
def lab(monkeypatch):
    list(FAMILIES)  # ours are there before the copy is made
    monkeypatch.setattr(FAMILIES, "_members", dict(FAMILIES._members))
    register_network("lab")(Lab)


def test_a_family_is_one_class(lab):
    assert list_networks("lab/*") == ("lab/tiny",)
    assert "lab/tiny" in list_networks()
    network = load_network("lab/tiny", layers="all", weights="random")
    assert network.layers == ("0", "1")
    assert network.activations(torch.zeros(2, 3, 8, 8))["1"].shape == (2, 4, 6, 6)
    with pytest.raises(FileNotFoundError, match="in the safe"):
        load_network("lab/tiny", layers="all")
    with pytest.raises(UnknownNameError, match="did you mean lab/tiny"):
        load_network("lab/tny", layers="all")
    with pytest.raises(OptionError, match="noise_seed is for networks with noise"):
        load_network("lab/tiny", layers="all", weights="random", noise_seed=1)


def test_what_is_no_torch_module_has_no_recipe():
    settings = NetworkSettings("voxelcast/motion_energy", "all")
    with pytest.raises(OptionError, match="is no torch module"):
        find_family(settings).recipe(settings)


def test_a_pool_is_one_class(monkeypatch):
    list(POOLS)
    monkeypatch.setattr(POOLS, "_members", dict(POOLS._members))
    register_pool("last")(type("Last", (MeanPool,), {}))
    register_pool("power(...)")(lambda text: type("Power", (MeanPool,), {"power": float(text)})())
    assert "last" in list_pools()
    assert "power(...)" not in list_pools()
    assert make_pool("power(3)").power == 3.0
    with pytest.raises(UnknownNameError, match="'mean\\(3\\)'"):
        make_pool("mean(3)")


def test_features_cost_what_their_layers_have():
    layers = loaded(NetworkSettings("voxelcast/motion_energy", "*", None, 64)).layer_traces()
    n = sum(math.prod(layer.shape) for layer in layers)
    one = extraction_cost(layers, ExtractionSettings(), n_frames=90, batch=4)
    assert one.disk == 4 * n
    assert one.memory == 4 * 4 * n + 8 * n
    both = extraction_cost(layers, ExtractionSettings(pools=("mean", "none")), n_frames=90, batch=4)
    assert both.disk == 4 * n * 91
    assert both.memory == one.memory + 4 * n * 90
    pooled = extraction_cost(layers, ExtractionSettings(spatial_pool="mean"), n_frames=90, batch=4)
    assert pooled.disk == 4 * sum(layer.shape[0] for layer in layers)
