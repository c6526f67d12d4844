"""``voxelcast submission`` and ``voxelcast score``: challenge files, and what a challenge's server would give them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from voxelcast.cli.options import DATASET, OUTPUTS, PATH, SETTINGS, open_datasets
from voxelcast.core.errors import UnwritableError

if TYPE_CHECKING:
    from voxelcast.core.arrays import FloatArray


@click.group()
def submission() -> None:
    """Files that challenges ask for: Algonauts 2021, 2023 and 2025, and those that packages add."""


@submission.command("make")
@OUTPUTS
@click.option(
    "--dataset", "sources", multiple=True, metavar=DATASET, help="The challenge's data; default: those of the OUTPUTs."
)
@click.option("--folder", type=PATH, help="Where to write it; default: OUTPUT/submission.")
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
    if folder is not None and folder.is_dir() and any(folder.iterdir()):
        raise UnwritableError(f"{folder} holds files already; choose another --folder, which is new or empty")
    path = challenge.write(predictions, datasets, folder or outputs[0] / "submission")
    click.echo(challenge.check(path, datasets))
    click.echo(f"submission: {path}")


@submission.command("check")
@click.argument("file", type=PATH)
@SETTINGS
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


@click.command()
@click.argument("predictions", type=PATH)
@SETTINGS
@click.option(
    "--dataset",
    "sources",
    required=True,
    multiple=True,
    metavar=DATASET,
    help="The measured responses, e.g. bold_moments:ds005165, or an experiment file; repeat for one of each subject.",
)
@click.option(
    "--rule",
    metavar="[2021|2023|2025]",
    help="Of which year, or of a challenge that a package adds; default: the dataset's, or 2021.",
)
@click.option("--output", type=PATH, help="Folder for scores.txt, scores.csv and voxels/.")
def score(
    predictions: Path, settings: tuple[str, ...], sources: tuple[str, ...], rule: str | None, output: Path | None
) -> None:
    """Score PREDICTIONS by a challenge's official rule: a submission file, or the output folder of a run.

    KEY=VALUE are settings of the dataset, e.g. subjects=[sub01], or of the experiment file.
    """
    from voxelcast.challenges import challenge_of, score_predictions, write_score
    from voxelcast.store.lock import check_folder

    if output is not None:
        check_folder(output, "beside.csv", "a score's")
    datasets = open_datasets(sources, settings)
    result = score_predictions(predictions, datasets, rule=rule)
    for part in result.parts:
        left_out = part.n_voxels - part.n_scored
        if left_out:
            click.echo(
                f"{part.subject} {part.part}: {left_out} of {part.n_voxels} voxels have no ceiling and are left out"
            )
    for name, value in result.lines.items():
        click.echo(f"{name}: {value:.4f}")
    click.echo(f"score: {result.score:.4f} (Algonauts {rule or challenge_of(datasets).rule})")
    click.echo("beside: " + ", ".join(f"{name} {value:.4f}" for name, value in result.beside.items()))
    if output is not None:
        write_score(output, result)
        click.echo(f"written to {output}: scores.txt, scores.csv, beside.csv, voxels/")
