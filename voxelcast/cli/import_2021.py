"""``voxelcast import-2021``: configs of the 2021 repository as an experiment file and a profile."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from voxelcast.cli.options import PATH, check_absent


@click.command("import-2021")
@click.argument("train", type=PATH)
@click.argument("cluster", type=PATH, required=False)
@click.option("--output", type=PATH, help="The experiment file; default NAME.yaml of NAME.json.")
@click.option("--profile", type=PATH, help="The profile from CLUSTER; default SCHEDULER.yaml.")
@click.option(
    "--scheduler",
    type=click.Choice(["slurm", "grid-engine"]),
    default="slurm",
    show_default=True,
    help="Of the profile.",
)
@click.option(
    "--as-in-2021", is_flag=True, help="Repeat what the 2021 code did, also where its settings say otherwise."
)
def import_2021(train: Path, cluster: Path | None, output: Path | None, profile: Path | None, **options: Any) -> None:
    """Turn TRAIN (configs/train/....json) and CLUSTER (configs/cluster/....yaml) into files of voxelcast.

    Says of each key what became of it, or why it has no meaning any more.
    """
    from voxelcast.import_2021.convert import import_2021 as convert
    from voxelcast.store.atomic import write_text

    if profile is not None and cluster is None:
        raise click.UsageError("--profile needs CLUSTER, the file from which the profile is made")
    made = convert(train, cluster, **options)
    files = {"--output": (output or Path(f"{train.stem}.yaml"), made.experiment)}
    if made.profile is not None:
        files["--profile"] = (profile or Path(f"{options['scheduler']}.yaml"), made.profile)
    for option, (path, _) in files.items():
        check_absent(path, option)
    for note in made.notes:
        click.echo(note)
    for path, text in files.values():
        write_text(path, text)
        click.echo(f"wrote {path}")
    on = f" --on {files['--profile'][0]}" if made.profile is not None else ""
    command = shlex.join(["sweep" if made.swept else "run", str(files["--output"][0]), *made.swept])
    click.echo(f"next: voxelcast {command}{on} --dry-run")
