from __future__ import annotations

import fcntl
import json
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from voxelcast.core.errors import MissingFileError
from voxelcast.core.progress import Silent
from voxelcast.execution.journal import FILE_NAME, Journal, Told, beside, read_journal
from voxelcast.execution.status import read_status, read_statuses, summary_lines
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId, StepStore

STEPS = [StepId("fit", f"s{k}", content_key(k)) for k in range(6)]


def test_a_run_is_told_while_it_runs_after_a_kill_and_at_its_end(tmp_path: Path) -> None:
    store, journal = StepStore(tmp_path / "steps"), Journal(tmp_path)
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with journal.run(store.root, "slurm", {"extract": 5.0, "fit": 100.0, "later": 7.0}):
            journal.stage("extract", [], [])
            journal.stage("fit", [step.folder for step in STEPS], [1] * 6)
            with store.writing(STEPS[0]):
                pass
            (tmp_path / "steps" / "fit" / f".{STEPS[4].folder.partition('/')[2]}.dead").mkdir()
            journal.lost(STEPS[2].folder, "its worker was lost")
            log = journal.failed(STEPS[2].folder, "out of memory", MemoryError("out of memory"))
            with store.writing(STEPS[1]):
                status = read_status(tmp_path)
            assert status.state == "running"
            assert [stage.line() for stage in status.stages] == [
                "extract               under way",
                "fit                   1 of 6 done, 1 running, 3 waiting, 1 failed",
                "later                 not begun",
            ]
            assert status.troubles == (
                f"lost and tried again: {STEPS[2].folder}: its worker was lost",
                f"failed: {STEPS[2].folder}: out of memory (log: {log})",
            )
            assert status.lines()[0].startswith("running; on slurm, for 0 s")
            killed = (tmp_path / "progress.jsonl").read_text()
    assert read_status(tmp_path).state == "finished"
    assert read_status(tmp_path).seconds_left is None
    (tmp_path / "progress.jsonl").write_text(killed + '{"event": "sta')  # a kill in the middle of a line
    status = read_status(tmp_path)
    assert status.state == "not running"
    assert status.stages[1].done == 2
    assert status.stages[1].running == 0  # the lock of what a killed worker left is gone
    assert status.lines()[-1] == "run the same command again to go on"


def test_a_line_that_a_kill_cut_off_spoils_no_other(tmp_path: Path) -> None:
    journal, path = Journal(tmp_path), tmp_path / "progress.jsonl"
    with journal.run(tmp_path / "steps", "local", {"fit": 1.0}):
        journal.stage("fit", [STEPS[0].folder], [1])
    whole = path.read_text()
    for torn in ('{"event": "sta', '{"event": "stage", "sizes": {}', ""):
        path.write_text(whole + torn)
        with journal.run(tmp_path / "steps", "slurm", {"fit": 1.0, "later": 2.0}):
            journal.stage("later", [STEPS[1].folder], [1])
        assert [line["event"] for line in read_journal(tmp_path)] == ["begin", "stage", "end"]
        status = read_status(tmp_path)
        assert (status.state, status.engine) == ("finished", "slurm")
        assert path.read_text().startswith(whole + torn + ("\n" if torn else "") + '{"event": "begin"')
    path.write_text('{"event": "beg{"event": "begin"}\n' + whole.split("\n", 1)[1])  # as an earlier version left it
    with pytest.raises(MissingFileError, match=r"there is no run in its progress\.jsonl"):
        read_status(tmp_path)


def test_the_time_left_goes_on_at_the_speed_so_far(tmp_path: Path) -> None:
    store, journal = StepStore(tmp_path / "steps"), Journal(tmp_path)
    with journal.run(store.root, "local", {"fit": 1000.0, "later": 30.0}):
        journal.stage("fit", [step.folder for step in STEPS], [1] * 6)
    for step in STEPS[:2]:
        with store.writing(step):
            pass
    lines = [json.loads(line) for line in (tmp_path / "progress.jsonl").read_text().splitlines()][:-1]
    began = time.time() - 40
    for line in lines:
        line["time"] = began
    (tmp_path / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    # Four steps are left and what was forecast to take 30 s: 110 s at the speed so far, 700 s at that forecast.
    left = read_status(tmp_path).seconds_left
    assert left is not None
    assert 150 < left < 690


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="is not the output of voxelcast run"):
        read_status(tmp_path)


def test_damaged_lines_are_left_out(tmp_path: Path) -> None:
    journal, rng = Journal(tmp_path), np.random.default_rng(0)
    with journal.run(tmp_path / "steps", "local", {"fit": 1.0}):
        journal.stage("fit", [step.folder for step in STEPS], [1] * 6)
        journal.lost(STEPS[0].folder, "died")
    whole = (tmp_path / "progress.jsonl").read_bytes()
    for place in rng.choice(len(whole), 150, replace=False):
        bit = bytes([whole[place] ^ 1 << int(rng.integers(8))])
        (tmp_path / "progress.jsonl").write_bytes(whole[:place] + bit + whole[place + 1 :])
        with suppress(MissingFileError):  # where the beginning is gone
            read_status(tmp_path).lines()


def test_work_that_is_not_made_of_steps_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "simulation"
    with Told(folder, Silent()) as told:
        assert not folder.exists()  # nothing is written before the work has passed its checks
        told.start("writing videos", 3, "video")
        told.advance(2)
        told.finish()
        told.start("responses", 4, "subject")
        status = read_status(folder)
        assert status.state == "running"
        assert [stage.line() for stage in status.stages] == [
            "writing videos        2 of 3 done, 1 waiting",
            "responses             0 of 4 done, 4 waiting",
        ]
        (folder / "video.mp4").touch()
        killed = (folder / FILE_NAME).read_text()
    assert read_status(folder).state == "finished"
    (folder / FILE_NAME).write_text(killed)
    assert read_status(folder).lines()[-1] == "run the same command again to go on"


@pytest.mark.parametrize("left", [True, False])
def test_work_that_failed_leaves_its_journal_only_beside_what_it_made(tmp_path: Path, left: bool) -> None:
    folder = tmp_path / "new"
    with pytest.raises(ValueError, match="wrong"), Told(folder, Silent()) as told:
        told.start("work", 2, "unit")
        if left:
            (folder / "result").touch()
        raise ValueError("wrong")
    assert folder.exists() == left
    if left:
        assert read_status(folder).state == "not running"


def test_runs_below_a_folder_are_told_together(tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    for name in ("a", "b"):
        (sweep / name).mkdir(parents=True)
    with Journal(sweep / "a").run(sweep / "steps", "local", {"fit": 1.0}):
        pass
    with suppress(MemoryError), Journal(sweep / "b").run(sweep / "steps", "local", {"fit": 9.0}):
        Journal(sweep / "b").stage("fit", [step.folder for step in STEPS], [1] * 6)
        raise MemoryError
    lines = summary_lines(read_statuses(sweep))
    assert lines[0] == "2 runs: 1 finished, 1 not running"
    assert lines[1:] == ["a  finished, 0 s", "b  not running, 0 s; fit 0 of 6 done, 6 waiting; about 9 s left"]
    with Told(beside(tmp_path / "tuned.pth"), Silent()) as told:
        told.start("epochs", 2, "epoch")
    assert list(read_statuses(tmp_path / "tuned.pth")) == [""]
