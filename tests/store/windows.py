"""Writes to a store where the rules are those of Windows: run by test_windows.py in a process of its own.

No fcntl, no O_NOFOLLOW or fchmod; what is open can be neither removed nor renamed, and folders cannot be opened.
"""

import fcntl
import os
import shutil
import subprocess  # noqa: F401
import sys
import tempfile
import types
from pathlib import Path

import numpy as np

flock, really_open = fcntl.flock, os.open
here = Path(tempfile.mkdtemp())


def locking(file: int, mode: int, n_bytes: int) -> None:
    try:
        flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise PermissionError(13, "Permission denied") from error


def refusing(function, n_paths):
    def call(*paths, **options):
        opened = [Path(os.readlink(link)) for link in Path("/proc/self/fd").iterdir() if link.exists()]
        for path in map(Path, paths[:n_paths]):
            if path.is_relative_to(here) and any(one == path or path in one.parents for one in opened):
                raise PermissionError(13, "in use", str(path))
        return function(*paths, **options)

    return call


def open_file(path, flags, *rest, **options):
    if Path(path).is_relative_to(here) and Path(path).is_dir():
        raise PermissionError(13, "a folder", str(path))
    return really_open(path, flags, *rest, **options)


sys.modules["msvcrt"] = types.SimpleNamespace(LK_NBLCK=2, locking=locking)
sys.modules["fcntl"] = None
for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "fchmod", "getuid"):
    delattr(os, name)
os.unlink, os.replace, os.rename = refusing(os.unlink, 1), refusing(os.replace, 2), refusing(os.rename, 2)
os.open, sys.platform = open_file, "win32"
tempfile.TemporaryFile = tempfile.NamedTemporaryFile  # as Windows has it
import voxelcast.store.flock  # noqa: E402

sys.platform = "linux"
import voxelcast.execution.machine  # noqa: E402
import voxelcast.search.evaluation_log as evaluation_log  # noqa: E402
from voxelcast.core.errors import StoreError  # noqa: E402
from voxelcast.store.atomic import write_text  # noqa: E402
from voxelcast.store.lock import is_locked, locked  # noqa: E402
from voxelcast.store.steps import StepId, StepStore  # noqa: E402

assert voxelcast.store.flock.WINDOWS
with locked(here / "out"):
    assert is_locked(here / "out" / ".lock")
    try:
        with locked(here / "out"):
            raise AssertionError("locked twice")
    except StoreError:
        pass
    write_text(here / "out" / "a.txt", "one")
    write_text(here / "out" / "a.txt", "two")
    store, step = StepStore(here / "out" / "steps"), StepId("fit", "x", "00ff" * 16)
    with store.claiming(step) as to_do, store.writing(step) as writer:
        assert to_do
        writer.array("x", np.arange(3.0))
    assert store.is_sound(step)
    store.clear_abandoned([step])
    with evaluation_log.open_log(here / "out" / "log") as log:
        log.put(("a",), 0.5)
assert not is_locked(here / "out" / ".lock")
assert (here / "out" / "a.txt").read_text() == "two"
left = sorted(str(path.relative_to(here / "out")) for path in (here / "out").rglob("*") if path.is_file())
shutil.rmtree(here, ignore_errors=True)
print(left)
