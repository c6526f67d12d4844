"""What every reader does first and last: look at what lies at a path, bound what it claims, and say what is wrong.

A library may raise anything over a damaged file; `reading` turns all of it into one line that names the file, the fault
and the remedy, so that no caller has a list of its own.
"""

from __future__ import annotations

import gzip
import os
import stat
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from voxelcast.core.checks import nfc
from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError, VoxelcastError, one_line

FREE_BYTES: Final = 64 * 2**20
"""What a file may always unpack to."""
MOST_RATIO: Final = 100
"""Times its own size, what a larger file may unpack to: measured data do not compress better than this."""
_PIECE: Final = 2**20
_MOST_SHOWN: Final = 200


@contextmanager
def reading(shown: object, kind: str, remedy: str = "get or write it again") -> Iterator[None]:
    """Raise one DataError for whatever a library raises while it reads; our own errors pass through.

    ``shown`` names the file, ``kind`` is what it should be, e.g. ``"CSV"``. A file that is not there is a
    MissingFileError.
    """
    try:
        yield
    except VoxelcastError:
        raise
    except FileNotFoundError as error:
        raise MissingFileError(f"{shown} does not exist; check its path") from error
    except Exception as error:
        raise DataError(f"{shown} cannot be read as {kind} ({_fault(error)}); {remedy}") from error


def _fault(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    if isinstance(error, MemoryError):
        return "it needs more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, zlib.error | struct.error | KeyError | IndexError | StopIteration | AssertionError):
        return f"damaged: {one_line(error) or type(error).__name__}"[:_MOST_SHOWN]
    return (one_line(error) or type(error).__name__)[:_MOST_SHOWN]


def check_file(path: Path, what: str, remedy: str = "") -> None:
    """Raise MissingFileError where there is no file, UnsafeFileError where it is a pipe, a device or a folder.

    ``what`` is what a message calls it, e.g. ``"responses"``. Reading a pipe could last for ever, a device could have
    no end.
    """
    with reading(path, "a file", "check its path"):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            tail = f"; {remedy}" if remedy else ""
            raise MissingFileError(f"{what} not found: {path} does not exist{_other_form(path)}{tail}") from None
    if not stat.S_ISREG(mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(mode), "a device")
        error = MissingFileError if stat.S_ISDIR(mode) else UnsafeFileError
        raise error(f"{what} must be a plain file; {path} is {kind}; copy what it should hold into a file")


def _other_form(path: Path) -> str:
    """Say that a file of that name is there, written with other Unicode characters."""
    if path.parent.is_dir():
        for name in os.listdir(path.parent):
            if name != path.name and nfc(name) == nfc(path.name):
                forms = [
                    "composed" if unicodedata.is_normalized("NFC", one) else "decomposed" for one in (path.name, name)
                ]
                return f" in {forms[0]} Unicode, but does in {forms[1]} Unicode: rename one of them"
    return ""


def check_claim(shown: object, claimed: int, stored: int) -> None:
    """Raise UnsafeFileError where ``stored`` bytes claim to unpack to far more than measured data could."""
    if claimed > max(FREE_BYTES, MOST_RATIO * stored):
        raise UnsafeFileError(
            f"{shown} claims to hold {claimed} bytes in {stored}; at most {MOST_RATIO} times its size is read; "
            "write it again without compression"
        )


def copy_whole(source: BinaryIO, shown: object, stored: int) -> Iterator[bytes]:
    """Yield what a packed stream holds, some at a time, to its very end, where its check sum is compared."""
    done = 0
    while piece := source.read(_PIECE):
        done += len(piece)
        check_claim(shown, done, stored)
        yield piece


def read_bytes(path: Path, what: str) -> bytes:
    """Read a whole file; one that ends in .gz is unpacked, and its check sum compared."""
    check_file(path, what)
    if path.suffix.lower() != ".gz":
        with reading(path, what):
            return path.read_bytes()
    with reading(path, "gzip"), gzip.open(path) as file:
        return b"".join(copy_whole(cast(BinaryIO, file), path, path.stat().st_size))


def read_text(path: Path, what: str) -> str:
    """Read a whole UTF-8 text, with or without a byte order mark; see `read_bytes`."""
    data = read_bytes(path, what)
    with reading(path, "text", "save it as UTF-8"):
        text = data.decode("utf-8-sig")
        if "\0" in text:
            raise ValueError("it holds bytes that are no text")
        return text
