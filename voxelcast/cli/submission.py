"""``voxelcast submission``: challenge files."""

from __future__ import annotations

from pathlib import Path

import click


@click.group()
def submission() -> None:
    """Challenge files."""


@submission.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--simulation",
    type=click.Path(path_type=Path),
    help="The simulated dataset it is for; default: the real challenge.",
)
def check(file: Path, simulation: Path | None) -> None:
    """Check that FILE (mini_track.zip, full_track.zip or the .pkl) is what the Algonauts Challenge 2021 asks for.

    Refuses a missing subject or ROI, a wrong shape, NaN, a pickle in a sub-folder, and anything that is not an array.
    """
    from voxelcast.datasets.simulated import SimulatedDataset
    from voxelcast.submission.check import check_submission

    if simulation is None:
        click.echo(check_submission(file))
        return
    dataset = SimulatedDataset(simulation)
    click.echo(check_submission(file, n_test=len(dataset.test_stimuli), expected_voxels=dataset.submission_voxels))
