"""Read challenge pickles without letting them do anything: NumPy arrays and plain containers, nothing else.

A pickle is a program. This reader lets it name only the few constructors that arrays and plain values need, and even
those are stand-ins of our own, so that no NumPy code sees a hostile state: array data are checked, then read with
``numpy.frombuffer``. Images of nibabel, which BOLD Moments puts beside its arrays, become records that hold what they
are given and do nothing; nibabel itself never sees them.

It rests on the unpickler that the standard library writes in Python, since that one takes what the file object returns:
for large blocks a :class:`Block`, which says where the bytes lie, in the place of the bytes.
"""

from __future__ import annotations

import os
import pickle
import re
import struct
from collections.abc import Callable
from functools import cache
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError
from voxelcast.datasets.pickled_arrays import Block, StoredArray, StoredImage

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_PLAIN_TYPES: dict[str, type] = {"set": set, "frozenset": frozenset, "complex": complex}
_DTYPE_CODE = re.compile(r"[<>|=]?(\?|b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU]\d{1,6}|V\d{1,6})")
_NDARRAY = "numpy.ndarray"
_MAX_DEPTH = 100
_LARGE = 2**20
"""Bytes from which on a block is left in the file."""


def load_pickle(path: Path, shown: str | None = None) -> object:
    """Read a pickle of NumPy arrays in plain containers, of Python 2 (latin1) or 3, any protocol.

    Admitted are arrays and scalars of booleans, numbers and strings; dict, list, tuple, set, numbers, text, bytes and
    None. Arrays come in native byte order and may be read-only.

    Parameters
    ----------
    path : Path
    shown : str or None
        What messages call it; None: the file's name.

    Returns
    -------
    content : object

    Raises
    ------
    MissingFileError
        Where the file is not there.
    UnsafeFileError
        Where the pickle asks for anything else, e.g. a function or an array of objects; nothing of it was run.
    DataError
        Where the file is not a whole pickle.
    """
    return _read(open_pickle(path, shown))


def open_pickle(path: Path, shown: str | None = None) -> object:
    """Read a pickle, but for its arrays: a :class:`StoredArray` (or :class:`StoredImage`) stands for each.

    Parameters, what is admitted and what is raised are as for :func:`load_pickle`; arrays of 1 MiB and more are left in
    the file until they are read.
    """
    if not path.is_file():
        raise MissingFileError(f"pickle not found: {path} does not exist")
    shown = shown or path.name
    try:
        with path.open("rb") as file:
            return _plain(_ArrayUnpickler(_BlockFile(file, path), shown).load(), shown, 0)
    except (UnsafeFileError, DataError):
        raise
    # What a damaged stream makes the unpickler raise depends on the byte at which it breaks.
    except (
        pickle.UnpicklingError,
        AssertionError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ImportError,
        NameError,
        OverflowError,
        MemoryError,
        RecursionError,
        struct.error,
    ) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{shown} is not a whole pickle of arrays ({text}); get the file again") from error


class _BlockFile:
    """A file that returns a Block in the place of a large run of bytes."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        self._file, self._path = file, path
        self._size = os.fstat(file.fileno()).st_size

    def read(self, n_bytes: int) -> Any:
        place = self._file.tell()
        if n_bytes > self._size - place:
            raise EOFError("it ends too early")
        if n_bytes < _LARGE:
            return self._file.read(n_bytes)
        self._file.seek(n_bytes, os.SEEK_CUR)
        return Block(self._path, place, n_bytes)

    def readline(self) -> bytes:
        return self._file.readline()


class _Dtype:
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


class _Array:
    """Stand-in for numpy.ndarray while a pickle is read."""

    __slots__ = ("_file", "stored")

    def __init__(self, file: str) -> None:
        self._file = file
        self.stored: StoredArray | _Fields | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.stored = _from_bytes(data, dtype, shape, "F" if fortran else "C", self._file)


class _Fields:
    """Stand-in for an array with fields or sub-arrays, e.g. an image's header: not read."""


class _Record:
    """Stand-in for an object of nibabel: keeps its state and does nothing."""

    name: ClassVar[str] = ""

    def __new__(cls, *unused: object) -> _Record:
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
def _record_class(name: str) -> type[_Record]:
    return cast(type[_Record], type("_NamedRecord", (_Record,), {"name": name}))


def _from_bytes(
    data: object, dtype: object, shape: object, order: object, file: str, axes: object = None
) -> StoredArray | _Fields:
    """Say of an array where its bytes are, checking that they fit its type and shape.

    NumPy from 2.3 on may give the order ``K``: ``shape`` is then that of the bytes in C order, and ``axes`` says how to
    transpose it. In Fortran order the bytes have the shape reversed.
    """
    if isinstance(data, str):
        # Python 2 stored bytes as str, which the unpickler has decoded as latin1.
        data = data.encode("latin1")
    if not isinstance(data, (bytes, bytearray, memoryview, Block)) or not isinstance(dtype, _Dtype):
        raise UnsafeFileError(f"{file} holds an array whose content is not plain bytes; only plain arrays are read")
    real = dtype.real()
    if real is None:
        return _Fields()
    listed = shape if isinstance(shape, tuple) else (shape,)
    sizes = tuple(size for size in listed if isinstance(size, int) and size >= 0)
    n_bytes = prod(sizes) * real.itemsize
    # Of escaped bytes, those above 127 take two bytes each.
    fits = n_bytes <= len(data) <= 2 * n_bytes if isinstance(data, Block) and data.escaped else n_bytes == len(data)
    order_of = {"C": tuple(range(len(sizes))), "F": tuple(reversed(range(len(sizes))))}
    if isinstance(axes, tuple) and sorted(axes, key=str) == list(range(len(sizes))):
        order_of["K"] = axes
    if len(sizes) != len(listed) or not isinstance(order, str) or order not in order_of or not fits:
        raise DataError(f"{file} holds an array whose shape {shape!r} does not fit its data; get the file again")
    held: Block | NDArray[Any]
    if isinstance(data, Block):
        held = data
    else:
        held = np.frombuffer(data, dtype=real) if n_bytes else np.zeros(prod(sizes), real)
    return StoredArray(held, real, sizes[::-1] if order == "F" else sizes, order_of[order])


class _ArrayUnpickler(pickle._Unpickler):
    """Unpickler that knows the constructors of arrays and plain values, by stand-ins that hold no state to alter."""

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)
    read: Callable[[int], Any]  # set by load()
    append: Callable[[object], None]

    def __init__(self, file: _BlockFile, name: str) -> None:
        super().__init__(cast(Any, file), fix_imports=False, encoding="latin1")
        self._name = name

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

    dispatch[pickle.FRAME[0]] = _skip_frame
    dispatch[pickle.BYTEARRAY8[0]] = _load_bytearray
    dispatch[pickle.BINUNICODE[0]] = _load_text
    dispatch[pickle.BINUNICODE8[0]] = _load_long_text

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return _NDARRAY
        if (module, name) == ("numpy", "dtype"):
            return self._dtype
        if module in _ARRAY_MODULES and name in ("_reconstruct", "scalar", "_frombuffer"):
            return {"_reconstruct": self._reconstruct, "scalar": self._scalar, "_frombuffer": self._frombuffer}[name]
        if module in ("builtins", "__builtin__") and name in _PLAIN_TYPES:
            return _PLAIN_TYPES[name]
        if module in ("builtins", "__builtin__") and name in ("bytes", "bytearray"):
            return self._bytes if name == "bytes" else self._bytearray
        if module.startswith("nibabel.") or (module.startswith("pathlib") and name.endswith("Path")):
            return _record_class(f"{module}.{name}")
        if (module, name) == ("_codecs", "encode"):
            return self._encode
        raise UnsafeFileError(
            f"{self._name} asks for {' '.join(f'{module}.{name}'.split())[:80]}, which is not an array or a plain "
            "value; nothing of it was run; do not trust where the file came from"
        )

    def persistent_load(self, pid: object) -> Any:
        raise UnsafeFileError(
            f"{self._name} asks for an object outside the file; only arrays and plain values are read"
        )

    def _dtype(self, code: object, *flags: object) -> _Dtype:
        return _Dtype(code, self._name)

    def _reconstruct(self, subtype: object, *unused: object) -> _Array:
        if subtype != _NDARRAY:
            raise UnsafeFileError(f"{self._name} holds an array of a class of its own; only plain arrays are read")
        return _Array(self._name)

    def _scalar(self, dtype: object, data: object) -> Any:
        stored = _from_bytes(data, dtype, (1,), "C", self._name)
        return stored if isinstance(stored, _Fields) else stored.read()[0]

    def _frombuffer(self, data: object, dtype: object, shape: object, order: object = "C", axes: object = None) -> Any:
        return _from_bytes(data, dtype, shape, order, self._name, axes)

    def _bytes(self, data: object = b"", encoding: object = "latin1") -> Any:
        # Not bytes itself: a number would make it allocate as much as the file says.
        if isinstance(data, (bytes, Block)):
            return data
        return self._encode(data, encoding)

    def _bytearray(self, data: object = b"", encoding: object = "latin1") -> Any:
        plain = self._bytes(data, encoding)
        return plain if isinstance(plain, Block) else bytearray(plain)

    def _encode(self, text: object, encoding: object = "") -> Any:
        # How Python 3 stores bytes in protocol 2; other encodings could do more than encode.
        if not isinstance(text, (str, Block)) or encoding not in ("latin1", "latin-1"):
            raise UnsafeFileError(f"{self._name} asks for the encoding {encoding!r}; only latin1 is used for bytes")
        return text if isinstance(text, Block) else text.encode("latin1")


def _plain(value: object, file: str, depth: int) -> object:
    """Put stored arrays and images in the place of their stand-ins, through plain containers."""
    if depth > _MAX_DEPTH:
        raise DataError(f"{file} nests its containers more than {_MAX_DEPTH} deep or in a circle; get the file again")
    if isinstance(value, (_Array, StoredArray, _Fields)):
        return _stored(value, file)
    if isinstance(value, dict):
        return {_plain(key, file, depth + 1): _plain(item, file, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_plain(item, file, depth + 1) for item in value)
    if value is None or isinstance(value, (str, bytes, bytearray, bool, int, float, complex, np.generic)):
        return value
    if isinstance(value, _Record) and value.name.endswith("Image"):
        return _image(value, file)
    if isinstance(value, Block):
        raise DataError(f"{file} holds a text of {len(value)} bytes; only arrays may be that long; get the file again")
    what = value.name if isinstance(value, _Record) else type(value).__name__
    raise UnsafeFileError(f"{file} holds a {what}; only arrays, images and plain values are read")


def _stored(value: object, file: str) -> StoredArray:
    stored = value.stored if isinstance(value, _Array) else value
    if stored is None:
        raise DataError(f"{file} holds an array without content; get the file again")
    if not isinstance(stored, StoredArray):
        raise UnsafeFileError(f"{file} holds an array with fields or sub-arrays; only plain arrays are read")
    return stored


def _image(record: _Record, file: str) -> StoredImage:
    """Take values and affine of an image from its state; of a file's image the pickle may hold the path alone."""
    arrays = {
        name: _stored(record.state[name], file)
        for name in ("_fdata_cache", "_data_cache", "_dataobj", "_affine")
        if isinstance(record.state.get(name), (_Array, StoredArray))
    }
    affine = arrays.pop("_affine", None)
    values = next(iter(arrays.values()), None)
    return StoredImage(values, None if affine is None else affine.read().astype(np.float64))


def _read(value: object) -> object:
    """Read all arrays in plain containers."""
    if isinstance(value, StoredArray):
        return value.read()
    if isinstance(value, dict):
        return {key: _read(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_read(item) for item in value)
    return value
