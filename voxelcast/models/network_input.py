"""Features of a network: it is loaded when asked for, and must be the one that a model was fitted with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter

from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.settings import content
from voxelcast.models.card import LayerCard
from voxelcast.models.inputs import ModelInput, Needs, check_same_card, refuse_code, register_input
from voxelcast.models.stimuli import Shown
from voxelcast.networks.base import NetworkCard
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.in_memory import FramesInMemory
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.readers.guard import reading

if TYPE_CHECKING:
    from voxelcast.networks.base import Network

_FILE = "file"


def network_facts(settings: NetworkSettings, seed: int, card: NetworkCard, how: ExtractionSettings) -> dict[str, Any]:
    """Return what a model's card says of a network: enough to have it again, and nothing of this machine."""
    plain = TypeAdapter(NetworkSettings).dump_python(settings, mode="json", exclude={"layers"})
    if settings.chosen_weights not in ("default", "random", "none"):
        plain["weights"] = _FILE
    of_card = content(card) | {"weights": card.weights, "licence": card.licence}
    return {
        "network": plain,
        "seed": seed,
        "card": of_card,
        "frames": content(how.sampling),
        "pools": list(how.pools),
        "spatial_pool": how.spatial_pool,
    }


@register_input
class NetworkInput(ModelInput):
    """The layers of a network, as they were extracted."""

    kind = "network"

    def __init__(self, key: str, facts: Mapping[str, Any], layers: Mapping[str, LayerCard], needs: Needs) -> None:
        self.key, self._layers, self._needs = key, dict(layers), needs
        with reading(f"input {key}", "a network by the card", "fetch the model again"):
            wanted = tuple(dict.fromkeys(one.layer for one in layers.values()))
            self.settings = TypeAdapter(NetworkSettings).validate_python({**facts["network"], "layers": wanted})
            self.card: Mapping[str, Any] = dict(facts["card"])
            self.seed = int(facts["seed"])
            pools = tuple(one.pool for one in layers.values() if one.pool) or tuple(facts["pools"])
            how = {"sampling": facts["frames"], "pools": tuple(dict.fromkeys(pools))}
            how["spatial_pool"] = facts["spatial_pool"]
            self.how = TypeAdapter(ExtractionSettings).validate_python(how)
        self.shown_name = self.settings.shown

    @cached_property
    def network(self) -> Network:
        """The network with the layers that are needed. Raises DataError if it is another than the model's."""
        from voxelcast.networks.registry import load_network

        settings, given = self.settings, self._needs.weights.get(self.shown_name)
        if settings.name.startswith("module:") and not self._needs.own_code:
            refuse_code(self.shown_name)
        if settings.weights == _FILE and given is None:
            raise OptionError(
                f"{self.shown_name} has weights of a file ({self.card.get('weights')}), which the model does not hold; "
                f"give it: --weights {self.shown_name}=FILE"
            )
        settings = settings if given is None else dataclasses.replace(settings, weights=given)
        network = load_network(settings, seed=self.seed, device=self._needs.device)
        check_same_card(self.shown_name, self.card, network.card)
        return network

    def features(self, shown: Shown, shards: Sequence[Sequence[int]]) -> Iterator[Mapping[str, Any]]:
        """Extract features; see `ModelInput.features`."""
        from voxelcast.networks.extract import BrokenStimulus, extract, extract_from

        order = [position for shard in shards for position in shard]
        lengths = [len(shard) for shard in shards]
        if shown.files:
            videos = any(not one.is_image for one in shown.files)
            options: dict[str, Any] = {"workers": 2}
            if self.network.device.type != "cpu":
                from os import cpu_count

                options = {"workers": cpu_count() or 2, "decoders": "processes" if videos else "threads"}
            files = [shown.files[position] for position in order]
            found = extract(self.network, files, self.how, shards=lengths, **options)
        elif shown.frames:
            frames = {shown.ids[position]: shown.frames[position] for position in order}
            source = FramesInMemory.of(frames, self.how.sampling)
            named = tuple(Stimulus(name, _no_file(name)) for name in source.ids)
            found = extract_from(source, self.network, named, self.how, shards=lengths)
        else:
            raise DataError(f"{self.shown_name} needs videos or images; got ready features of other layers")
        for length in lengths:
            rows: dict[str, list[Any]] = {key: [] for key in self._layers}
            for _ in range(length):
                outcome = next(found)
                assert not isinstance(outcome, BrokenStimulus)  # that is an error here
                for key, layer in self._layers.items():
                    by_layer = outcome.by_pool[layer.pool] if layer.pool else outcome.features
                    rows[key].append(by_layer[layer.layer])
            yield {key: _stacked(key, some) for key, some in rows.items()}


def _no_file(name: str) -> Any:
    from pathlib import Path

    return Path(name)


def _stacked(key: str, rows: Sequence[Any]) -> Any:
    if len({row.shape for row in rows}) > 1:
        raise DataError(f"stimuli must have the same number of time steps; layer {key} has {rows[0].shape} and others")
    return np.stack(rows) if isinstance(rows[0], np.ndarray) else _stack_tensors(rows)


def _stack_tensors(rows: Sequence[Any]) -> Any:
    import torch

    return torch.stack(list(rows))
