"""What the options and arguments of several commands share."""

from __future__ import annotations

import json
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from voxelcast.core.checks import check_utf8, home_expanded
from voxelcast.core.errors import OptionError, UnwritableError

if TYPE_CHECKING:
    from voxelcast.datasets.base import Dataset


class _Path(click.Path):
    """A path; ``~`` stands for the home folder also where the shell left it."""

    def convert(self, value: Any, parameter: click.Parameter | None, context: click.Context | None) -> Any:
        path = Path(str(super().convert(value, parameter, context)))
        check_utf8(str(path), "path")
        return home_expanded(path)


PATH = _Path(path_type=Path)
OUTPUTS = click.argument("outputs", nargs=-1, required=True, type=PATH, metavar="OUTPUT...")
SETTINGS = click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
ON = click.option("--on", metavar="PROFILE", help="Where to run: a profile's file or name (docs/clusters.md).")
STORE = click.option("--store", type=PATH, help="Folder of finished steps, shared; default OUTPUT/steps.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Check everything and estimate time and disk; do not run.")
DATASET = "KIND:ROOT|FILE"
"""How the option ``--dataset`` is shown."""


AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def echo_rows(columns: Sequence[str], rows: Iterable[Sequence[object]], as_json: bool) -> None:
    """Print a line for each row, or JSON: a list of objects with the columns as keys."""
    if as_json:
        click.echo(json.dumps([dict(zip(columns, row, strict=True)) for row in rows], indent=2))
        return
    for row in rows:
        click.echo("\t".join(map(str, row)))


def check_absent(path: Path | None, option: str) -> None:
    """Raise UnwritableError if a file to be written is there already; ``option`` names another, None: none is."""
    if path is not None and (path.is_symlink() or path.exists()):
        raise UnwritableError(f"{path} is there already; choose another {option}")


def open_datasets(sources: Sequence[str], settings: Sequence[str] = ()) -> list[Dataset]:
    """Open the datasets of several ``KIND:ROOT`` or experiment files.

    Of a kind whose datasets are of one subject each, such as ``algonauts2023:ROOT``, all subjects that ROOT holds.
    """
    return [dataset for source in sources for dataset in _open(source, settings)]


def open_dataset(source: str, settings: Sequence[str] = ()) -> Dataset:
    """Open the dataset of one ``KIND:ROOT`` or experiment file.

    Raises
    ------
    OptionError
        Where it is neither, or stands for several.
    """
    found = _open(source, settings)
    if len(found) > 1:
        subjects = ", ".join(dataset.subjects[0] for dataset in found)
        raise OptionError(f"{source} holds several subjects ({subjects}); name an experiment file, which has one")
    return found[0]


def _open(source: str, settings: Sequence[str]) -> list[Dataset]:
    from voxelcast.datasets import registry
    from voxelcast.experiment.settings_file import load_config, parse_dataset

    kind, _, root = source.partition(":")
    if kind in registry.DATASETS and root:
        chosen = any(text.startswith("subject=") for text in settings)
        subjects = () if chosen else registry.DATASETS.get(kind).separate_subjects(Path(root))
        each = [[*settings, f"subject={subject}"] for subject in subjects] or [list(settings)]
        return [registry.open_dataset(parse_dataset(kind, Path(root), overrides)) for overrides in each]
    if Path(source).suffix not in (".yaml", ".yml"):
        raise OptionError(
            f"--dataset must be KIND:ROOT with KIND one of {', '.join(registry.list_datasets())}, or an experiment's "
            f".yaml; got {source!r}"
        )
    return [registry.open_dataset(load_config(Path(source), settings).dataset)]


def names(text: str) -> tuple[str, ...]:
    """Split names at their commas."""
    return tuple(filter(None, text.split(",")))


def take_settings(kind: Any, options: MutableMapping[str, Any], **given: Any) -> Any:
    """Take the fields of a class of settings out of a command's options, and make the settings of them.

    An option that was left out, and is None, leaves the field its default.
    """
    taken = {field.name: options.pop(field.name) for field in fields(kind) if field.name in options}
    return kind(**given, **{name: value for name, value in taken.items() if value is not None})
