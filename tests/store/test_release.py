"""What only later steps read is removed at the end of a run, and nothing else; kills at any moment leave it whole."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from voxelcast.core.errors import StoreError
from voxelcast.store import steps as steps_module
from voxelcast.store.steps import StepId, StepStore

STEP = StepId("extract", "a", "0123456789abcdef")


@pytest.fixture
def store(tmp_path: Path) -> StepStore:
    """A store with one step: ``kept``, and in the scratch file ``big`` and the rows ``features``."""
    store = StepStore(tmp_path)
    with store.writing(STEP) as writer:
        writer.array("kept", np.arange(3))
        writer.scratch.array("big", np.arange(1000.0))
        for row in range(4):
            writer.scratch.rows("features", (2,)).append(np.full(2, float(row)))
    return store


def test_both_files_are_read_as_one_result(store: StepStore) -> None:
    found = store.read(STEP)
    assert "big" in found
    assert "kept" in found
    assert found.array("big").sum() == np.arange(1000).sum()
    assert found.mapped("features").tolist() == [[0, 0], [1, 1], [2, 2], [3, 3]]
    assert set(store.facts(STEP)["files"]) == {"result.npz", "scratch.npz"}  # type: ignore[call-overload]


def test_released_step_counts_as_done_with_the_rest_in_place(store: StepStore) -> None:
    size, when = (store.path(STEP) / "scratch.npz").stat().st_size, (store.path(STEP) / "DONE").stat().st_mtime_ns
    with store.in_use() as used:
        assert store.release([STEP], used) == size
        assert store.release([STEP], used) == 0
    fresh = StepStore(store.root)
    assert fresh.is_sound(STEP)
    assert fresh.is_released(STEP)
    assert fresh.facts(STEP)["released"] == size
    assert (store.path(STEP) / "DONE").stat().st_mtime_ns == when
    assert sorted(os.listdir(store.path(STEP))) == ["DONE", "result.npz"]
    assert fresh.read(STEP).array("kept").tolist() == [0, 1, 2]
    with pytest.raises(StoreError, match="keep_scratch"):
        fresh.read(STEP).array("big")


def test_what_a_kill_left_of_a_mark_is_removed(store: StepStore) -> None:
    (store.path(STEP) / ".DONE.5707d73d.part").touch()
    with store.in_use() as used:
        assert store.release([STEP], used)
    assert sorted(os.listdir(store.path(STEP))) == ["DONE", "result.npz"]


def test_nothing_is_removed_while_another_run_uses_the_store(store: StepStore) -> None:
    with store.in_use() as used, StepStore(store.root).in_use():
        assert store.release([STEP], used) is None
    assert store.is_sound(STEP)
    assert not store.is_released(STEP)


def test_kill_between_mark_and_removal_leaves_a_whole_step(store: StepStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, store.in_use() as used, pytest.raises(KeyboardInterrupt):
        patch.setattr(steps_module.os, "utime", killed)
        store.release([STEP], used)
    fresh = StepStore(store.root)
    assert fresh.is_sound(STEP)
    with fresh.in_use() as used:
        assert fresh.release([STEP], used)
    assert not (store.path(STEP) / "scratch.npz").exists()


def test_damaged_scratch_file_is_found(store: StepStore) -> None:
    path = store.path(STEP) / "scratch.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    (line,) = StepStore(store.root).set_aside_damaged([STEP])
    assert "scratch.npz" in line


def test_forgotten_step_is_done_again(store: StepStore) -> None:
    store.forget(STEP)
    assert not store.is_done(STEP)
    assert os.listdir(store.root / "extract") == []


def test_half_precision_refuses_what_it_cannot_hold(tmp_path: Path) -> None:
    from voxelcast.core.errors import DataError

    with pytest.raises(DataError, match="65,504"), StepStore(tmp_path).writing(STEP) as writer:
        rows = writer.scratch.rows("features", (2,), "float16")
        rows.append(np.array([1.0, np.inf]))  # which was so before
        rows.append(np.array([1.0, 1e5]))
