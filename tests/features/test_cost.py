from __future__ import annotations

import pytest

from voxelcast.core.cost import Cost
from voxelcast.features.compressors import list_compressors
from voxelcast.features.settings import CompressionSettings


def test_costs_add_up_but_for_memory():
    one, other = Cost(operations=1.0, seconds=2.0, memory=30.0, disk=4.0), Cost(memory=50.0, disk=1.0)
    assert one + other == Cost(1.0, 2.0, 50.0, 5.0)
    assert one * 3 == Cost(3.0, 6.0, 30.0, 12.0)


@pytest.mark.parametrize("method", list_compressors())
def test_every_compression_states_its_cost(method):
    few, many = (CompressionSettings(method, k).cost(1000, 900, 50_000, 11) for k in (5, 50))
    assert (few.disk, many.disk) == (8 * 1000 * 5 * 11, 8 * 1000 * 50 * 11)
    assert 1e6 < few.operations <= many.operations
    assert 8 * 1000 * 50 < few.memory <= many.memory < 1e9
    again = CompressionSettings(method, 50).cost(1000, 900, 50_000, 22)
    assert again.operations > many.operations
    assert again.memory == many.memory


def test_features_left_as_they_are_cost_their_size():
    assert CompressionSettings("none").cost(1000, 900, 200, 3) == Cost(memory=16 * 1000 * 200, disk=24 * 1000 * 200)


def test_no_more_components_are_counted_than_there_can_be():
    assert CompressionSettings("pca", 50).kept(900, 20) == 20
    assert CompressionSettings("pca", "max").kept(900, 2000) == 900
