"""Locks on open files that end with their process, on every system."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

PLAIN: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
"""Flags of `os.open` that follow no link and wait for no pipe; 0 where the system (Windows) has none."""

WINDOWS: Final = sys.platform == "win32"
"""Where a file that is open can neither be removed nor renamed, and folders cannot be opened."""

if sys.platform == "win32":
    import msvcrt

    _PLACE: Final = 0x7FFFFFF0  # of the byte that is locked, which nobody else may read or write: none of the file's

    def lock(file: int, *, shared: bool = False, wait: bool = False) -> None:
        """Lock an open file as below; Windows knows no shared locks here, so one that asks keeps others out as well."""
        while True:
            os.lseek(file, _PLACE, os.SEEK_SET)
            try:
                msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
                return
            except PermissionError as error:
                if not wait:
                    raise BlockingIOError(error.errno, "locked by another process") from error
                time.sleep(0.05)

else:
    import fcntl

    def lock(file: int, *, shared: bool = False, wait: bool = False) -> None:
        """Lock an open file until it is closed.

        Raises BlockingIOError if another process has locked it (both shared is no conflict) and this one shall not
        wait, OSError on a file system that knows no locks.
        """
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))


def remove_locked(path: Path, file: IO[str]) -> None:
    """Remove a file that this process has locked: under the lock, but on Windows after it."""
    if not WINDOWS:
        path.unlink(missing_ok=True)
        return
    file.close()
    with suppress(PermissionError):  # another process waits for it, and will remove it
        path.unlink(missing_ok=True)
