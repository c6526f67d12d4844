"""Features of a folder of stimuli that has no responses (yet)."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from voxelcast.core.errors import OptionError, StoreError, UnwritableError
from voxelcast.core.progress import Progress
from voxelcast.execution.gpu import visible_gpus
from voxelcast.execution.journal import Journal
from voxelcast.execution.machine import available_cores
from voxelcast.execution.opening import fetch_inputs, open_engine, send_results, worker_device
from voxelcast.execution.profile import THIS_MACHINE, LocalProfile, Profile
from voxelcast.execution.stage import run_steps
from voxelcast.execution.steps import Step
from voxelcast.experiment.builders import network_json
from voxelcast.experiment.steps.extract import extract_steps, layer_path, load, read_records
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.store.atomic import atomic_path, write_json
from voxelcast.store.lock import locked
from voxelcast.store.steps import StepStore


def extract_folder(
    source: Path,
    network: NetworkSettings,
    settings: ExtractionSettings,
    output: Path,
    *,
    seed: int,
    device: str,
    recursive: bool,
    keep_suffix: bool = False,
    progress: Progress,
    on: Profile = THIS_MACHINE,
) -> list[dict[str, object]]:
    """Extract features of all stimuli under ``source``; goes on where a killed run was.

    Writes ``<layer>.npy`` (n_readable, n_features) float32, with pool ``none`` (n_readable, n_times, n_features), and
    ``stimuli.csv`` (stimulus_id, n_frames, broken) under ``output`` and returns the table's rows. Files are the same
    wherever the work runs (``on``; on a GPU to its rounding): this process reads the shards that workers wrote.

    Raises
    ------
    StoreError
        If ``output`` holds files that no extraction wrote, or another process works in it.
    StimulusError
        For a broken stimulus, where ``settings.on_broken`` is ``"stop"``.
    ConfigError
        If ``device`` is a GPU and the profile has none.
    ExecutionError
        If workers were lost again and again, or could not be had.
    """
    if "pc1" in settings.pools:
        raise OptionError("pool pc1 is fitted to training stimuli, so extract alone cannot; set --pool none instead")
    text = network_json(network, seed)
    used: dict[str, object] = {"network": text, "extraction": asdict(settings) | {"pools": list(settings.pools)}}
    extract_on = worker_device(on, device, "--device ")
    _check_output(output, used)
    fetch_inputs(on, progress.note)
    stimuli = list_stimuli(source, recursive=recursive, keep_suffix=keep_suffix)
    here = isinstance(on, LocalProfile)
    loaded = load(network.shown, text, device if here else "cpu")  # a login node has no GPU
    with locked(output):
        _check_output(output, used)  # another process may have written there while the network was loaded
        store, journal, what = StepStore(output / "steps"), Journal(output), f"extract {network.shown}"
        write_json(output / "settings.json", used)
        steps = extract_steps(loaded, stimuli, settings, extract_on)
        with journal.run(store.root, on.scheduler, {what: None}):
            gpus = len(visible_gpus()) if here and device == "cuda" else 0
            with open_engine(on, available_cores(), output, progress.note, gpus) as engine:
                run_steps(
                    steps,
                    store,
                    engine=engine,
                    progress=progress,
                    what=what,
                    unit="stimulus",
                    journal=journal,
                    retries=on.retries,
                )
            records = _write(store, steps, loaded.layers, output)
        send_results(on, output, progress.note)
        return records


def _check_output(output: Path, settings: Mapping[str, object]) -> None:
    if output.exists() and not output.is_dir():
        raise UnwritableError(f"output {output} is a file; choose a folder")
    there = output / "settings.json"
    if there.is_file():
        if json.loads(there.read_text()) != settings:
            raise StoreError(f"output {output} holds features of other settings; choose another folder with --output")
    elif output.is_dir() and (foreign := sorted(p.name for p in output.iterdir() if p.name not in ("steps", ".lock"))):
        raise StoreError(f"output {output} holds other files ({foreign[0]}, ...); choose an empty or new folder")


def _write(store: StepStore, steps: Sequence[Step], layers: Sequence[str], output: Path) -> list[dict[str, object]]:
    folders = [store.path(step.step_id) for step in steps]
    records = [record for folder in folders for record in read_records(folder)]
    for layer in layers:
        shards = [layer_path(folder, layer) for folder in folders if layer_path(folder, layer).is_file()]
        if shards:
            matrix = FeatureMatrix(shards)
            with atomic_path(output / f"{layer}.npy") as temporary:
                target = np.lib.format.open_memmap(temporary, "w+", np.float32, matrix.stored_shape)
                row = 0
                for shard in shards:
                    values = np.load(shard, mmap_mode="r")
                    target[row : row + len(values)] = values
                    row += len(values)
                target.flush()
    with atomic_path(output / "stimuli.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["stimulus_id", "n_frames", "broken"], lineterminator="\n")
        writer.writeheader()
        writer.writerows({**record, "broken": record["broken"] or ""} for record in records)
    return records
