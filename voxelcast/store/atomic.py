"""Files and folders that are either whole or absent, after a kill and after a power cut.

They are written under a temporary name, which nobody else may read or have made before, and renamed when all of it is
on the disk.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import blocks
from voxelcast.core.errors import StoreError, UnwritableError, one_line
from voxelcast.store.flock import PLAIN, WINDOWS, lock

PART: Final = ".part"
"""What the names of temporary files end with."""

_STATUS: Final = Path("/proc/self/status")
_NO_SYNC: Final = (errno.EINVAL, errno.ENOTSUP)  # what file systems answer that keep no folders of their own
_REMEDIES: Final = {
    errno.ENOSPC: "free some space and run the same command again",
    errno.EDQUOT: "free some of your quota and run the same command again",
    errno.EFBIG: "raise the limit on the size of a file (ulimit -f) and run the same command again",
    errno.EMFILE: "raise the limit on open files (ulimit -n) and run the same command again",
    errno.ENFILE: "close other programs, which have too many files open, and run the same command again",
    errno.ELOOP: "it is a link; remove it",
}
_ELSEWHERE: Final = (
    errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG
)  # fmt: skip


@contextmanager
def said_unwritable(path: Path) -> Iterator[None]:
    """Raise UnwritableError in place of an OSError in the block that says that nothing can be written there."""
    try:
        yield
    except OSError as error:
        if error.errno not in _REMEDIES and error.errno not in _ELSEWHERE:
            raise
        remedy = _REMEDIES.get(error.errno, "choose a folder you may write to")
        raise UnwritableError(f"{path} cannot be written ({error.strerror}); {remedy}") from error


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` to write to; rename it to ``path`` when the block ends without error.

    It is locked meanwhile, so that one that a kill left is known (`voxelcast.store.lock.locked` removes it). Raises
    UnwritableError if the folder cannot be written to.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{PART}")
    with said_unwritable(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with os.fdopen(open_new(temporary), "wb") as file:
                with contextlib.suppress(OSError):  # there are file systems that know no locks
                    lock(file.fileno())
                yield temporary
                if WINDOWS:
                    file.close()
                publish(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


def open_new(path: Path) -> int:
    """Open a file that must not exist, to be written by this user alone; return its descriptor."""
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o600)


def reserve(file: IO[bytes], size: int) -> None:
    """Make a file ``size`` bytes long, before it is mapped: a full disk kills a process that writes to mapped memory.

    Raises OSError where the disk has too little room.
    """
    file.flush()
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        for block in blocks(size - file.tell(), 1, 1 << 24):
            file.write(bytes(block.stop - block.start))


def publish(temporary: Path, path: Path) -> None:
    """Give a file, or a folder of files, the permissions of a new one, and its name when it is on the disk.

    The name of a file is on the disk, too, in the end.
    """
    mask, is_folder = _umask(), temporary.is_dir()
    for file in sorted(temporary.iterdir()) if is_folder else ():
        _settle(file, 0o666 & ~mask)
    _settle(temporary, (0o777 if is_folder else 0o666) & ~mask)
    os.replace(temporary, path)
    if not is_folder:
        _settle(path.parent)


def _settle(path: Path, mode: int | None = None) -> None:
    """Have a file or folder on the disk, with permissions if they are given."""
    if WINDOWS and path.is_dir():
        return
    follow = 0 if mode is None else getattr(os, "O_NOFOLLOW", 0)
    file = os.open(path, (os.O_RDWR if WINDOWS else os.O_RDONLY) | follow | getattr(os, "O_CLOEXEC", 0))
    try:
        if mode is not None and not WINDOWS:
            os.fchmod(file, mode)
        os.fsync(file)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(file)


def _umask() -> int:
    """Return the permissions that new files shall not have."""
    with contextlib.suppress(OSError, StopIteration):
        line = next(line for line in _STATUS.read_text().splitlines() if line.startswith("Umask:"))
        return int(line.split()[1], 8)
    mask = os.umask(0o077)  # elsewhere it can only be read by setting it
    os.umask(mask)
    return mask


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file atomically."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file atomically."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Write a JSON file atomically, indented, keys as given."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; raises StoreError if it is damaged."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise StoreError(f"{path} is damaged ({one_line(error)}); remove it, or choose another folder") from error


def save_array(path: Path, array: NDArray[np.generic]) -> None:
    """Write an array as .npy atomically; no pickles."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)


def save_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write named arrays as .npz atomically; no pickles."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)
