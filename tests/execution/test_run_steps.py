from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from tests.execution.calls import Call, steps
from voxelcast.core.errors import DataError, ExecutionError
from voxelcast.core.progress import Silent
from voxelcast.execution.engine import Kind
from voxelcast.execution.journal import Journal, read_journal
from voxelcast.execution.stage import StageRunner
from voxelcast.execution.steps import Batch, Step, run_batch
from voxelcast.execution.workers import Workers
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepStore


def write_value(writer: ResultWriter, *, value: int, **_: Any) -> None:
    writer.text("value", str(value))
    writer.text("pid", str(os.getpid()))
    writer.text("threads", str(max(info["num_threads"] for info in threadpool_info())))


def refuse_three(writer: ResultWriter, *, value: int) -> None:
    if value == 3:
        raise DataError("three is not allowed")
    write_value(writer, value=value)


def die(writer: ResultWriter, *, value: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(made: list[Step], store: StepStore) -> int:
    np.dot(np.ones((2, 2)), np.ones((2, 2)))
    with Workers(2) as workers:
        journal = Journal(store.root)
        with journal.run(store.root, "local", {"test": 1.0}):
            return StageRunner(workers, store, Silent(), journal).run("test", made)


def test_steps_run_once_in_other_processes_with_one_thread(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(write_value, range(4))
    assert run(made, store) == 4
    assert run(made, store) == 0
    results = [store.read(step.step_id) for step in made]
    assert [result.text("value") for result in results] == ["0", "1", "2", "3"]
    assert {result.text("threads") for result in results} == {"1"}
    assert str(os.getpid()) not in {result.text("pid") for result in results}


def one_dies(writer: ResultWriter, *, value: int) -> None:
    if value == 1:
        die(writer, value=value)
    write_value(writer, value=value)


def dies_once(writer: ResultWriter, *, value: int) -> None:
    mark = writer.path.parents[2] / f"died-{value}"
    if value in (1, 2) and not mark.exists():
        mark.touch()
        die(writer, value=value)
    write_value(writer, value=value)


def test_gpu_steps_run_in_this_process(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(write_value, range(2), uses_gpu=True)
    assert run(made, store) == 2
    assert store.read(made[0].step_id).text("pid") == str(os.getpid())


def test_steps_that_share_a_gpu_run_side_by_side_and_claim_none(tmp_path: Path) -> None:
    """A claim would be refused: there is no GPU here."""
    store = StepStore(tmp_path)
    made = [replace(step, shares_gpu=True) for step in steps(write_value, range(2), uses_gpu=True)]
    assert run(made, store) == 2
    assert str(os.getpid()) not in {store.read(step.step_id).text("pid") for step in made}


def test_a_gpu_step_that_fails_is_named_and_the_others_are_done(tmp_path: Path) -> None:
    store, made = StepStore(tmp_path), steps(refuse_three, range(5), uses_gpu=True)
    with Workers(1) as workers:
        attempt = StageRunner(workers, store, Silent()).attempt("test", made)
        assert [(one.step_id, one.reason) for one in attempt.failures] == [(made[3].step_id, "three is not allowed")]
        assert [store.is_done(step.step_id) for step in made] == [value != 3 for value in range(5)]
        with pytest.raises(DataError, match="three is not allowed"):
            StageRunner(workers, store, Silent()).run("test", made)


def divide_by_three(writer: ResultWriter, *, value: int) -> None:
    write_value(writer, value=value)
    1 / (value - 3)


def test_wrong_data_end_the_run_with_their_own_error(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(refuse_three, range(4))
    with pytest.raises(DataError, match="three is not allowed"):
        run(made, store)
    assert not store.is_done(made[3].step_id)
    assert (read_journal(tmp_path)[-2]["event"], read_journal(tmp_path)[-1]["how"]) == ("failed", "stopped")


def test_a_step_that_fails_otherwise_is_reported_and_the_others_are_done(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(divide_by_three, range(8))
    with pytest.raises(ZeroDivisionError):
        run(made, store)
    assert [store.is_done(step.step_id) for step in made] == [value != 3 for value in range(8)]
    (failed,) = [line for line in read_journal(tmp_path) if line["event"] == "failed"]
    assert (failed["step"], failed["reason"]) == (made[3].step_id.folder, "ZeroDivisionError: division by zero")


def test_a_step_that_kills_its_worker_is_given_up_and_the_others_are_done(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(one_dies, range(6))
    with pytest.raises(ExecutionError, match=r"step t/s1-\w+ failed, tried 3 times: its worker process died"):
        run(made, store)
    assert [store.is_done(step.step_id) for step in made] == [value != 1 for value in range(6)]
    assert list((tmp_path / "t").glob(".*")) == []  # what the dead left half done
    events = [(line["event"], line["step"]) for line in read_journal(tmp_path) if line["event"] in ("lost", "failed")]
    assert events == [(event, made[1].step_id.folder) for event in ("lost", "lost", "failed")]


def test_a_step_whose_worker_is_killed_is_tried_again(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(dies_once, range(6))
    assert run(made, store) == 6
    assert all(store.is_done(step.step_id) for step in made)


class Scripted:
    """An engine of some workers that run batches at once in this process, or lose them, as it is told."""

    name, batch_seconds, gpu_steps_here = "scripted", 10.0, False

    def __init__(self, seconds: float, lose: tuple[int, ...] = ()) -> None:
        self.batches: list[tuple[int, ...]] = []
        self.kinds: list[str] = []
        self._seconds, self._lose = seconds, lose

    def prepare(self, kind: Kind, n_steps: int, root: Path) -> None:
        self.kinds.append(f"{kind} {n_steps}")

    def slots(self, kind: Kind) -> int:
        return 2

    def free(self, kind: Kind) -> int:
        return 1

    def submit(self, kind: Kind, batch: Batch) -> Future[float]:
        self.batches.append(tuple(cast(Call, step.job).value for step in batch.steps))
        future: Future[float] = Future()
        lost = len(self.batches) in self._lose
        # A lost worker has finished the first of its steps.
        run_batch(replace(batch, steps=batch.steps[:1]) if lost else batch)
        if lost:
            future.set_exception(ConnectionError("gone"))
        else:
            future.set_result(self._seconds * len(batch.steps))
        return future

    def lost(self, error: BaseException) -> str | None:
        return "its worker is gone" if isinstance(error, ConnectionError) else None


def test_small_steps_are_grouped_and_large_ones_are_not(tmp_path: Path) -> None:
    small, large = Scripted(seconds=0.5), Scripted(seconds=60.0)
    for name, engine in (("small", small), ("large", large)):
        made = steps(write_value, range(100))
        StageRunner(engine, StepStore(tmp_path / name), Silent()).run("test", made)
        assert [value for batch in engine.batches for value in batch] == list(range(100))
    sizes = [len(batch) for batch in small.batches]
    assert sizes[:3] == [1, 20, 19]  # one to see how long they take; ten seconds' worth; a quarter of what is left
    assert sizes[-1] == 1
    assert len(sizes) < 25
    assert {len(batch) for batch in large.batches} == {1}


def test_steps_that_read_the_same_files_go_to_one_worker(tmp_path: Path) -> None:
    engine = Scripted(seconds=60.0)
    made = [replace(step, together="ab "[k // 3].strip()) for k, step in enumerate(steps(write_value, range(9)))]
    StageRunner(engine, StepStore(tmp_path), Silent()).run("test", made)
    assert engine.batches == [(0, 1, 2), (3, 4, 5), (6,), (7,), (8,)]


def test_what_a_lost_worker_had_finished_is_not_done_again(tmp_path: Path) -> None:
    store, engine = StepStore(tmp_path), Scripted(seconds=0.5, lose=(2,))
    made = steps(write_value, range(40))
    StageRunner(engine, store, Silent(), retries=1).run("test", made)
    assert engine.batches[1] == tuple(range(1, 10))
    assert engine.batches[2][:3] == (2, 3, 4)  # 1 was finished; 2 is tried again; the others had not begun
    counted = [value for number, batch in enumerate(engine.batches) for value in (batch[:1] if number == 1 else batch)]
    assert sorted(counted) == list(range(40))


def test_steps_go_to_workers_of_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxelcast.execution.steps.claim_gpu", lambda: None)
    engine = Scripted(seconds=1.0)
    on_gpu = steps(write_value, range(3, 5), uses_gpu=True)
    made = [*steps(write_value, range(3)), on_gpu[0], replace(on_gpu[1], shares_gpu=True)]
    StageRunner(engine, StepStore(tmp_path), Silent()).run("test", made)
    assert engine.kinds == ["gpu 2", "cpu 3"]
    assert sorted(engine.batches) == [(0,), (1,), (2,), (3,), (4,)]


def sleep_long(writer: ResultWriter, *, value: int) -> None:
    (writer.path.parents[1] / f"started-{value}").touch()
    time.sleep(60)


def test_an_interrupt_ends_the_workers_at_once(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    started = time.monotonic()

    def interrupt() -> None:
        while not (tmp_path / "t" / "started-0").exists() and time.monotonic() - started < 30:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(steps(sleep_long, range(2)), store)
    assert multiprocessing.active_children() == []
    assert not any(store.is_done(step.step_id) for step in steps(sleep_long, range(2)))
