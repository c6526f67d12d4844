"""Steps, and the batches in which they travel to a worker."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxelcast.core.errors import MissingFileError
from voxelcast.execution.gpu import claim_gpu
from voxelcast.store.steps import StepId, StepStore

StepFunction = Callable[..., None]


@dataclass(frozen=True)
class Step:
    """A piece of work.

    Parameters
    ----------
    step_id : StepId
    function : callable
        Called as ``function(folder, **arguments)``; a top-level function, so that worker processes can import it.
        Wide steps that run in the driver's process are also given ``progress``, and advance it themselves.
    arguments : mapping
        Plain values and paths.
    wide : bool
        Whether the step uses a whole GPU.
    size : int
        Units of work for the progress bar.
    """

    step_id: StepId
    function: StepFunction
    arguments: Mapping[str, Any] = field(default_factory=dict)
    wide: bool = False
    size: int = 1


@dataclass(frozen=True)
class Batch:
    """Steps that one worker does one after the other, the store they go to, and where relative paths begin."""

    steps: tuple[Step, ...]
    root: Path
    folder: Path


def run_batch(batch: Batch) -> float:
    """Run the steps that are not done yet, in order, and return the seconds: what a worker does.

    Each step's result is in the store as soon as it is finished; an error ends the batch at the step that raised it.

    Raises
    ------
    MissingFileError
        If the folder in which relative paths begin is not there on this machine.
    """
    started = time.perf_counter()
    if Path.cwd() != batch.folder:
        try:
            os.chdir(batch.folder)
        except FileNotFoundError as error:
            raise MissingFileError(
                f"folder {batch.folder} does not exist on {platform.node()}; run voxelcast in a folder that all "
                "machines share"
            ) from error
    store = StepStore(batch.root)
    for step in batch.steps:
        if store.is_done(step.step_id):
            continue
        with store.claiming(step.step_id) as wanted:
            if not wanted:
                continue
            if step.wide:
                claim_gpu()
            with store.writing(step.step_id) as folder:
                step.function(folder, **step.arguments)
    return time.perf_counter() - started
