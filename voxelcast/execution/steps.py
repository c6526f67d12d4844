"""Jobs, the steps that they are in an experiment, and the batches in which steps travel to a worker."""

from __future__ import annotations

import os
import platform
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from voxelcast.core.errors import MissingFileError
from voxelcast.core.progress import SILENT, Progress
from voxelcast.core.settings import content
from voxelcast.execution.machine import claim_gpu
from voxelcast.store.keys import content_key
from voxelcast.store.result import ResultWriter, StepResult
from voxelcast.store.steps import LAYOUT, StepId, StepStore


@dataclass(frozen=True)
class StepContext:
    """What a running step finds around it: the store has the results of the steps that the job refers to.

    ``progress`` is there where the step runs in the process that drives: it advances the bar by itself.
    """

    store: StepStore
    step_id: StepId
    progress: Progress = SILENT

    def read(self, step: StepId) -> StepResult:
        """Return the result of a finished step."""
        return self.store.read(step)

    @property
    def scratch(self) -> Path:
        """Folder for what a killed step may go on from; the step deletes it when it is done."""
        return self.store.scratch(self.step_id)


class Job(ABC):
    """What a step does: a frozen dataclass whose fields are all that determines its result.

    Results of other steps are fields of type `StepId` and count by their keys; a field that changes no result is
    annotated with `voxelcast.core.settings.NO_EFFECT`. ``version`` rises when the code gives other results.
    """

    kind: ClassVar[str]
    version: ClassVar[int]

    @property
    @abstractmethod
    def name(self) -> str:
        """What the step is called, e.g. ``"sub01_V1"``; part of its folder's name."""

    @abstractmethod
    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Do the work and write the result."""


@dataclass(frozen=True, eq=False)
class Step:
    """A job in an experiment; ``size`` is in the units of the progress bar, ``uses_gpu``: it uses a whole GPU.

    ``shares_gpu``: it uses a GPU beside others, so that a machine's processes for the CPU can do it.
    Steps in a row with the same ``together`` go to one worker, which reads for all of them what the first needs.
    """

    job: Job
    uses_gpu: bool = False
    size: int = 1
    together: str = ""
    shares_gpu: bool = False

    @cached_property
    def step_id(self) -> StepId:
        """Kind, name and the key: the hash of the store's layout and the job's kind, version and content."""
        job = self.job
        key = content_key({"store": LAYOUT, "kind": job.kind, "version": job.version, "job": content(job)})
        return StepId(job.kind, job.name, key)

    def run(self, store: StepStore, progress: Progress = SILENT) -> None:
        """Do the job and keep its result in the store."""
        with store.writing(self.step_id) as writer:
            self.job.run(writer, StepContext(store, self.step_id, progress))


@dataclass(frozen=True)
class Batch:
    """Steps that one worker does one after the other, the store they go to, and where relative paths begin."""

    steps: tuple[Step, ...]
    root: Path
    folder: Path


def run_batch(batch: Batch) -> float:
    """Run the steps that are not done yet, in order, and return the seconds: what a worker does.

    Each step's result is in the store as soon as it is finished; an error ends the batch at the step that raised it.
    Raises MissingFileError if the folder in which relative paths begin is not there on this machine.
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
            if wanted:
                if step.uses_gpu:
                    claim_gpu()
                step.run(store)
    return time.perf_counter() - started
