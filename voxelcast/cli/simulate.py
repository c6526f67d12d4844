"""Ways to begin: ``voxelcast init``; ``simulate`` and ``demo``, on data with a planted truth."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import click

from voxelcast.cli.options import PATH, check_absent, take_settings
from voxelcast.cli.progress import make_progress, progress_in
from voxelcast.core.errors import OptionError


@click.command()
@click.argument("root", type=PATH)
@click.option("--to", type=PATH, help="The file to write; default ROOT's name with .yaml, here.")
def init(root: Path, to: Path | None) -> None:
    """Look at ROOT, a folder of stimuli and responses, and write an experiment file for it, with comments."""
    from voxelcast.experiment.first_file import first_experiment
    from voxelcast.store.atomic import write_text

    name = root.resolve().name
    file = to or Path(f"{name}.yaml")
    check_absent(file, "--to")
    write_text(file, first_experiment(root, name))
    click.echo(f"{file}; next: voxelcast run {file} --dry-run")


@click.command()
@click.argument("root", type=PATH)
@click.option("--preset", type=click.Choice(["demo", "challenge"]), default="demo", show_default=True)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--subjects", type=int, help="Number of subjects.")
@click.option("--train", "n_train", type=int, help="Number of training videos.")
@click.option("--test", "n_test", type=int, help="Number of held-out videos.")
@click.option("--voxels", type=int, help="Number of voxels of every ROI.")
@click.option("--signal", type=float, help="Share of signal in the variance of one presentation.")
@click.option("--shared-noise", type=float, help="Share of the noise that an ROI's voxels have in common.")
@click.option("--fps", type=int)
@click.option("--seconds", type=float)
@click.option("--size", type=int, help="Height and width of the videos in pixels.")
@click.option("--every", default=2, show_default=True, help="The driving networks see every k-th frame.")
@click.option("--driver", multiple=True, metavar="ROI=NETWORK:LAYER", help="What drives an ROI; repeat for several.")
@click.option("--weights", default="random", show_default=True, help="Weights of torchvision drivers.")
@click.option("--input-size", type=int, default=64, show_default=True, help="Input size of torchvision drivers.")
def simulate(
    root: Path,
    preset: Literal["demo", "challenge"],
    subjects: int | None,
    voxels: int | None,
    driver: tuple[str, ...],
    **options: Any,
) -> None:
    """Write real videos and responses with a planted truth to ROOT, in the layout of the Algonauts Challenge 2021.

    The preset demo is small; challenge has the real numbers of subjects, voxels and videos. What was planted, and the
    test responses, lie in ROOT/truth.
    """
    from voxelcast.datasets.simulation.plan import resize_plan, simulation_preset
    from voxelcast.experiment.simulation import DEFAULT_DRIVERS, driving_networks, simulate
    from voxelcast.stimuli.sampling import FrameSampling

    drivers = DEFAULT_DRIVERS | dict(_driver(text) for text in driver)
    sampling = take_settings(FrameSampling, options)
    network = {name: options.pop(name) for name in ("weights", "input_size")}
    networks = driving_networks(drivers, **network)
    given = {name: value for name, value in options.items() if value is not None}
    plan = resize_plan(simulation_preset(preset, drivers, **given), subjects, voxels)
    with progress_in(root) as progress:
        simulate(root, plan, networks, sampling=sampling, seed=plan.seed, progress=progress)
    click.echo(f"simulation in {root}; use it with dataset: {{kind: simulated, root: {root}}}")


def _driver(text: str) -> tuple[str, tuple[str, str]]:
    roi, equals, rest = text.partition("=")
    network, colon, layer = rest.partition(":")
    if not (equals and colon and roi and network and layer):
        raise OptionError(f"--driver must be ROI=NETWORK:LAYER, e.g. V1=voxelcast/motion_energy:static.1; got {text!r}")
    return roi, (network, layer)


@click.command()
@click.argument("folder", type=PATH, default=Path("demo"))
def demo(folder: Path) -> None:
    """Simulate a small challenge in FOLDER, fit it, make and check a submission, and compare with the planted truth."""
    from voxelcast.experiment.demo import all_recovered, demonstrate

    done = demonstrate(folder, make_progress())
    click.echo(f"{'ROI':4}  {'planted layer':34}  {'found layer':34}  similarity")
    for row in done.recovered:
        click.echo(f"{row.roi:4}  {row.planted:34}  {row.found:34}  {row.similarity:.3f}")
    click.echo(f"mean nested cross-validated r: {done.mean_score:.3f}")
    click.echo(done.submission)
    click.echo("three new videos, predicted by the saved models of the first subject (mean response):")
    for name, responses in done.predicted.items():
        click.echo(f"{name}  {'  '.join(f'{roi} {value:+.2f}' for roi, value in responses.items())}")
    click.echo(f"report: {done.output / 'report.html'}")
    if not all_recovered(done.recovered):
        click.echo("voxelcast: a planted layer was not found", err=True)
        sys.exit(1)
