"""``voxelcast report``: one experiment's page, or several experiments side by side."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("outputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="OUTPUT...")
@click.option(
    "--output", "path", type=click.Path(path_type=Path), help="HTML file of the comparison; default comparison.html."
)
def report(outputs: tuple[Path, ...], path: Path | None) -> None:
    """Write OUTPUT/report.html again from the files in OUTPUT; of several OUTPUTs, a page that compares them."""
    from voxelcast.report import write_comparison, write_report

    if len(outputs) == 1:
        if path is not None:
            raise click.UsageError("--output is for comparisons; the report of one experiment lies in its own folder")
        click.echo(f"report: {write_report(outputs[0])}")
        return
    click.echo(f"comparison: {write_comparison(outputs, path or Path('comparison.html'))}")
