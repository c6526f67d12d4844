"""Folders of results: whose they are, and one run at a time in each."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxelcast.core.errors import StoreError, UnwritableError


@contextmanager
def locked(output: Path) -> Iterator[None]:
    """Keep a second run out of the folder; the lock ends with the process, however that ends."""
    try:
        output.mkdir(parents=True, exist_ok=True)
        file = (output / ".lock").open("w")
    except OSError as error:
        raise UnwritableError(
            f"output {output} cannot be written ({error.strerror}); choose another --output"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StoreError(
                f"another run is under way in {output}; wait for it, or choose another --output"
            ) from error
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock of a file; OSError on a file system that knows no locks."""
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        pass
    return False


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
