"""Features of a folder of stimuli that has no responses (yet)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.errors import OptionError, StoreError
from voxelcast.core.progress import SILENT, Progress
from voxelcast.core.settings import content
from voxelcast.execution.journal import Journal
from voxelcast.execution.machine import available_cores, visible_gpus
from voxelcast.execution.opening import fetch_inputs, open_engine, send_results, worker_device
from voxelcast.execution.profile import THIS_MACHINE, LocalProfile, Profile
from voxelcast.execution.stage import StageRunner
from voxelcast.execution.steps import Step
from voxelcast.experiment.outputs import working_in
from voxelcast.experiment.steps.extract import extract_steps, feature_name, load
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.results.schema import EXTRACTED_STIMULI
from voxelcast.results.write import write_table
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.store.atomic import atomic_path, write_json
from voxelcast.store.lock import check_folder
from voxelcast.store.readers.plain import read_json as read_plain
from voxelcast.store.steps import StepStore

_EVERY_FRAME = ExtractionSettings()


@dataclass(frozen=True)
class FolderExtraction:
    """What is extracted from a folder or zip of stimuli, and how; ``seed`` is that of random weights.

    ``recursive``: whether folders in the folder are looked into; ``keep_suffix``: whether ids keep files' suffixes.
    """

    source: Path
    network: NetworkSettings
    settings: ExtractionSettings = _EVERY_FRAME
    seed: int = 0
    device: str = "cpu"
    recursive: bool = False
    keep_suffix: bool = False

    def __post_init__(self) -> None:
        if "pc1" in self.settings.pools:
            raise OptionError(
                "pool pc1 is fitted to training stimuli, so extract alone cannot; set --pool none instead"
            )

    def plain(self) -> dict[str, Any]:
        """Return the settings that can change a result, as plain values."""
        plain = {"network": content(self.network), "seed": self.seed, "extraction": content(self.settings)}
        return dict(json.loads(json.dumps(plain)))


def extract_folder(
    wanted: FolderExtraction, output: Path, *, progress: Progress = SILENT, on: Profile = THIS_MACHINE
) -> list[dict[str, object]]:
    """Extract features of all stimuli of a folder; goes on where a killed run was.

    Writes ``<layer>.npy`` (n_readable, n_features) float32, with pool ``none`` (n_readable, n_times, n_features), and
    ``stimuli.csv`` (stimulus_id, n_frames, broken) under ``output`` and returns the table's rows. Files are the same
    wherever the work runs (``on``; on a GPU to its rounding): this process reads the shards that workers wrote.

    Raises StoreError if ``output`` holds files that no extraction wrote or another process works in it, StimulusError
    for a broken stimulus, ConfigError if ``device`` is a GPU and the profile has none, and ExecutionError if workers
    were lost again and again or could not be had.
    """
    settings, device = wanted.plain(), wanted.device
    extract_on = worker_device(on, device, "--device ")
    _check_output(output, settings)
    fetch_inputs(on, progress.note)
    stimuli = list_stimuli(wanted.source, recursive=wanted.recursive, keep_suffix=wanted.keep_suffix)
    here = isinstance(on, LocalProfile)
    loaded = load(wanted.network, wanted.seed, device if here else "cpu")  # a login node has no GPU
    with working_in(output):
        _check_output(output, settings)  # another process may have written there while the network was loaded
        store, journal, what = StepStore(output / "steps"), Journal(output), f"extract {loaded.shown}"
        write_json(output / "settings.json", settings)
        steps = extract_steps(loaded, stimuli, wanted.settings, extract_on)
        with journal.run(store.root, on.scheduler, {what: None}):
            gpus = len(visible_gpus()) if here and device == "cuda" else 0
            with open_engine(on, available_cores(), output, progress.note, gpus) as engine:
                StageRunner(engine, store, progress, journal, on.retries).run(what, steps, "stimulus")
            records = _write(store, steps, loaded.layers, output)
        send_results(on, output, progress.note)
        return records


def _check_output(output: Path, settings: Mapping[str, object]) -> None:
    there = check_folder(output, "settings.json", "an extraction's")
    if there is not None and read_plain(there, "settings") != settings:
        raise StoreError(f"output {output} holds features of other settings; choose another folder with --output")


def _write(store: StepStore, steps: Sequence[Step], layers: Sequence[str], output: Path) -> list[dict[str, object]]:
    results = [store.read(step.step_id) for step in steps]
    records = [record for result in results for record in result.json("stimuli")]
    for layer in layers:
        shards = [result.stored(feature_name(layer)) for result in results if feature_name(layer) in result]
        if shards:
            shape = FeatureMatrix(shards).stored_shape
            with atomic_path(output / f"{layer}.npy") as temporary, temporary.open("wb") as file:
                np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
                for shard in shards:  # one at a time: only so many files may be open
                    file.write(np.ascontiguousarray(shard.map(), "<f4").data)
    write_table(output, EXTRACTED_STIMULI, records)
    return records
