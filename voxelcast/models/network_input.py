"""Features of a network: it is loaded when asked for, and must be the one that a model was fitted with."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import TypeAdapter

from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.settings import content
from voxelcast.features.spatial_pool import parse_spatial_pool
from voxelcast.models.card import LayerCard
from voxelcast.models.inputs import ModelInput, Needs, check_same_card, refuse_code, register_input
from voxelcast.models.stimuli import Shown
from voxelcast.networks.base import NetworkCard
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.in_memory import FramesInMemory
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.readers.guard import reading

if TYPE_CHECKING:
    import torch
    from torch import nn

    from voxelcast.encoders.learned.rebuilt import Backbone
    from voxelcast.networks.base import Network

_FILE: Final = "file"
_MOST: Final = {
    "input_size": 4096,
    "frames.n": 100_000,
    "frames.hz": 10_000,
    "spatial_pool": 512,
    "grids of spatial_pool": 32,
}


def network_facts(settings: NetworkSettings, seed: int, card: NetworkCard, how: ExtractionSettings) -> dict[str, Any]:
    """Return what a model's card says of a network: enough to have it again, and nothing of this machine."""
    plain = TypeAdapter(NetworkSettings).dump_python(settings, mode="json", exclude={"layers", "texts"})
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
            wanted = tuple(facts.get("layers", dict.fromkeys(one.layer for one in layers.values())))
            self.settings = TypeAdapter(NetworkSettings).validate_python({**facts["network"], "layers": wanted})
            self.card: Mapping[str, Any] = dict(facts["card"])
            self.seed = int(facts["seed"])
            pools = tuple(one.pool for one in layers.values() if one.pool) or tuple(facts["pools"])
            how = {"sampling": facts["frames"], "pools": tuple(dict.fromkeys(pools))}
            how["spatial_pool"] = facts["spatial_pool"]
            self.how = TypeAdapter(ExtractionSettings).validate_python(how)
            self._check_sizes()
        self.shown_name = self.settings.shown

    @cached_property
    def network(self) -> Network:
        """The network with the layers that are needed. Raises DataError if it is another than the model's."""
        from voxelcast.networks.registry import load_network

        settings, given = self.settings, self._needs.weights.get(self.shown_name)
        if (settings.name.startswith("module:") or settings.trust_remote_code) and not self._needs.own_code:
            refuse_code(self.shown_name)
        if settings.weights not in (None, "default", "random", "none", _FILE):
            raise DataError(f"{self.shown_name} must have weights that are no path in the card; fetch the model again")
        if settings.weights == _FILE and given is None:
            raise OptionError(
                f"{self.shown_name} has weights of a file ({self.card.get('weights')}), which the model does not hold; "
                f"give it: --weights {self.shown_name}=FILE"
            )
        settings = settings if given is None else dataclasses.replace(settings, weights=given)
        network = load_network(settings, seed=self.seed, device=self._needs.device)
        check_same_card(self.shown_name, self.card, network.card)
        return network

    def _check_sizes(self) -> None:
        """Raise DataError for what no network is asked for, and would fill the memory."""
        sampling, cells = self.how.sampling, parse_spatial_pool(self.how.spatial_pool)
        asked = {"input_size": self.settings.input_size, "frames.n": sampling.n, "frames.hz": sampling.hz}
        asked |= {"spatial_pool": max(cells, default=0), "grids of spatial_pool": len(cells)}
        for name, most in _MOST.items():
            if (asked[name] or 0) > most:
                raise DataError(f"{self.key}: {name} must be at most {most}; got {asked[name]}; fetch the model again")

    def features(self, shown: Shown, shards: Sequence[Sequence[int]]) -> Iterator[Mapping[str, Any]]:
        """Extract features; see `ModelInput.features`."""
        from voxelcast.networks.extract import BrokenStimulus, extract_from

        order = [position for shard in shards for position in shard]
        lengths = [len(shard) for shard in shards]
        with self._source(shown, order) as (source, stimuli):
            found = extract_from(source, self.network, stimuli, self.how, shards=lengths, on_device=True)
            for length in lengths:
                rows: dict[str, list[torch.Tensor]] = {key: [] for key in self._layers}
                for _ in range(length):
                    outcome = next(found)
                    assert not isinstance(outcome, BrokenStimulus)  # that is an error here
                    for key, layer in self._layers.items():
                        by_layer = outcome.by_pool[layer.pool] if layer.pool else outcome.features
                        rows[key].append(by_layer[layer.layer])
                yield {key: _stacked(key, some) for key, some in rows.items()}

    @contextmanager
    def _source(self, shown: Shown, order: Sequence[int]) -> Iterator[tuple[Any, Sequence[Stimulus]]]:
        """Open what the network takes of stimuli, in an order; these, too."""
        from voxelcast.networks.extract import read_ahead

        ids = [shown.ids[position] for position in order]
        if self.network.card.takes == "text":
            unread = next((name for name in ids if name not in shown.texts), None)
            if unread is not None:
                raise OptionError(
                    f"{self.shown_name} reads texts, and there is none of stimulus {unread!r}; give a table "
                    "stimulus_id,text as texts (--texts FILE)"
                )
            said = [Stimulus(name, Path(name), text=shown.texts[name]) for name in ids]
            with read_ahead(self.network, said, self.how, 1, processes=False) as source:
                yield source, said
            return
        if shown.frames:
            frames = {shown.ids[position]: shown.frames[position] for position in order}
            yield FramesInMemory.of(frames, self.how.sampling), [Stimulus(name, Path(name)) for name in ids]
            return
        if not shown.files:
            got = "texts alone" if shown.texts else "ready features of other layers"
            raise DataError(f"{self.shown_name} needs videos or images; got {got}")
        files = [shown.files[position] for position in order]
        on_gpu = self.network.device.type != "cpu"
        videos = any(not one.is_image for one in files)
        workers = (os.cpu_count() or 2) if on_gpu else 2
        with read_ahead(self.network, files, self.how, workers, processes=on_gpu and videos) as source:
            yield source, files


@register_input
class FramesInput(NetworkInput):
    """Frames as a network is shown them, for trained encoders that have the network's weights changed."""

    kind = "frames"

    def __init__(self, key: str, facts: Mapping[str, Any], layers: Mapping[str, LayerCard], needs: Needs) -> None:
        super().__init__(key, facts, layers, needs)
        self._side = None if facts["side"] is None else int(facts["side"])

    @cached_property
    def backbone(self) -> Backbone:
        """What gives the network, on the device."""
        return backbones(self.network, self._side, self._needs.device)

    def features(self, shown: Shown, shards: Sequence[Sequence[int]]) -> Iterator[Mapping[str, Any]]:
        """Decode and resize; see `ModelInput.features`."""
        import torch

        from voxelcast.networks.prepare import network_pixels

        order = [position for shard in shards for position in shard]
        with self._source(shown, order) as (source, _):
            start = 0
            for shard in shards:
                places = range(start, start := start + len(shard))
                frames = (network_pixels(source.chunks(place), self.network.card.input_size) for place in places)
                rows = [torch.from_numpy(one) for one in frames]
                yield {key: _stacked(key, rows) for key in self._layers}


def backbones(network: object, side: int | None, device: str) -> Backbone:
    """Return what gives a network whose maps are averaged to ``side``, made once for each rank of additions."""
    from voxelcast.encoders.learned.lora import add_lora
    from voxelcast.networks.backbone import TrainableBackbone

    @cache
    def of_rank(rank: int) -> nn.Module:
        import torch

        found = TrainableBackbone(network, side).to(device)
        with torch.random.fork_rng(devices=[]):
            add_lora(found, rank) if rank else None
        return found.eval()

    return of_rank


def _stacked(key: str, rows: Sequence[torch.Tensor]) -> Any:
    import torch

    if len({row.shape for row in rows}) > 1:
        shape = tuple(rows[0].shape)
        raise DataError(f"stimuli must have the same number of time steps; layer {key} has {shape} and others")
    stacked = torch.stack(list(rows))
    return stacked.numpy() if stacked.device.type == "cpu" else stacked
