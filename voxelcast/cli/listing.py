"""``voxelcast datasets``: what there is, what its files should be, and miniatures of it."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError

if TYPE_CHECKING:
    from voxelcast.datasets.base import DatasetFacts
    from voxelcast.datasets.inventory import Finding, Inventory

_SHOWN = 8
"""Findings of a group that are printed; --json has all."""


@click.group()
def datasets() -> None:
    """Kinds of datasets: what is known of them, whether their files are all there, miniatures of them."""


@datasets.command("list")
@click.argument("pattern", default="*")
def list_datasets_(pattern: str) -> None:
    """List the kinds of datasets that match PATTERN with title and licence."""
    from voxelcast.datasets.registry import DATASETS, list_datasets

    for kind in list_datasets(pattern):
        facts = DATASETS[kind].facts
        click.echo(f"{kind}\t{facts.title}\t{facts.licence}")


@datasets.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(name: str, as_json: bool) -> None:
    """Print what is known of dataset NAME before its files are opened."""
    facts = _facts(name)
    click.echo(json.dumps(asdict(facts), indent=2) if as_json else "\n".join(_fact_lines(facts)))


@datasets.command("check")
@click.argument("name")
@click.argument("root", type=click.Path(path_type=Path))
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--json", "as_json", is_flag=True, help="Print every finding as JSON.")
def check(name: str, root: Path, settings: tuple[str, ...], as_json: bool) -> None:
    """Hold the files under ROOT against what dataset NAME should have; exit code 1 where something is missing.

    KEY=VALUE are settings of the dataset as in an experiment file, e.g. track=full or subjects=[sub01]: only what they
    need is looked for.
    """
    from voxelcast.datasets.inventory import take_inventory
    from voxelcast.datasets.miniature import read_miniature
    from voxelcast.datasets.registry import DATASETS
    from voxelcast.experiment.builders import build_dataset, dataset_arguments
    from voxelcast.experiment.config_file import parse_dataset

    config = parse_dataset(name, root, settings)
    inventory = take_inventory(DATASETS[name].expected_files(**dataset_arguments(config)))
    if inventory.complete:
        dataset = build_dataset(config)  # holds what the files say against one another, or says what does not fit
    if as_json:
        click.echo(json.dumps([_finding_json(finding) for finding in inventory.findings], indent=2))
    else:
        miniature = read_miniature(root, name) is not None
        click.echo(f"{name} in {root}{' (a miniature)' if miniature else ''}")
        for line in _inventory_lines(inventory, DATASETS[name].facts, root):
            click.echo(line)
        if inventory.complete:
            n_train, n_test = len(dataset.train_stimuli), len(dataset.test_stimuli)
            click.echo(f"ready: {len(dataset.subjects)} subjects, {n_train} training and {n_test} held-out stimuli")
    if not inventory.complete:
        raise click.exceptions.Exit(1)


@datasets.command("simulate")
@click.argument("name")
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--small", is_flag=True, help="A miniature: two subjects, few clips and voxels. Must be given.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
def simulate_(name: str, root: Path, small: bool, seed: int) -> None:
    """Write a miniature of dataset NAME to ROOT: the same folders and files, few voxels, a planted signal.

    The same settings read it as read the real dataset.
    """
    from voxelcast.datasets.registry import MINIATURES

    check_known("miniature", name, sorted(MINIATURES), remedy="Any size, in the layout of 2021: voxelcast simulate")
    if not small:
        raise OptionError(
            "only miniatures can be written; got no --small; add it, or write the 2021 challenge in any size with "
            "voxelcast simulate"
        )
    MINIATURES[name](root, seed)
    click.echo(f"miniature in {root}; use it with dataset: {{kind: {name}, root: {root}}}")


def _facts(name: str) -> DatasetFacts:
    from voxelcast.datasets.registry import DATASETS

    check_known("dataset", name, sorted(DATASETS), remedy="List them: voxelcast datasets list")
    return DATASETS[name].facts


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
    told = [f"{name}: {value}" for name, value in lines.items() if value not in (None, "")]
    if rois:
        told += ["voxels:", "\t".join(["subject", *rois])]
        told += ["\t".join([subject, *(str(n.get(roi, "")) for roi in rois)]) for subject, n in facts.voxels.items()]
    return told


def _inventory_lines(inventory: Inventory, facts: DatasetFacts, root: Path) -> list[str]:
    from voxelcast.datasets.inventory import shown_size

    lines = []
    for group, findings in inventory.groups().items():
        bad = [finding for finding in findings if finding.state != "found"]
        lines.append(f"{group}: {'complete' if not bad else f'{len(bad)} of {len(findings)} not in order'}")
        lines += [f"  {_finding_line(finding, root)}" for finding in bad[:_SHOWN]]
        if len(bad) > _SHOWN:
            lines.append(f"  ... and {len(bad) - _SHOWN} more (--json lists them)")
    if not inventory.complete:
        size = inventory.missing_bytes
        lines.append(f"how to get it: {facts.how_to_get}" + (f" Missing: about {shown_size(size)}." if size else ""))
        if facts.n_bytes:
            lines.append(f"all of it is about {shown_size(facts.n_bytes)}")
    return lines


def _finding_line(finding: Finding, root: Path) -> str:
    from voxelcast.datasets.inventory import shown_size

    size = finding.expected.n_bytes
    about = f" (about {shown_size(size)})" if size and finding.state == "missing" else ""
    detail = f": {finding.detail}" if finding.detail else ""
    path = finding.expected.path
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return f"{finding.state}: {shown}{about}{detail}"


def _finding_json(finding: Finding) -> dict[str, object]:
    expected = finding.expected
    return {
        "group": expected.group,
        "path": str(expected.path),
        "state": finding.state,
        "detail": finding.detail,
        "n_bytes": expected.n_bytes,
    }
