"""Folders of results: whose they are, and one run at a time in each."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal, TextIO

from voxelcast.core.errors import StoreError, UnwritableError
from voxelcast.store.atomic import PART
from voxelcast.store.flock import PLAIN, lock


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock ends with the process, however that ends.

    Temporary files that killed runs left in it are removed.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = open_lock(output / ".lock")
    except OSError as error:
        raise UnwritableError(
            f"output {output} cannot be written ({error.strerror}); choose another --output"
        ) from error
    with file:
        try:
            lock(file.fileno())
        except BlockingIOError as error:
            raise StoreError(
                f"another run is under way in {output}; wait for it, or choose another --output"
            ) from error
        for path in (*output.glob(f".*{PART}"), *output.glob(f"*/.*{PART}")):
            with suppress(OSError):
                if not is_locked(path):
                    path.unlink()
        yield


def open_lock(path: Path, mode: Literal["a", "r"] = "a") -> TextIO:
    """Open a lock file; OSError where it is a link, which is not followed. Mode ``"a"`` makes it if it is not there."""
    return open(path, mode, opener=_open_plain)


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; OSError on a file system that knows no locks."""
    try:
        with open_lock(path, "r") as file:
            lock(file.fileno(), shared=True)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno != errno.ELOOP:  # a link is no lock of ours
            raise
    return False


def _open_plain(path: str, flags: int) -> int:
    return os.open(path, flags | PLAIN, 0o666)


_OURS = ("steps", ".lock")  # what a run leaves before it has written its settings


def check_folder(output: Path, record: str, what: str) -> Path | None:
    """Return the file that says which settings a folder of results has; None where the folder is new.

    Raises UnwritableError if it is no folder, and StoreError if it holds other files than ``what`` (``"an
    experiment's"``); ``record`` is the file's name.
    """
    if output.exists() and not output.is_dir():
        raise UnwritableError(f"output {output} is a file; choose a folder with --output")
    if (output / record).is_file():
        return output / record
    foreign = sorted(path.name for path in output.iterdir() if path.name not in _OURS) if output.exists() else []
    if foreign:
        raise StoreError(
            f"output {output} holds other files, not {what} ({foreign[0]}, ...); choose an empty or new folder with "
            "--output"
        )
    return None
