"""``voxelcast rsa``: which layer's dissimilarities agree best with measured ones."""

from __future__ import annotations

from pathlib import Path

import click

from voxelcast.cli.options import PATH, SETTINGS
from voxelcast.cli.progress import progress_in


@click.command()
@click.argument("analysis", type=PATH)
@SETTINGS
@click.option("--output", type=PATH, help="Folder of the results; default outputs/NAME.")
def rsa(analysis: Path, settings: tuple[str, ...], output: Path | None) -> None:
    """Compare the layers of networks with measured dissimilarity matrices (docs/rsa.md, examples/rdm92.yaml)."""
    from voxelcast.experiment.rsa import load_rsa_settings, run_rsa

    config = load_rsa_settings(analysis, settings)
    folder = Path("outputs") / config.name if output is None else output
    with progress_in(folder) as progress:
        result = run_rsa(config, folder, progress=progress)
    best = result.best
    click.echo(
        f"best of {len(result.layers)} layers: {best.network} {best.layer}, {config.comparison} {best.similarity:.3f} "
        f"({100 * config.interval.level:g} % interval {best.low:.3f} to {best.high:.3f}; best in "
        f"{100 * best.best_share:.0f} % of resamples)"
    )
    if best.p_best == best.p_best:
        click.echo(
            f"stimuli shuffled: {best.shuffled_low:.3f} to {best.shuffled_high:.3f}; p = {best.p_value:.3g}, "
            f"{best.p_best:.3g} as the best of all layers"
        )
    if result.ceiling_low == result.ceiling_low:
        click.echo(f"noise ceiling: {result.ceiling_low:.3f} to {result.ceiling_high:.3f}")
    click.echo(f"results in {folder}: layers.csv, layers.png, rdms.npz")
