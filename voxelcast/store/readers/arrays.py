"""Plain arrays in .npy and .npz files: what they claim is held against what is there before anything is allocated."""

from __future__ import annotations

from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError, UnsafeFileError
from voxelcast.store.readers.archives import opened_zip
from voxelcast.store.readers.guard import check_claim, check_file, reading

_PIECE = 2**20
_MAGIC = b"\x93NUMPY"


def open_npy(path: Path, what: str, *, mapped: bool = False, shown: str | None = None) -> NDArray[Any]:
    """Read a .npy file, or map it into memory; messages call it ``shown``, or by its path.

    Raises MissingFileError, DataError where it is missing, is none, or has another length than its head says;
    UnsafeFileError where it holds Python objects.
    """
    check_file(path, what)
    called = shown or str(path)
    with reading(called, ".npy"), path.open("rb") as file:
        size = path.stat().st_size
        if mapped and _head(file, size, called)[-1]:
            return cast(NDArray[Any], np.load(path, mmap_mode="r", allow_pickle=False))
        file.seek(0)
        return _read(file, size, called)


def read_npz(path: Path, what: str, names: Collection[str] | None = None) -> dict[str, NDArray[Any]]:
    """Read the named arrays of a .npz file that are there (None: all), each to its end, where its check sum is.

    Raises as `open_npy`.
    """
    check_file(path, what)
    found: dict[str, NDArray[Any]] = {}
    with opened_zip(path, ".npz") as archive:
        for member in archive.infolist():
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise DataError(f"{path} holds {name!r} twice; write it again")
            if names is None or name in names:
                shown = f"{name!r} in {path}"
                check_claim(shown, member.file_size, member.compress_size)
                with archive.open(member) as stream:
                    found[name] = _read(cast(BinaryIO, stream), member.file_size, shown)
    return found


def _read(stream: BinaryIO, size: int, shown: object) -> NDArray[Any]:
    shape, fortran, dtype, n_bytes = _head(stream, size, shown)
    flat = np.empty(prod(shape), dtype)
    target = flat.view(np.uint8) if n_bytes else flat
    start = 0
    while start < n_bytes:
        piece = stream.read(min(_PIECE, n_bytes - start))
        if not piece:
            raise EOFError("it ends too early")
        target[start : start + len(piece)] = np.frombuffer(piece, np.uint8)
        start += len(piece)
    stream.read(1)  # the end of a packed stream, where its check sum is compared
    return flat.reshape(shape, order="F" if fortran else "C")


def _head(stream: BinaryIO, size: int, shown: object) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Read shape, whether in Fortran order, type and number of bytes, which must be what is left of the stream."""
    if (magic := stream.read(8))[:6] != _MAGIC:
        raise DataError(f"{shown} cannot be read as .npy (it begins otherwise); write it again")
    read_header = np.lib.format.read_array_header_1_0 if magic[6] == 1 else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read_header(stream)
    if dtype.hasobject:
        raise UnsafeFileError(f"{shown} holds Python objects; only plain arrays are read; save it so")
    lengths: tuple[Any, ...] = shape
    if dtype.fields or dtype.subdtype or not all(type(n) is int and n >= 0 for n in lengths):
        raise DataError(f"{shown} must hold a plain array; got shape {shape} of {dtype}")
    n_values = prod(int(n) for n in lengths)
    claimed, there = n_values * dtype.itemsize, size - stream.tell()
    if claimed != there or (n_values and not dtype.itemsize):
        raise DataError(
            f"{shown} must have {claimed} bytes after its head, for shape {shape} of {dtype}; got {there}; it is cut "
            "off or damaged: write it again"
        )
    return shape, fortran, dtype, claimed
