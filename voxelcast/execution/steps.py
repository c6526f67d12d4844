"""Running steps on this machine: what is done is skipped, the rest runs in as many processes as there are cores.

A step is a function that writes files into a folder. The step stores its own result (see
:class:`voxelcast.store.steps.StepStore`); nothing but success or failure travels back. Steps that use all cores by
themselves (``wide``) run one after the other in this process; all others run side by side in worker processes with
one BLAS thread each.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxelcast.core.errors import StoreError
from voxelcast.core.progress import Progress
from voxelcast.execution.workers import Workers
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
        Wide steps are also given ``progress``, and advance it themselves.
    arguments : mapping
        Plain values and paths.
    wide : bool
        Whether the step uses all cores by itself.
    size : int
        Units of work for the progress bar of a wide step.
    """

    step_id: StepId
    function: StepFunction
    arguments: Mapping[str, Any] = field(default_factory=dict)
    wide: bool = False
    size: int = 1


def run_steps(
    steps: Sequence[Step], store: StepStore, *, workers: Workers, progress: Progress, what: str, unit: str = "step"
) -> int:
    """Run the steps that are not done yet and return how many were run.

    Raises
    ------
    VoxelcastError
        The first error a step raised; what other steps finished stays.
    StoreError
        If a worker process died (killed, or out of memory).
    """
    waiting = [step for step in steps if not store.is_done(step.step_id)]
    finished = sum(step.size for step in steps) - sum(step.size for step in waiting)
    if not waiting:
        progress.note(f"{what}: all {finished} done before")
        return 0
    if finished:
        progress.note(f"{what}: {finished} of {finished + sum(step.size for step in waiting)} done before")
    progress.start(what, sum(step.size for step in waiting), unit)
    try:
        narrow = [step for step in waiting if not step.wide]
        for step in waiting:
            if step.wide:
                with store.writing(step.step_id) as folder:
                    step.function(folder, progress=progress, **step.arguments)
        if narrow:
            _run_in_workers(narrow, store, workers, progress)
    finally:
        progress.finish()
    return len(waiting)


def run_one(step: Step, root: Path) -> None:
    """Run one step and store its result under ``root``: what a worker process does."""
    store = StepStore(root)
    with store.writing(step.step_id) as folder:
        step.function(folder, **step.arguments)


def _run_in_workers(steps: Sequence[Step], store: StepStore, workers: Workers, progress: Progress) -> None:
    pending = {workers.submit(run_one, step, store.root): step for step in steps}
    try:
        while pending:
            done, _ = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                step = pending.pop(future)
                try:
                    future.result()
                except BrokenProcessPool as error:
                    raise StoreError(
                        f"a worker process died during step {step.step_id.folder} (killed, or out of memory); "
                        "finished steps are kept: run the same command again, with fewer compute.workers if memory "
                        "was short"
                    ) from error
                progress.advance(step.size)
    finally:
        for future in pending:
            future.cancel()
