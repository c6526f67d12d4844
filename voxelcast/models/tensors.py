"""Arrays of a saved model in safetensors files: checked against what the card says of them before any is used."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from safetensors import safe_open

from voxelcast.core.checks import check_inside
from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError
from voxelcast.store.atomic import write_bytes
from voxelcast.store.readers.guard import reading

Shape = tuple[int, ...]
_TYPES: Final = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I32": np.int32, "BOOL": np.bool_}
_MOST_SHOWN: Final = 100
_REMEDY: Final = "fetch the model again, or have the run write it anew"


def write_tensors(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays, sorted by name: the same arrays give the same bytes."""
    known = {np.dtype(one) for one in _TYPES.values()}
    wrong = next((name for name, array in arrays.items() if array.dtype not in known), None)
    if wrong is not None:
        raise DataError(f"arrays of a model must be of {sorted(map(str, known))}; got {arrays[wrong].dtype} of {wrong}")
    whole = {name: np.ascontiguousarray(arrays[name]).reshape(arrays[name].shape) for name in sorted(arrays)}
    write_bytes(path, safetensors.numpy.save(whole))


def read_tensors(path: Path, expected: Mapping[str, Shape], group: str = "") -> dict[str, NDArray[Any]]:
    """Read the arrays of a file, which must be those expected, by name, in shape, and finite.

    With a ``group``, those that are named ``<group>/<name>``; the others are of other groups. Raises DataError where
    they are not, or it is no safetensors file: nothing in it is read before its head is right.
    """
    with reading(path, "safetensors", _REMEDY), safe_open(path, framework="np") as file:
        start = f"{group}/" if group else ""
        names = {name.removeprefix(start) for name in file.keys() if name.startswith(start)}  # noqa: SIM118
        if names != expected.keys():
            missing, more = sorted(expected.keys() - names), sorted(names - expected.keys())
            said = f"misses {missing[0]!r}" if missing else f"holds {more[0]!r}, which is not of such a model"
            raise DataError(f"{path} {said}; {_REMEDY}")
        for name, shape in expected.items():
            part = file.get_slice(f"{start}{name}")
            if tuple(part.get_shape()) != shape or part.get_dtype() not in _TYPES:
                raise DataError(
                    f"{path}: {name} must have shape {shape} by the card; got {tuple(part.get_shape())} of "
                    f"{part.get_dtype()}; {_REMEDY}"
                )
        arrays: dict[str, NDArray[Any]] = {name: file.get_tensor(f"{start}{name}") for name in expected}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{path}: {name} must be finite; got NaN or infinite values; {_REMEDY}")
    return arrays


def file_sha256(path: Path) -> str:
    """Hash the bytes of a file (64 hex digits)."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checked_file(folder: Path, name: str, size: int, sha256: str) -> Path:
    """Find a file that the card names; raise unless it is a plain file of that size and hash inside the folder.

    Raises UnsafeFileError for a name that leads outside or a link, MissingFileError and DataError.
    """
    path = folder / check_inside(name, f"{folder}: the card")
    with reading(path.name[:_MOST_SHOWN], "a file of a model", _REMEDY):
        if any(part.is_symlink() for part in (path, *path.parents) if part.is_relative_to(folder) and part != folder):
            raise UnsafeFileError(f"{path} is a link; files of a model must be plain files in its folder; {_REMEDY}")
        if not path.is_file():
            raise MissingFileError(f"{path}, which the card names, does not exist; {_REMEDY}")
        there = path.stat().st_size
        if there != size:
            raise DataError(f"{path} must have {size} bytes by the card; got {there}; {_REMEDY}")
        if file_sha256(path) != sha256:
            raise DataError(f"{path} has not the SHA-256 that the card says: it is damaged or another file; {_REMEDY}")
    return path
