"""``voxelcast extract``: features of a folder of stimuli, without responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from voxelcast.cli.options import ON, PATH, names, take_settings
from voxelcast.cli.progress import make_progress


@click.command()
@click.argument("source", metavar="STIMULI", type=PATH)
@click.option("--network", "name", default="voxelcast/motion_energy", show_default=True)
@click.option("--weights", help="default, random or a file; built-in networks have none.")
@click.option(
    "--layers", type=names, default="*", show_default=True, help="Module paths or wildcards, separated by commas."
)
@click.option("--every", type=int, help="Keep every k-th frame; default 1.")
@click.option("--frames", "n", type=int, help="Keep n frames, evenly spaced.")
@click.option("--hz", type=float, help="Look so often per second.")
@click.option("--pool", "pools", default="mean", show_default=True, help="Over time.")
@click.option("--spatial-pool", default="none", show_default=True, help="First: mean, grid(k) or pyramid(1,2,4).")
@click.option("--input-size", type=int)
@click.option("--seed", default=0, show_default=True)
@click.option("--device", default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["float32", "tf32", "bfloat16"]), default="float32", show_default=True)
@click.option("--recursive", is_flag=True, help="Look into sub-folders.")
@click.option("--keep-suffix", is_flag=True, help="Ids keep the file's suffix: clip.mp4 and clip.webm are two.")
@click.option(
    "--broken-stimuli", "--broken", "on_broken", type=click.Choice(["stop", "skip"]), default="stop", show_default=True
)
@click.option("--output", type=PATH, required=True)
@ON
def extract(output: Path, on: str | None, **options: Any) -> None:
    """Extract time-pooled features of every video or image in STIMULI (a folder or a zip).

    Writes OUTPUT/<layer>.npy (n_stimuli, n_features) and OUTPUT/stimuli.csv: a row for each file, with the frames used
    or the reason why it could not be read. Run the same command again after a kill: it goes on where it was; voxelcast
    status OUTPUT says how far it is.
    """
    from voxelcast.execution.profile import chosen_profile
    from voxelcast.experiment.extraction import FolderExtraction, extract_folder
    from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
    from voxelcast.stimuli.sampling import FrameSampling

    if options["every"] is options["n"] is options["hz"] is None:
        options["every"] = 1
    network = take_settings(NetworkSettings, options)
    settings = take_settings(ExtractionSettings, options, sampling=take_settings(FrameSampling, options))
    extraction = take_settings(FolderExtraction, options, network=network, settings=settings)
    records = extract_folder(extraction, output, progress=make_progress(), on=chosen_profile(on))
    for record in records:
        if record["broken"]:
            click.echo(f"left out: {record['broken']}")
    readable = sum(not record["broken"] for record in records)
    click.echo(f"{readable} of {len(records)} stimuli read, features in {output}")
