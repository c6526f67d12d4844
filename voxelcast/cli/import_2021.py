"""``voxelcast import-2021``: configs of the 2021 repository as an experiment file and a profile."""

from __future__ import annotations

from pathlib import Path

import click

from voxelcast.core.errors import UnwritableError


@click.command("import-2021")
@click.argument("train", type=click.Path(path_type=Path))
@click.argument("cluster", type=click.Path(path_type=Path), required=False)
@click.option("--output", type=click.Path(path_type=Path), help="The experiment file; default NAME.yaml of NAME.json.")
@click.option("--profile", type=click.Path(path_type=Path), help="The profile from CLUSTER; default SCHEDULER.yaml.")
@click.option(
    "--scheduler",
    type=click.Choice(["slurm", "grid-engine"]),
    default="slurm",
    show_default=True,
    help="Of the profile; CLUSTER does not say.",
)
@click.option(
    "--as-in-2021",
    is_flag=True,
    help="Repeat what the 2021 code did, also where it differs from what its settings say.",
)
def import_2021(
    train: Path, cluster: Path | None, output: Path | None, profile: Path | None, scheduler: str, as_in_2021: bool
) -> None:
    """Turn TRAIN (configs/train/....json) and CLUSTER (configs/cluster/....yaml) into files of voxelcast.

    Says of each key what became of it, or why it has no meaning any more.
    """
    from voxelcast.import_2021.convert import import_2021 as convert
    from voxelcast.store.atomic import write_text

    if profile is not None and cluster is None:
        raise click.UsageError("--profile needs CLUSTER, the file from which the profile is made")
    made = convert(train, cluster, scheduler=scheduler, as_in_2021=as_in_2021)
    targets = [(output or Path(f"{train.stem}.yaml"), made.experiment)]
    if made.profile is not None:
        targets.append((profile or Path(f"{scheduler}.yaml"), made.profile))
    for path, option in zip((path for path, _ in targets), ("--output", "--profile"), strict=False):
        if path.exists():
            raise UnwritableError(f"{path} is there already; choose another {option}")
    for note in made.notes:
        click.echo(str(note))
    for path, text in targets:
        write_text(path, text)
        click.echo(f"wrote {path}")
    on = f" --on {targets[1][0]}" if made.profile is not None else ""
    click.echo(f"next: voxelcast run {targets[0][0]}{on} --dry-run")
