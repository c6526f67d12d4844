"""What every network has to do, ours and those of other packages.

A test class inherits `NetworkConformance` and says which networks::

    class TestMyNetworks(NetworkConformance):
        @pytest.fixture(scope="module", params=["lab/small", "lab/large"])
        @classmethod
        def network_settings(cls, request):
            return NetworkSettings(request.param, layers="all", weights="random", input_size=64)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from voxelcast.networks.base import Network
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import NetworkSettings


@dataclass(frozen=True)
class _Run:
    """A loaded network, frames of noise prepared for it and again after a forward pass, and its activations."""

    network: Network
    prepared: torch.Tensor
    used: torch.Tensor
    activations: Mapping[str, torch.Tensor]


class NetworkConformance:
    """Tests of each network that the fixture ``network_settings`` gives, on frames of noise."""

    load: ClassVar[Callable[[NetworkSettings], Network]] = staticmethod(load_network)
    """How the network is loaded first; override it to share networks with other tests."""

    @classmethod
    @lru_cache(maxsize=1)  # all tests of a network follow each other
    def _run(cls, settings: NetworkSettings) -> _Run:
        network = cls.load(settings)
        n_frames = 2 * (network.card.clip_length or 0) or 5  # two clips, or five frames
        frames = np.random.default_rng(0).integers(0, 256, (n_frames, 48, 80, 3), dtype=np.uint8)
        prepared = network.prepare(frames)
        used = prepared.clone()
        return _Run(network, prepared, used, network.activations(used))

    def test_the_card_and_the_layers_are_those_of_the_network(self, network_settings: NetworkSettings) -> None:
        """Check the card, and that layers are named once and found by their names."""
        network = self._run(network_settings).network
        assert network.card.name == network_settings.name
        assert len(network.card.weights_hash) == 32
        assert len(set(network.layers)) == len(network.layers) > 0
        assert set(network.layers) <= set(network.layer_names())
        assert "*" not in network_settings.layers or network.layers == network.layer_names()

    def test_frames_are_prepared_as_the_card_says(self, network_settings: NetworkSettings) -> None:
        """Check shape and type, and that a forward pass leaves the frames as they are."""
        run = self._run(network_settings)
        size = run.network.card.input_size
        assert run.prepared.shape == (len(run.prepared), 3, size, size)
        assert run.prepared.dtype == torch.float32
        assert torch.equal(run.prepared, run.used)

    def test_activations_are_finite_and_of_the_shapes_listed(self, network_settings: NetworkSettings) -> None:
        """Check every layer against what the network says of it."""
        run = self._run(network_settings)
        assert set(run.activations) == set(run.network.layers)
        for values in run.activations.values():
            assert values.is_floating_point()
            assert torch.isfinite(values).all()
            assert not values.requires_grad
        if isinstance(run.network, ModuleNetwork):
            for layer in run.network.layer_traces():
                if layer.name in run.activations:
                    n_times = 2 * layer.n_times if layer.n_times else len(run.prepared)
                    assert tuple(run.activations[layer.name].shape) == (n_times, *layer.shape), layer.name

    def test_frames_and_clips_do_not_mix(self, network_settings: NetworkSettings) -> None:
        """Check that frames in another order and number, or a clip alone, give the same."""
        run = self._run(network_settings)
        length = run.network.card.clip_length
        if run.network.card.takes == "frames":
            found = run.network.activations(run.prepared[[3, 1]])
            expected = {layer: values[[3, 1]] for layer, values in run.activations.items()}
        elif length:
            found = run.network.activations(run.prepared[length:])
            expected = {layer: values[len(values) // 2 :] for layer, values in run.activations.items()}
        else:
            return  # it looks at all frames of a stimulus
        for layer, values in expected.items():
            scale = float(values.abs().max())
            torch.testing.assert_close(found[layer], values, rtol=1e-4, atol=2e-5 * scale + 1e-12)

    def test_loaded_again_it_gives_the_same_bits(self, network_settings: NetworkSettings) -> None:
        """Check card and activations, also when one layer alone is asked for."""
        run = self._run(network_settings)
        middle = run.network.layers[len(run.network.layers) // 2]
        single = load_network(replace(network_settings, layers=(middle,)))
        assert single.card == run.network.card
        assert torch.equal(single.activations(run.prepared)[middle], run.activations[middle])
