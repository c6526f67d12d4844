"""Read what ``np.save`` makes of a dict: a .npy file of one Python object, pickled. Read as all pickles here are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError
from voxelcast.datasets.readers.pickle_reader import ArrayUnpickler, BlockFile, damage_reported
from voxelcast.datasets.readers.pickle_stand_ins import ArrayStandIn
from voxelcast.datasets.readers.pickles import plain_content, read_arrays


class _ObjectType:
    """Stand-in for the type of Python objects."""

    def __setstate__(self, state: object) -> None:
        """Byte order and flags mean nothing here."""


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


class _BoxUnpickler(ArrayUnpickler):
    def _dtype(self, code: object, *flags: object) -> Any:
        return _ObjectType() if code in ("O8", "O4", "O") else super()._dtype(code, *flags)

    def _reconstruct(self, subtype: object, *unused: object) -> ArrayStandIn:
        super()._reconstruct(subtype, *unused)
        return _Box(self._name)


def load_boxed_dict(path: Path) -> dict[Any, Any]:
    """Read a dict of plain values and arrays of numbers from a .npy file.

    Raises
    ------
    MissingFileError
        Where the file is not there.
    UnsafeFileError
        Where it asks for anything but arrays and plain values; nothing of it was run.
    DataError
        Where it is damaged or holds something else.
    """
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist")
    shown = path.name
    with path.open("rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0
            shape, _, dtype = (read_header if version == (1, 0) else np.lib.format.read_array_header_2_0)(file)
        except (ValueError, EOFError, SyntaxError) as error:
            raise DataError(f"{shown} is no .npy file ({' '.join(str(error).split())}); get the file again") from error
        if dtype != np.dtype(object) or shape != ():
            raise DataError(f"{shown} must hold one dict, as np.save writes it; got {dtype} of shape {shape}")
        with damage_reported(shown, "a dict"):
            box = _BoxUnpickler(BlockFile(file, path), shown).load()
    content = read_arrays(plain_content(box.content, shown)) if hasattr(box, "content") else None
    if not isinstance(content, dict):
        raise DataError(f"{shown} must hold one dict, as np.save writes it; got {type(content).__name__}")
    return content
