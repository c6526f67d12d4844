"""What is damaged in the store is found, set aside and said; what is sound is read once and kept."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.execution.calls import steps
from voxelcast.core.progress import Silent
from voxelcast.execution.engine import Engine
from voxelcast.execution.stage import StageRunner
from voxelcast.execution.steps import Step
from voxelcast.execution.workers import Workers
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId, StepStore

STEP = StepId("fit", "sub01_V1", "0123456789abcdef0123456789abcdef")
VALUES = np.arange(1000.0)


def store_with_step(root: Path) -> StepStore:
    store = StepStore(root)
    with store.writing(STEP) as writer:
        writer.array("values", VALUES)
        writer.json("facts", {"n": 1000})
    return StepStore(root)  # as a later run


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


def write_mark(folder: Path, **changes: object) -> None:
    """Write a DONE that says something else of itself, and is sound."""
    mark = json.loads((folder / "DONE").read_text())
    del mark["hash"]
    mark |= changes
    (folder / "DONE").write_text(json.dumps(mark | {"hash": content_key(mark)}))


def as_link(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to("nowhere")


def as_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("no folder")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "bit of a value": (lambda f: flip(f / "result.npz", 3000), "bytes of result.npz have changed"),
    "first bit": (lambda f: flip(f / "result.npz", 0), "bytes of result.npz have changed"),
    "last bit": (lambda f: flip(f / "result.npz", -1), "bytes of result.npz have changed"),
    "truncated": (lambda f: os.truncate(f / "result.npz", 5000), "result.npz has another size"),
    "empty": (lambda f: os.truncate(f / "result.npz", 0), "result.npz has another size"),
    "longer": (lambda f: (f / "result.npz").open("ab").write(b"x"), "result.npz has another size"),
    "zeros": (lambda f: (f / "result.npz").write_bytes(bytes((f / "result.npz").stat().st_size)), "bytes of"),
    "no result": (lambda f: (f / "result.npz").unlink(), "result.npz cannot be read: No such file"),
    "no mark": (lambda f: (f / "DONE").unlink(), "DONE cannot be read: No such file"),
    "empty mark": (lambda f: os.truncate(f / "DONE", 0), "DONE is not as it was written"),
    "half a mark": (lambda f: os.truncate(f / "DONE", 100), "DONE is not as it was written"),
    "mark no text": (lambda f: (f / "DONE").write_bytes(b"\xff\xfe"), "DONE is not as it was written"),
    "mark no mapping": (lambda f: (f / "DONE").write_text("[1]"), "DONE is not as it was written"),
    "digit of the mark": (lambda f: flip(f / "DONE", (f / "DONE").read_bytes().index(b"seconds") + 10), "DONE is not"),
    "mark a folder": (lambda f: ((f / "DONE").unlink(), (f / "DONE").mkdir()), "DONE cannot be read: Is a directory"),
    "another key": (lambda f: write_mark(f, key="0" * 32), "DONE is of another key"),
    "left by a power cut": (lambda f: [path.unlink() for path in f.iterdir()], "DONE cannot be read"),
    "a file": (as_file, "DONE cannot be read: Not a directory"),
    "a broken link": (as_link, "DONE cannot be read: No such file"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_set_aside_said_and_done_again(tmp_path: Path, kind: str) -> None:
    damage, reason = DAMAGE[kind]
    store = store_with_step(tmp_path)
    damage(store.path(STEP))
    assert not store.is_sound(STEP)
    (line,) = store.set_aside_damaged([STEP])
    aside = store.path(STEP).with_name(f".damaged-{store.path(STEP).name}")
    assert line.startswith(f"{STEP.folder} is damaged ({reason}")
    assert line.endswith(str(aside))
    assert "\n" not in line
    assert os.path.lexists(aside)
    assert not os.path.lexists(store.path(STEP))
    assert not store.is_done(STEP)
    with store.writing(STEP) as writer:
        writer.array("values", VALUES)
        writer.json("facts", {"n": 1000})
    assert StepStore(tmp_path).is_sound(STEP)
    np.testing.assert_array_equal(store.read(STEP).array("values"), VALUES)
    # A second time the new one takes the place of the one set aside.
    flip(store.path(STEP) / "result.npz", 3000)
    assert len(StepStore(tmp_path).set_aside_damaged([STEP])) == 1


def test_every_bit_of_both_files_counts(tmp_path: Path) -> None:
    store = store_with_step(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("DONE", "result.npz"):
        path = store.path(STEP) / name
        whole = path.read_bytes()
        for place in rng.integers(0, len(whole), 60):
            bit = bytes([whole[place] ^ 1 << int(rng.integers(8))])
            path.write_bytes(whole[:place] + bit + whole[place + 1 :])
            assert not StepStore(tmp_path).is_sound(STEP), (name, place)
        path.write_bytes(whole)
    assert StepStore(tmp_path).is_sound(STEP)


def test_the_mark_has_size_and_hash_of_the_file(tmp_path: Path) -> None:
    store = store_with_step(tmp_path)
    content = (store.path(STEP) / "result.npz").read_bytes()
    known = {"result.npz": {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}}
    assert store.facts(STEP)["files"] == known


def test_what_is_sound_stays_and_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_with_step(tmp_path)
    read: list[str] = []
    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, how: (read.append(file.name), digest(file, how))[1])
    mark = (store.path(STEP) / "DONE").stat().st_ino
    for _ in range(3):
        assert store.set_aside_damaged([STEP, StepId("fit", "none", "1" * 32)]) == []
    assert read == [str(store.path(STEP) / "result.npz")]
    assert (store.path(STEP) / "DONE").stat().st_ino == mark
    StepStore(tmp_path).set_aside_damaged([STEP])
    assert len(read) == 2


def test_a_damaged_folder_in_the_way_of_a_finished_step_gives_way(tmp_path: Path) -> None:
    """It came after the run had begun."""
    store = StepStore(tmp_path)
    with store.writing(STEP) as writer:
        writer.array("values", VALUES)
        store.path(STEP).mkdir()
        (store.path(STEP) / "half").touch()
    assert store.is_sound(STEP)


def write_value(writer: object, *, value: int) -> None:
    writer.json("value", value)  # type: ignore[attr-defined]


class Notes(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def test_a_stage_does_again_just_what_is_damaged(tmp_path: Path) -> None:
    made: list[Step] = steps(write_value, range(6), uses_gpu=True)
    with Workers(1) as workers:
        engine: Engine = workers
        assert StageRunner(engine, StepStore(tmp_path), Silent()).run("test", made) == 6
        folders = [StepStore(tmp_path).path(step.step_id) for step in made]
        before = [(folder / "result.npz").read_bytes() for folder in folders]
        inodes = [folder.stat().st_ino for folder in folders]
        flip(folders[1] / "result.npz", 70)
        (folders[4] / "DONE").unlink()
        notes = Notes()
        assert StageRunner(engine, StepStore(tmp_path), notes).run("test", made) == 2
    assert [line.split()[0] for line in notes.lines] == [made[1].step_id.folder, made[4].step_id.folder, "test:"]
    assert [(folder / "result.npz").read_bytes() for folder in folders] == before
    assert [k for k, folder in enumerate(folders) if folder.stat().st_ino != inodes[k]] == [1, 4]
