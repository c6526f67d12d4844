"""JSON and YAML: no key twice, no nesting without end, and text that stays what it was."""

from __future__ import annotations

import json
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any, Final

import yaml

from voxelcast.core.errors import ConfigError, DataError
from voxelcast.store.readers.guard import read_text, reading

_MOST_DEPTH: Final = 100
_MOST_NODES: Final = 1_000_000


def read_json(path: Path, what: str, remedy: str = "write it again") -> Any:
    """Read a JSON file; raises MissingFileError, DataError where it is missing, is none, or has a key twice."""
    text = read_text(path, what)
    with reading(path, "JSON", remedy):
        return json.loads(text, object_pairs_hook=_once)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice in it")
    return found


class _Loader(yaml.SafeLoader):
    """Plain values as in YAML 1.2: ``0001``, ``2021-01-01``, ``1_000``, ``1:30``, ``on`` and ``no`` stay text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?([0-9]+\.[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", "~nN"),
    ("merge", r"<<", "<"),
):
    firsts = [*_first, ""] if _tag == "null" else list(_first)
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), firsts)


def read_yaml(path: Path, what: str) -> Any:
    """Read a YAML file; raises MissingFileError, ConfigError where it is missing, is none, or has a key twice."""
    try:
        text = read_text(path, what)
    except DataError as error:
        raise ConfigError(str(error)) from error
    return parse_yaml(text, str(path))


def parse_yaml(text: str, shown: str) -> Any:
    """Read YAML text; ``shown`` is what a message calls it. Raises ConfigError."""
    try:
        with reading(shown, "YAML", "correct it"):
            loader = _Loader(text)
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(loader, node, shown)
            return loader.construct_document(node)
    except DataError as error:
        if isinstance(error.__cause__, yaml.MarkedYAMLError) and error.__cause__.problem_mark is not None:
            problem, mark = error.__cause__.problem, error.__cause__.problem_mark
            raise ConfigError(f"{shown} is not YAML ({problem} in line {mark.line + 1}); correct it") from error
        raise ConfigError(str(error)) from error


def _check_nodes(loader: _Loader, top: yaml.Node, shown: str) -> None:
    """Raise ConfigError for a key that stands twice, and for nesting or repetition (by aliases) beyond measure."""
    sizes: dict[int, int] = {}

    def size(node: yaml.Node, depth: int) -> int:
        if depth > _MOST_DEPTH:
            raise ConfigError(f"{shown} nests more than {_MOST_DEPTH} deep, or in a circle; correct it")
        if id(node) not in sizes:
            children: list[yaml.Node] = []
            if isinstance(node, yaml.MappingNode):
                _check_keys(loader, node, shown)
                children = [part for pair in node.value for part in pair]
            elif isinstance(node, yaml.SequenceNode):
                children = node.value
            sizes[id(node)] = 1 + sum(size(child, depth + 1) for child in children)
        if sizes[id(node)] > _MOST_NODES:
            raise ConfigError(f"{shown} holds more than {_MOST_NODES} values, most by aliases; write it without them")
        return sizes[id(node)]

    size(top, 0)


def _check_keys(loader: _Loader, node: yaml.MappingNode, shown: str) -> None:
    lines: dict[Hashable, int] = {}
    for key, _ in node.value:
        if isinstance(key, yaml.ScalarNode):
            name = (key.tag, key.value)
            line = key.start_mark.line + 1
            if name in lines:
                raise ConfigError(
                    f"{shown}: the key {key.value!r} stands twice, in line {lines[name]} and in line {line}; keep one"
                )
            lines[name] = line
