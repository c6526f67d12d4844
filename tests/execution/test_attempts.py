"""Steps of which some fail: the others are done, and what failed is told, whatever the engine."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.execution.calls import steps as steps_of
from voxelcast.core.errors import DataError, ExecutionError
from voxelcast.core.progress import Silent
from voxelcast.execution.engine import Engine
from voxelcast.execution.journal import Journal, read_journal
from voxelcast.execution.stage import Attempt, StageRunner
from voxelcast.execution.status import read_status
from voxelcast.execution.steps import Step
from voxelcast.execution.workers import Workers
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepStore


def fail_in_three_ways(writer: ResultWriter, *, value: int, mended: bool) -> None:
    if not mended and value == 2:
        raise DataError("two is not allowed")
    if not mended and value == 4:
        1 / (value - 4)
    if not mended and value == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    writer.text("value", str(value))


class Notes(Silent):
    """Keeps what the user is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def made(*, mended: bool = False) -> list[Step]:
    """Eight steps; that a step was mended is no part of its key."""
    return steps_of(partial(fail_in_three_ways, mended=mended), range(8))


def attempt(engine: Engine, steps: list[Step], store: StepStore, notes: Notes) -> Attempt:
    journal = Journal(store.root.parent)
    with journal.run(store.root, "test", {"work": None}):
        return StageRunner(engine, store, notes, journal, retries=1).attempt("work", steps)


@pytest.mark.parametrize("kind", ["processes", "dask"])
def test_steps_that_fail_cost_no_others_and_are_all_that_is_done_next(kind: str, tmp_path: Path) -> None:
    store, notes = StepStore(tmp_path / "steps"), Notes()
    engine: Any = Workers(2)
    if kind == "dask":
        pytest.importorskip("distributed", reason="needs pip install 'voxelcast[cluster]'")
        from tests.execution.local_dask import LocalDask

        engine = LocalDask()
    steps = made()
    with engine:
        found = attempt(engine, steps, store, notes)
        assert [store.is_done(step.step_id) for step in steps] == [v not in (2, 4, 6) for v in range(8)]
        assert found.n_run == 5
        failed = {failure.step_id.name: failure for failure in found.failures}
        assert sorted(failed) == ["s2", "s4", "s6"]
        assert isinstance(failed["s2"].error, DataError)
        assert isinstance(failed["s6"].error, ExecutionError)
        assert failed["s2"].reason == "two is not allowed"
        assert failed["s4"].reason == "ZeroDivisionError: division by zero"
        assert failed["s6"].reason.startswith("tried 2 times: its worker ")
        for failure in found.failures:
            assert failure.log is not None
            assert failure.log.parent == tmp_path / "failures"
            assert failure.reason in failure.log.read_text()
            assert any(failure.step_id.folder in note and str(failure.log) in note for note in notes.notes)
        assert "1 / (value - 4)" in str(failed["s4"].log and failed["s4"].log.read_text())  # the worker's own traceback
        with pytest.raises(type(found.failures[0].error)):
            found.all_done()
        status = read_status(tmp_path)
        assert status.stages[0].line().endswith("5 of 8 done, 3 failed")
        assert any(trouble.endswith(f"not allowed (log: {failed['s2'].log})") for trouble in status.troubles)

        again = attempt(engine, made(mended=True), store, notes)
    assert (again.n_run, again.failures) == (3, ())
    assert again.all_done() == 3
    assert all(store.is_done(step.step_id) for step in steps)
    assert not (tmp_path / "failures").exists()
    assert [line["event"] for line in read_journal(tmp_path)] == ["begin", "stage", "stage_end", "end"]


def test_wrong_data_end_the_work_where_all_of_it_is_needed(tmp_path: Path) -> None:
    store = StepStore(tmp_path / "steps")
    with Workers(1) as engine, pytest.raises(DataError, match="two is not allowed"):
        StageRunner(engine, store, Silent()).attempt("work", made(), wrong_ends=True)
    assert not store.is_done(made()[7].step_id)
