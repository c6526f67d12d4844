"""``voxelcast demo``: the whole way on a small simulated challenge."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from voxelcast.cli.progress import make_progress


@click.command()
@click.argument("folder", type=click.Path(path_type=Path), default=Path("demo"))
def demo(folder: Path) -> None:
    """Simulate a small challenge in FOLDER, fit it, make and check a submission, and compare with the planted truth."""
    from voxelcast.experiment.demo import all_recovered, demonstrate

    done = demonstrate(folder, make_progress())
    click.echo(f"{'ROI':4}  {'planted layer':34}  {'found layer':34}  similarity")
    for row in done.recovered:
        click.echo(f"{row.roi:4}  {row.planted:34}  {row.found:34}  {row.similarity:.3f}")
    click.echo(f"mean nested cross-validated r: {done.mean_score:.3f}")
    click.echo(done.submission)
    click.echo(f"report: {done.output / 'report.html'}")
    if not all_recovered(done.recovered):
        click.echo("voxelcast: a planted layer was not found", err=True)
        sys.exit(1)
