"""Files of submissions: the same content gives the same bytes, and what comes from outside is read with care."""

from __future__ import annotations

import io
import pickle
import pickletools
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

from voxelcast.core.checks import check_inside
from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError
from voxelcast.store.readers.archives import opened_zip, unpack

_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)

PICKLE_PROTOCOL: Final = 3
"""The challenge's development kit wrote whatever protocol was Python 3's default in 2021, which is 3 or 4, and the
server read it. 3 is the older of the two: any Python 3 reads it, and unlike 2 it keeps an array's bytes as they are."""


def zipped(members: Mapping[str, bytes]) -> bytes:
    """Return the bytes of a zip of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            member = zipfile.ZipInfo(name, date_time=_ZIP_TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.create_system = 3  # the same on every platform; 3 is Unix, for which the next line is the file mode
            member.external_attr = 0o644 << 16
            archive.writestr(member, data)
    return buffer.getvalue()


def pickled(content: object) -> bytes:
    """Pickle arrays by the module name that every NumPy knows.

    NumPy 2 names ``numpy._core.multiarray``, which the NumPy of 2021 cannot import; all versions know
    ``numpy.core.multiarray``. Protocol 3 writes names as plain lines, so one is replaced where it stands.
    """
    data = pickle.dumps(content, protocol=PICKLE_PROTOCOL)
    parts, start = [], 0
    for opcode, argument, position in pickletools.genops(data):
        if opcode.name == "GLOBAL" and position is not None and str(argument).startswith("numpy._core."):
            module, name = str(argument).split(" ")
            parts += [data[start:position], f"c{module.replace('numpy._core.', 'numpy.core.')}\n{name}\n".encode()]
            start = position + len(f"c{module}\n{name}\n".encode())
    return b"".join([*parts, data[start:]])


@contextmanager
def member_files(path: Path, limits: Mapping[str, int]) -> Iterator[dict[str, Path]]:
    """Find the files of a submission in its zip, in the folder that holds them, or as the one file itself.

    ``limits`` has their names, each with the most bytes that it may take. Raises MissingFileError if there is no such
    file, else as :func:`read_members`.
    """
    first = next(iter(limits))
    if path.is_dir():
        files = {name: path / name for name in limits}
    elif len(limits) == 1 and path.suffix == PurePosixPath(first).suffix:
        files = {first: path}
    elif path.is_file():
        with tempfile.TemporaryDirectory() as folder:
            files = {name: Path(folder) / name for name in limits}
            unpack_members(path, limits, files)
            yield files
        return
    else:
        raise MissingFileError(f"{path} does not exist; give the .zip of a submission, or {first} as it is in it")
    for name, file in files.items():
        if not file.is_file():
            raise MissingFileError(f"{file} does not exist; a submission must hold {name}")
        check_size(str(file), file.stat().st_size, limits[name])
    yield files


def unpack_members(path: Path, wanted: Mapping[str, int], files: Mapping[str, Path]) -> None:
    """Unpack the files that a zip must hold, and nothing else; ``wanted`` has the most bytes that each may take.

    Raises DataError if it is no zip, is damaged or encrypted, lacks a file, or holds others; UnsafeFileError if a name
    leads outside, or a file is larger than it may be.
    """
    with opened_zip(path, remedy=f"zip {_shown(list(wanted))} without a folder around it") as archive:
        inside = [member for member in archive.infolist() if not member.is_dir()]
        _check_names(path.name, [member.filename for member in inside], list(wanted))
        members = {member.filename: member for member in inside}
        for name, limit in wanted.items():
            check_size(f"{name} in {path.name}", members[name].file_size, limit)
        for name in wanted:
            files[name].parent.mkdir(exist_ok=True)
            with files[name].open("wb") as file:
                for piece in unpack(archive, members[name], f"{name} in {path.name}"):
                    file.write(piece)


def check_size(name: str, size: int, limit: int) -> None:
    """Raise UnsafeFileError for a file that is larger than its arrays could be."""
    if size > limit:
        raise UnsafeFileError(
            f"{name} must be at most {limit} bytes, more than its arrays take; got {size} bytes; it was not read"
        )


def _check_names(archive: str, names: Sequence[str], wanted: Sequence[str]) -> None:
    for name in names:
        check_inside(name, archive)
    if not names:
        raise DataError(f"{archive} is empty; it must hold {_shown(wanted)}")
    if len(wanted) == 1 and len(names) == 1 and names[0] != wanted[0]:
        if PurePosixPath(names[0]).name == wanted[0]:
            raise DataError(
                f"{archive} must hold {wanted[0]} at its root; got it in a sub-folder: {names[0]!r}; zip the file alone"
            )
        raise DataError(f"{archive} must hold {wanted[0]} at its root; got {names[0]!r}; rename it")
    if len(wanted) == 1 and len(names) > 1:
        raise DataError(
            f"{archive} must hold {wanted[0]} and nothing else; got {len(names)} files: {', '.join(names[:6])}"
        )
    missing = [name for name in wanted if name not in names]
    if missing:
        raise DataError(
            f"{archive} must hold {len(wanted)} files; missing: {', '.join(missing[:6])}; got: {', '.join(names[:6])}"
        )
    other = [name for name in names if name not in wanted]
    if other or len(set(names)) != len(names):
        raise DataError(f"{archive} must hold {_shown(wanted)} and nothing else; got {len(names)} files: {other[:3]}")


def _shown(names: Sequence[str]) -> str:
    return f"{names[0]} at its root" if len(names) == 1 else f"{', '.join(names[:3])}, ... ({len(names)} files)"
