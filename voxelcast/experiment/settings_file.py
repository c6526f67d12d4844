"""The experiment file: read, overridden on the command line, checked, with one-line errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from voxelcast.core.errors import ConfigError
from voxelcast.core.validation import first_problem
from voxelcast.datasets.registry import DATASETS, dataset_settings
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.store.readers.guard import check_file
from voxelcast.store.readers.plain import parse_yaml, read_yaml

Settings = TypeVar("Settings", bound=BaseModel)
_KIND = "dataset.kind="


def load_config(path: Path, overrides: Sequence[str] = ()) -> ExperimentSettings:
    """Read an experiment file and apply overrides such as ``search.method=bayes`` or ``networks.0.weights=random``.

    Raises MissingFileError if there is no such file, and ConfigError if it is no YAML mapping or a setting is unknown
    or not allowed.
    """
    return parse_config(read_settings(path, overrides), str(path))


def read_settings(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read a YAML file and apply overrides; the settings are not checked yet. Raises as `load_config`."""
    check_file(path, "experiment file", "write one, or see examples/")
    raw = read_yaml(path, "experiment file")
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings like 'name: v4'; got {type(raw).__name__}")
    # Another kind of dataset first: the other overrides are of its settings.
    for override in sorted(overrides, key=lambda one: not one.startswith(_KIND)):
        apply_override(raw, override)
    return raw


def parse_config(raw: dict[str, Any], source: str) -> ExperimentSettings:
    """Check settings; raise ConfigError with the first thing that is wrong."""
    return check_settings(ExperimentSettings, raw, source)


def parse_dataset(kind: str, root: Path, overrides: Sequence[str] = ()) -> DatasetSettings:
    """Check the settings of a dataset that are given on the command line, e.g. ``track=full``.

    Raises UnknownNameError for a kind that does not exist, and ConfigError as `load_config`.
    """
    DATASETS.get(kind)
    raw: dict[str, Any] = {"kind": kind, "root": root}
    for override in overrides:
        apply_override(raw, override)
    return dataset_settings(raw, section="")


def check_settings(model: type[Settings], raw: dict[str, Any], source: str) -> Settings:
    """Check settings of any kind; raise ConfigError with the first thing that is wrong."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        raise ConfigError(f"{source}: {first_problem(error.errors(), model)}") from error


def apply_override(raw: dict[str, Any], override: str) -> None:
    """Change a setting as on the command line, e.g. by ``search.method=bayes``.

    With another ``dataset.kind``, settings of the dataset that this kind does not have go.
    """
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise ConfigError(f"an override must be key=value, e.g. search.method=bayes; got {override!r}")
    value = parse_yaml(text, f"the value of override {override!r}")
    *parents, last = key.split(".")
    here: Any = raw
    for part in parents:
        here = _descend(here, part, override)
    if isinstance(here, list):
        here[_index(here, last, override)] = value
    elif isinstance(here, dict):
        here[last] = value
        if override.startswith(_KIND) and isinstance(value, str) and value in DATASETS:
            known = {field.name for field in fields(DATASETS.get(value).Settings)}
            raw["dataset"] = {name: here[name] for name in here if name in known}
    else:
        raise ConfigError(f"override {override!r}: there is nothing below {'.'.join(parents)}")


def _descend(here: Any, part: str, override: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, part, override)]
    if isinstance(here, dict):
        if not isinstance(here.get(part), dict | list):
            here[part] = {}
        return here[part]
    raise ConfigError(f"override {override!r}: there is nothing below {part!r}")


def _index(here: list[Any], part: str, override: str) -> int:
    if not part.isdigit() or int(part) >= len(here):
        raise ConfigError(f"override {override!r}: the list has indices 0 to {len(here) - 1}; got {part!r}")
    return int(part)
