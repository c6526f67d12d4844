"""A .npy file that is written row by row, and never in memory."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import ShapeError


class RowFile(AbstractContextManager["RowFile"]):
    """A file of float32 rows of a shape, whose number is written into its head at the end; use it in a ``with`` block.

    What is there is replaced. Unlike a memory map, what was written does not count as this process' memory.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._n_rows = 0
        self._file = path.open("wb")
        self._write_head()

    def append(self, row: FloatArray) -> None:
        """Write a row; raises ShapeError if it has another shape."""
        if row.shape != self.shape:
            raise ShapeError(f"rows of {self._file.name} must have shape {self.shape}; got {row.shape}")
        self._file.write(np.ascontiguousarray(row, dtype="<f4").data)
        self._n_rows += 1

    def close(self) -> None:
        """Write the number of rows and close the file."""
        if not self._file.closed:
            self._file.seek(0)
            self._write_head()
            self._file.close()

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def _write_head(self) -> None:
        # NumPy leaves room for any number of rows: the head's length does not depend on it.
        head = {"descr": "<f4", "fortran_order": False, "shape": (self._n_rows, *self.shape)}
        np.lib.format.write_array_header_1_0(self._file, head)
