"""``voxelcast submission``: challenge files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from voxelcast.cli.dataset_option import DATASET, open_datasets

if TYPE_CHECKING:
    from voxelcast.core.arrays import FloatArray


@click.group()
def submission() -> None:
    """Files that challenges ask for: Algonauts 2021, 2023 and 2025, and those that packages add."""


@submission.command("make")
@click.argument("outputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="OUTPUT...")
@click.option(
    "--dataset", "sources", multiple=True, metavar=DATASET, help="The challenge's data; default: those of the OUTPUTs."
)
@click.option("--folder", type=click.Path(path_type=Path), help="Where to write it; default: OUTPUT/submission.")
def make(outputs: tuple[Path, ...], sources: tuple[str, ...], folder: Path | None) -> None:
    """Make a submission from the predictions in OUTPUT, the folder of a run; several where each did some subjects.

    A run that did all subjects and ROIs of a challenge has made it already, in OUTPUT/submission.
    """
    from voxelcast.challenges import challenge_of
    from voxelcast.challenges.predictions import read_outputs

    datasets = open_datasets(sources or [str(output / "config.yaml") for output in outputs])
    challenge = challenge_of(datasets)
    if not sources and not challenge.one_dataset_per_subject:
        datasets = datasets[:1]  # all of one dataset, of which each output must have predicted a part
        for output in outputs:
            read_outputs([output], datasets[0])
    predictions: dict[tuple[str, str], FloatArray] = {}
    for dataset in datasets:
        predictions |= read_outputs(outputs, dataset)
    path = challenge.write(predictions, datasets, folder or outputs[0] / "submission")
    click.echo(challenge.check(path, datasets))
    click.echo(f"submission: {path}")


@submission.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option(
    "--dataset",
    "sources",
    multiple=True,
    metavar=DATASET,
    help="The data it is for; default: the real challenge, told by the name of FILE.",
)
def check(file: Path, settings: tuple[str, ...], sources: tuple[str, ...]) -> None:
    """Check that FILE is what its challenge asks for. KEY=VALUE are settings of the dataset, e.g. rois=challenge.

    Refuses a missing subject, ROI, hemisphere or run, a wrong shape, NaN, files in the wrong place of the zip, and
    anything that is not an array.
    """
    from voxelcast.challenges import challenge_of, challenge_of_file

    datasets = open_datasets(sources, settings)
    challenge = challenge_of(datasets) if datasets else challenge_of_file(file)
    click.echo(challenge.check(file, datasets))
