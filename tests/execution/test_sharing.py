"""Two processes that share a store: nothing is done twice, and a killed one does not hold up the other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from voxelcast.core.progress import Silent
from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.stage import StageRunner
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.execution.workers import Workers
from voxelcast.store.result import ResultWriter, StepResult
from voxelcast.store.steps import StepStore

N = 12


@dataclass(frozen=True)
class Nap(Job):
    kind = "nap"
    version = 1
    number: int
    log: Annotated[Path, NO_EFFECT]
    seconds: Annotated[float, NO_EFFECT]

    @property
    def name(self) -> str:
        return f"n{self.number:02d}"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        with self.log.open("a") as file:
            file.write(self.name + "\n")
        time.sleep(self.seconds)
        writer.text("name.txt", self.name)


def run(root: Path, log: Path, seconds: float) -> None:
    with Workers(1) as workers:
        StageRunner(workers, StepStore(root), Silent()).run("nap", [Step(Nap(k, log, seconds)) for k in range(N)])


def started(root: Path, log: Path, seconds: float = 0.2) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=run, args=(root, log, seconds))
    process.start()
    return process


def done(root: Path) -> list[str]:
    return sorted(path.parent.name for path in root.glob("nap/[!.]*/DONE"))


def test_nothing_is_done_twice(tmp_path):
    root, log = tmp_path / "steps", tmp_path / "log"
    processes = [started(root, log) for _ in range(2)]
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    assert sorted(log.read_text().split()) == [f"n{k:02d}" for k in range(N)]
    assert len(done(root)) == N
    assert list(root.glob("nap/.*")) == []


def test_a_killed_one_leaves_its_step_to_the_other(tmp_path):
    root, log = tmp_path / "steps", tmp_path / "log"
    log.touch()
    first = started(root, log)
    while len(log.read_text().split()) < 3:
        assert first.is_alive()
        time.sleep(0.01)
    second = started(root, log)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    second.join(120)
    assert second.exitcode == 0
    counts = Counter(log.read_text().split())
    assert sorted(counts) == [f"n{k:02d}" for k in range(N)]
    assert sum(counts.values()) <= N + 1  # the step that was under way
    assert len(done(root)) == N
    assert all(StepResult(root / "nap" / name / "result.npz").text("name.txt") == name[:3] for name in done(root))
    assert list(root.glob("nap/.*")) == []
