"""``voxelcast execution`` and ``voxelcast status``: where work runs, and how far it is."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import click

from voxelcast.cli.options import PATH, check_absent


@click.group()
def execution() -> None:
    """Profiles: where work runs beyond this machine (docs/clusters.md)."""


@execution.command()
@click.argument("scheduler", type=click.Choice(["slurm", "grid-engine", "google", "local"]))
@click.option("--output", type=PATH, help="A new file; default: print.")
def init(scheduler: str, output: Path | None) -> None:
    """Write a commented profile, to be filled in."""
    from voxelcast.execution.profile import profile_template
    from voxelcast.store.atomic import write_text

    if output is None:
        click.echo(profile_template(scheduler), nl=False)
        return
    check_absent(output, "--output")
    write_text(output, profile_template(scheduler))
    click.echo(f"wrote {output}; fill it in, then: voxelcast execution check {output}")


@execution.command()
@click.argument("profile")
def check(profile: str) -> None:
    """Try PROFILE (a file or a name) out with a tiny job on each kind of its workers."""
    from voxelcast.execution.check import check_profile
    from voxelcast.execution.profile import find_profile, load_profile

    path = find_profile(profile)
    for line in check_profile(load_profile(path), lambda message: click.echo(message, err=True)):
        click.echo(line)
    click.echo(f"{path} works; voxelcast run EXPERIMENT --on {profile}")


@click.command()
@click.argument("output", type=PATH)
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def status(output: Path, as_json: bool) -> None:
    """Say how far the work in OUTPUT is: what is done, running, waiting and failed, how long it took, and what is left.

    OUTPUT is what run, extract, sweep, rsa, simulate, demo, transfer, predict, networks finetune and networks validate
    write, or a folder of such.
    """
    from voxelcast.execution.status import read_statuses, summary_lines

    found = read_statuses(output)
    if as_json:
        shown = {name: asdict(one) for name, one in found.items()}
        click.echo(json.dumps(shown[""] if list(shown) == [""] else shown, indent=2))
        return
    for line in summary_lines(found):
        click.echo(line)
