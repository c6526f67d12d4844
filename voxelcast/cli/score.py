"""``voxelcast score``: the score that a challenge's server would give, where the measured responses are known."""

from __future__ import annotations

from pathlib import Path

import click

from voxelcast.cli.dataset_option import DATASET, open_datasets


@click.command()
@click.argument("predictions", type=click.Path(path_type=Path))
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
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
@click.option("--output", type=click.Path(path_type=Path), help="Folder for scores.txt, scores.csv and voxels/.")
def score(
    predictions: Path, settings: tuple[str, ...], sources: tuple[str, ...], rule: str | None, output: Path | None
) -> None:
    """Score PREDICTIONS by a challenge's official rule: a submission file, or the output folder of a run.

    KEY=VALUE are settings of the dataset, e.g. subjects=[sub01], or of the experiment file.
    """
    from voxelcast.challenges import challenge_of, score_predictions, write_score

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
