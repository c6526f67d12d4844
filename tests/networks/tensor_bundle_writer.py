"""TensorFlow checkpoints written without TensorFlow: one shard, and no checksums, which nobody here reads."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import torch

_TYPES = {"float32": 1, "float64": 2, "int32": 3, "int64": 9}
_MAGIC = 0xDB4775248B80FB57


def write_bundle(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write ``path.index`` and ``path.data-00000-of-00001``."""
    entries: list[tuple[bytes, bytes]] = [(b"", _field(1, 1))]
    offset = 0
    with path.with_name(f"{path.name}.data-00000-of-00001").open("wb") as file:
        for name, tensor in sorted(tensors.items()):
            values = tensor.contiguous().numpy()
            size = file.write(values.tobytes())
            shape = b"".join(_message(2, _field(1, n)) for n in values.shape)
            place = _field(4, offset) + _field(5, size)
            entries.append((name.encode(), _field(1, _TYPES[values.dtype.name]) + _message(2, shape) + place))
            offset += size
    content = bytearray()
    handle = _write_block(content, entries)
    index = _write_block(content, [(entries[-1][0], handle)])
    footer = _write_block(content, []) + index
    content += footer.ljust(40, b"\0") + struct.pack("<Q", _MAGIC)
    path.with_name(f"{path.name}.index").write_bytes(content)


def _write_block(content: bytearray, entries: list[tuple[bytes, bytes]]) -> bytes:
    """Append a block whose keys share nothing, and return where it is."""
    block = b"".join(b"\0" + _varint(len(key)) + _varint(len(value)) + key + value for key, value in entries)
    block += struct.pack("<II", 0, 1)
    handle = _varint(len(content)) + _varint(len(block))
    content += block + bytes(5)  # not compressed, no checksum
    return handle


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _message(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content
