"""``python -m benchmarks``: speed and memory, both sides in one run."""

from __future__ import annotations

from typing import Literal

import click

from voxelcast.cli.main import main


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
    from benchmarks.pls import benchmark_pls

    for line in benchmark_pls(
        stimuli, components, voxels, trials=trials, sampler=sampler, within_rank=within_rank, seed=seed
    ).lines():
        click.echo(line)


@benchmark.command()
@click.option("--encoders", help="Separated by commas; default: all that scikit-learn has too.")
@click.option("--trials", default=25, show_default=True)
def encoders(encoders: str | None, trials: int) -> None:
    """Time the 2021 way, scikit-learn under a Gaussian-process optimisation, and ours, for each encoder."""
    from benchmarks.encoders import ENCODERS, benchmark_encoders

    names = ENCODERS if encoders is None else tuple(encoders.split(","))
    for line in benchmark_encoders(encoders=names, trials=trials).lines():
        click.echo(line)


@benchmark.command()
@click.option("--draws", default=20, show_default=True, help="Independent draws of the simulated data.")
def selection(draws: int) -> None:
    """Measure the bias of selection on pure noise, and what is found again of planted layers and penalties."""
    from threadpoolctl import threadpool_limits

    from benchmarks.selection import benchmark_selection

    with threadpool_limits(limits=1):  # of so small products several threads only hold each other up
        for line in benchmark_selection(draws):
            click.echo(line)


@benchmark.command()
@click.option("--stimuli", default=1000, show_default=True)
@click.option("--voxels", default=20_000, show_default=True)
@click.option("--permutations", default=1000, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Threads.")
def permutation(stimuli: int, voxels: int, permutations: int, workers: int) -> None:
    """Time the permutation test of every voxel against the plain loop."""
    from benchmarks.permutation import benchmark_permutation

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
    from benchmarks.mini_track import benchmark_mini_track
    from voxelcast.datasets.formats.algonauts2021 import EXPECTED_VOXELS, MINI_ROIS, SUBJECTS

    counts = {subject: {roi: EXPECTED_VOXELS[subject][roi] for roi in MINI_ROIS} for subject in SUBJECTS[:subjects]}
    done = benchmark_mini_track(
        workers, voxel_counts=counts, n_layers=layers, encoders=encoders.split(","), nested=nested, n_outer=outer
    )
    for line in done.lines():
        click.echo(line)


@benchmark.command("whole-brain")
@click.option("--threads", default=1, show_default=True, help="Of the linear algebra.")
@click.option("--voxels", default=18_222, show_default=True)
@click.option("--layers", default=25, show_default=True)
@click.option("--encoders", default="pls", show_default=True, help="Separated by commas.")
def whole_brain(threads: int, voxels: int, layers: int, encoders: str) -> None:
    """Search all voxels of one subject together, with nested cross-validation and simulated responses."""
    from benchmarks.whole_brain import benchmark_whole_brain

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
    from benchmarks.steps import benchmark_steps
    from voxelcast.execution.profile import find_profile, load_profile

    profile = None if on is None else load_profile(find_profile(on))
    for line in benchmark_steps(steps, workers, solves, profile).lines():
        click.echo(line)


@benchmark.command("extract")
@click.option("--network", default="torchvision/resnet50", show_default=True)
@click.option("--layers", help="Separated by commas; default: those of docs/benchmarks.md, else algonauts2021.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["float32", "tf32", "bfloat16"]), default="bfloat16", show_default=True)
@click.option("--every", default=2, show_default=True, help="Look at every k-th frame.")
@click.option("--clips", default=8, show_default=True, help="3-second clips that ours sees.")
@click.option("--reference-clips", default=2, show_default=True, help="Clips that the 2021 way sees in each round.")
@click.option("--rounds", default=1, show_default=True, help="How often both are timed, in turns.")
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="Also time so many at once.")
@click.option("--workers", type=click.IntRange(1), help="Decoders; default: as many as there are cores.")
def extraction(
    network: str,
    layers: str | None,
    device: str,
    precision: Literal["float32", "tf32", "bfloat16"],
    every: int,
    clips: int,
    reference_clips: int,
    rounds: int,
    gpus: int,
    workers: int | None,
) -> None:
    """Time feature extraction frame by frame, as in 2021, and ours, from decoded frames and from mp4 files."""
    from benchmarks.extract import benchmark_extract

    done = benchmark_extract(
        network,
        layers=tuple(layers.split(",")) if layers else (),
        device=device,
        precision=precision,
        every=every,
        n_clips=clips,
        reference_clips=reference_clips,
        rounds=rounds,
        gpus=gpus,
        workers=workers,
    )
    for line in done.lines():
        click.echo(line)


@benchmark.command("fit-memory")
@click.option("--kind", type=click.Choice(["series", "brain"]), default="series", show_default=True)
@click.option("--samples", type=click.IntRange(50), help="Volumes or stimuli; default of all sizes: KIND's.")
@click.option("--folds", type=click.IntRange(3), help="Runs of a time series.")
@click.option("--layers", type=click.IntRange(1))
@click.option("--features", type=click.IntRange(2), help="Of each layer.")
@click.option("--components", type=click.IntRange(1), help="Of each layer.")
@click.option("--delays", type=click.IntRange(0))
@click.option("--voxels", type=click.IntRange(1))
@click.option("--encoders", help="Separated by commas.")
@click.option("--per", type=click.Choice(["roi", "voxel"]), help="Who chooses.")
@click.option("--ensemble", type=click.Choice(["none", "stacking", "average"]))
@click.option("--scratch", type=click.Path(), help="Folder for the features; default: a temporary one.")
def fit_memory(kind: str, encoders: str | None, scratch: str | None, **sizes: int | str | None) -> None:
    """Compress and fit a time series or a whole brain, and hold the memory it took against what the docs state."""
    from benchmarks.fit_memory import benchmark_fit_memory, memory_case

    changes = {name: value for name, value in sizes.items() if value is not None}
    case = memory_case(kind, {**changes, **({"encoders": tuple(encoders.split(","))} if encoders else {})})
    click.echo(case.line())
    for step in benchmark_fit_memory(case, scratch=scratch):
        click.echo(step.line())


@benchmark.command("memory")
@click.option("--network", default="torchvision/vgg19", show_default=True)
@click.option("--layers", default="algonauts2021", show_default=True, help="Separated by commas.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["float32", "tf32", "bfloat16"]), default="float32", show_default=True)
@click.option("--every", default=4, show_default=True, help="Look at every k-th frame.")
@click.option("--stimuli", default=40, show_default=True, help="1102 for the whole of the 2021 challenge.")
@click.option("--components", default=250, show_default=True)
@click.option("--scratch", type=click.Path(), help="Folder for the features; default: a temporary one.")
def memory(
    network: str,
    layers: str,
    device: str,
    precision: Literal["float32", "tf32", "bfloat16"],
    every: int,
    stimuli: int,
    components: int,
    scratch: str | None,
) -> None:
    """Extract and compress every layer of a network, and say how much memory and disk that took."""
    from benchmarks.memory import benchmark_memory

    done = benchmark_memory(
        network,
        layers=tuple(layers.split(",")),
        device=device,
        precision=precision,
        every=every,
        n_stimuli=stimuli,
        components=components,
        scratch=scratch,
        announce=click.echo,
    )
    for line in done.lines():
        click.echo(line)


if __name__ == "__main__":
    main(benchmark, "python -m benchmarks")
