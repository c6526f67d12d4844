"""The step that turns some stimuli into the time-pooled activations of one network's layers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from voxelcast.core.checks import check_file_name
from voxelcast.core.errors import DataError
from voxelcast.core.progress import Progress
from voxelcast.core.settings import content
from voxelcast.execution.machine import available_cores
from voxelcast.execution.steps import Step
from voxelcast.experiment.builders import network_from_json
from voxelcast.features.rows import RowFile
from voxelcast.networks.base import NetworkCard
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId

VERSION = 3
SHARD = 32  # stimuli per step: a kill loses at most this much extraction per worker


@dataclass(frozen=True)
class LoadedNetwork:
    """A network that was loaded once: how it is shown, how a worker loads it, and what its card says."""

    shown: str
    json: str
    card: NetworkCard
    layers: tuple[str, ...]


def load(shown: str, text: str, device: str) -> LoadedNetwork:
    """Load the network of a JSON text and keep what its results are named by."""
    network = network_from_json(text, device)
    for layer in network.layers:
        check_file_name(layer, "layer")
    return LoadedNetwork(shown, text, network.card, network.layers)


def extract_steps(
    network: LoadedNetwork,
    stimuli: Sequence[Stimulus],
    settings: ExtractionSettings,
    device: str,
) -> list[Step]:
    """Divide the extraction of one network into steps of ``SHARD`` stimuli.

    On a CPU the steps run side by side in processes of one thread each, which is faster than one network with many
    threads and gives the same bits on any number of cores; a GPU takes them one after the other.

    A step's key holds all that determines the features: the network with its weights' hash, the layers, the content of
    the stimuli, sampling and pools; not the device, the number of workers or any path. Several pools are one step, so
    that stimuli are decoded and seen by the network once; a pool more or less is another step.
    """
    # The hash counts, not what the weights are called and whose they are.
    card = {**asdict(network.card), "weights": None, "licence": None}
    fixed = {"network": card, "layers": network.layers, "extraction": content(settings)}
    steps = []
    for number, start in enumerate(range(0, len(stimuli), SHARD)):
        shard = tuple(stimuli[start : start + SHARD])
        contents = [[stimulus.stimulus_id, stimulus.content_hash(), stimulus.is_image] for stimulus in shard]
        key = content_key({"version": VERSION, **fixed, "stimuli": contents})
        step_id = StepId("extract", f"{network.shown.replace('/', '-')}-{number:04d}", key)
        arguments = {
            "network": network.json,
            "device": device,
            "stimuli": shard,
            "settings": settings,
        }
        steps.append(Step(step_id, extract_shard, arguments, wide=device != "cpu", size=len(shard)))
    return steps


def extract_shard(
    folder: Path,
    *,
    network: str,
    device: str,
    stimuli: Sequence[Stimulus],
    settings: ExtractionSettings,
    progress: Progress | None = None,
) -> None:
    """Write ``<layer>.npy`` (n_readable, n_features) float32 for each layer and ``stimuli.json``.

    Where the pool keeps time, features have the shape (n_readable, n_times, n_features). Of several pools each has
    files of its own; see :func:`layer_path`.

    ``stimuli.json``: for each stimulus in order its id, the frames used, and the reason where it is broken; broken
    stimuli have no row.
    """
    from voxelcast.networks.extract import BrokenStimulus, extract

    net = network_from_json(network, device)
    options: dict[str, Any] = {"workers": 1}
    if device != "cpu":
        videos = any(not stimulus.is_image for stimulus in stimuli)
        options |= {"workers": available_cores(), "decoders": "processes" if videos else "threads"}
    records: list[dict[str, object]] = []
    with ExitStack() as stack:
        files: dict[Path, RowFile] = {}
        for outcome in extract(net, stimuli, settings, **options):
            if isinstance(outcome, BrokenStimulus):
                records.append({"stimulus_id": outcome.stimulus.stimulus_id, "n_frames": 0, "broken": outcome.reason})
            else:
                for pool, layers in outcome.by_pool.items():
                    for layer, feature in layers.items():
                        path = layer_path(folder, layer, place_of(pool, settings.pools))
                        if path not in files:
                            files[path] = stack.enter_context(RowFile(path, feature.shape))
                        check_steps(outcome.stimulus.name, layer, feature.shape, files[path].shape)
                        files[path].append(feature)
                records.append({"stimulus_id": outcome.stimulus_id, "n_frames": outcome.n_frames, "broken": None})
            if progress is not None:
                progress.advance()
    (folder / "stimuli.json").write_text(json.dumps(records))


def check_steps(stimulus: str, layer: str, got: tuple[int, ...], before: tuple[int, ...]) -> None:
    """Raise DataError where a stimulus' features have another shape than those before: with time kept, other steps."""
    if got != before:
        raise DataError(
            f"{stimulus}: with time kept (pool none or pc1) all stimuli must have the same number of time steps; got "
            f"{got[0]} of layer {layer} after {before[0]}; set frames: {{n: ...}} to as many as all have"
        )


def place_of(pool: str, pools: Sequence[str]) -> int | None:
    """Return the place of a pool among several, from 0; None where there is only one."""
    return pools.index(pool) if len(pools) > 1 else None


def layer_path(folder: Path, layer: str, place: int | None = None) -> Path:
    """File of a layer's features in a step's folder; ``place`` is that of the pool where there are several."""
    return folder / (f"{layer}.npy" if place is None else f"{layer}-pool{place + 1}.npy")


def read_records(folder: Path) -> list[dict[str, object]]:
    """Read what a finished extraction step says of each of its stimuli."""
    records: list[dict[str, object]] = json.loads((folder / "stimuli.json").read_text())
    return records
