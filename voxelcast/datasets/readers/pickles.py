"""Read challenge pickles without letting them do anything: NumPy arrays and plain containers, nothing else.

A pickle is a program. This reader lets it name only the few constructors that arrays and plain values need, and even
those are stand-ins of our own, so that no NumPy code sees a hostile state: array data are checked, then read with
``numpy.frombuffer``. Images of nibabel, which BOLD Moments puts beside its arrays, become records that hold what they
are given and do nothing; nibabel itself never sees them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.errors import DataError, UnsafeFileError
from voxelcast.datasets.readers import pickle_reader
from voxelcast.datasets.readers.pickled_arrays import Block, StoredArray, StoredImage
from voxelcast.store.readers.guard import check_file, reading

_MAX_DEPTH = 100


def load_pickle(path: Path, shown: str | None = None) -> object:
    """Read a pickle of NumPy arrays in plain containers, of Python 2 (latin1) or 3, any protocol.

    Admitted are arrays and scalars of booleans, numbers and strings; dict, list, tuple, set, numbers, text, bytes and
    None. Arrays come in native byte order and may be read-only. Messages call the file ``shown``, or by its name.

    Raises MissingFileError; UnsafeFileError where the pickle asks for anything else, e.g. a function or an array of
    objects (nothing of it was run); DataError where the file is not a whole pickle.
    """
    return _read_arrays(open_pickle(path, shown), {})


def open_pickle(path: Path, shown: str | None = None) -> object:
    """Read a pickle, but for its arrays: a :class:`StoredArray` (or :class:`StoredImage`) stands for each.

    Parameters, what is admitted and what is raised are as for :func:`load_pickle`; arrays of 1 MiB and more are left in
    the file until they are read.
    """
    check_file(path, "pickle")
    shown = shown or path.name
    with _reading(shown), path.open("rb") as file:
        return _Content(shown).plain(pickle_reader.ArrayUnpickler(pickle_reader.BlockFile(file, path), shown).load())


def _reading(shown: str, content: str = "arrays") -> AbstractContextManager[None]:
    return reading(shown, f"a whole pickle of {content}", "get the file again")


def open_entry(path: Path, key: str) -> StoredArray:
    """Find the array under a key of a pickled dict, without reading it.

    Raises as :func:`open_pickle`, and DataError where the pickle holds something else.
    """
    content = open_pickle(path, str(path))  # files of many subjects have one name
    if not isinstance(content, dict) or key not in content:
        got = ", ".join(map(repr, content)) or "no key" if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DataError(f"{path} must hold a dict with the key {key!r}; got {got}; get the file again")
    stored = content[key]
    if not isinstance(stored, StoredArray):
        raise DataError(f"{path}: {key!r} must be an array; got a {type(stored).__name__}")
    return stored


def load_boxed_dict(path: Path) -> dict[Any, Any]:
    """Read a dict of plain values and arrays of numbers from a .npy file.

    ``np.save`` makes such a file of a dict: an array of one Python object, pickled. Raises as :func:`load_pickle`.
    """
    done: dict[int, object] = {}
    return {key: _read_arrays(value, done) for key, value in open_boxed_dict(path).items()}


def open_boxed_dict(path: Path) -> dict[Any, Any]:
    """Read such a dict, but for its arrays: a :class:`StoredArray` stands for each."""
    check_file(path, "file")
    with path.open("rb") as file:
        with reading(path.name, ".npy", "get the file again"):
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0
            shape, _, dtype = (read_header if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
        if dtype != np.dtype(object) or shape != ():
            raise DataError(f"{path.name} must hold one dict, as np.save writes it; got {dtype} of shape {shape}")
        with _reading(path.name, "a dict"):
            box = pickle_reader.BoxUnpickler(pickle_reader.BlockFile(file, path), path.name).load()
            plain = _Content(path.name).plain(box.content) if hasattr(box, "content") else None
    if not isinstance(plain, dict):
        raise DataError(f"{path.name} must hold one dict, as np.save writes it; got {type(plain).__name__}")
    return plain


class _Content:
    """Puts stored arrays and images instead of their stand-ins, through plain containers.

    What the pickle holds in several places is walked once, and held in those places again.
    """

    def __init__(self, file: str) -> None:
        self._file = file
        self._done: dict[int, object] = {}

    def plain(self, value: object, depth: int = 0) -> object:
        """Return a value of plain containers, arrays and images."""
        if value is None or isinstance(value, (str, bytes, bytearray, bool, int, float, complex, np.generic)):
            return value
        if depth > _MAX_DEPTH:
            raise DataError(
                f"{self._file} nests its containers more than {_MAX_DEPTH} deep or in a circle; get the file again"
            )
        if id(value) not in self._done:
            self._done[id(value)] = self._walk(value, depth + 1)
        return self._done[id(value)]

    def _walk(self, value: object, depth: int) -> object:
        file = self._file
        if isinstance(value, (pickle_reader.ArrayStandIn, StoredArray, pickle_reader.FieldsStandIn)):
            return _stored(value, file)
        if isinstance(value, dict):
            return {self.plain(key, depth): self.plain(item, depth) for key, item in value.items()}
        if isinstance(value, (list, tuple, set, frozenset)):
            return type(value)(self.plain(item, depth) for item in value)
        if isinstance(value, pickle_reader.Record) and value.name.endswith("Image"):
            return _image(value, file)
        if isinstance(value, Block):
            raise DataError(
                f"{file} holds a text of {len(value)} bytes; only arrays may be that long; get the file again"
            )
        what = value.name if isinstance(value, pickle_reader.Record) else type(value).__name__
        raise UnsafeFileError(f"{file} holds a {what}; only arrays, images and plain values are read")


def _stored(value: object, file: str) -> StoredArray:
    stored = value.stored if isinstance(value, pickle_reader.ArrayStandIn) else value
    if stored is None:
        raise DataError(f"{file} holds an array without content; get the file again")
    if not isinstance(stored, StoredArray):
        raise UnsafeFileError(f"{file} holds an array with fields or sub-arrays; only plain arrays are read")
    return stored


def _image(record: pickle_reader.Record, file: str) -> StoredImage:
    """Take values and affine of an image from its state; of a file's image the pickle may hold the path alone."""
    arrays = {
        name: _stored(record.state[name], file)
        for name in ("_fdata_cache", "_data_cache", "_dataobj", "_affine")
        if isinstance(record.state.get(name), (pickle_reader.ArrayStandIn, StoredArray))
    }
    affine = arrays.pop("_affine", None)
    values = next(iter(arrays.values()), None)
    return StoredImage(values, None if affine is None else affine.read().astype(np.float64))


def _read_arrays(value: object, done: dict[int, object]) -> object:
    """Read all arrays in plain containers, each once, however often it is held."""
    if isinstance(value, (StoredArray, dict, list, tuple)) and id(value) not in done:
        if isinstance(value, StoredArray):
            done[id(value)] = value.read()
        elif isinstance(value, dict):
            done[id(value)] = {key: _read_arrays(item, done) for key, item in value.items()}
        else:
            done[id(value)] = type(value)(_read_arrays(item, done) for item in value)
    return done.get(id(value), value)
