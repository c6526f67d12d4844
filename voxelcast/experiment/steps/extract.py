"""The steps that turn some stimuli into time-pooled activations of a network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Annotated, Any

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_file_name
from voxelcast.core.errors import DataError
from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.machine import available_cores
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.models.shards import divide
from voxelcast.networks.base import Network, NetworkCard
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.networks.streams import with_texts
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.result import ResultWriter

Shards = Sequence[Sequence[str]]
"""Stimuli that are looked at together, by their ids."""


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that was loaded once: settings, the seed of random weights, card, layers, their depths and shapes.

    ``trainable``: whether it is a torch module.
    """

    settings: NetworkSettings
    seed: int
    card: NetworkCard
    layers: tuple[str, ...]
    depths: Mapping[str, float]
    shapes: Mapping[str, tuple[int, ...]]
    trainable: bool

    @property
    def shown(self) -> str:
        """Name in the results."""
        return self.settings.shown


def load(settings: NetworkSettings, seed: int, device: str) -> LoadedNetwork:
    """Load a network and keep what its results are named by."""
    network = network_of(settings, seed, device)
    for layer in network.layers:
        check_file_name(layer, "layer")
    shapes = {seen.name: seen.shape for seen in network.layer_traces() if seen.name in network.layers}
    trainable = hasattr(network, "module")
    return LoadedNetwork(settings, seed, network.card, network.layers, network.depths(), shapes, trainable)


class ShardJob(Job):
    """A job that writes something of each of a shard of stimuli, and ``stimuli``, which of them could be read."""

    @property
    @abstractmethod
    def shard(self) -> tuple[str, ...]:
        """Ids of the stimuli, in order."""


@dataclass(frozen=True)
class ExtractJob(ShardJob):
    """Extract a shard of stimuli.

    Several pools are one step, so that stimuli are decoded and seen by the network once; a pool more or less is another
    step. Of the network counts its card, with the weights' hash, not what the weights are called and where they lie.
    """

    kind = "extract"
    version = 3
    network: Annotated[NetworkSettings, NO_EFFECT]
    seed: Annotated[int, NO_EFFECT]
    device: Annotated[str, NO_EFFECT]
    number: Annotated[int, NO_EFFECT]
    card: NetworkCard
    layers: tuple[str, ...]
    extraction: ExtractionSettings
    stimuli: tuple[Stimulus, ...]

    @property
    def name(self) -> str:
        """Network and number of the shard."""
        return f"{self.network.shown.replace('/', '-')}-{self.number:04d}"

    @property
    def shard(self) -> tuple[str, ...]:
        """Ids of the stimuli, in order."""
        return tuple(stimulus.stimulus_id for stimulus in self.stimuli)

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write each layer's features, (n_readable, n_features), and ``stimuli``.

        Where the pool keeps time, features have the shape (n_readable, n_times, n_features). Of several pools each has
        features of its own; see :func:`feature_name`.

        ``stimuli``: for each stimulus in order its id, the frames used, and the reason where it is broken; broken
        stimuli have no row.
        """
        from voxelcast.networks.extract import BrokenStimulus, extract

        options: dict[str, Any] = {"workers": 1}
        if self.device != "cpu":
            videos = any(not stimulus.is_image for stimulus in self.stimuli)
            options = {"workers": available_cores(), "decoders": "processes" if videos else "threads"}
        network = network_of(self.network, self.seed, self.device)
        records: list[dict[str, object]] = []
        for outcome in extract(network, self.stimuli, self.extraction, **options):
            if isinstance(outcome, BrokenStimulus):
                record = {"stimulus_id": outcome.stimulus.stimulus_id, "n_frames": 0, "broken": outcome.reason}
            else:
                record = {"stimulus_id": outcome.stimulus_id, "n_frames": outcome.n_frames, "broken": None}
                for pool, layers in outcome.by_pool.items():
                    for layer, feature in layers.items():
                        name = feature_name(layer, pool_index(pool, self.extraction.pools))
                        rows = writer.scratch.rows(name, feature.shape, self.extraction.stored)
                        if feature.shape != rows.shape:
                            raise DataError(
                                f"{outcome.stimulus.name}: with time kept (pool none or pc1) all stimuli must have "
                                f"the same number of time steps; got {feature.shape[0]} of layer {layer} after "
                                f"{rows.shape[0]}; set frames: {{n: ...}} to as many as all have"
                            )
                        rows.append(feature)
            records.append(record)
            context.progress.advance()
        writer.json("stimuli", records)


def extract_steps(
    network: LoadedNetwork,
    stimuli: Sequence[Stimulus],
    extraction: ExtractionSettings,
    device: str,
    known: Shards = (),
    first: int = 0,
) -> list[Step]:
    """Divide the extraction of one network into steps of a shard of stimuli each, numbered from ``first``.

    ``known`` shards stay as they were; see `voxelcast.models.shards.divide`. On a CPU the steps run side by side in
    processes of one thread each, which is faster than one network with many threads and gives the same bits on any
    number of cores; a GPU takes them one after the other.
    """
    stimuli = stimuli_for(network, stimuli)
    what = network.settings, network.seed, device
    return [
        Step(
            ExtractJob(*what, number, network.card, network.layers, extraction, tuple(stimuli[k] for k in shard)),
            uses_gpu=device != "cpu",
            size=len(shard),
        )
        for number, shard in enumerate(divide([one.stimulus_id for one in stimuli], known), first)
    ]


def stimuli_for(network: LoadedNetwork, stimuli: Sequence[Stimulus]) -> Sequence[Stimulus]:
    """Give stimuli the texts that a network reads; others stay as they are."""
    return with_texts(stimuli, network.settings.texts) if network.card.takes == "text" else stimuli


@lru_cache(maxsize=1)
def network_of(settings: NetworkSettings, seed: int, device: str) -> Network:
    """Load a network, once per process (torch is imported here, not before)."""
    from voxelcast.networks.registry import load_network

    return load_network(settings, seed=seed, device=device)


def pool_index(pool: str, pools: Sequence[str]) -> int | None:
    """Return the index of a pool among several, from 0; None where there is only one."""
    return pools.index(pool) if len(pools) > 1 else None


def feature_name(layer: str, pool: int | None = None) -> str:
    """Name of a layer's features in the result; ``pool`` is the index of the pool where there are several."""
    return f"features/{layer}" if pool is None else f"features/{layer}-pool{pool + 1}"


@dataclass(frozen=True)
class Extracted:
    """The steps that extract one network's layers, and no two parts of the stimuli in one of them.

    ``near`` are the context stimuli of the runs of training stimuli, ``far`` those of other runs.
    """

    train: tuple[Step, ...]
    near: tuple[Step, ...]
    test: tuple[Step, ...]
    far: tuple[Step, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them."""
        return (*self.train, *self.near, *self.test, *self.far)


@dataclass(frozen=True, eq=False)
class Readable:
    """The stimuli that could be read, once extraction is over.

    ``train_rows`` and ``test_rows`` are their indices among the dataset's training and held-out stimuli, int;
    ``series``: whether they are volumes of a time series; ``broken`` the ids of the others, and why they could not be
    read.
    """

    train_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    train_rows: IntArray
    test_rows: IntArray
    groups: tuple[str, ...] | None
    test_groups: tuple[str, ...] | None
    series: bool
    broken: Annotated[Mapping[str, str], NO_EFFECT]

    @property
    def fitted(self) -> Readable:
        """The training stimuli alone."""
        return replace(self, test_ids=(), test_rows=self.test_rows[:0], test_groups=None)
