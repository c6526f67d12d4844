"""``voxelcast extract``: features of a folder of stimuli, without responses."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from voxelcast.cli.progress import make_progress


@click.command()
@click.argument("stimuli", type=click.Path(path_type=Path))
@click.option("--network", default="voxelcast/motion_energy", show_default=True)
@click.option("--weights", help="default, random or a file; built-in networks have none.")
@click.option("--layers", default="*", show_default=True, help="Module paths or wildcards, separated by commas.")
@click.option("--every", type=int, help="Keep every k-th frame; default 1.")
@click.option("--frames", type=int, help="Keep n frames, evenly spaced.")
@click.option("--hz", type=float, help="Look so often per second.")
@click.option("--pool", default="mean", show_default=True, help="Over time.")
@click.option("--spatial-pool", default="none", show_default=True, help="First: mean, grid(k) or pyramid(1,2,4).")
@click.option("--input-size", type=int)
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["float32", "tf32", "bfloat16"]), default="float32", show_default=True)
@click.option("--recursive", is_flag=True, help="Look into sub-folders.")
@click.option("--keep-suffix", is_flag=True, help="Ids keep the file's suffix: clip.mp4 and clip.webm are two.")
@click.option(
    "--broken-stimuli", "--broken", "broken", type=click.Choice(["stop", "skip"]), default="stop", show_default=True
)
@click.option("--output", type=click.Path(path_type=Path), required=True)
@click.option("--on", metavar="PROFILE", help="Where to run: a profile's file or name (docs/clusters.md).")
def extract(
    stimuli: Path,
    network: str,
    weights: str | None,
    layers: str,
    every: int | None,
    frames: int | None,
    hz: float | None,
    pool: str,
    spatial_pool: str,
    input_size: int | None,
    seed: int,
    device: str,
    precision: Literal["float32", "tf32", "bfloat16"],
    recursive: bool,
    keep_suffix: bool,
    broken: Literal["stop", "skip"],
    output: Path,
    on: str | None,
) -> None:
    """Extract time-pooled features of every video or image in STIMULI (a folder or a zip).

    Writes OUTPUT/<layer>.npy (n_stimuli, n_features) and OUTPUT/stimuli.csv: a row for each file, with the frames used
    or the reason why it could not be read. Run the same command again after a kill: it goes on where it was; voxelcast
    status OUTPUT says how far it is.
    """
    from voxelcast.execution.profile import chosen_profile
    from voxelcast.experiment.extraction import FolderExtraction, extract_folder
    from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
    from voxelcast.stimuli.sampling import FrameSampling

    chosen = NetworkSettings(network, tuple(layers.split(",")), weights, input_size=input_size, precision=precision)
    if every is None and frames is None and hz is None:
        every = 1
    sampling = FrameSampling(every=every, n=frames, hz=hz)
    settings = ExtractionSettings(sampling, (pool,), spatial_pool, broken)
    wanted = FolderExtraction(stimuli, chosen, settings, seed, device, recursive, keep_suffix)
    records = extract_folder(wanted, output, progress=make_progress(), on=chosen_profile(on))
    for record in records:
        if record["broken"]:
            click.echo(f"left out: {record['broken']}")
    readable = sum(not record["broken"] for record in records)
    click.echo(f"{readable} of {len(records)} stimuli read, features in {output}")
