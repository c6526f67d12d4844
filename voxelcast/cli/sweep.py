"""``voxelcast sweep``: every combination of some settings, and a leaderboard of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from voxelcast.cli.options import DRY_RUN, ON, PATH, SETTINGS, STORE
from voxelcast.cli.progress import make_progress


@click.command()
@click.argument("experiment", type=PATH)
@SETTINGS
@click.option("--output", type=PATH, help="Folder of the sweep; default outputs/NAME.")
@STORE
@ON
@DRY_RUN
def sweep(
    experiment: Path, settings: tuple[str, ...], output: Path | None, store: Path | None, on: str | None, dry_run: bool
) -> None:
    """Run EXPERIMENT with every combination of settings, KEY=[VALUE, ...], and compare them on one page.

    KEY alone takes each that the file lists: networks encoders=[pls, ridge] runs each network with each encoder.
    KEY=VALUE that is no list changes all. Each combination is an experiment in OUTPUT/NAME, as voxelcast run leaves it;
    steps that several need are done once. OUTPUT/leaderboard.html compares them. Run again after a kill, or with other
    values, it does what is not done, and adds to the page. Where an experiment fails the others go on, and the exit
    code is 1.
    """
    from voxelcast.execution.profile import chosen_profile
    from voxelcast.experiment.settings_file import read_settings
    from voxelcast.experiment.sweep import combine, estimate_sweep, run_sweep
    from voxelcast.store.readers.plain import parse_yaml

    axes: dict[str, Any] = {}
    changes = []
    for setting in settings:
        key, given, text = setting.partition("=")
        value = parse_yaml(text, f"the value of {setting!r}") if given else None
        if given and not isinstance(value, list):
            changes.append(setting)
        else:
            axes[key] = value
    raw = read_settings(experiment, changes)
    experiments = combine(raw, axes, str(experiment))
    folder = output or Path("outputs") / str(raw.get("name"))
    if dry_run:
        click.echo(f"{len(experiments)} experiments: {', '.join(experiments)}")
        for line in estimate_sweep(experiments, folder, store=store).lines():
            click.echo(line)
        return
    done = run_sweep(experiments, folder, store=store, on=chosen_profile(on), progress=make_progress())
    click.echo(f"{done.steps_run} steps run, {done.steps_kept} kept from before")
    click.echo(f"leaderboard: {done.page}")
