"""``voxelcast submission``: challenge files."""

from __future__ import annotations

from pathlib import Path

import click

from voxelcast.cli.dataset_option import open_dataset


@click.group()
def submission() -> None:
    """Files that the Algonauts challenges of 2021, 2023 and 2025 ask for."""


@submission.command("make")
@click.argument("outputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="OUTPUT...")
@click.option(
    "--dataset",
    "source",
    metavar="KIND:ROOT|FILE",
    help="The challenge's data, of which all subjects and parts are needed; default: that of the first OUTPUT.",
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write it; default: OUTPUT/submission.")
def make(outputs: tuple[Path, ...], source: str | None, folder: Path | None) -> None:
    """Make a submission from the predictions in OUTPUT, the folder of a run; several where each did some subjects.

    A run that did all subjects and parts of a challenge has made it already, in OUTPUT/submission.
    """
    from voxelcast.submission.challenges import check_file, make_file
    from voxelcast.submission.predictions import read_outputs

    dataset = open_dataset(source or str(outputs[0] / "config.yaml"))
    path = make_file(read_outputs(outputs, dataset), dataset, folder or outputs[0] / "submission")
    click.echo(check_file(path, dataset))
    click.echo(f"submission: {path}")


@submission.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--dataset", "source", metavar="KIND:ROOT|FILE", help="The data it is for; default: the real challenge of 2021."
)
def check(file: Path, source: str | None) -> None:
    """Check that FILE is what its challenge asks for.

    Refuses a missing subject, ROI, hemisphere or run, a wrong shape, NaN, files in the wrong place of the zip, and
    anything that is not an array.
    """
    from voxelcast.submission.challenges import check_file

    click.echo(check_file(file, None if source is None else open_dataset(source)))
