"""An experiment file or profile in the making, with a note on what became of each key of 2021."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

from voxelcast.core.errors import ConfigError
from voxelcast.store.readers.guard import read_text
from voxelcast.store.readers.plain import parse_yaml


@dataclass(frozen=True)
class Note:
    """A key of a 2021 file, its value, and what became of it: ``text`` says what, or why."""

    key: str
    value: object
    fate: Literal["became", "no meaning", "unknown"]
    text: str

    def __str__(self) -> str:
        whole = str(self.value)
        shown = whole if len(whole) <= 60 else f"{whole[:56]} ..."
        return f"{self.key}: {shown}\n    {'-> ' if self.fate == 'became' else f'{self.fate}: '}{self.text}"


@dataclass
class Draft:
    """Settings so far, a comment for some of them, and the notes; ``source`` names the 2021 file in messages."""

    source: str
    settings: dict[str, Any] = field(default_factory=dict)
    comments: dict[str, list[str]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)

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


class Section:
    """A mapping of a 2021 file, whose keys are noted in a draft as it becomes clear what became of them.

    ``name`` is its path in the file, e.g. ``train_config.smbo_config``; empty for the whole file. Raises ConfigError if
    it is no mapping.
    """

    def __init__(self, draft: Draft, values: object, name: str = "") -> None:
        if not isinstance(values, dict):
            raise ConfigError(f"{draft.source}: {name} must be a mapping; got {values!r}")
        self.draft, self.name, self.values = draft, name, values
        self._left = dict.fromkeys(values)

    def comment(self, setting: str, text: str) -> None:
        """Add a comment above a setting of the draft."""
        self.draft.comments.setdefault(setting, []).append(text)

    def path(self, key: str) -> str:
        """Return a key's path in the file."""
        return f"{self.name}.{key}" if self.name else key

    def get(self, key: str, kind: type, default: Any = None) -> Any:
        """Return a value; raise ConfigError if it is of another type."""
        value = self.values.get(key, default)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise ConfigError(f"{self.path(key)} must be {kind.__name__}; got {value!r}")
        return value

    def number(self, key: str, default: int, least: int = 1) -> int:
        """Return a whole number; raise ConfigError if it is none or too small."""
        value = self.values.get(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ConfigError(f"{self.path(key)} must be a whole number of at least {least}; got {value!r}")
        return value

    def part(self, key: str) -> Section:
        """Return a mapping inside this one, empty where it is absent."""
        self._left.pop(key, None)
        return Section(self.draft, self.values.get(key, {}), self.path(key))

    def became(self, key: str, text: str) -> None:
        """Note what a key became, or what its absence means."""
        self._note(key, "became", text)

    def dropped(self, key: str, why: str) -> None:
        """Note that a key has no meaning any more."""
        self._note(key, "no meaning", why)

    def rest(self, reasons: Mapping[str, str] | None = None) -> None:
        """Note of all other keys why they have no meaning any more, or that the 2021 repository did not have them."""
        for key in list(self._left):
            if reasons and key in reasons:
                self.dropped(key, reasons[key])
            else:
                self._note(key, "unknown", "the 2021 code does not read it; left out")

    def _note(self, key: str, fate: Literal["became", "no meaning", "unknown"], text: str) -> None:
        self._left.pop(key, None)
        self.draft.notes.append(Note(self.path(key), self.values.get(key, "left out"), fate, text))


def read_2021(path: Path) -> dict[str, Any]:
    """Read a 2021 config: YAML, or JSON with ``#`` comments, which is YAML too; raise ConfigError for anything else."""
    raw = parse_yaml(read_text(path, "config of the 2021 repository").replace("\t", " "), str(path))
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} must hold settings as a mapping; got {type(raw).__name__}")
    return raw
