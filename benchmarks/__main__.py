"""``python -m benchmarks``: speed and memory, both sides in one run. README.md says what each measures."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click

from benchmarks.growth import AXES, Work, benchmark_growth, growth_lines
from benchmarks.honesty import SECTIONS, benchmark_honesty
from benchmarks.peers import WORKS
from voxelcast.cli.main import main
from voxelcast.cli.options import PATH, names

_DEVICE = click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
_PRECISION = click.Choice(["float32", "tf32", "bfloat16"])
_ENCODERS = click.option("--encoders", type=names, default="pls", show_default=True, help="Separated by commas.")
_SCRATCH = click.option("--scratch", type=click.Path(), help="Folder for the features; default: a temporary one.")


def _say(lines: list[str]) -> None:
    for line in lines:
        click.echo(line)


@click.group()
def benchmark() -> None:
    """Speed, both sides in one run."""


@benchmark.command()
@click.option("--stimuli", "n_stimuli", default=1000, show_default=True)
@click.option("--components", "n_features", default=50, show_default=True, help="Number of features.")
@click.option("--voxels", "n_voxels", default=232, show_default=True, help="V1 of subject 1 has 232.")
@click.option("--trials", default=25, show_default=True, help="Proposals of the Bayesian optimisation.")
@click.option("--sampler", type=click.Choice(["gp", "tpe"]), default="gp", show_default=True)
@click.option(
    "--within-rank", is_flag=True, help="Propose no more components than there are; in 2021 it was up to 100."
)
@click.option("--seed", default=0, show_default=True)
def pls(n_stimuli: int, n_features: int, n_voxels: int, **options: Any) -> None:
    """Time scikit-learn's PLSRegression under Bayesian optimisation, and our exact search, on one subject x ROI."""
    from benchmarks.pls import benchmark_pls
    from benchmarks.simulation import PairSize

    _say(benchmark_pls(PairSize(n_stimuli, n_features, n_voxels), **options).lines())


@benchmark.command()
@_DEVICE
@click.option("--videos", "n_videos", default=1000, show_default=True)
@click.option("--voxels", "n_voxels", default=29_623, show_default=True, help="Nine ROIs of ten subjects have 29,623.")
@click.option("--epochs", default=45, show_default=True)
@click.option(
    "--side", default=10, show_default=True, help="Maps are averaged to so many places a side; 0: as they are."
)
@click.option("--trainings", type=int, help="So many of the 11 trainings of 10 folds; default: all.")
def readout(device: str, trainings: int | None, **sizes: Any) -> None:
    """Time readouts of ResNet-50's maps for all ROIs at once, and the forward and backward pass alone."""
    from benchmarks.readout import ReadoutTrack, benchmark_readout

    _say(benchmark_readout(ReadoutTrack(**sizes), device, trainings).lines())


@benchmark.command()
@click.option("--encoders", type=names, help="Separated by commas; default: all that scikit-learn has too.")
@click.option("--trials", default=25, show_default=True)
def encoders(encoders: tuple[str, ...] | None, trials: int) -> None:
    """Time the 2021 way, scikit-learn under a Gaussian-process optimisation, and ours, for each encoder."""
    from benchmarks.encoders import ENCODERS, benchmark_encoders
    from benchmarks.simulation import PairSize

    _say(benchmark_encoders(PairSize(), encoders=encoders or ENCODERS, trials=trials).lines())


@benchmark.command()
@click.option("--network", default="torchvision/resnet50", show_default=True)
@click.option("--images", default=64, show_default=True)
@click.option("--voxels", default=18_222, show_default=True)
@click.option("--components", default=50, show_default=True)
@click.option("--one-layer", is_flag=True, help="Of the last layer alone; default: all 25 stacked.")
@click.option("--rounds", default=3, show_default=True)
@_DEVICE
def models(network: str, one_layer: bool, rounds: int, **sizes: Any) -> None:
    """Weigh and load a saved model, and time prediction and plain extraction on the same images, in turns."""
    from benchmarks.models import ModelCase, benchmark_models

    _say(benchmark_models(ModelCase(network, stacked=not one_layer, **sizes), rounds).lines())


@benchmark.command()
@click.option("--draws", default=20, show_default=True, help="Independent draws of the simulated data.")
def selection(draws: int) -> None:
    """Measure the bias of selection on pure noise, and what is found again of planted layers and penalties."""
    from threadpoolctl import threadpool_limits

    from benchmarks.selection import benchmark_selection

    with threadpool_limits(limits=1):  # of so small products several threads only hold each other up
        _say(benchmark_selection(draws))


@benchmark.command()
@click.option("--stimuli", "n_stimuli", default=1000, show_default=True)
@click.option("--voxels", "n_voxels", default=20_000, show_default=True)
@click.option("--permutations", "n_permutations", default=1000, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Threads.")
def permutation(**options: Any) -> None:
    """Time the permutation test of every voxel against the plain loop."""
    from benchmarks.permutation import benchmark_permutation

    _say(benchmark_permutation(**options).lines())


@benchmark.command()
@_DEVICE
@click.option("--scale", default=1.0, show_default=True, help="Of stimuli, features and voxels.")
@click.option("--work", "works", multiple=True, type=click.Choice(WORKS), help="Repeatable; default: all.")
@click.option("--weights", default=3, show_default=True, help="Of the bands, that joint ridge tries.")
def peers(works: tuple[str, ...], **options: Any) -> None:
    """Time ridge, kernel ridge, stacking, PLS, joint ridge and permutations beside peers, on one device."""
    from benchmarks.peers import PeerRace, benchmark_peers

    for line in benchmark_peers(PeerRace(works=works or WORKS, **options)):
        click.echo(line)


@benchmark.command()
@_DEVICE
@click.option("--subjects", default=8, show_default=True)
@click.option("--layers", default=10, show_default=True)
@click.option("--stimuli", default=9000, show_default=True)
@click.option("--features", default=1000, show_default=True)
@click.option("--voxels", default=20_000, show_default=True)
@click.option("--folds", default=5, show_default=True)
def nsd(**options: Any) -> None:
    """Time whole subjects of NSD's size: every voxel chooses its layer and penalty, nested."""
    from benchmarks.nsd import Subjects, benchmark_subjects

    for line in benchmark_subjects(Subjects(**options)):
        click.echo(line)


@benchmark.command()
@_DEVICE
@click.option("--subjects", type=click.IntRange(1, 10), help="Default: the challenge's 10.")
@click.option("--videos", type=click.IntRange(20), help="Default: the challenge's 1,102; a tenth is held out.")
@click.option("--voxels", type=click.IntRange(1), help="Of each ROI; default: the challenge's.")
@click.option("--size", type=click.IntRange(16), help="Height and width of the videos in pixels.")
@click.option("--network", default="torchvision/resnet50", show_default=True)
@click.option("--input-size", type=click.IntRange(16), help="The network's; default: its own.")
@click.option("--layers", type=names, default="algonauts2021", show_default=True, help="Separated by commas.")
@click.option("--every", default=4, show_default=True, help="Look at every k-th frame.")
@click.option("--encoders", type=names, default="pls,ridge", show_default=True, help="Separated by commas.")
@click.option("--components", default=50, show_default=True)
@click.option("--features-as", type=click.Choice(["float16", "float32"]), default="float16", show_default=True)
@click.option("--workers", type=click.IntRange(1), help="Default: as many as there are cores.")
@_SCRATCH
def challenge(scratch: str | None, **options: Any) -> None:
    """Run the whole 2021 challenge, from mp4 to submission and report: seconds, disk, files and memory by stage."""
    from benchmarks.challenge import Challenge, benchmark_challenge

    with tempfile.TemporaryDirectory() as temporary:
        _say(benchmark_challenge(Challenge(**options), Path(scratch or temporary)).lines())


@benchmark.command("mini-track")
@click.option("--workers", default=2, show_default=True)
@click.option("--layers", default=25, show_default=True)
@click.option("--subjects", type=click.IntRange(1, 10), default=10, show_default=True)
@_ENCODERS
@click.option("--nested", is_flag=True, help="Nested cross-validation too.")
@click.option("--outer", "n_outer", default=0, show_default=True, help="Score by so many outer folds of their own.")
def mini_track(layers: int, subjects: int, **options: Any) -> None:
    """Search, select and refit all 90 subject x ROI of the mini track at its real size, with simulated responses."""
    from benchmarks.mini_track import MiniTrack, benchmark_mini_track, mini_track_voxels
    from benchmarks.simulation import TrackSize

    track = MiniTrack(voxels=mini_track_voxels(subjects), size=TrackSize(n_layers=layers), **options)
    _say(benchmark_mini_track(track).lines())


@benchmark.command()
@click.option("--encoders", type=names, default="ridge,pls", show_default=True, help="Linear ones.")
@click.option("--axes", type=names, default=",".join(AXES), show_default=True, help="What is doubled, in turn.")
@click.option("--stimuli", default=1000, show_default=True)
@click.option("--features", default=50, show_default=True)
@click.option("--voxels", default=500, show_default=True)
def growth(encoders: tuple[str, ...], axes: tuple[str, ...], **sizes: int) -> None:
    """Double stimuli, features, voxels, layers and subjects three times: how time and memory of the search grow."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        for line in growth_lines(benchmark_growth(Work(**sizes), encoders, axes)):
            click.echo(line)


@benchmark.command()
@click.option("--stimuli", default=10_000, show_default=True)
@click.option("--features", default=100, show_default=True)
@click.option("--voxels", default=19_000, show_default=True)
@click.option("--folds", default=4, show_default=True)
@click.option("--memory", default=300e6, show_default=True, help="Bytes that the fit may hold.")
@_SCRATCH
def large(**options: Any) -> None:
    """Fit files that are larger than the memory allowed, and compare memory and scores with the fit in memory."""
    from benchmarks.large import LargeFit, benchmark_large

    for line in benchmark_large(LargeFit(**options)):
        click.echo(line)


@benchmark.command("whole-brain")
@click.option("--threads", default=1, show_default=True, help="Of the linear algebra.")
@click.option("--voxels", default=18_222, show_default=True)
@click.option("--layers", default=25, show_default=True)
@_ENCODERS
def whole_brain(threads: int, voxels: int, layers: int, encoders: tuple[str, ...]) -> None:
    """Search all voxels of one subject together, with nested cross-validation and simulated responses."""
    from benchmarks.simulation import TrackSize
    from benchmarks.whole_brain import benchmark_whole_brain

    _say(benchmark_whole_brain(voxels, TrackSize(n_layers=layers), threads=threads, encoders=encoders).lines())


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
    _say(benchmark_steps(steps, workers, solves, profile).lines())


@benchmark.command("extract")
@click.option("--network", default="torchvision/resnet50", show_default=True)
@click.option(
    "--layers",
    type=names,
    default="",
    help="Separated by commas; default: those of docs/benchmarks.md, else algonauts2021.",
)
@_DEVICE
@click.option("--precision", type=_PRECISION, default="bfloat16", show_default=True)
@click.option("--every", default=2, show_default=True, help="Look at every k-th frame.")
@click.option("--clips", default=8, show_default=True, help="3-second clips that ours sees.")
@click.option("--reference-clips", default=2, show_default=True, help="Clips that the 2021 way sees in each round.")
@click.option("--rounds", default=1, show_default=True, help="How often both are timed, in turns.")
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="Also time so many at once.")
@click.option("--workers", type=click.IntRange(1), help="Decoders; default: as many as there are cores.")
def extraction(**options: Any) -> None:
    """Time feature extraction frame by frame, as in 2021, and ours, from decoded frames and from mp4 files."""
    from benchmarks.extract import Extraction, benchmark_extract

    _say(benchmark_extract(Extraction(**options)).lines())


@benchmark.command("extract-parts")
@click.option("--network", default="torchvision/resnet50", show_default=True)
@click.option("--layers", type=names, default="", help="As of extract.")
@_DEVICE
@click.option("--precision", type=_PRECISION, default="bfloat16", show_default=True)
@click.option("--every", default=2, show_default=True, help="Look at every k-th frame.")
@click.option("--clips", default=8, show_default=True, help="3-second clips, of the mean; of other pools fewer.")
@click.option("--workers", type=click.IntRange(1), help="Decoders; default: as many as there are cores.")
@click.option("--pools", type=names, default="mean,max,median,bold,none", show_default=True)
def extraction_parts(pools: tuple[str, ...], **options: Any) -> None:
    """Time the parts of an extraction: decoding, copies, preparation, the forward pass, sums, and each pool whole."""
    from benchmarks.extract import Extraction
    from benchmarks.extract_parts import benchmark_parts

    for line in benchmark_parts(Extraction(**options), pools):
        click.echo(line)


@benchmark.command("transformers")
@_DEVICE
@click.option("--precision", type=_PRECISION, default="bfloat16", show_default=True)
@click.option("--stimuli", type=click.IntRange(1), default=32, show_default=True, help="Videos of 64 frames.")
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--small", is_flag=True, help="Narrow networks of five layers, to see that it works.")
def transformers(**options: Any) -> None:
    """Time extraction with V-JEPA2-g- and ViT-g-sized networks, and their forward pass alone."""
    from benchmarks.transformers_extract import GiantExtraction, benchmark_transformers

    for times in benchmark_transformers(GiantExtraction(**options)):
        _say(times.lines())


@benchmark.command()
@click.option("--maps", default=320, show_default=True, help="Volumes of the file.")
@click.option("--shape", type=click.IntRange(2), nargs=3, default=(91, 109, 91), show_default=True)
@click.option("--dtype", type=click.Choice(["int16", "float32"]), default="int16", show_default=True)
@click.option("--rois", type=click.IntRange(1), multiple=True, default=(1, 3, 9), show_default=True)
@click.option("--voxels", default=500, show_default=True, help="Of each ROI.")
@click.option("--rounds", default=2, show_default=True, help="How often both sides read, in turns.")
@click.option("--plain", type=click.Choice(["nibabel", "stream"]), default="nibabel", show_default=True)
@_SCRATCH
def reading(scratch: str | None, **options: Any) -> None:
    """Read several ROIs' responses from one .nii.gz, and the whole file once with nibabel."""
    from benchmarks.reading import Reading, benchmark_reading

    _say(benchmark_reading(Reading(**options), scratch=scratch).lines())


@benchmark.command("fit-memory")
@click.option("--kind", type=click.Choice(["series", "brain"]), default="series", show_default=True)
@click.option("--samples", type=click.IntRange(50), help="Volumes or stimuli; default of all sizes: KIND's.")
@click.option("--folds", type=click.IntRange(3), help="Runs of a time series.")
@click.option("--layers", type=click.IntRange(1))
@click.option("--features", type=click.IntRange(2), help="Of each layer.")
@click.option("--components", type=click.IntRange(1), help="Of each layer.")
@click.option("--delays", type=click.IntRange(0))
@click.option("--voxels", type=click.IntRange(1))
@click.option("--encoders", type=names, help="Separated by commas.")
@click.option("--per", type=click.Choice(["roi", "voxel"]), help="Who chooses.")
@click.option("--ensemble", type=click.Choice(["none", "stacking", "average"]))
@_SCRATCH
def fit_memory(kind: str, scratch: str | None, **sizes: Any) -> None:
    """Compress and fit a time series or a whole brain, and hold the memory it took against what the docs state."""
    from benchmarks.fit_memory import benchmark_fit_memory, memory_case

    case = memory_case(kind, {name: value for name, value in sizes.items() if value is not None})
    click.echo(case.line())
    _say([step.line() for step in benchmark_fit_memory(case, scratch=scratch)])


@benchmark.command("memory")
@click.option("--network", default="torchvision/vgg19", show_default=True)
@click.option("--layers", type=names, default="algonauts2021", show_default=True, help="Separated by commas.")
@_DEVICE
@click.option("--precision", type=_PRECISION, default="float32", show_default=True)
@click.option("--every", default=4, show_default=True, help="Look at every k-th frame.")
@click.option("--stimuli", default=40, show_default=True, help="1102 for the whole of the 2021 challenge.")
@click.option("--components", default=250, show_default=True)
@_SCRATCH
def memory(scratch: str | None, **options: Any) -> None:
    """Extract and compress every layer of a network, and say how much memory and disk that took."""
    from benchmarks.memory import Extraction, benchmark_memory

    _say(benchmark_memory(Extraction(**options), scratch=scratch, announce=click.echo).lines())


@benchmark.command("repository-2021")
@click.argument("checkout", type=PATH)
@click.option("--networks", type=names, default="alexnet,resnet18,simclr_r50_1x_sk0_100pct", show_default=True)
@click.option("--train", "n_train", default=70, show_default=True, help="Videos.")
@click.option("--test", "n_test", default=10, show_default=True, help="Videos.")
@click.option("--trials", default=3, show_default=True, help="Proposals that the repository tries for each layer.")
def repository_2021(checkout: Path, **options: Any) -> None:
    """Compare the numbers of CHECKOUT, of RobertTLange/algonauts-2021, with those of voxelcast."""
    from benchmarks.repository_2021 import Comparison, compare

    compare(Comparison(checkout, **options), click.echo)


@benchmark.command()
@_DEVICE
@click.option("--parcels", default=1000, show_default=True)
@click.option("--volumes", default=300, show_default=True, help="Of each of ten runs.")
@click.option("--windows", default=2000, show_default=True, help="In each of ten epochs.")
@click.option("--medarc/--no-medarc", default=True, show_default=True, help="Time one model of 3.4 million weights.")
@click.option(
    "--only", "parts", multiple=True, type=click.Choice(["kernels", "subjects", "modalities"]), help="Repeatable."
)
def temporal(device: str, parcels: int, volumes: int, windows: int, parts: tuple[str, ...], *, medarc: bool) -> None:
    """Compare temporal kernels, many subjects with one, and modalities, on a miniature of the 2025 challenge."""
    from benchmarks.temporal import PARTS, MovieSize, benchmark_temporal, time_medarc
    from voxelcast.encoders.learned.trunk_settings import TrunkSettings

    settings = TrunkSettings("temporal", windows=windows)
    if medarc:
        click.echo(time_medarc(replace(settings, shared_head=True), parcels=parcels, device=device)[0])
    size = MovieSize(parcels=parcels, volumes=volumes)
    _say(benchmark_temporal(size, settings, parts=parts or PARTS, device=device)[0])


@benchmark.command()
@click.option("--subjects", default=10, show_default=True)
@click.option("--stimuli", default=100, show_default=True, help="Of each subject, the same ones.")
@click.option("--voxels", default=30, show_default=True)
@click.option("--kind", type=click.Choice(["linear", "mlp"]), default="linear", show_default=True)
def trunks(kind: Literal["linear", "mlp"], **sizes: int) -> None:
    """Compare nested scores of many subjects in one model with those of single subjects, on simulated responses."""
    from benchmarks.trunks import SubjectsSize, benchmark_trunks
    from voxelcast.encoders.learned.trunk_settings import TrunkSettings

    _say(benchmark_trunks(SubjectsSize(**sizes), TrunkSettings(kind))[0])


@benchmark.command("honesty")
@click.option("--draws", default=300, show_default=True, help="Simulated data sets a cell.")
@click.option("--section", "sections", multiple=True, type=click.Choice(SECTIONS), help="Repeatable; default: all.")
@click.option("--seed", default=0, show_default=True)
@click.option("--workers", default=2, show_default=True, help="Processes of one thread each.")
def honesty(draws: int, sections: tuple[str, ...], seed: int, workers: int) -> None:
    """Hold what is claimed of scores, intervals, ceilings and tests against simulations with a known truth."""
    for line in benchmark_honesty(sections or SECTIONS, draws, seed, workers):
        click.echo(line)


if __name__ == "__main__":
    main(benchmark, "python -m benchmarks")
