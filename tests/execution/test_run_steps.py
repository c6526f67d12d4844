from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from voxelcast.core.errors import DataError, StoreError
from voxelcast.core.progress import Silent
from voxelcast.execution.stage import run_steps
from voxelcast.execution.steps import Step
from voxelcast.execution.workers import Workers
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId, StepStore


def write_value(folder: Path, *, value: int, **_: Any) -> None:
    (folder / "value").write_text(str(value))
    (folder / "pid").write_text(str(os.getpid()))
    (folder / "threads").write_text(str(max(info["num_threads"] for info in threadpool_info())))


def refuse_three(folder: Path, *, value: int) -> None:
    if value == 3:
        raise DataError("three is not allowed")
    write_value(folder, value=value)


def die(folder: Path, *, value: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def steps(function: Any, values: range, *, wide: bool = False) -> list[Step]:
    return [Step(StepId("t", f"s{v}", content_key(v)), function, {"value": v}, wide=wide) for v in values]


def run(made: list[Step], store: StepStore) -> int:
    np.dot(np.ones((2, 2)), np.ones((2, 2)))
    with Workers(2) as workers:
        return run_steps(made, store, engine=workers, progress=Silent(), what="test")


def test_steps_run_once_in_other_processes_with_one_thread(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(write_value, range(4))
    assert run(made, store) == 4
    assert run(made, store) == 0
    folders = [store.path(step.step_id) for step in made]
    assert [(folder / "value").read_text() for folder in folders] == ["0", "1", "2", "3"]
    assert {(folder / "threads").read_text() for folder in folders} == {"1"}
    assert str(os.getpid()) not in {(folder / "pid").read_text() for folder in folders}


def test_wide_steps_run_in_this_process(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(write_value, range(2), wide=True)
    assert run(made, store) == 2
    assert (store.path(made[0].step_id) / "pid").read_text() == str(os.getpid())


def test_an_error_is_raised_as_it_is_and_finished_steps_stay(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    made = steps(refuse_three, range(4))
    with pytest.raises(DataError, match="three is not allowed"):
        run(made, store)
    assert not store.is_done(made[3].step_id)
    assert run(made[:3], store) + sum(store.is_done(step.step_id) for step in made[:3]) >= 3


def test_a_worker_that_is_killed_is_reported_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="run the same command again"):
        run(steps(die, range(1)), StepStore(tmp_path))


def sleep_long(folder: Path, *, value: int) -> None:
    (folder.parent / f"started-{value}").touch()
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
