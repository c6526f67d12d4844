"""An experiment file or profile in the making, with a note on what became of each key of 2021."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from voxelcast.core.errors import ConfigError, MissingFileError


@dataclass(frozen=True)
class Note:
    """A key of a 2021 file, its value, and what became of it.

    ``fate`` is ``"became"``, ``"no meaning"`` or ``"unknown"``; ``text`` says what, or why.
    """

    key: str
    value: object
    fate: str
    text: str

    def __str__(self) -> str:
        whole = str(self.value)
        shown = whole if len(whole) <= 60 else f"{whole[:56]} ..."
        return f"{self.key}: {shown}\n    {'-> ' if self.fate == 'became' else f'{self.fate}: '}{self.text}"


@dataclass
class Draft:
    """Settings so far, a comment for some of them, and the notes."""

    settings: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

    def became(self, key: str, value: object, text: str) -> None:
        """Note what a key became."""
        self.notes.append(Note(key, value, "became", text))

    def dropped(self, key: str, value: object, why: str) -> None:
        """Note that a key has no meaning any more."""
        self.notes.append(Note(key, value, "no meaning", why))

    def unknown(self, key: str, value: object) -> None:
        """Note a key that the 2021 repository did not have."""
        self.notes.append(Note(key, value, "unknown", "the 2021 code does not read it; left out"))

    def comment(self, setting: str, text: str) -> None:
        """Add a comment above a setting."""
        self.comments.setdefault(setting, []).append(text)

    def to_yaml(self, head: str) -> str:
        """Return the settings as YAML, one per paragraph where there is a comment."""
        lines = [f"# {line}" for line in textwrap.wrap(head, 110)]
        for setting, value in self.settings.items():
            for text in self.comments.get(setting, []):
                lines += [f"# {line}" for line in textwrap.wrap(text, 110, break_on_hyphens=False)]
            flow = None if isinstance(value, dict | list) else False
            dumped = yaml.safe_dump({setting: value}, sort_keys=False, default_flow_style=flow, width=110)
            lines += dumped.rstrip().splitlines()
        return "\n".join(lines) + "\n"


def read_2021(path: Path) -> dict[str, Any]:
    """Read a 2021 config: YAML, or JSON with ``#`` comments, which is YAML too.

    Raises
    ------
    MissingFileError
        If there is no such file.
    ConfigError
        If it cannot be read or holds no mapping.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8").replace("\t", " "))
    except (FileNotFoundError, IsADirectoryError) as error:
        raise MissingFileError(f"{path} does not exist; name a config of the 2021 repository") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is neither JSON with comments nor YAML: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings as a mapping; got {type(raw).__name__}")
    return raw


def part(raw: Mapping[str, Any], key: str, where: str) -> dict[str, Any]:
    """Return a mapping inside a mapping, empty where it is absent.

    Raises
    ------
    ConfigError
        If it is something else.
    """
    value = raw.get(key, {})
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {key} must be a mapping; got {value!r}")
    return value


def take(train: dict[str, Any], key: str, kind: type, default: Any = None) -> Any:
    """Take a setting out of the train config; raise ConfigError if it is of another type."""
    value = train.pop(key, default)
    if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise ConfigError(f"train_config.{key} must be {kind.__name__}; got {value!r}")
    return value
