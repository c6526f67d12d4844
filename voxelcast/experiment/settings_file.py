"""The experiment file: read, overridden on the command line, checked, with one-line errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, cast, get_args, get_type_hints

import yaml
from pydantic import BaseModel, ValidationError

from voxelcast.core.checks import check_known, nearest
from voxelcast.core.errors import ConfigError, MissingFileError
from voxelcast.experiment.dataset_config import DATASET_SETTINGS, DatasetConfig
from voxelcast.experiment.settings import ExperimentConfig

Settings = TypeVar("Settings", bound=BaseModel)

_UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""How pydantic calls a setting that does not exist: of a model and of a dataclass."""


def load_config(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read an experiment file and apply overrides such as ``search.method=bayes`` or ``networks.0.weights=random``.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ConfigError
        If it is no YAML mapping, or a setting is unknown or not allowed.
    """
    return parse_config(read_settings(path, overrides), str(path))


def read_settings(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply overrides; the settings are not checked yet. Raises as `load_config`."""
    try:
        raw = yaml.safe_load(path.read_text())
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError(f"experiment file {path} does not exist; write one, or see examples/") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings like 'name: v4'; got {type(raw).__name__}")
    for override in overrides:
        _apply_override(raw, override)
    return raw


def parse_config(raw: dict[str, Any], source: str) -> ExperimentConfig:
    """Check settings; raise ConfigError with the first thing that is wrong."""
    return check_settings(ExperimentConfig, raw, source)


def parse_dataset(kind: str, root: Path, overrides: Sequence[str] = ()) -> DatasetConfig:
    """Check the settings of a dataset that are given on the command line, e.g. ``track=full``.

    Raises
    ------
    UnknownNameError
        For a kind that does not exist.
    ConfigError
        If a setting is unknown or not allowed.
    """
    check_known("dataset", kind, sorted(DATASET_SETTINGS), remedy="List them: voxelcast datasets list")
    raw: dict[str, Any] = {"kind": kind, "root": root}
    for override in overrides:
        _apply_override(raw, override)
    return cast(DatasetConfig, check_settings(DATASET_SETTINGS[kind], raw, f"dataset {kind}"))


def check_settings(model: type[Settings], raw: dict[str, Any], source: str) -> Settings:
    """Check settings of any kind; raise ConfigError with the first thing that is wrong."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {_first_problem(error, model)}") from error


def _apply_override(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"an override must be key=value, e.g. search.method=bayes; got {override!r}")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"override {override!r}: the value is not YAML") from error
    *parents, last = key.split(".")
    here: Any = raw
    for part in parents:
        here = _descend(here, part, override)
    if isinstance(here, list):
        here[_position(here, last, override)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise ConfigError(f"override {override!r}: there is nothing below {'.'.join(parents)}")


def _descend(here: Any, part: str, override: str) -> Any:
    if isinstance(here, list):
        return here[_position(here, part, override)]
    if isinstance(here, dict):
        if not isinstance(here.get(part), dict | list):
            here[part] = {}
        return here[part]
    raise ConfigError(f"override {override!r}: there is nothing below {part!r}")


def _position(here: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(here):
        raise ConfigError(f"override {override!r}: the list has places 0 to {len(here) - 1}; got {part!r}")
    return int(part)


def _first_problem(error: ValidationError, model: type[BaseModel]) -> str:
    problems = error.errors()
    # A misspelt setting often leaves another one missing: the misspelling is what to mend.
    first = min(problems, key=lambda problem: problem["type"] not in _UNKNOWN)
    where = [part for part in first["loc"] if part not in _tags()]
    name = ".".join(map(str, where)) or "the experiment"
    if first["type"] in _UNKNOWN:
        allowed = _fields_at(model, where[:-1], first["loc"])
        near = nearest(str(where[-1]), allowed)
        hint = f"did you mean {near}? " if near else ""
        text = f"{name} is not a setting; {hint}allowed here: {', '.join(allowed)}"
    elif first["type"] == "missing":
        text = f"{name} is missing; add it (see examples/)"
    elif first["type"].startswith("union_tag"):
        kinds = ", ".join(sorted(_tags()))
        got = first["input"].get("kind") if isinstance(first["input"], dict) else first["input"]
        text = f"{name}.kind must be one of {kinds}; got {got!r}"
    else:
        message = first["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
        # A section that is wrong as a whole is no news to the reader, and long.
        got = "" if first["type"] == "value_error" and isinstance(first["input"], dict) else f"; got {first['input']!r}"
        text = message if message.startswith(name) else f"{name}: {message}{got}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return " ".join(text.split()) + more


def _tags() -> set[str]:
    return set(DATASET_SETTINGS)


def _fields_at(settings: type[BaseModel], where: Sequence[str | int], loc: Sequence[str | int]) -> list[str]:
    model: Any = settings
    for part in where:
        if isinstance(part, int):
            continue
        model = _model_of(_fields_of(model)[part], loc)
    return list(_fields_of(model))


def _fields_of(model: Any) -> dict[str, Any]:
    """Return the annotations of a model's fields, or a dataclass's."""
    if is_dataclass(model):
        hints = get_type_hints(model)
        return {field.name: hints[field.name] for field in fields(model)}
    return {name: field.annotation for name, field in model.model_fields.items()}


def _model_of(annotation: Any, loc: Sequence[str | int]) -> Any:
    if isinstance(annotation, type) and (is_dataclass(annotation) or issubclass(annotation, BaseModel)):
        return annotation
    members = [_model_of(member, loc) for member in get_args(annotation) if member is not Ellipsis]
    models = [member for member in members if member is not None]
    tagged = [m for m in models if get_args(_fields_of(m).get("kind", None))[:1] in [(part,) for part in loc]]
    return (tagged or models or [None])[0]
