"""What a step leaves, in one file: named arrays, tables and plain values, written once and read one by one.

The file is an uncompressed .npz: ``np.load`` opens it anywhere, it keeps the order of axes and text (safetensors does
neither), and an array lies in it as it does in memory, so that a large one is mapped, not read. Nothing in it tells the
time: the same content has the same bytes. What only later steps of the same run read may lie in a second file beside
it, `SCRATCH`, which can be removed when they are done.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import sys
import zipfile
import zlib
from collections.abc import ItemsView, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError, ShapeError, StoreError
from voxelcast.store.atomic import open_new

SCRATCH: Final = "scratch.npz"
_ALIGNED: Final = 64  # bytes: where arrays begin, as in .npy files
_CHUNK: Final = 1 << 22
_MOST_HALF: Final = 65_520.0  # from here on half precision has infinity
_HEAD, _HEAD_64 = 30, 20  # bytes of a part's head before its name, and of its extra field for sizes of 64 bits
_PADDING: Final = 0x5643  # id of the extra field that moves an array to such a place
_UNREADABLE = (OSError, KeyError, ValueError, OverflowError, NotImplementedError, struct.error, zipfile.BadZipFile)


class ResultWriter:
    """Writes a result; the file must not exist. `close` it to have it whole.

    Raises ValueError for an array of Python objects, and StoreError for a second part of a name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = _Forwards(os.fdopen(open_new(path), "wb"))
        self._zip = zipfile.ZipFile(self._file, "w")
        self._rows: dict[str, RowFile] = {}
        self._scratch: ResultWriter | None = None

    @property
    def scratch(self) -> ResultWriter:
        """Writes what only later steps of a run read, to the file `SCRATCH` beside; names differ from all others."""
        if self._scratch is None:
            self._scratch = ResultWriter(self.path.with_name(SCRATCH))
        return self._scratch

    def array(self, name: str, values: NDArray[Any]) -> None:
        """Write an array."""
        with self._part(f"{name}.npy") as part:
            np.lib.format.write_array(part, np.asanyarray(values), allow_pickle=False)

    def arrays(self, group: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Write arrays that are read together, ``GROUP/NAME`` each."""
        for name, values in arrays.items():
            self.array(f"{group}/{name}", values)

    def rows(self, name: str, shape: tuple[int, ...], dtype: str = "float32") -> RowFile:
        """Return a file that takes an array row by row, each of a shape, beside other arrays."""
        if name not in self._rows:
            self._rows[name] = RowFile(self.path.with_name(f"{self.path.name}.rows{len(self._rows)}"), shape, dtype)
        return self._rows[name]

    def json(self, name: str, value: object) -> None:
        """Write what JSON can express."""
        self.text(f"{name}.json", json.dumps(value))

    def text(self, name: str, text: str) -> None:
        """Write a text."""
        with self._part(name) as part:
            part.write(text.encode())

    def close(self) -> dict[str, dict[str, object]]:
        """Write what is left; return of each file, by its name, the size in ``bytes`` and the ``sha256``."""
        for name, rows in self._rows.items():
            rows.close()
            with self._part(f"{name}.npy") as part, rows.path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    part.write(chunk)
            rows.path.unlink()
        self._zip.close()
        self._file.close()
        own = {self.path.name: {"bytes": self._file.size, "sha256": self._file.hash.hexdigest()}}
        return own if self._scratch is None else own | self._scratch.close()

    def abandon(self) -> None:
        """Close the files without making them whole."""
        for rows in self._rows.values():
            rows.abandon()
        self._zip.fp = None  # else it would write its end when it is collected
        self._file.close()
        if self._scratch is not None:
            self._scratch.abandon()

    def _part(self, name: str) -> Any:
        if name in self._zip.NameToInfo:
            raise StoreError(f"a result has one part of a name; got {name} twice")
        info = zipfile.ZipInfo(name)  # of 1980, as all
        begin = self._file.size + _HEAD + len(name.encode()) + _HEAD_64
        gap = -begin % _ALIGNED
        if gap:
            gap += _ALIGNED if gap < 4 else 0  # its own head takes 4 bytes
            info.extra = struct.pack("<HH", _PADDING, gap - 4) + bytes(gap - 4)
        return self._zip.open(info, "w", force_zip64=True)


class _Forwards:
    """A file that is written from its beginning to its end, and hashed meanwhile."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.size, self.hash = file, 0, hashlib.sha256()
        self.flush, self.close = file.flush, file.close

    def write(self, data: bytes) -> int:
        self._file.write(data)
        self.hash.update(data)
        self.size += len(data)
        return len(data)

    def tell(self) -> int:
        return self.size


class RowFile:
    """A .npy file of rows of a shape, written row by row, in their little-endian form.

    The number of rows is written into its head at the end. Unlike a memory map, what was written does not count as this
    process' memory.
    """

    def __init__(self, path: Path, shape: tuple[int, ...], dtype: str = "float32") -> None:
        self.path = path
        self.shape = shape
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._n_rows = 0
        self._file = os.fdopen(open_new(path), "wb")
        self._write_head()

    def append(self, row: NDArray[Any]) -> None:
        """Write a row; raises ShapeError if it has another shape, and DataError if half precision cannot hold it."""
        if row.shape != self.shape:
            raise ShapeError(f"rows of {self._file.name} must have shape {self.shape}; got {row.shape}")
        half = self._dtype == np.float16
        written = _half(row, self._file.name) if half else np.ascontiguousarray(row, dtype=self._dtype)
        self._file.write(written.data)
        self._n_rows += 1

    def close(self) -> None:
        """Write the number of rows and close the file."""
        self._file.seek(0)
        self._write_head()
        self._file.close()

    def abandon(self) -> None:
        """Close the file as it is."""
        self._file.close()

    def _write_head(self) -> None:
        # NumPy leaves room for any number of rows: the head's length does not depend on it.
        head = {"descr": self._dtype.str, "fortran_order": False, "shape": (self._n_rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, head)


@dataclass(frozen=True)
class StoredArray:
    """An array that lies in a file, from a byte on."""

    path: Path
    offset: int
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran_order: bool

    def map(self) -> NDArray[Any]:
        """Map it into memory: read-only, and open as long as the caller holds it."""
        if 0 in self.shape:
            return np.empty(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape, "F" if self.fortran_order else "C")

    def read(self) -> NDArray[Any]:
        """Read it into memory."""
        count = int(np.prod(self.shape, dtype=np.int64))
        values: NDArray[Any] = np.fromfile(self.path, self.dtype, count, offset=self.offset)
        return values.reshape(self.shape, order="F" if self.fortran_order else "C")


@dataclass(frozen=True)
class StepResult:
    """A result on disk; each part is checked against its CRC when this process first reads it.

    Raises StoreError where the file or a part is not there, or is damaged.
    """

    path: Path

    @cached_property
    def _parts(self) -> dict[str, _Part]:
        beside = self.path.with_name(SCRATCH)
        try:
            files = (self.path, beside) if beside.is_file() else (self.path,)
            return {name: part for path in files for name, part in _of(path)}
        except _UNREADABLE as error:
            raise self._damaged(error) from error

    def __contains__(self, name: str) -> bool:
        return f"{name}.npy" in self._parts

    def stored(self, name: str) -> StoredArray:
        """Find an array, which may then be mapped."""
        part = self._part(f"{name}.npy")
        try:
            with open(part.path, "rb") as file:
                file.seek(part.begin)
                version = np.lib.format.read_magic(file)
                read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
                shape, fortran_order, dtype = read(file)
                return StoredArray(Path(part.path), file.tell(), dtype, shape, fortran_order)
        except _UNREADABLE as error:
            raise self._damaged(error) from error

    def array(self, name: str) -> NDArray[Any]:
        """Read an array into memory."""
        return self.stored(name).read()

    def mapped(self, name: str) -> NDArray[Any]:
        """Map an array: only what is used of it comes into memory."""
        return self.stored(name).map()

    def arrays(self, group: str) -> dict[str, NDArray[Any]]:
        """Read the arrays of a group, by their names in it."""
        within = [name for name in self._parts if name.startswith(f"{group}/") and name.endswith(".npy")]
        names = [name.removesuffix(".npy") for name in within]
        return {name.removeprefix(f"{group}/"): self.array(name) for name in names}

    def json(self, name: str) -> Any:
        """Read what was written as JSON."""
        return json.loads(self.text(f"{name}.json"))

    def text(self, name: str) -> str:
        """Read a text."""
        part = self._part(name)
        with open(part.path, "rb") as file:
            file.seek(part.begin)
            return file.read(part.size).decode()

    def _part(self, name: str) -> _Part:
        parts = self._parts
        if name not in parts and _was_released(self.path):
            raise StoreError(
                f"{name.removesuffix('.npy')} of {self.path.parent} was removed at the end of the run that made it; "
                "remove that folder, and run the same command with compute.keep_scratch=true"
            )
        try:
            part = parts[name]
            _check(part)
        except _UNREADABLE as error:
            raise self._damaged(error) from error
        return part

    def _damaged(self, error: BaseException) -> StoreError:
        return StoreError(
            f"{self.path} is damaged ({error}); run the same command again: the step is set aside and done anew"
        )


@dataclass(frozen=True)
class _Part:
    """Where the bytes of a part lie in a file of which the time and size are known."""

    path: str
    begin: int
    size: int
    crc: int
    stamp: tuple[int, int, int]


def _of(path: Path) -> ItemsView[str, _Part]:
    facts = path.stat()
    return _read_parts(str(path), (facts.st_ino, facts.st_mtime_ns, facts.st_size)).items()


def _was_released(path: Path) -> bool:
    """Whether the mark of a finished step says so (`StepStore.release`)."""
    try:
        return "released" in json.loads(path.with_name("DONE").read_bytes())
    except (OSError, ValueError):
        return False


def _half(row: NDArray[Any], name: str) -> NDArray[Any]:
    """Round to half precision, by torch where it is loaded, which takes a fifth of the time; DataError beyond it."""
    largest = max(row.max(initial=0.0), -row.min(initial=0.0))
    if _MOST_HALF <= largest < np.inf:
        raise DataError(
            f"half precision holds numbers to 65,504; got {largest:.3g} for {name}; take float32 (features_as)"
        )
    torch = sys.modules.get("torch")
    if torch is not None and row.dtype == np.float32:
        return np.asarray(torch.from_numpy(np.require(row, requirements=["C", "W"])).half().numpy())
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(row, dtype=np.float16)


@lru_cache(maxsize=4096)
def _read_parts(path: str, stamp: tuple[int, int, int]) -> dict[str, _Part]:
    parts = {}
    with open(path, "rb") as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            file.seek(info.header_offset)
            n_name, n_extra = struct.unpack("<26xHH", file.read(_HEAD))
            if file.read(n_name) != info.filename.encode():
                raise ValueError(f"the two names of its part {info.filename!r} differ")
            begin = info.header_offset + _HEAD + n_name + n_extra
            parts[info.filename] = _Part(path, begin, info.file_size, info.CRC, stamp)
    return parts


@lru_cache(maxsize=65536)
def _check(part: _Part) -> None:
    with open(part.path, "rb") as file:
        file.seek(part.begin)
        left, crc = part.size, 0
        while chunk := file.read(min(_CHUNK, left)):
            left, crc = left - len(chunk), zlib.crc32(chunk, crc)
    if left or crc != part.crc:
        raise ValueError(f"the CRC of what lies at byte {part.begin} is another")
