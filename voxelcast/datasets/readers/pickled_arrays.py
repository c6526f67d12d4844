"""Arrays and images inside a pickle that are read only when asked for, and then only the voxels asked for.

Pickles of protocol 1 to 5 hold an array's bytes in one block, whose offset in the file is known once the few bytes
around it are read. The voxels asked for are gathered in one pass over the block, with buffers of :data:`BUFFER_BYTES`
in all (or three rows of the array, if that is more). The same holds for what Python 3 wrote in protocols 1 and 2,
where the block is UTF-8 text that is decoded on the way. Protocol 0 is text of which nothing is known before all of
it is read: it costs the memory of the whole file, several times over.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import BoolArray, ByteArray, FloatArray, IntArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError

BUFFER_BYTES = 8 * 2**20


@dataclass(frozen=True)
class Block:
    """A run of bytes in a file, not read; ``escaped`` if they are UTF-8 text whose characters stand for bytes."""

    path: Path
    offset: int
    length: int
    escaped: bool = False

    def __len__(self) -> int:
        return self.length

    def decode(self, *unused: object) -> Block:
        """Return itself: the unpickler decodes Python 2 strings, and what is here stands for bytes anyway."""
        return self

    def pieces(self) -> Iterator[bytes | memoryview]:
        """Read the bytes that the block stands for, some at a time; each piece is overwritten by the next.

        Raises DataError where the file has become shorter, or text does not stand for bytes.
        """
        decoder = codecs.getincrementaldecoder("utf-8")()
        left, held = self.length, memoryview(bytearray(min(self.length, BUFFER_BYTES // 8)))
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            while left:
                piece = held[: file.readinto(held[:left])]
                if not piece:
                    raise DataError(f"{self.path} became shorter while it was read; get the file again")
                left -= len(piece)
                try:
                    yield decoder.decode(piece, final=not left).encode("latin1") if self.escaped else piece
                except UnicodeError as error:
                    raise DataError(f"{self.path} holds an array whose bytes are damaged; get it again") from error


class StoredArray:
    """An array of which shape and type are known, and whose values are read when asked for.

    Parameters
    ----------
    data : Block or ndarray
        Its bytes in the file; or the flat array itself, where it is small.
    dtype : numpy.dtype
        As stored, of any byte order.
    shape : tuple of int
        As stored, in C order.
    axes : tuple of int
        Which stored axis each axis of the array is: (0, 1, 2) in C order, (2, 1, 0) in Fortran order.
    """

    def __init__(
        self, data: Block | NDArray[Any], dtype: np.dtype[Any], shape: tuple[int, ...], axes: tuple[int, ...]
    ) -> None:
        self._data, self._stored, self._sizes, self._axes = data, dtype, shape, axes
        self.shape = tuple(shape[axis] for axis in axes)
        self.dtype = dtype.newbyteorder("=")

    def check_shape(self, name: str, dims: Sequence[str], sizes: Sequence[int | None]) -> None:
        """Raise ShapeError unless it has the dimensions ``dims`` with ``sizes`` (None: any size)."""
        # A view of that shape that takes no memory.
        check_shape(name, np.broadcast_to(np.zeros((), np.int8), self.shape), dims, sizes)

    def flat_first(self) -> StoredArray | None:
        """Return the array (..., n) as (n, all others), of which some columns can be read; None in Fortran order."""
        if self._axes != tuple(range(len(self._axes))):
            return None
        return StoredArray(self._data, self._stored, (prod(self._sizes[:-1]), self._sizes[-1]), (1, 0))

    def read(self, voxels: IntArray | None = None) -> NDArray[Any]:
        """Read the values of ``voxels`` (indices along the last axis, in any order) or all, native, maybe read-only.

        Raises DataError where the file has changed meanwhile or its bytes are damaged.
        """
        if not isinstance(self._data, Block):
            whole = self._data.reshape(self._sizes).transpose(self._axes).astype(self.dtype, copy=False)
            return whole if voxels is None else whole[..., voxels]
        if voxels is None:
            return self._read_whole(self._data)
        axis = self._axes[-1]
        before, n_voxels, after = prod(self._sizes[:axis]), self._sizes[axis], prod(self._sizes[axis + 1 :])
        if axis:
            chosen = np.empty((before, len(voxels), after), self.dtype)
            for start, rows in self._rows(self._data, before, n_voxels * after):
                blocks = rows.reshape(len(rows), n_voxels, after)
                np.take(blocks, voxels, axis=1, out=chosen[start : start + len(rows)])
        else:  # the file holds voxel after voxel
            chosen = np.empty((len(voxels), after), self.dtype)
            for start, rows in self._rows(self._data, n_voxels, after):
                here = np.flatnonzero((voxels >= start) & (voxels < start + len(rows)))
                chosen[here] = rows[voxels[here] - start]
        sizes = (*self._sizes[:axis], len(voxels), *self._sizes[axis + 1 :])
        return chosen.reshape(sizes).transpose(self._axes)

    def _read_whole(self, block: Block) -> NDArray[Any]:
        flat = np.empty(prod(self._sizes), self._stored)
        target, start = flat.view(np.uint8), 0
        for piece in block.pieces():
            end = start + len(piece)
            if end > target.size:
                break
            target[start:end] = np.frombuffer(piece, np.uint8)
            start = end
        if end != target.size:
            raise DataError(f"{block.path} holds an array that does not fit its shape {self.shape}; get it again")
        if not self._stored.isnative:
            flat = flat.byteswap(inplace=True).view(self.dtype)
        return flat.reshape(self._sizes).transpose(self._axes)

    def _rows(self, block: Block, n_rows: int, width: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the rows of an array (n_rows, width), some at a time: number of the first one and their values.

        The values are overwritten by the next rows.
        """
        row_bytes = width * self._stored.itemsize
        buffer = np.empty(max(row_bytes, BUFFER_BYTES // 2 // max(row_bytes, 1) * row_bytes), np.uint8)
        start = 0
        for n_bytes in _refilled(block.pieces(), buffer):
            n_here, left_over = divmod(n_bytes, row_bytes)
            if left_over or start + n_here > n_rows:
                break
            rows = buffer[:n_bytes].view(self._stored).reshape(n_here, width)
            yield start, rows.astype(self.dtype, copy=False)
            start += n_here
        else:
            left_over = 0
        if start != n_rows or left_over:
            raise DataError(f"{block.path} holds an array that does not fit its shape {self.shape}; get it again")


def _refilled(pieces: Iterator[bytes | memoryview], buffer: ByteArray) -> Iterator[int]:
    """Fill the buffer again and again from pieces of any length; yield how many bytes it holds."""
    filled = 0
    for piece in pieces:
        bytes_left = np.frombuffer(piece, np.uint8)
        while bytes_left.size:
            n_taken = min(bytes_left.size, buffer.size - filled)
            buffer[filled : filled + n_taken] = bytes_left[:n_taken]
            filled, bytes_left = filled + n_taken, bytes_left[n_taken:]
            if filled == buffer.size:
                yield filled
                filled = 0
    if filled:
        yield filled


@dataclass(frozen=True)
class StoredImage:
    """A nibabel image inside a pickle: values (x, y, z), and affine (4, 4) from voxel indices to millimetres.

    The values are None where the pickle holds only the name of a file.
    """

    values: StoredArray | None
    affine: FloatArray | None

    def mask(self) -> BoolArray | None:
        """Read where the image is 1; shape (x, y, z)."""
        return None if self.values is None else np.asarray(self.values.read() == 1)
