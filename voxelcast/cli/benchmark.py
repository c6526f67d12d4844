"""``voxelcast benchmark``: speed, both sides in one run."""

from __future__ import annotations

from typing import Literal

import click


@click.group()
def benchmark() -> None:
    """Speed, both sides in one run."""


@benchmark.command()
@click.option("--stimuli", default=1000, show_default=True)
@click.option("--components", default=50, show_default=True, help="Number of features.")
@click.option("--voxels", default=232, show_default=True, help="V1 of subject 1 has 232.")
@click.option("--trials", default=25, show_default=True, help="Proposals of the Bayesian optimisation.")
@click.option("--sampler", type=click.Choice(["gp", "tpe"]), default="gp", show_default=True)
@click.option(
    "--within-rank", is_flag=True, help="Propose no more components than there are; in 2021 it was up to 100."
)
@click.option("--seed", default=0, show_default=True)
def pls(
    stimuli: int, components: int, voxels: int, trials: int, sampler: Literal["gp", "tpe"], within_rank: bool, seed: int
) -> None:
    """Time scikit-learn's PLSRegression under Bayesian optimisation, and our exact search, on one subject x ROI."""
    from voxelcast.benchmarks.pls import benchmark_pls

    for line in benchmark_pls(
        stimuli, components, voxels, trials=trials, sampler=sampler, within_rank=within_rank, seed=seed
    ).lines():
        click.echo(line)


@benchmark.command()
@click.option("--encoders", help="Separated by commas; default: all that scikit-learn has too.")
@click.option("--trials", default=25, show_default=True)
def encoders(encoders: str | None, trials: int) -> None:
    """Time the 2021 way, scikit-learn under a Gaussian-process optimisation, and ours, for each encoder."""
    from voxelcast.benchmarks.encoders import ENCODERS, benchmark_encoders

    names = ENCODERS if encoders is None else tuple(encoders.split(","))
    for line in benchmark_encoders(encoders=names, trials=trials).lines():
        click.echo(line)


@benchmark.command()
@click.option("--stimuli", default=1000, show_default=True)
@click.option("--voxels", default=20_000, show_default=True)
@click.option("--permutations", default=1000, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Threads.")
def permutation(stimuli: int, voxels: int, permutations: int, workers: int) -> None:
    """Time the permutation test of every voxel against the plain loop."""
    from voxelcast.benchmarks.permutation import benchmark_permutation

    for line in benchmark_permutation(stimuli, voxels, permutations, workers).lines():
        click.echo(line)


@benchmark.command("mini-track")
@click.option("--workers", default=2, show_default=True)
@click.option("--layers", default=25, show_default=True)
@click.option("--subjects", type=click.IntRange(1, 10), default=10, show_default=True)
@click.option("--encoders", default="pls", show_default=True, help="Separated by commas.")
@click.option("--nested", is_flag=True, help="Nested cross-validation too.")
@click.option("--outer", default=0, show_default=True, help="Judge by so many outer folds of their own instead.")
def mini_track(workers: int, layers: int, subjects: int, encoders: str, nested: bool, outer: int) -> None:
    """Search, select and refit all 90 subject x ROI of the mini track at its real size, with simulated responses."""
    from voxelcast.benchmarks.mini_track import benchmark_mini_track
    from voxelcast.datasets.algonauts2021 import EXPECTED_VOXELS, MINI_ROIS, SUBJECTS

    counts = {subject: {roi: EXPECTED_VOXELS[subject][roi] for roi in MINI_ROIS} for subject in SUBJECTS[:subjects]}
    done = benchmark_mini_track(
        workers, voxel_counts=counts, n_layers=layers, encoders=encoders.split(","), nested=nested, n_outer=outer
    )
    for line in done.lines():
        click.echo(line)


@benchmark.command("whole-brain")
@click.option("--threads", default=2, show_default=True, help="Of the linear algebra.")
@click.option("--voxels", default=18_222, show_default=True)
@click.option("--layers", default=25, show_default=True)
@click.option("--encoders", default="pls", show_default=True, help="Separated by commas.")
def whole_brain(threads: int, voxels: int, layers: int, encoders: str) -> None:
    """Search all voxels of one subject together, with nested cross-validation and simulated responses."""
    from voxelcast.benchmarks.whole_brain import benchmark_whole_brain

    done = benchmark_whole_brain(voxels, threads=threads, n_layers=layers, encoders=encoders.split(","))
    for line in done.lines():
        click.echo(line)


@benchmark.command()
@click.option("--steps", default=2250, show_default=True, help="90 subject x ROI times 25 layers.")
@click.option("--workers", default=2, show_default=True)
@click.option("--solves", default=5, show_default=True, help="200 x 200 eigendecompositions in each step.")
@click.option("--on", metavar="PROFILE", help="Where to run: a profile's file or name (docs/clusters.md).")
def steps(steps: int, workers: int, solves: int, on: str | None) -> None:
    """Run many small steps through workers and say what share of their time goes into anything but the work."""
    from voxelcast.benchmarks.steps import benchmark_steps
    from voxelcast.execution.profile import find_profile, load_profile

    profile = None if on is None else load_profile(find_profile(on))
    for line in benchmark_steps(steps, workers, solves, profile).lines():
        click.echo(line)
