"""``voxelcast datasets``: what there is, what its files should be, and miniatures of it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from voxelcast.cli.options import AS_JSON, PATH, SETTINGS, check_absent, echo_rows
from voxelcast.core.errors import DataError, OptionError

if TYPE_CHECKING:
    from voxelcast.datasets.base import DatasetFacts
    from voxelcast.datasets.inventory import Inventory

_SHOWN = 3
"""Findings of a group that are printed; --json has all."""


@click.group()
def datasets() -> None:
    """Kinds of datasets: what is known of them, whether their files are all there, miniatures of them."""


@datasets.command("list")
@click.argument("pattern", default="*")
@AS_JSON
def list_datasets_(pattern: str, as_json: bool) -> None:
    """List the kinds of datasets that match PATTERN with title and licence."""
    from voxelcast.datasets.registry import DATASETS, list_datasets

    facts = {kind: DATASETS.get(kind).facts for kind in list_datasets(pattern)}
    echo_rows(("kind", "title", "licence"), [(kind, one.title, one.licence) for kind, one in facts.items()], as_json)


@datasets.command("show")
@click.argument("name")
@AS_JSON
def show(name: str, as_json: bool) -> None:
    """Print what is known of dataset NAME before its files are opened."""
    from voxelcast.datasets.registry import DATASETS

    facts = DATASETS.get(name).facts
    click.echo(json.dumps(asdict(facts), indent=2) if as_json else "\n".join(_fact_lines(facts)))


@datasets.command("check")
@click.argument("name")
@click.argument("root", type=PATH)
@SETTINGS
@click.option("--json", "as_json", is_flag=True, help="Print every finding as JSON.")
def check(name: str, root: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Hold the files under ROOT against what dataset NAME should have; exit code 1 where something is missing.

    KEY=VALUE are settings of the dataset as in an experiment file, e.g. track=full or subjects=[sub01]: only what they
    need is looked for.
    """
    from voxelcast.datasets.inventory import take_inventory
    from voxelcast.datasets.miniature import read_miniature
    from voxelcast.datasets.registry import DATASETS
    from voxelcast.experiment.settings_file import parse_dataset

    chosen = parse_dataset(name, root, settings)
    cls = DATASETS.get(name)
    inventory = take_inventory(cls.expected_files(chosen))
    if inventory.complete:
        dataset = cls(chosen)  # holds what the files say against one another, or says what does not fit
    if as_json:
        flat = ({**vars(finding.expected), **vars(finding)} for finding in inventory.findings)
        names = ("group", "path", "state", "detail", "n_bytes")
        click.echo(json.dumps([{name: one[name] for name in names} for one in flat], indent=2, default=str))
    else:
        miniature = read_miniature(root, name) is not None
        click.echo(f"{name} in {root}{' (a miniature)' if miniature else ''}")
        for line in _inventory_lines(inventory, cls.facts, root):
            click.echo(line)
        if inventory.complete:
            n_train, n_test = len(dataset.train_stimuli), len(dataset.test_stimuli)
            click.echo(f"ready: {len(dataset.subjects)} subjects, {n_train} training and {n_test} held-out stimuli")
    if not inventory.complete:
        sys.exit(1)


@datasets.command("metadata")
@click.argument("name")
@click.argument("root", type=PATH)
@SETTINGS
@click.option("--output", type=PATH, required=True, help="The .csv file to write.")
def metadata(name: str, root: Path, settings: tuple[str, ...], output: Path) -> None:
    """Write what else dataset NAME says of its stimuli as a table: a row per stimulus, lists as JSON."""
    import csv
    import io

    from voxelcast.datasets.registry import open_dataset
    from voxelcast.experiment.settings_file import parse_dataset
    from voxelcast.store.atomic import write_text
    from voxelcast.store.readers.tables import shown_cell

    check_absent(output, "--output")
    table = open_dataset(parse_dataset(name, root, settings)).metadata()
    if not table:
        raise DataError(f"dataset {name} has no metadata of its stimuli; bold_moments has")
    text = io.StringIO()
    columns = list(dict.fromkeys(column for facts in table.values() for column in facts))
    writer = csv.DictWriter(text, ["stimulus_id", *columns], lineterminator="\n")
    writer.writeheader()
    for stimulus_id, facts in table.items():
        cells = {name: json.dumps(cell) if isinstance(cell, list | dict) else cell for name, cell in facts.items()}
        cells = {"stimulus_id": stimulus_id, **cells}
        writer.writerow({name: shown_cell(cell) if isinstance(cell, str) else cell for name, cell in cells.items()})
    write_text(output, text.getvalue())
    click.echo(f"{len(table)} stimuli, {len(columns)} columns: {output}")


@datasets.command("simulate")
@click.argument("name")
@click.argument("root", type=PATH)
@click.option("--small", is_flag=True, help="A miniature: two subjects, few clips and voxels. Must be given.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def simulate_(name: str, root: Path, small: bool, seed: int) -> None:
    """Write a miniature of dataset NAME to ROOT: the same folders and files, few voxels, a planted signal.

    The same settings read it as read the real dataset.
    """
    from dataclasses import fields

    from voxelcast.testing.miniatures import MINIATURES

    write = MINIATURES.get(name)
    if not small:
        raise OptionError(
            "only miniatures can be written; got no --small; add it, or write the 2021 challenge in any size with "
            "voxelcast simulate"
        )
    settings = write(root, seed)
    given = {f.name: getattr(settings, f.name) for f in fields(settings) if getattr(settings, f.name) != f.default}
    shown = ", ".join(f"{key}: {json.dumps(value, default=str)}" for key, value in given.items() if key != "root")
    click.echo(
        f"miniature in {root}; use it with dataset: {{kind: {name}, root: {root}{', ' + shown if shown else ''}}}"
    )


def _fact_lines(facts: DatasetFacts) -> list[str]:
    from voxelcast.datasets.inventory import shown_size

    rois = list(dict.fromkeys(roi for counts in facts.voxels.values() for roi in counts))
    lines = {
        "title": facts.title,
        "unit of the responses": facts.unit,
        "subjects": ", ".join(facts.subjects),
        "training stimuli": facts.n_train,
        "held-out stimuli": facts.n_test,
        "time between volumes": facts.tr_seconds and f"{facts.tr_seconds} s",
        "licence": facts.licence,
        "citation": facts.citation,
        "how to get it": facts.how_to_get,
        "download": facts.n_bytes and f"about {shown_size(facts.n_bytes)}",
    }
    shown = [f"{name}: {value}" for name, value in lines.items() if value not in (None, "")]
    if rois:
        # One line per ROI: there are more ROIs than subjects.
        shown += ["voxels:", "\t".join(["ROI", *facts.voxels])]
        shown += ["\t".join([roi, *(str(n.get(roi, "")) for n in facts.voxels.values())]) for roi in rois]
    return shown


def _inventory_lines(inventory: Inventory, facts: DatasetFacts, root: Path) -> list[str]:
    from voxelcast.datasets.inventory import shown_size

    lines = []
    for group, findings in inventory.groups().items():
        bad = [finding for finding in findings if finding.state != "found"]
        missing = [finding for finding in findings if finding.state == "missing"]
        size = sum(finding.expected.n_bytes or 0 for finding in missing)
        said = []
        if missing and len(findings) > 1:
            about = f" (about {shown_size(size)})" if size else ""
            said.append(f"{len(missing)} of {len(findings)} files missing{about}")
        elif missing:
            said.append("missing")
        if len(bad) > len(missing):
            said.append(f"{len(bad) - len(missing)} of {len(findings)} wrong")
        lines.append(f"{group}: {', '.join(said) or 'complete'}")
        for finding in bad[:_SHOWN]:
            path = finding.expected.path
            shown = path.relative_to(root) if path.is_relative_to(root) else path
            lines.append(f"  {finding.state}: {shown}{f': {finding.detail}' if finding.detail else ''}")
        if len(bad) > _SHOWN:
            lines.append(f"  ... and {len(bad) - _SHOWN} more; --json lists them")
    if not inventory.complete:
        lines.append(f"how to get it: {facts.how_to_get}")
    if inventory.missing_bytes:
        lines.append(f"missing in all: about {shown_size(inventory.missing_bytes)}, as far as sizes are known")
    return lines
