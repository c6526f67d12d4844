from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from voxelcast.core.errors import MissingFileError, UnwritableError
from voxelcast.store.atomic import atomic_path, save_array, save_arrays, write_json
from voxelcast.store.keys import content_key, file_hash
from voxelcast.store.steps import StepId, StepStore, is_worked_in

STEP = StepId("fit", "sub01_V1", "0123456789abcdef0123456789abcdef")


def test_a_step_appears_whole_with_its_mark(tmp_path: Path) -> None:
    store = StepStore(tmp_path / "steps")
    assert not store.is_done(STEP)
    with store.writing(STEP) as writer:
        writer.text("a.txt", "x")
        assert not store.path(STEP).exists()
    assert store.is_done(STEP)
    assert store.read(STEP).text("a.txt") == "x"
    assert sorted(path.name for path in store.path(STEP).iterdir()) == ["DONE", "result.npz"]
    assert store.facts(STEP)["key"] == STEP.key


def test_a_step_that_fails_leaves_nothing(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    with pytest.raises(RuntimeError, match="on purpose"), store.writing(STEP) as writer:
        writer.text("half", "x")
        raise RuntimeError("on purpose")
    assert not store.is_done(STEP)
    assert list((tmp_path / "fit").iterdir()) == []


def test_what_a_killed_step_left_is_cleared(tmp_path: Path) -> None:
    store = StepStore(tmp_path)
    left = store.path(STEP).with_name(f".{store.path(STEP).name}.dead")
    left.mkdir(parents=True)
    with store.writing(STEP) as writer:
        folder = writer.path.parent
        (found,) = store.unfinished([STEP]).values()
        assert set(found) == {left, folder}
        assert (is_worked_in(folder), is_worked_in(left)) == (True, False)
        store.clear_abandoned([STEP])
        assert (folder.exists(), left.exists()) == (True, False)


def test_an_unwritable_place_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match="cannot be written"):
        StepStore(tmp_path / "file" / "steps")


def test_atomic_path_keeps_the_old_file_on_failure(tmp_path: Path) -> None:
    target = tmp_path / "a.json"
    write_json(target, {"old": 1})

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert json.loads(target.read_text()) == {"old": 1}
    assert os.listdir(tmp_path) == ["a.json"]


def test_arrays_round_trip_without_pickles(tmp_path: Path) -> None:
    values = np.arange(6.0).reshape(2, 3)
    save_array(tmp_path / "deep" / "a.npy", values)
    save_arrays(tmp_path / "b.npz", {"x": values})
    np.testing.assert_array_equal(np.load(tmp_path / "deep" / "a.npy"), values)
    np.testing.assert_array_equal(np.load(tmp_path / "b.npz")["x"], values)
    with pytest.raises(ValueError, match=r"[Oo]bject"):
        save_array(tmp_path / "c.npy", np.array([{}], dtype=object))
    assert not (tmp_path / "c.npy").exists()


def test_keys_depend_on_content_only(tmp_path: Path) -> None:
    assert content_key({"a": 1, "b": [1, 2]}) == content_key({"b": (1, 2), "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 1.5})
    (tmp_path / "x").write_bytes(b"same")
    (tmp_path / "y").write_bytes(b"same")
    assert file_hash(tmp_path / "x") == file_hash(tmp_path / "y")
    (tmp_path / "y").write_bytes(b"other")
    assert file_hash(tmp_path / "x") != file_hash(tmp_path / "y")
    with pytest.raises(MissingFileError):
        file_hash(tmp_path / "z")


def test_a_parent_that_is_a_file_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UnwritableError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", {})


def test_two_runs_that_share_a_store_do_not_disturb_each_other(tmp_path: Path) -> None:
    first, second = StepStore(tmp_path), StepStore(tmp_path)
    with first.writing(STEP) as one:
        with second.writing(STEP) as two:
            one.text("value", "x")
            two.text("value", "x")
        assert second.is_done(STEP)
        mark = (second.path(STEP) / "DONE").stat().st_ino
    assert (first.path(STEP) / "DONE").stat().st_ino == mark
    assert sorted(p.name for p in first.path(STEP).iterdir()) == ["DONE", "result.npz"]
    assert sorted(p.name for p in (tmp_path / "fit").iterdir()) == [first.path(STEP).name]
