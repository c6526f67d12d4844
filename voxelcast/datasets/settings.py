"""What all settings of datasets have in common: where the files are, and which subjects and ROIs are used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import KW_ONLY, fields
from pathlib import Path
from typing import Annotated, Literal, get_args, get_type_hints

from pydantic import BeforeValidator

from voxelcast.core.checks import check_known, home_expanded, nfc
from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT, settings


def _as_names(value: object) -> object:
    names = (value,) if isinstance(value, str) else value
    if not isinstance(names, list | tuple) or not names or not all(isinstance(name, str) for name in names):
        raise ValueError("must be all, a name or a list of names")
    return "all" if value == "all" else tuple(names)


def _as_tuple(value: object) -> object:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


def _as_path(value: object) -> object:
    return home_expanded(Path(value)) if isinstance(value, str | Path) else value


def _converted(name: str, value: object, mark: BeforeValidator) -> object:
    try:
        return mark.func(value)  # type: ignore[call-arg]
    except ValueError as error:
        raise OptionError(f"{name} {error}; got {value!r}") from error


Names = Annotated[Literal["all"] | tuple[str, ...], BeforeValidator(_as_names)]
"""All there are, or those named; one name may stand for a list of one."""
Listed = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]
"""Names; one may stand for a list of one."""
FileName = Annotated[str | None, NO_EFFECT]
"""A file that counts by its content, not by its name."""


@settings
class DatasetSettings:
    """Settings of one kind of dataset: the experiment file's ``dataset``, and the argument of the dataset's class.

    Subclasses give ``kind`` a default and add fields, by keyword alone (``_: KW_ONLY``). What the annotations convert
    (a list to a tuple, text to a path) is converted from Python too.

    Parameters
    ----------
    root : Path or str
        Folder of the dataset.
    kind : str
        Under which the dataset is registered.
    rois : "all", str or sequence of str
        ROIs to use.
    folds : str or None
        Table of given folds, relative to ``root``: ``stimulus_id,fold``, or ``run,fold`` of a time series; with a
        column ``subject``, each subject's own. None: folds are made.
    """

    root: Annotated[Path, BeforeValidator(_as_path), NO_EFFECT]
    _: KW_ONLY
    kind: str
    rois: Annotated[Names, NO_EFFECT] = "all"
    folds: FileName = None

    def __post_init__(self) -> None:
        hints = get_type_hints(type(self), include_extras=True)
        for name in (field.name for field in fields(self)):
            for part in (hints[name], *get_args(hints[name])):
                for mark in getattr(part, "__metadata__", ()):
                    if isinstance(mark, BeforeValidator):
                        object.__setattr__(self, name, _converted(name, getattr(self, name), mark))


def select_names(what: str, asked: Names, known: Sequence[str], where: str) -> tuple[str, ...]:
    """Return the names asked for in the order of ``known``.

    Raises UnknownNameError for a name that does not exist.
    """
    if asked == "all":
        return tuple(known)
    composed = {nfc(name): name for name in known}
    chosen = [composed.get(nfc(name), name) for name in asked]
    for name in chosen:
        check_known(what, name, known, where=where)
    return tuple(name for name in known if name in chosen)
