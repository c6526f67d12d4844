"""The steps that turn some stimuli into time-pooled activations of a network, or take features from the dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_file_name, check_finite
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.core.settings import NO_EFFECT, content
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.registry import open_once
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.execution.machine import available_cores
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.networks.base import Network, NetworkCard
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.keys import content_key
from voxelcast.store.result import ResultWriter

SHARD = 32  # stimuli per step: a kill loses at most this much extraction per worker


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


@dataclass(frozen=True)
class ExtractJob(Job):
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
                        rows = writer.rows(name, feature.shape, self.extraction.stored)
                        if feature.shape != rows.shape:
                            raise DataError(
                                f"{outcome.stimulus.name}: with time kept (pool none or pc1) all stimuli must have "
                                f"the same number of time steps; got {feature.shape[0]} of layer {layer} after "
                                f"{rows.shape[0]}; set frames: {{n: ...}} to as many as all have"
                            )
                        rows.append(feature)
            records.append(record)
            if context.progress is not None:
                context.progress.advance()
        writer.json("stimuli", records)


def extract_steps(
    network: LoadedNetwork, stimuli: Sequence[Stimulus], extraction: ExtractionSettings, device: str
) -> list[Step]:
    """Divide the extraction of one network into steps of ``SHARD`` stimuli.

    On a CPU the steps run side by side in processes of one thread each, which is faster than one network with many
    threads and gives the same bits on any number of cores; a GPU takes them one after the other.
    """
    shards = [tuple(stimuli[start : start + SHARD]) for start in range(0, len(stimuli), SHARD)]
    return [
        Step(
            ExtractJob(network.settings, network.seed, device, number, network.card, network.layers, extraction, shard),
            uses_gpu=device != "cpu",
            size=len(shard),
        )
        for number, shard in enumerate(shards)
    ]


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
class FeatureTable:
    """A table of features by its name, and the hash of its values."""

    name: str
    hash: str


@dataclass(frozen=True)
class TableJob(Job):
    """Write some tables of features that come with the dataset, as if a network's layers had been extracted."""

    kind = "extract"
    version = 1
    dataset: Annotated[DatasetSettings, NO_EFFECT]
    tables: tuple[FeatureTable, ...]
    ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """What stands for a network's name."""
        return "dataset"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write the features of each table, (n_stimuli, n_features) float64, and ``stimuli`` as `ExtractJob`."""
        source = open_once(self.dataset)
        for table in self.tables:
            writer.array(feature_name(table.name), _checked(source, table.name, len(self.ids)))
        writer.json(
            "stimuli", [{"stimulus_id": stimulus_id, "n_frames": 0, "broken": None} for stimulus_id in self.ids]
        )


def table_step(settings: DatasetSettings, dataset: Dataset, names: Sequence[str], ids: Sequence[str]) -> Step:
    """Make the step that writes some tables, which must have a row of finite values for each stimulus."""
    tables = [FeatureTable(name, content_key(content(_checked(dataset, name, len(ids))))) for name in names]
    return Step(TableJob(settings, tuple(tables), tuple(ids)), size=len(ids))


def _checked(dataset: Dataset, table: str, n_stimuli: int) -> FloatArray:
    features = np.asarray(dataset.features(table), dtype=np.float64)
    if features.ndim != 2 or len(features) != n_stimuli:
        raise ShapeError(f"features {table} must have shape (n_stimuli={n_stimuli}, n_features); got {features.shape}")
    check_finite(f"features {table}", features)
    return features


@dataclass(frozen=True, eq=False)
class Readable:
    """The stimuli that could be read, once extraction is over.

    ``train_rows`` and ``test_rows`` are their indices among the dataset's training and held-out stimuli, int;
    ``delayed_rows``, int (n_train + n_test, n_delays), the rows of the features that delays reach, None where stimuli
    are no volumes; ``broken`` the ids of the others, and why they could not be read.
    """

    train_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    train_rows: IntArray
    test_rows: IntArray
    groups: tuple[str, ...] | None
    test_groups: tuple[str, ...] | None
    delayed_rows: IntArray | None
    broken: Annotated[Mapping[str, str], NO_EFFECT]
