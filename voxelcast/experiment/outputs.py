"""Folders of results: one command at a time in each, and nothing left of one that failed at once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from voxelcast.core.errors import ExecutionError, VoxelcastError
from voxelcast.execution.journal import FAILURES, FILE_NAME
from voxelcast.store.lock import locked

_BEFORE_RESULTS: Final = (
    "config.yaml",
    "settings.json",
    "sweep.yaml",
    FILE_NAME,
    FAILURES,
    "steps",
    "features",
    "stimuli",
    ".lock",
)
"""What commands write into the folder before they have results."""


@contextmanager
def working_in(output: Path) -> Iterator[None]:
    """Keep a second command out of a folder, and leave it as it was found where the block fails with nothing done.

    Finished steps other than responses, which are read in a moment, are something; so is the log of an error that was
    not ours, which the user is told of. Raises as `voxelcast.store.lock.locked`.
    """
    found = set(os.listdir(output)) if output.is_dir() else set()
    made = [parent for parent in (output, *output.parents) if not parent.exists()]
    with locked(output):
        try:
            yield
        except Exception as error:
            if not _is_something(output, error):
                for name in set(_BEFORE_RESULTS) - found:
                    _remove(output / name)
                with suppress(OSError):  # what others put there meanwhile stays
                    for parent in made:
                        parent.rmdir()
            raise


def _is_something(output: Path, error: Exception) -> bool:
    if any(done.parent.parent.name != "responses" for done in output.rglob("DONE")):
        return True
    wrong = isinstance(error, VoxelcastError) and not isinstance(error, ExecutionError)
    return not wrong and (output / FAILURES).is_dir()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
