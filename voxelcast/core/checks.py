"""Checks of user input that speak with one voice: what was wrong, what is allowed, what was got, what to do."""

from __future__ import annotations

import difflib
import math
import os
import posixpath
import re
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import namespace
from voxelcast.core.errors import (
    AlignmentError,
    DataError,
    MissingPackageError,
    OptionError,
    ShapeError,
    UnknownNameError,
    UnsafeFileError,
)


def _shown(names: Iterable[object], limit: int = 12) -> str:
    listed = [str(name) for name in names]
    tail = f", ... ({len(listed)} in all)" if len(listed) > limit else ""
    return ", ".join(listed[:limit]) + tail


def nfc(text: str) -> str:
    """Return text in composed Unicode: names are joined in this form, however their files write them."""
    return unicodedata.normalize("NFC", text)


def home_expanded(path: Path) -> Path:
    """Return a path whose ``~`` stands for the home folder; one whose home is not known stays as it is."""
    with suppress(RuntimeError):
        return path.expanduser()
    return path


def check_utf8(name: str, what: str) -> None:
    """Raise DataError for a name that is no UTF-8: no table could hold it."""
    try:
        name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(name)
        raise DataError(f"{what} {shown!r} is not UTF-8; rename it") from None


def nearest(name: str, known: Sequence[str]) -> str:
    """Return the known names nearest to ``name``, joined by "or"; empty where none is near."""
    return " or ".join(difflib.get_close_matches(name, known, n=2, cutoff=0.6))


def natural(name: str) -> list[tuple[int, int | str]]:
    """Sort key by which run2 comes before run10."""
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in re.split(r"(\d+)", name)]


def optional_package(module: str, message: str) -> Any:
    """Import a module of a package that need not be installed.

    Raises MissingPackageError with the message where it is not; ``{error}`` in it stands for what the import said.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingPackageError(message.replace("{error}", str(error))) from error


def check_option(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise OptionError unless ``value`` is one of ``allowed``; the message lists them."""
    if value not in allowed:
        raise OptionError(f"{name} must be one of {_shown(allowed)}; got {value!r}")


def check_known(what: str, name: str, known: Sequence[str], *, where: str = "", remedy: str = "") -> None:
    """Raise UnknownNameError unless ``name`` is in ``known``; the message offers the nearest names.

    ``what`` is the kind of thing, e.g. ``"layer"``; ``where`` they exist, e.g. ``"in 'torchvision/resnet18'"``;
    ``remedy`` what the user can do, e.g. a command that lists them.
    """
    if name in known:
        return
    near = nearest(name, known)
    hint = f"did you mean {near}?" if near else f"allowed: {_shown(known)}."
    parts = [f"{what} {name!r} does not exist{' ' + where if where else ''}; {hint}", remedy]
    raise UnknownNameError(" ".join(part for part in parts if part).removesuffix("."))


def check_shape(name: str, array: NDArray[np.generic], dims: Sequence[str], sizes: Sequence[int | None]) -> None:
    """Raise ShapeError unless ``array`` has the dimensions ``dims`` with ``sizes`` (None: any size)."""
    wanted = ", ".join(dim if size is None else f"{dim}={size}" for dim, size in zip(dims, sizes, strict=True))
    fits = array.ndim == len(sizes) and all(
        size is None or got == size for got, size in zip(array.shape, sizes, strict=True)
    )
    if not fits:
        raise ShapeError(f"{name} must have shape ({wanted}); got {tuple(array.shape)}")


def check_finite(name: str, array: NDArray[np.floating], remedy: str = "remove or mend those values") -> None:
    """Raise DataError if ``array`` holds a NaN or an infinity; the message counts them."""
    with np.errstate(all="ignore"):
        if math.isfinite(array.sum()):  # one pass, without a copy
            return
    xp, size = namespace(array), math.prod(array.shape)
    bad = size - int(xp.count_nonzero(xp.isfinite(array)))
    if bad:
        raise DataError(f"{name} must be finite; got {bad} of {size} values that are NaN or infinite; {remedy}")


def check_same_stimuli(left: str, left_ids: Sequence[str], right: str, right_ids: Sequence[str]) -> None:
    """Raise AlignmentError unless both sequences hold the same stimulus ids in the same order.

    The message names the first ids that differ.
    """
    if tuple(left_ids) == tuple(right_ids):
        return
    only_left = [i for i in left_ids if i not in set(right_ids)]
    only_right = [i for i in right_ids if i not in set(left_ids)]
    if only_left or only_right:
        parts = [f"only in {name}: {_shown(ids, 3)}" for name, ids in ((left, only_left), (right, only_right)) if ids]
        detail = "; ".join(parts)
    else:
        first = next(k for k, (a, b) in enumerate(zip(left_ids, right_ids, strict=False)) if a != b)
        detail = f"same ids, other order: at place {first} {left_ids[first]!r} against {right_ids[first]!r}"
    raise AlignmentError(
        f"{left} ({len(left_ids)} stimuli) and {right} ({len(right_ids)} stimuli) must hold the same stimulus ids; "
        f"{detail}"
    )


def check_inside(name: str, archive: str) -> str:
    """Return ``name`` if it stays inside its folder, else raise UnsafeFileError.

    For names that come from outside: archive members, stimulus ids, subjects, ROIs.
    """
    path = name.replace("\\", "/")
    if (
        not path
        or "\0" in path
        or path.startswith("/")
        or ":" in path.split("/")[0]
        or ".." in path.split("/")
        or posixpath.normpath(path) in (".", "")
    ):
        raise UnsafeFileError(
            f"{archive}: the name {name!r} leads outside its folder; only plain relative names are allowed; "
            "nothing was read"
        )
    return name


def check_file_name(name: str, what: str) -> str:
    """Return ``name`` if it can be one file name, else raise UnsafeFileError."""
    check_inside(name, what)
    if "/" in name or "\\" in name or name.startswith("."):
        raise UnsafeFileError(f"{what} {name!r} cannot be a file name; allowed: no slash, no leading dot; rename it")
    return name
