"""Options of commands that are settings elsewhere."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import fields
from typing import Any


def names(text: str) -> tuple[str, ...]:
    """Split names at their commas."""
    return tuple(filter(None, text.split(",")))


def take_settings(kind: Any, options: MutableMapping[str, Any], **given: Any) -> Any:
    """Take the fields of a class of settings out of a command's options, and make the settings of them.

    An option that was left out, and is None, leaves the field its default.
    """
    taken = {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}
    return kind(**given, **{name: value for name, value in taken.items() if value is not None})
