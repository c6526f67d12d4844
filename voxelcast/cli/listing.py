"""``voxelcast datasets``: what there is."""

from __future__ import annotations

import click


@click.group()
def datasets() -> None:
    """Kinds of datasets."""


@datasets.command("list")
@click.argument("pattern", default="*")
def list_datasets_(pattern: str) -> None:
    """List the kinds of datasets that match PATTERN with title and licence."""
    from voxelcast.datasets.registry import DATASETS, list_datasets

    for kind in list_datasets(pattern):
        facts = DATASETS[kind].facts
        click.echo(f"{kind}\t{facts.title}\t{facts.licence}")
