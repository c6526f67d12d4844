"""What pydantic finds wrong with settings, told in one line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from typing import Any, get_args, get_type_hints

from voxelcast.core.checks import nearest

_NO_SECTION = ("dataclass_type", "model_type", "model_attributes_type")
_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")


def first_problem(
    problems: Sequence[Mapping[str, Any]], model: type, section: str = "", whole: str = "see examples/"
) -> str:
    """Describe the first of some problems: what was wrong, what is allowed, what was got.

    ``problems`` are listed as by pydantic's ``ValidationError.errors()``, ``model`` is the pydantic model or dataclass
    that was validated. Its settings stand in ``section``, e.g. ``"dataset"``, empty for the whole file; ``whole`` says
    where the user can see whole settings.
    """
    # A misspelt setting often leaves another one missing: the misspelling is what to correct.
    first = min(problems, key=lambda problem: problem["type"] not in _UNKNOWN)
    where = first["loc"]
    name = ".".join(map(str, (section, *where) if section else where)) or "the experiment"
    if first["type"] in _UNKNOWN:
        allowed = _fields_at(model, where[:-1])
        near = nearest(str(where[-1]), allowed)
        hint = f"did you mean {near}? " if near else ""
        text = f"{name} is not a setting; {hint}allowed here: {', '.join(allowed)}"
    elif first["type"] in _NO_SECTION:
        example = ", ".join(f"{one}: ..." for one in _fields_at(model, where, required=True))
        text = f"{name} must be settings by name, such as {{{example}}} ({whole}); got {first['input']!r}"
    elif first["type"] == "missing":
        text = f"{name} is missing; add it ({whole})"
    else:
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        # A section that is wrong as a whole is no news to the reader, and long.
        got = "" if first["type"] == "value_error" and isinstance(first["input"], dict) else f"; got {first['input']!r}"
        text = message if message.startswith(name) else f"{name}: {message}{got}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(text.split()) + more


def _fields_at(model: Any, where: Sequence[str | int], *, required: bool = False) -> list[str]:
    """List the settings of a section; ``required``: those that have no default, or else the first."""
    for part in where:
        if not isinstance(part, int):
            hints = get_type_hints(model)
            model = (_section(hints[part]) if part in hints else None) or model  # a name that the user gave is none
    if is_dataclass(model):
        needed = {field.name: field.default is MISSING and field.default_factory is MISSING for field in fields(model)}
    else:
        needed = {name: field.is_required() for name, field in model.model_fields.items()}
    names = list(needed)
    return [name for name in names if needed[name]] or names[:1] if required else names


def _section(annotation: Any) -> Any:
    """Return the model or dataclass inside an annotation."""
    if is_dataclass(annotation) or hasattr(annotation, "model_fields"):
        return annotation
    return next((found for member in get_args(annotation) if (found := _section(member)) is not None), None)
