"""TensorFlow checkpoints, read without TensorFlow.

A checkpoint is a *tensor bundle*: ``NAME.index``, a sorted string table (LevelDB's format) of protocol buffers that
say type, shape and location of each tensor, and ``NAME.data-00000-of-00001``, ..., the tensors' bytes in a row.
Only what checkpoints use is understood: uncompressed blocks, whole tensors of plain numbers, little-endian.

References
----------
.. [1] TensorFlow, ``tensorflow/core/protobuf/tensor_bundle.proto`` (Apache-2.0).
.. [2] LevelDB, ``doc/table_format.md`` (BSD).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.store.readers.guard import reading

_MAGIC = 0xDB4775248B80FB57
_FOOTER = 48  # bytes
_TYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8"}


@dataclass(frozen=True)
class _Location:
    """Where a tensor's bytes are."""

    dtype: str
    shape: tuple[int, ...]
    shard: int
    offset: int
    size: int


def find_bundle(path: Path) -> Path | None:
    """Give the ``.index`` file that a path means (itself, or the name before ``.index``); None where there is none."""
    index = path if path.suffix == ".index" else path.with_name(f"{path.name}.index")
    return index if index.is_file() else None


def read_bundle(index: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint by its ``.index`` file, without the optimiser's (``.../Momentum``).

    They are as stored: kernels of convolutions have the shape (height, width, n_in, n_out). Raises DataError if the
    index is none, is damaged, or speaks of what is not understood; MissingFileError if a data file, which lies beside
    the index, is missing.
    """
    with reading(f"weights file {index}", "the index of a TensorFlow checkpoint", "fetch it again"):
        n_shards, locations = _read_index(index.read_bytes())
    wanted = {name: location for name, location in locations.items() if not name.endswith("/Momentum")}
    return {name: _read_tensor(index, n_shards, name, location) for name, location in wanted.items()}


def _read_tensor(index: Path, n_shards: int, name: str, location: _Location) -> torch.Tensor:
    path = index.with_name(f"{index.stem}.data-{location.shard:05d}-of-{n_shards:05d}")
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist; put it beside {index.name}")
    wanted = math.prod(location.shape) * np.dtype(location.dtype).itemsize
    there = max(0, min(location.size, path.stat().st_size - location.offset))
    if location.size != wanted or there != wanted:
        raise DataError(
            f"tensor {name!r} of {path} must have {wanted} bytes; got {there} of {location.size}; fetch it again"
        )
    with path.open("rb") as file:
        file.seek(location.offset)
        content = file.read(wanted)
    values = np.frombuffer(content, location.dtype).reshape(location.shape)
    return torch.from_numpy(values.astype(values.dtype.newbyteorder("=")))


def _read_index(content: bytes) -> tuple[int, dict[str, _Location]]:
    footer = content[-_FOOTER:]
    if len(footer) < _FOOTER or struct.unpack("<Q", footer[-8:])[0] != _MAGIC:
        raise ValueError("wrong magic number")
    _, at = _block_range(footer, 0)
    (start, size), _ = _block_range(footer, at)
    n_shards, locations = 1, {}
    for _, handle in _entries(content, start, size):
        (block_start, block_size), _ = _block_range(handle, 0)
        for key, value in _entries(content, block_start, block_size):
            if key:
                locations[key.decode()] = _location(value)
            else:
                # The header: an absent field is 0.
                header = dict(_fields(value))
                n_shards = _number(header.get(1, 1))
                if _number(header.get(2, 0)):
                    raise ValueError("big-endian")
    return n_shards, locations


def _location(message: bytes) -> _Location:
    found = dict(_fields(message))
    kind = _number(found.get(1, 0))
    if kind not in _TYPES or 7 in found:
        raise ValueError(f"type {kind}" if 7 not in found else "a tensor in slices")
    dims = [dim for field, dim in _fields(_bytes(found.get(2, b""))) if field == 2]
    shape = tuple(_number(dict(_fields(_bytes(dim))).get(1, 0)) for dim in dims)
    return _Location(_TYPES[kind], shape, *(_number(found.get(field, 0)) for field in (3, 4, 5)))


def _entries(content: bytes, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Give keys and values of a block, whose keys leave out what they share with the key before."""
    if content[start + size] != 0:
        raise ValueError("compressed")
    block = content[start : start + size]
    end = len(block) - 4 * (struct.unpack("<I", block[-4:])[0] + 1)
    at, key = 0, b""
    while at < end:
        shared, at = _varint(block, at)
        unshared, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + unshared]
        at += unshared
        yield key, block[at : at + length]
        at += length


def _block_range(content: bytes, at: int) -> tuple[tuple[int, int], int]:
    start, at = _varint(content, at)
    size, at = _varint(content, at)
    return (start, size), at


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """Read a number of 7 bits per byte, the lowest first; give it and the index after it."""
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Give number and content of a protocol buffer's fields."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        wire = tag & 7
        if wire == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if wire not in (1, 2, 5):
            raise ValueError(f"wire type {wire}")
        length, at = _varint(message, at) if wire == 2 else ({1: 8, 5: 4}[wire], at)
        yield tag >> 3, message[at : at + length]
        at += length


def _number(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise ValueError("a text where a number should be")
    return value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message should be")
    return value
