"""What running many small steps costs beside the work itself: store, sending to workers, waiting."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxelcast.core.progress import Silent
from voxelcast.core.seeds import generator
from voxelcast.execution.opening import open_engine, worker_slots
from voxelcast.execution.profile import LocalProfile, Profile
from voxelcast.execution.stage import StageRunner
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepStore

_SIZE = 200


@dataclass(frozen=True)
class StepsBenchmark:
    """What the steps took.

    Parameters
    ----------
    n_steps, workers : int
    wall_seconds : float
        From before the first worker is started to after the last is ended.
    work_seconds : float
        Spent in the steps' functions, summed over steps.
    """

    n_steps: int
    workers: int
    wall_seconds: float
    work_seconds: float

    @property
    def outside(self) -> float:
        """Share of the workers' time that was not work: ``1 - work / (workers * wall)``."""
        return 1 - self.work_seconds / (self.workers * self.wall_seconds)

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        each = 1000 * self.work_seconds / self.n_steps
        return [
            f"{self.n_steps} steps of {each:.0f} ms on {self.workers} workers: {self.wall_seconds:.1f} s",
            f"outside the work itself: {100 * self.outside:.1f} % of the workers' time",
        ]


def benchmark_steps(n_steps: int, workers: int, solves: int, on: Profile | None = None) -> StepsBenchmark:
    """Run ``n_steps`` steps of ``solves`` eigendecompositions each and compare the work with the wall time.

    Parameters
    ----------
    n_steps, workers : int
    solves : int
        Eigendecompositions of a 200 x 200 matrix in each step, some 10 ms each.
    on : Profile or None
        Where the steps run; None: on this machine.
    """
    profile = LocalProfile(scheduler="local", workers=workers) if on is None else on
    workers = worker_slots(profile) or workers
    folder = Path.cwd() if on is None or isinstance(on, LocalProfile) else on.shared_folder.expanduser()
    with tempfile.TemporaryDirectory(prefix="voxelcast-benchmark-", dir=None if on is None else folder) as scratch:
        store = StepStore(Path(scratch) / "steps")
        steps = [Step(SmallJob(k, solves)) for k in range(n_steps)]
        started = time.perf_counter()
        with open_engine(profile, workers, Path(scratch), lambda _: None) as engine:
            StageRunner(engine, store, Silent()).run("small steps", steps)
        wall = time.perf_counter() - started
        work = sum(store.read(step.step_id).json("seconds") for step in steps)
    return StepsBenchmark(n_steps, workers, wall, work)


@dataclass(frozen=True)
class SmallJob(Job):
    """Do some linear algebra."""

    kind = "small"
    version = 1
    seed: int
    solves: int

    @property
    def name(self) -> str:
        """Number of the step."""
        return f"s{self.seed:05d}"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write the result and the seconds it took."""
        started = time.perf_counter()
        draws = generator(self.seed).standard_normal((_SIZE, _SIZE))
        values = draws
        for _ in range(self.solves):
            values = np.linalg.eigh(draws @ draws.T)[0]
        writer.array("values", values)
        writer.json("seconds", time.perf_counter() - started)
