"""What packing short steps into batches, and these into jobs, leaves of a scheduler's costs: on a clock of its own."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, cast

import pytest

from voxelcast.core.progress import Silent
from voxelcast.execution.engine import Kind
from voxelcast.execution.stage import StageRunner
from voxelcast.execution.steps import Batch, Step
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepId, StepStore

JOB_SECONDS = 1.0  # a job is submitted and started
BATCH_SECONDS = 0.02  # a batch goes to a worker over the network, and its answer comes back


class Nothing:
    """A store in which every step is done once its batch came back."""

    root = Path("store")

    def __init__(self) -> None:
        self.done: set[StepId] = set()

    def is_done(self, step_id: StepId) -> bool:
        return step_id in self.done

    def is_claimed(self, _: StepId) -> bool:
        return False

    def set_aside_damaged(self, _: Iterable[StepId]) -> list[str]:
        return []

    def clear_abandoned(self, _: Iterable[StepId]) -> None:
        pass


class Clocked:
    """Jobs that each run one batch at a time; asking for free ones lets the time pass until the next is."""

    name, batch_seconds, gpu_steps_here = "clocked", 10.0, False

    def __init__(self, jobs: int, step_seconds: float, store: Nothing) -> None:
        self.now, self._jobs, self._step, self._store = 0.0, jobs, step_seconds, store
        self.n_jobs, self.n_batches = 0, 0
        self._busy: list[tuple[float, int, Future[float], Batch]] = []

    def prepare(self, kind: Kind, n_steps: int, root: Path) -> None:
        pass

    def slots(self, kind: Kind) -> int:
        return self._jobs

    def free(self, kind: Kind) -> int:
        if self._busy:
            self.now, _, future, batch = heapq.heappop(self._busy)
            self._store.done |= {step.step_id for step in batch.steps}
            future.set_result(len(batch.steps) * self._step)
        return self._jobs - len(self._busy)

    def submit(self, kind: Kind, batch: Batch) -> Future[float]:
        future: Future[float] = Future()
        start = 0.0 if self.n_jobs == self._jobs else JOB_SECONDS
        self.n_jobs += start > 0
        self.n_batches += 1
        ends = self.now + start + BATCH_SECONDS + len(batch.steps) * self._step
        heapq.heappush(self._busy, (ends, self.n_batches, future, batch))
        return future

    def lost(self, error: BaseException) -> str | None:
        return None


class Short:
    """A job that is only counted."""

    kind, version = "short", 1

    def __init__(self, number: int) -> None:
        self.name, self.number = f"s{number:05d}", number

    def run(self, writer: ResultWriter, context: Any) -> None:
        raise AssertionError


class ShortStep(Step):
    """A step whose key need not be hashed."""

    @property
    def step_id(self) -> StepId:  # type: ignore[override]
        return StepId("short", self.job.name, self.job.name)


@pytest.mark.parametrize(
    ("n", "seconds", "jobs"),
    [(6000, 0.02, 2), (6000, 0.1, 10), (3000, 0.5, 10)],
)
def test_scheduling_costs_less_than_five_percent(n: int, seconds: float, jobs: int) -> None:
    store = Nothing()
    engine = Clocked(jobs, seconds, store)
    steps = [ShortStep(cast(Any, Short(number))) for number in range(n)]
    assert StageRunner(engine, cast(StepStore, store), Silent()).run("short", steps) == n
    work = n * seconds
    assert engine.n_jobs == jobs
    assert engine.n_batches < n / 5
    assert 1 - work / (jobs * engine.now) < 0.05
