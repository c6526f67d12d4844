"""Zip archives: names that stay inside, no claims beyond measure, members unpacked as streams to their check sums."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from voxelcast.core.checks import check_inside
from voxelcast.core.errors import DataError, UnsafeFileError
from voxelcast.store.readers.guard import check_claim, check_file, copy_whole, reading

MOST_MEMBERS: Final = 1_000_000


@contextmanager
def opened_zip(path: Path, kind: str = "a zip archive", remedy: str = "make it again") -> Iterator[zipfile.ZipFile]:
    """Open an archive whose names all lead into it and are there once; what goes wrong inside the block is one line.

    Raises MissingFileError, DataError where it is missing, none, damaged or encrypted; UnsafeFileError where a name
    leads outside, and nothing is read.
    """
    check_file(path, kind)
    with reading(path, kind, remedy):
        if not zipfile.is_zipfile(path):
            raise DataError(f"{path} cannot be read as {kind} (it is no zip archive); {remedy}")
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise UnsafeFileError(f"{path} holds {len(members)} files; at most {MOST_MEMBERS} are read; split it")
            for member in members:
                check_inside(member.filename, path.name)
                if member.flag_bits & 1:
                    raise DataError(f"{path} is encrypted; make it without a password")
            _check_heads(path, members)
            yield archive


def _check_heads(path: Path, members: list[zipfile.ZipInfo]) -> None:
    """Raise BadZipFile where a member's own head names another check sum or size than the archive's list of them."""
    with path.open("rb") as file:
        for member in members:
            file.seek(member.header_offset)
            head = file.read(30)
            flags, *found = struct.unpack("<6xH6xIII4x", head) if len(head) == 30 else (0, 0, 0, 0)
            wanted = [member.CRC, member.compress_size, member.file_size]
            follows = flags & 8 and not any(found)  # they stand behind the content
            if not follows and any(one != two for one, two in zip(found, wanted, strict=True) if one != 2**32 - 1):
                raise zipfile.BadZipFile(f"{member.filename} has another size or check sum than is listed")


def unpack(archive: zipfile.ZipFile, member: zipfile.ZipInfo, shown: str) -> Iterator[bytes]:
    """Yield the content of a member, some at a time; its check sum is compared at the end."""
    check_claim(shown, member.file_size, member.compress_size)
    with archive.open(member) as stream:
        yield from copy_whole(cast(BinaryIO, stream), shown, member.compress_size)
