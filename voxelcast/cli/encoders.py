"""``voxelcast encoders``: what there is, and the environment that auto-sklearn needs."""

from __future__ import annotations

from pathlib import Path

import click

from voxelcast.cli.options import PATH


@click.group()
def encoders() -> None:
    """List the encoding models; make auto-sklearn's environment."""


@encoders.command("list")
@click.argument("pattern", default="*")
def list_encoders_(pattern: str) -> None:
    """List the encoders that match PATTERN, and how their hyper-parameters are found."""
    from voxelcast.encoders.registry import get_encoder, list_encoders

    for name in list_encoders(pattern):
        encoder = get_encoder(name)
        found = "exact or searched" if encoder.settings(100, 10, 10) else "searched"
        if not encoder.space(100, 10, 10):
            found = "no search"
        click.echo(f"{name}\t{found}\t{', '.join(encoder.space(100, 10, 10)) or '-'}")


@encoders.command("install-autosklearn")
@click.argument("folder", type=PATH, required=False)
@click.option("--python", help="An interpreter of Python 3.9; default: python3.9 of the search path, or pyenv's.")
def install_autosklearn(folder: Path | None, python: str | None) -> None:
    """Make the environment of the encoder autosklearn in FOLDER (default: the user's cache).

    Needs Python 3.9 on Linux (x86-64), half a gigabyte, and half a minute.
    """
    from voxelcast.encoders.autosklearn_environment.install import (
        VARIABLE,
        environment_folder,
        find_python39,
        install_environment,
    )

    place = (folder or environment_folder()).absolute()
    install_environment(place, find_python39(python), click.echo)
    click.echo(f"the encoder autosklearn is ready: {place}")
    if place != environment_folder().absolute():
        click.echo(f"let voxelcast find it: export {VARIABLE}={place}")
