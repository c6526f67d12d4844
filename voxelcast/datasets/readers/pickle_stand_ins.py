"""What stands for arrays, their types and images while a pickle is read: nothing that NumPy or nibabel would run."""

from __future__ import annotations

import re
from functools import cache
from math import prod
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError, UnsafeFileError
from voxelcast.datasets.readers.pickled_arrays import Block, StoredArray

_DTYPE_CODE = re.compile(r"[<>|=]?(\?|b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU]\d{1,6}|V\d{1,6})")


class DtypeStandIn:
    """Stand-in for numpy.dtype while a pickle is read."""

    __slots__ = ("_code", "_file", "_order")

    def __init__(self, code: object, file: str) -> None:
        if not isinstance(code, str) or not _DTYPE_CODE.fullmatch(code):
            kind = "Python objects" if isinstance(code, str) and code.lstrip("<>|=").startswith("O") else f"{code!r}"
            raise UnsafeFileError(
                f"{file} holds an array of {kind}; only arrays of numbers, booleans and text are read; nothing was run"
            )
        self._code, self._file = code, file
        self._order: Literal["<", ">", "|", "="] = "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        # State: (version, byte order, sub-array, names, fields, ...): only the byte order matters to a plain type.
        order = state[1]
        if order not in ("<", ">", "|", "="):
            raise UnsafeFileError(f"{self._file} holds an array of byte order {order!r}; only plain arrays are read")
        self._order = order

    def real(self) -> np.dtype[Any] | None:
        """Return the type; None for one with fields or sub-arrays, which is not read."""
        return None if "V" in self._code else np.dtype(self._code).newbyteorder(self._order)


class ArrayStandIn:
    """Stand-in for numpy.ndarray while a pickle is read."""

    __slots__ = ("_file", "stored")

    def __init__(self, file: str) -> None:
        self._file = file
        self.stored: StoredArray | FieldsStandIn | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.stored = array_from_bytes(data, dtype, shape, "F" if fortran else "C", self._file)


class FieldsStandIn:
    """Stand-in for an array with fields or sub-arrays, e.g. an image's header: not read."""


class Record:
    """Stand-in for an object of nibabel: keeps its state and does nothing."""

    name: ClassVar[str] = ""

    def __new__(cls, *unused: object) -> Record:
        """Make an empty record, whatever it is made from."""
        record = super().__new__(cls)
        record.state = {}
        return record

    def __init__(self, *unused: object) -> None:
        self.state: dict[str, object]

    def __setstate__(self, state: object) -> None:
        self.state = state if isinstance(state, dict) else {}

    def extend(self, items: object) -> None:
        """Take the items of a list; none is of use."""


@cache
def record_class(name: str) -> type[Record]:
    """Return the record that stands for a class of this name."""
    return cast(type[Record], type("_NamedRecord", (Record,), {"name": name}))


def array_from_bytes(
    data: object, dtype: object, shape: object, order: object, file: str, axes: object = None
) -> StoredArray | FieldsStandIn:
    """Say of an array where its bytes are, checking that they fit its type and shape.

    NumPy from 2.3 on may give the order ``K``: ``shape`` is then that of the bytes in C order, and ``axes`` says how to
    transpose it. In Fortran order the bytes have the shape reversed.
    """
    if isinstance(data, str):
        # Python 2 stored bytes as str, which the unpickler has decoded as latin1.
        data = data.encode("latin1")
    if not isinstance(data, (bytes, bytearray, memoryview, Block)) or not isinstance(dtype, DtypeStandIn):
        raise UnsafeFileError(f"{file} holds an array whose content is not plain bytes; only plain arrays are read")
    real = dtype.real()
    if real is None:
        return FieldsStandIn()
    listed = shape if isinstance(shape, tuple) else (shape,)
    sizes = tuple(size for size in listed if isinstance(size, int) and size >= 0)
    n_bytes = prod(sizes) * real.itemsize
    # Of escaped bytes, those above 127 take two bytes each.
    fits = n_bytes <= len(data) <= 2 * n_bytes if isinstance(data, Block) and data.escaped else n_bytes == len(data)
    order_of = {"C": tuple(range(len(sizes))), "F": tuple(reversed(range(len(sizes))))}
    if isinstance(axes, tuple) and all(isinstance(axis, int) for axis in axes) and sorted(axes) == [*order_of["C"]]:
        order_of["K"] = axes
    if len(sizes) != len(listed) or not isinstance(order, str) or order not in order_of or not fits:
        raise DataError(f"{file} holds an array whose shape {shape!r} does not fit its data; get the file again")
    held: Block | NDArray[Any]
    if isinstance(data, Block):
        held = data
    else:
        held = np.frombuffer(data, dtype=real) if n_bytes else np.zeros(prod(sizes), real)
    return StoredArray(held, real, sizes[::-1] if order == "F" else sizes, order_of[order])
