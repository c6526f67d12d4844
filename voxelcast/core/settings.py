"""The one way a setting is declared: a frozen dataclass whose fields have a type, a default and a rule.

::

    @settings
    class SearchSettings:
        method: Literal["exact", "bayes"] = "exact"
        trials: Annotated[int, Ge(1)] = 25
        device: Annotated[str, NO_EFFECT] = "cpu"

Rules that the type can say (one of some names, a bound) are checked when the object is made, from Python and from an
experiment file alike; a rule between fields stands in ``__post_init__``. `NO_EFFECT` marks what changes no result, and
so has no part in the key of a step (`content`).
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import numpy as np
from annotated_types import Ge, Gt, Le, Lt

from voxelcast.core.checks import check_option
from voxelcast.core.errors import OptionError

T = TypeVar("T")


class _NoEffect:
    """Marks a field that changes no result."""

    def __repr__(self) -> str:
        return "NO_EFFECT"


NO_EFFECT: Final = _NoEffect()
"""Annotates a field that changes no result: ``device: Annotated[str, NO_EFFECT] = "cpu"``."""

_BOUNDS = {Ge: "at least", Gt: "above", Le: "at most", Lt: "below"}
_INSIDE = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


@dataclass_transform(frozen_default=True, field_specifiers=())
def settings(cls: type[T]) -> type[T]:
    """Make a class a frozen dataclass of settings; an experiment file may name no other field than its own.

    Raises
    ------
    OptionError
        On construction, if a value is not one of a ``Literal``'s or outside the bounds of its annotation.

    Examples
    --------
    >>> @settings
    ... class Folds:
    ...     n: Annotated[int, Ge(2)] = 10
    >>> Folds(n=1)
    Traceback (most recent call last):
    voxelcast.core.errors.OptionError: n must be at least 2; got 1
    """
    further: Any = getattr(cls, "__post_init__", None)

    def __post_init__(self: Any) -> None:
        for name, rule in _rules(type(self)).items():  # type: ignore[arg-type]
            _check(name, getattr(self, name), rule)
        if further is not None:
            further(self)

    cls.__post_init__ = __post_init__  # type: ignore[attr-defined]
    cls.__pydantic_config__ = {"extra": "forbid"}  # type: ignore[attr-defined]
    return dataclass(frozen=True)(cls)


@cache
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls, include_extras=True)


@cache
def _rules(cls: Any) -> dict[str, Any]:
    """Return the annotations of the fields that have a rule."""
    hints = {field.name: _hints(cls)[field.name] for field in fields(cls)}
    return {name: hint for name, hint in hints.items() if _literals(hint) or _bounds(hint)}


def _members(hint: Any) -> tuple[Any, ...]:
    """Return the types of a union without None; of anything else itself."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(member for member in get_args(hint) if member is not NoneType)
    return (hint,)


def _literals(hint: Any) -> tuple[Any, ...]:
    """Return the values allowed, where these are all that is allowed (besides None)."""
    (member, *others) = _members(get_args(hint)[0] if get_origin(hint) is Annotated else hint)
    return get_args(member) if not others and get_origin(member) is Literal else ()


def _bounds(hint: Any) -> tuple[tuple[str, float], ...]:
    found = []
    for part in (hint, *_members(hint)):
        for mark in get_args(part)[1:] if get_origin(part) is Annotated else ():
            if type(mark) in _BOUNDS:
                found.append((_BOUNDS[type(mark)], getattr(mark, type(mark).__name__.lower())))
    return tuple(dict.fromkeys(found))


def _check(name: str, value: Any, hint: Any) -> None:
    if value is None:
        return
    if allowed := _literals(hint):
        check_option(name, value, allowed)
    for bound, limit in _bounds(hint):
        if isinstance(value, int | float | np.number) and not _INSIDE[bound](value, limit):
            raise OptionError(f"{name} must be {bound} {limit}; got {value!r}")


@cache
def effective_fields(cls: Any) -> tuple[str, ...]:
    """Return the fields of a dataclass that can change a result: those not marked `NO_EFFECT`."""
    hints = _hints(cls)
    marked = {name for name, hint in hints.items() if get_origin(hint) is Annotated and NO_EFFECT in get_args(hint)[1:]}
    return tuple(field.name for field in fields(cls) if field.name not in marked)


def content(value: Any) -> Any:
    """Return what counts of a value in a key, as plain values that JSON can hold.

    Of a dataclass its fields by name, without those marked `NO_EFFECT`; of an array its type, shape and a hash of its
    bytes; of an object with a method ``content`` what that returns. Raises TypeError for a path, which says nothing of
    what lies there, and any other value that has no plain form.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "content"):
        return content(value.content())
    if is_dataclass(value) and not isinstance(value, type):
        return {name: content(getattr(value, name)) for name in effective_fields(type(value))}
    if isinstance(value, np.ndarray):
        digest = hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=16).hexdigest()
        return ["array", value.dtype.str, list(value.shape), digest]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(name): content(member) for name, member in value.items()}
    if isinstance(value, list | tuple):
        return [content(member) for member in value]
    what = "a path says nothing of what lies there" if isinstance(value, Path) else "it has no plain form"
    raise TypeError(f"{value!r} cannot be part of a key: {what}; mark the field NO_EFFECT, or give its content")
