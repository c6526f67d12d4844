"""The unpickler that admits arrays and plain values, and leaves large blocks in the file.

It rests on the unpickler that the standard library writes in Python, since that one takes what the file object returns:
for large blocks a `pickled_arrays.Block`, which says where the bytes lie, instead of the bytes. Stand-ins take the
place of arrays, their types and images: nothing that NumPy or nibabel would run.
"""

from __future__ import annotations

import os
import pickle
import re
import struct
from collections.abc import Callable, Iterable
from functools import cache
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError, UnsafeFileError
from voxelcast.datasets.readers.pickled_arrays import Block, StoredArray

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_NDARRAY = "numpy.ndarray"
_DTYPE_CODE = re.compile(r"[<>|=]?(\?|b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU]\d{1,6}|V\d{1,6})")
_BYTES = (bytes, bytearray, memoryview, str, Block)
_LARGE = 2**20
"""Bytes from which on a block is left in the file."""


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
    """Stand-in for numpy.ndarray while a pickle is read; ``count`` is told how many bytes it takes."""

    __slots__ = ("_count", "_file", "stored")

    def __init__(self, file: str, count: Callable[[int], None]) -> None:
        self._file, self._count = file, count
        self.stored: StoredArray | FieldsStandIn | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self._count(len(data) if isinstance(data, _BYTES) else 0)
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
    if not isinstance(data, _BYTES) or isinstance(data, str) or not isinstance(dtype, DtypeStandIn):
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
    elif n_bytes or not prod(sizes):
        held = np.frombuffer(data, dtype=real) if n_bytes else np.zeros(0, real)
    else:
        raise DataError(f"{file} holds an array of texts of length 0, of shape {shape!r}; get the file again")
    return StoredArray(held, real, sizes[::-1] if order == "F" else sizes, order_of[order])


class BlockFile:
    """A file that returns a Block instead of a large run of bytes; ``size`` is its length."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self.size = os.fstat(file.fileno()).st_size

    def read(self, n_bytes: int) -> Any:
        """Read so many bytes, or pass over them where they are many; raises EOFError where the file has fewer."""
        start = self._file.tell()
        if n_bytes > self.size - start:
            raise EOFError("it ends too early")
        if n_bytes < _LARGE:
            return self._file.read(n_bytes)
        self._file.seek(n_bytes, os.SEEK_CUR)
        return Block(self._path, start, n_bytes)

    def readline(self) -> bytes:
        """Read to the end of the line."""
        return self._file.readline()


_HASHED: dict[int, slice] = {
    pickle.SETITEM[0]: slice(-2, -1),
    pickle.SETITEMS[0]: slice(None, None, 2),
    pickle.DICT[0]: slice(None, None, 2),
    pickle.ADDITEMS[0]: slice(None),
    pickle.FROZENSET[0]: slice(None),
}
"""Opcodes that hash what lies on the stack, and what of it."""


def _guarded(opcode: int, keys: slice) -> Callable[[Any], None]:
    """Return the opcode's function, but for containers, which it refuses as keys."""
    plain: Callable[[Any], None] = cast(Any, pickle._Unpickler).dispatch[opcode]

    def load(unpickler: ArrayUnpickler) -> None:
        unpickler._hashable(unpickler.stack[keys])
        plain(unpickler)

    return load


class ArrayUnpickler(pickle._Unpickler):
    """Unpickler that knows the constructors of arrays and plain values, by stand-ins that hold no state to alter."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    read: Callable[[int], Any]  # set by load()
    append: Callable[[object], None]
    stack: list[Any]

    def __init__(self, file: BlockFile, name: str) -> None:
        super().__init__(cast(Any, file), fix_imports=False, encoding="latin1")
        self._name, self._n_bytes = name, file.size
        self._made = 0

    def _skip_frame(self) -> None:
        # Frames only say how much may be read at once; their content follows either way.
        self.read(8)

    def _load_bytearray(self) -> None:
        data = self.read(struct.unpack("<Q", self.read(8))[0])
        self.append(data if isinstance(data, Block) else bytearray(data))

    def _load_text(self) -> None:
        self._append_text(self.read(struct.unpack("<I", self.read(4))[0]))

    def _load_long_text(self) -> None:
        self._append_text(self.read(struct.unpack("<Q", self.read(8))[0]))

    def _append_text(self, data: Any) -> None:
        # Python 3 wrote the bytes of arrays as text in protocol 2: each byte a character, in UTF-8.
        if isinstance(data, Block):
            self.append(Block(data.path, data.offset, data.length, escaped=True))
        else:
            self.append(str(data, "utf-8", "surrogatepass"))

    def _count(self, n_bytes: int) -> None:
        """Hold what arrays and copies take in all against the file, which has the bytes of each once."""
        self._made += n_bytes
        if self._made > 4 * self._n_bytes + 2**16:
            raise UnsafeFileError(
                f"{self._name} asks for more than {self._made} bytes and has {self._n_bytes}; get the file again"
            )

    def _hashable(self, items: Iterable[Any]) -> None:
        """Refuse containers as keys and members of sets: hashing nested ones can take for ever."""
        for item in items:
            if isinstance(item, tuple | frozenset):
                raise UnsafeFileError(f"{self._name} has a {type(item).__name__} as a key; only plain values are read")

    for _opcode, _keys in _HASHED.items():
        dispatch[_opcode] = _guarded(_opcode, _keys)
    dispatch[pickle.FRAME[0]] = _skip_frame
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray
    dispatch[pickle.BINUNICODE[0]] = _load_text
    dispatch[pickle.BINUNICODE8[0]] = _load_long_text

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for what the pickle names; raises UnsafeFileError for anything not admitted."""
        if (module, name) == ("numpy", "ndarray"):
            return _NDARRAY
        if (module, name) == ("numpy", "dtype"):
            return self._dtype
        if module in _ARRAY_MODULES and name in ("_reconstruct", "scalar", "_frombuffer"):
            return {"_reconstruct": self._reconstruct, "scalar": self._scalar, "_frombuffer": self._frombuffer}[name]
        if module in ("builtins", "__builtin__") and name == "complex":
            return complex
        if module in ("builtins", "__builtin__") and name in ("set", "frozenset"):
            return self._set if name == "set" else self._frozenset
        if module in ("builtins", "__builtin__") and name in ("bytes", "bytearray"):
            return self._bytes if name == "bytes" else self._bytearray
        if module.startswith("nibabel.") or (module.startswith("pathlib") and name.endswith("Path")):
            return record_class(f"{module}.{name}")
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        raise UnsafeFileError(
            f"{self._name} asks for {' '.join(f'{module}.{name}'.split())[:80]}, which is not an array or a plain "
            "value; nothing of it was run; do not trust where the file came from"
        )

    def persistent_load(self, pid: object) -> Any:
        """Refuse objects outside the file."""
        raise UnsafeFileError(
            f"{self._name} asks for an object outside the file; only arrays and plain values are read"
        )

    def _set(self, members: object = ()) -> set[Any]:
        if not isinstance(members, list | tuple | set | frozenset):
            raise UnsafeFileError(f"{self._name} makes a set of a {type(members).__name__}; only plain values are read")
        self._hashable(members)
        self._count(8 * len(members))
        return set(members)

    def _frozenset(self, members: object = ()) -> frozenset[Any]:
        return frozenset(self._set(members))

    def _dtype(self, code: object, *flags: object) -> DtypeStandIn:
        return DtypeStandIn(code, self._name)

    def _reconstruct(self, subtype: object, *unused: object) -> ArrayStandIn:
        if subtype != _NDARRAY:
            raise UnsafeFileError(f"{self._name} holds an array of a class of its own; only plain arrays are read")
        return ArrayStandIn(self._name, self._count)

    def _scalar(self, dtype: object, data: object) -> Any:
        stored = array_from_bytes(data, dtype, (1,), "C", self._name)
        return stored if isinstance(stored, FieldsStandIn) else stored.read()[0]

    def _frombuffer(self, data: object, dtype: object, shape: object, order: object = "C", axes: object = None) -> Any:
        self._count(len(data) if isinstance(data, _BYTES) else 0)
        return array_from_bytes(data, dtype, shape, order, self._name, axes)

    def _bytes(self, data: object = b"", encoding: object = "latin1") -> Any:
        # Not bytes itself: a number would make it allocate as much as the file says.
        if isinstance(data, (bytes, Block)):
            return data
        return self._encode(data, encoding)

    def _bytearray(self, data: object = b"", encoding: object = "latin1") -> Any:
        plain = self._bytes(data, encoding)
        self._count(len(plain))
        return plain if isinstance(plain, Block) else bytearray(plain)

    def _encode(self, text: object, encoding: object = "") -> Any:
        # How Python 3 stores bytes in protocol 2; other encodings could do more than encode.
        if not isinstance(text, (str, Block)) or encoding not in ("latin1", "latin-1"):
            raise UnsafeFileError(f"{self._name} asks for the encoding {encoding!r}; only latin1 is used for bytes")
        self._count(len(text))
        return text if isinstance(text, Block) else text.encode("latin1")


class _ObjectType:
    """Stand-in for the type of Python objects, whose byte order and flags mean nothing."""

    def __setstate__(self, state: object) -> None:
        pass


class _Box(ArrayStandIn):
    """Stand-in for an array; the outermost one may hold one plain value."""

    __slots__ = ("content",)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, _, data = state
        if not isinstance(dtype, _ObjectType):
            super().__setstate__(state)
        elif shape == () and isinstance(data, list) and len(data) == 1:
            self.content = data[0]
        else:
            raise UnsafeFileError(f"{self._file} holds an array of Python objects; only a single dict is read")


class BoxUnpickler(ArrayUnpickler):
    """Unpickler of what ``np.save`` makes of a dict: an array of one Python object."""

    def _dtype(self, code: object, *flags: object) -> Any:
        return _ObjectType() if code in ("O8", "O4", "O") else super()._dtype(code, *flags)

    def _reconstruct(self, subtype: object, *unused: object) -> ArrayStandIn:
        super()._reconstruct(subtype, *unused)
        return _Box(self._name, self._count)
