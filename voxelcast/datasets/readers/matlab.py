"""MATLAB files: versions 5 to 7.2, whose packed parts are checked to their ends, and 7.3, which is HDF5."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError
from voxelcast.store.readers.guard import check_claim, check_file, reading
from voxelcast.store.readers.hdf5 import dataset_of, opened_hdf5

_PACKED = 15  # the data type of a packed element
_PIECE = 2**20


def read_matlab(path: Path, what: str, names: Iterable[str] | None = None) -> dict[str, Any]:
    """Read variables of a MATLAB file (None: all; of version 7.3 they must be named), as far as they are there.

    Numbers are arrays of MATLAB's shape; of text, a char matrix or a cell array of strings, there is an array of str.
    Raises MissingFileError, DataError, UnsafeFileError where the file is missing, none, damaged, or its data lie
    elsewhere.
    """
    check_file(path, what)
    with path.open("rb") as file:
        head = file.read(128)
    if not head.startswith(b"MATLAB"):
        raise DataError(f"{path} is no MATLAB file of version 5 to 7.3 (it begins otherwise); save it so")
    if head.startswith(b"MATLAB 7.3"):
        if names is None:
            raise DataError(f"{path} is a MATLAB file of version 7.3, which holds no structs for us; save it with -v7")
        return _from_hdf5(path, what, names)
    import scipy.io

    kind = "a MATLAB file of version 5 to 7.2"
    with reading(path, kind, "save it so"):
        _check_packed(path, "<" if head[126:128] == b"IM" else ">")
        for name, shape, _ in scipy.io.whosmat(path):
            check_claim(f"{name!r} in {path}", 8 * prod(shape), path.stat().st_size)
        found = scipy.io.loadmat(path, variable_names=None if names is None else list(names), chars_as_strings=True)
    return {name: _text_of(values) for name, values in found.items() if not name.startswith("__")}


def _check_packed(path: Path, order: Literal["<", ">"]) -> None:
    """Unpack every packed element to its end, where its check sum is: SciPy stops before it."""
    size = path.stat().st_size
    with path.open("rb") as file:
        file.seek(128)
        while head := file.read(8):
            kind, n_bytes = struct.unpack(f"{order}II", head)
            if file.tell() + n_bytes > size:
                raise EOFError("it ends too early")
            if kind != _PACKED:
                file.seek(n_bytes, 1)
                continue
            unpacker, done, left = zlib.decompressobj(), 0, n_bytes
            while left and not unpacker.eof:
                piece = file.read(min(left, _PIECE))
                left -= len(piece)
                while piece:
                    done += len(unpacker.decompress(piece, _PIECE))
                    piece = unpacker.unconsumed_tail
                check_claim(path, done, size)
            if not unpacker.eof:
                raise EOFError("a packed part of it ends too early")
            file.seek(left, 1)


def _text_of(values: Any) -> Any:
    """Return text of a char matrix or cell array as an array of str; anything else as it is."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "U":
        return np.array([str(text).rstrip() for text in values.ravel()])
    if isinstance(values, np.ndarray) and values.dtype == object and values.dtype.names is None:
        cells = [np.asarray(cell) for cell in values.ravel()]
        if all(cell.dtype.kind == "U" and cell.size <= 1 for cell in cells):
            return np.array([str(cell.item()) if cell.size else "" for cell in cells])
    return values


def _from_hdf5(path: Path, what: str, names: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with opened_hdf5(path, what, "save it again") as file:
        for name in names:
            if not file.holds(name):
                continue
            dataset = dataset_of(file, name)
            if dataset.is_reference or dataset.matlab_class == "cell":
                cells = [dataset_of(file, target).read() for target in dataset.targets()]
                found[name] = np.array([_characters(cell.T.ravel()) for cell in cells])
                continue
            values: NDArray[Any] = dataset.read().T  # MATLAB writes the axes in reverse
            found[name] = (
                np.array([_characters(row).rstrip() for row in values]) if dataset.matlab_class == "char" else values
            )
    return found


def _characters(codes: NDArray[Any]) -> str:
    return codes.astype("<u2").tobytes().decode("utf-16-le")
