"""One run at a time in a folder of results."""

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
