"""Read challenge pickles without letting them do anything: NumPy arrays and plain containers, nothing else.

A pickle is a program. This reader lets it name only the few constructors that arrays and plain values need, and even
those are stand-ins of our own, so that no NumPy code sees a hostile state: array data are checked, then read with
``numpy.frombuffer``.
"""

from __future__ import annotations

import pickle
import re
from math import prod
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError

_ARRAY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_PLAIN_TYPES: dict[str, type] = {
    "set": set,
    "frozenset": frozenset,
    "complex": complex,
    "bytearray": bytearray,
    "bytes": bytes,
}
_DTYPE_CODE = re.compile(r"[<>|=]?(\?|b1|[iu][1248]|f(2|4|8|16)|c(8|16|32)|[SU]\d{1,6})")
_NDARRAY = "numpy.ndarray"
_MAX_DEPTH = 100


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
    if not path.is_file():
        raise MissingFileError(f"pickle not found: {path} does not exist")
    shown = shown or path.name
    try:
        with path.open("rb") as file:
            return _plain(_ArrayUnpickler(file, shown).load(), shown, 0)
    except UnsafeFileError:
        raise
    # What a damaged stream makes the unpickler raise depends on the byte at which it breaks.
    except (
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        ImportError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise DataError(f"{shown} is not a whole pickle of arrays ({text}); get the file again") from error


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
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise UnsafeFileError(f"{self._file} holds an array with fields or sub-arrays; only plain arrays are read")
        self._order = order

    def real(self) -> np.dtype[Any]:
        return np.dtype(self._code).newbyteorder(self._order)


class _Array:
    """Stand-in for numpy.ndarray while a pickle is read."""

    __slots__ = ("_file", "values")

    def __init__(self, file: str) -> None:
        self._file = file
        self.values: NDArray[Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, data = state
        self.values = _from_bytes(data, dtype, shape, "F" if fortran else "C", self._file)


def _from_bytes(data: object, dtype: object, shape: object, order: object, file: str) -> NDArray[Any]:
    """Make an array of native byte order from its bytes, checking that they fit its type and shape."""
    if isinstance(data, str):
        # Python 2 stored bytes as str, which the unpickler has decoded as latin1.
        data = data.encode("latin1")
    if not isinstance(data, (bytes, bytearray, memoryview, pickle.PickleBuffer)) or not isinstance(dtype, _Dtype):
        raise UnsafeFileError(f"{file} holds an array whose content is not plain bytes; only plain arrays are read")
    listed = shape if isinstance(shape, tuple) else (shape,)
    sizes = tuple(size for size in listed if isinstance(size, int) and size >= 0)
    real, view = dtype.real(), memoryview(data)
    if len(sizes) != len(listed) or order not in ("C", "F") or view.nbytes != prod(sizes) * real.itemsize:
        raise DataError(f"{file} holds an array whose shape {shape!r} does not fit its data; get the file again")
    flat: NDArray[Any] = np.frombuffer(view, dtype=real) if view.nbytes else np.zeros(prod(sizes), real)
    shaped: NDArray[Any] = flat.reshape(sizes, order="F" if order == "F" else "C")
    return shaped if real.isnative else shaped.astype(real.newbyteorder("="))


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickler that knows the constructors of arrays and plain values, by stand-ins that hold no state to alter."""

    def __init__(self, file: IO[bytes], name: str) -> None:
        super().__init__(file, fix_imports=False, encoding="latin1")
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy", "ndarray"):
            return _NDARRAY
        if (module, name) == ("numpy", "dtype"):
            return self._dtype
        if module in _ARRAY_MODULES and name in ("_reconstruct", "scalar", "_frombuffer"):
            return {"_reconstruct": self._reconstruct, "scalar": self._scalar, "_frombuffer": self._frombuffer}[name]
        if module in ("builtins", "__builtin__") and name in _PLAIN_TYPES:
            return _PLAIN_TYPES[name]
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
        return _from_bytes(data, dtype, (1,), "C", self._name)[0]

    def _frombuffer(self, data: object, dtype: object, shape: object, order: object = "C", *unused: object) -> Any:
        return _from_bytes(data, dtype, shape, order, self._name)

    def _encode(self, text: object, encoding: object = "") -> bytes:
        # How Python 3 stores bytes in protocol 2; other encodings could do more than encode.
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise UnsafeFileError(f"{self._name} asks for the encoding {encoding!r}; only latin1 is used for bytes")
        return text.encode("latin1")


def _plain(value: object, file: str, depth: int) -> object:
    """Put the arrays in the place of their stand-ins, through plain containers."""
    if depth > _MAX_DEPTH:
        raise DataError(f"{file} nests its containers more than {_MAX_DEPTH} deep or in a circle; get the file again")
    if isinstance(value, _Array):
        if value.values is None:
            raise DataError(f"{file} holds an array without content; get the file again")
        return value.values
    if isinstance(value, dict):
        return {_plain(key, file, depth + 1): _plain(item, file, depth + 1) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return type(value)(_plain(item, file, depth + 1) for item in value)
    if value is None or isinstance(value, (str, bytes, bytearray, bool, int, float, complex, np.generic, np.ndarray)):
        return value
    raise UnsafeFileError(f"{file} holds a {type(value).__name__}; only arrays and plain values are read")
