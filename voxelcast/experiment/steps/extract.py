"""The step that turns some stimuli into the time-pooled activations of one network's layers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_file_name
from voxelcast.core.errors import DataError
from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.machine import available_cores
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.features.matrix import RowFile
from voxelcast.networks.base import Network, NetworkCard
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.stimulus import Stimulus

SHARD = 32  # stimuli per step: a kill loses at most this much extraction per worker


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that was loaded once: its settings, the seed of random weights, its card and layers."""

    settings: NetworkSettings
    seed: int
    card: NetworkCard
    layers: tuple[str, ...]

    @property
    def shown(self) -> str:
        """Name in the results."""
        return self.settings.shown


def load(settings: NetworkSettings, seed: int, device: str) -> LoadedNetwork:
    """Load a network and keep what its results are named by."""
    network = network_of(settings, seed, device)
    for layer in network.layers:
        check_file_name(layer, "layer")
    return LoadedNetwork(settings, seed, network.card, network.layers)


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

    def run(self, folder: Path, context: StepContext) -> None:
        """Write ``<layer>.npy`` (n_readable, n_features) float32 for each layer and ``stimuli.json``.

        Where the pool keeps time, features have the shape (n_readable, n_times, n_features). Of several pools each has
        files of its own; see :func:`layer_path`.

        ``stimuli.json``: for each stimulus in order its id, the frames used, and the reason where it is broken; broken
        stimuli have no row.
        """
        from voxelcast.networks.extract import BrokenStimulus, extract

        options: dict[str, Any] = {"workers": 1}
        if self.device != "cpu":
            videos = any(not stimulus.is_image for stimulus in self.stimuli)
            options = {"workers": available_cores(), "decoders": "processes" if videos else "threads"}
        network = network_of(self.network, self.seed, self.device)
        records: list[dict[str, object]] = []
        with ExitStack() as stack:
            files: dict[Path, RowFile] = {}
            for outcome in extract(network, self.stimuli, self.extraction, **options):
                if isinstance(outcome, BrokenStimulus):
                    record = {"stimulus_id": outcome.stimulus.stimulus_id, "n_frames": 0, "broken": outcome.reason}
                else:
                    record = {"stimulus_id": outcome.stimulus_id, "n_frames": outcome.n_frames, "broken": None}
                    for pool, layers in outcome.by_pool.items():
                        for layer, feature in layers.items():
                            path = layer_path(folder, layer, pool_index(pool, self.extraction.pools))
                            if path not in files:
                                files[path] = stack.enter_context(RowFile(path, feature.shape))
                            _check_times(outcome.stimulus.name, layer, feature.shape, files[path].shape)
                            files[path].append(feature)
                records.append(record)
                if context.progress is not None:
                    context.progress.advance()
        (folder / "stimuli.json").write_text(json.dumps(records))


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


def _check_times(stimulus: str, layer: str, got: tuple[int, ...], before: tuple[int, ...]) -> None:
    """Raise DataError where a stimulus' features have another shape than those before: with time kept, other steps."""
    if got != before:
        raise DataError(
            f"{stimulus}: with time kept (pool none or pc1) all stimuli must have the same number of time steps; got "
            f"{got[0]} of layer {layer} after {before[0]}; set frames: {{n: ...}} to as many as all have"
        )


def pool_index(pool: str, pools: Sequence[str]) -> int | None:
    """Return the index of a pool among several, from 0; None where there is only one."""
    return pools.index(pool) if len(pools) > 1 else None


def layer_path(folder: Path, layer: str, pool: int | None = None) -> Path:
    """File of a layer's features in a step's folder; ``pool`` is the index of the pool where there are several."""
    return folder / (f"{layer}.npy" if pool is None else f"{layer}-pool{pool + 1}.npy")


def read_records(folder: Path) -> list[dict[str, object]]:
    """Read what a finished extraction step says of each of its stimuli."""
    records: list[dict[str, object]] = json.loads((folder / "stimuli.json").read_text())
    return records


@dataclass(frozen=True, eq=False)
class Readable:
    """The stimuli that could be read, once extraction is over.

    Parameters
    ----------
    train_ids, test_ids : tuple of str
    train_rows, test_rows : ndarray of int
        Their indices among the dataset's training and held-out stimuli.
    groups, test_groups : tuple of str or None
    delayed_rows : ndarray of shape (n_train + n_test, n_delays), int, or None
        Rows of the features that delays reach; None where stimuli are no volumes.
    broken : mapping of str to str
        Ids of the others, and why they could not be read.
    """

    train_ids: tuple[str, ...]
    test_ids: tuple[str, ...]
    train_rows: IntArray
    test_rows: IntArray
    groups: tuple[str, ...] | None
    test_groups: tuple[str, ...] | None
    delayed_rows: IntArray | None
    broken: Annotated[Mapping[str, str], NO_EFFECT]
