"""Nothing gets its name before it is on the disk; temporary files are private; links are not followed."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from voxelcast.core.errors import UnwritableError
from voxelcast.store import atomic
from voxelcast.store.atomic import atomic_path, read_json, write_bytes, write_text
from voxelcast.store.lock import is_locked, locked, open_lock
from voxelcast.store.steps import StepId, StepStore

STEP = StepId("fit", "sub01_V1", "0123456789abcdef0123456789abcdef")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Names that were flushed to the disk, and names that were given, in order."""
    found: list[tuple[str, str]] = []
    sync, replace = os.fsync, os.replace

    def synced(file: int) -> None:
        found.append(("sync", Path(os.readlink(f"/proc/self/fd/{file}")).name))
        sync(file)

    def replaced(source: Any, target: Any) -> None:
        found.append(("name", Path(target).name))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", replaced)
    return found


linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads names of open files in /proc")


@linux
def test_a_step_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    with StepStore(tmp_path).writing(STEP) as writer:
        writer.text("a", "x")
        temporary = writer.path.parent.name
    assert events == [
        ("sync", "DONE"), ("sync", "result.npz"), ("sync", temporary), ("name", Path(STEP.folder).name)
    ]  # fmt: skip


@linux
def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, events: list[tuple[str, str]]) -> None:
    write_text(tmp_path / "a.csv", "x")
    (_, temporary), *rest = events
    assert temporary.startswith(".a.csv.")
    assert rest == [("name", "a.csv"), ("sync", tmp_path.name)]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_what_is_written_is_private_and_what_is_published_as_the_umask_says(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
            temporary.write_text("x")
        store = StepStore(tmp_path / "steps")
        with store.writing(STEP) as writer:
            writer.rows("rows", (2,))
            assert stat.S_IMODE(writer.path.parent.stat().st_mode) == 0o700
            modes = {stat.S_IMODE(p.stat().st_mode) for p in writer.path.parent.iterdir() if p.name != ".lock"}
            assert modes == {0o600}
    finally:
        os.umask(before)
    folder = store.path(STEP)
    found = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "a", folder / "DONE", folder / "result.npz")]
    assert found == [0o666 & ~mask] * 3
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~mask


def test_a_file_laid_where_a_temporary_one_will_be_is_not_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Known:
        hex = "0123456789"

    monkeypatch.setattr(atomic.uuid, "uuid4", Known)
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".a.01234567.part").symlink_to("victim")
    with pytest.raises(UnwritableError, match=r"a cannot be written \(File exists\)"):
        write_bytes(tmp_path / "a", b"theirs")
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize("target", ["victim", "none"])
def test_lock_files_do_not_follow_links(tmp_path: Path, target: str) -> None:
    out, store = tmp_path / "out", StepStore(tmp_path / "steps")
    (tmp_path / "victim").write_text("mine")
    claim = store.path(STEP).with_name(f".claim-{store.path(STEP).name}")
    for link in (out / ".lock", claim):
        link.parent.mkdir()
        link.symlink_to(tmp_path / target)
    with pytest.raises(UnwritableError, match="out cannot be written"), locked(out):
        pass
    with pytest.raises(UnwritableError, match=r"\.claim-.* it is a link; remove it"), store.claiming(STEP):
        pass
    assert not is_locked(out / ".lock")
    assert not store.is_claimed(STEP)
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "none").exists()


def test_a_lock_is_kept_as_it_is(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("x")
    with open_lock(tmp_path / ".lock"):
        assert (tmp_path / ".lock").read_text() == "x"
    with locked(tmp_path):
        assert is_locked(tmp_path / ".lock")
    assert not is_locked(tmp_path / ".lock")


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EROFS, "folder"),
    ],
)
def test_why_nothing_can_be_written_is_said_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    write_text(tmp_path / "a", "before")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UnwritableError, match=remedy):
        write_text(tmp_path / "a", "after")
    with pytest.raises(UnwritableError, match=remedy), StepStore(tmp_path / "steps").writing(STEP):
        pass
    assert (tmp_path / "a").read_text() == "before"
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "a"]


def test_an_error_of_another_kind_is_not_taken_for_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        (tmp_path / "none").read_text()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_damaged_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RuntimeError, match=r"a\.json is damaged"):
        read_json(tmp_path / "a.json")
