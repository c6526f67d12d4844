"""Try a profile out: a tiny step on each kind of its workers, from the submission to the result in the store."""

from __future__ import annotations

import platform
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from voxelcast.core.progress import SILENT
from voxelcast.execution.engine import Kind
from voxelcast.execution.machine import available_cores
from voxelcast.execution.opening import open_engine
from voxelcast.execution.profile import LocalProfile, Profile
from voxelcast.execution.stage import StageRunner
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepStore


def check_profile(profile: Profile, note: Callable[[str], None]) -> Iterator[str]:
    """Run a tiny step on each kind of a profile's workers and yield what was found, a line for each.

    Raises VoxelcastError with what is wrong, in words.
    """
    shared = Path.cwd() if isinstance(profile, LocalProfile) else profile.shared_folder.expanduser()
    shared.mkdir(parents=True, exist_ok=True)
    kinds: list[Kind] = ["cpu"]
    if not isinstance(profile, LocalProfile) and profile.gpu_workers is not None:
        kinds.append("gpu")
    with tempfile.TemporaryDirectory(prefix="voxelcast-check-", dir=shared) as folder:
        store = StepStore(Path(folder) / "steps")
        for kind in kinds:
            started = time.monotonic()
            with open_engine(profile, 1, Path(folder), note) as engine:
                step = Step(CheckJob(kind), uses_gpu=kind == "gpu")
                StageRunner(engine, store, SILENT, retries=0).run("check", [step])
            host, cores = store.read(step.step_id).json("found")
            yield (
                f"{kind} workers: a step ran on {host} ({cores} {'core' if cores == 1 else 'cores'} for it"
                f"{' and a GPU' if kind == 'gpu' else ''}) and its result came back, "
                f"{time.monotonic() - started:.0f} s in all"
            )


@dataclass(frozen=True)
class CheckJob(Job):
    """Write on which machine this is, and how many cores a step may use: the tiny step."""

    kind = "check"
    version = 1
    worker: Kind

    @property
    def name(self) -> str:
        """Kind of worker."""
        return self.worker

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write ``found``: host and cores."""
        writer.json("found", [platform.node(), available_cores()])
