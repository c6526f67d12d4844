"""``voxelcast networks`` and ``voxelcast datasets``: what there is."""

from __future__ import annotations

import click


@click.group()
def networks() -> None:
    """Networks and their layers."""


@networks.command("list")
@click.argument("pattern", default="*")
def list_networks_(pattern: str) -> None:
    """List the networks that match PATTERN, e.g. '*resnet*'."""
    from voxelcast.networks.registry import list_networks

    for name in list_networks(pattern):
        click.echo(name)


@networks.command("layers")
@click.argument("name")
@click.option("--input-size", type=int, help="Height and width of the input in pixels.")
def list_layers(name: str, input_size: int | None) -> None:
    """List the layers of network NAME with their kind and the shape of one frame's activation."""
    from voxelcast.networks.registry import describe_layers

    for layer in describe_layers(name, input_size=input_size):
        click.echo(f"{layer.name}\t{layer.kind}\t{' x '.join(map(str, layer.shape))}")


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
