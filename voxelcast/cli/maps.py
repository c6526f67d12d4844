"""``voxelcast maps``: an experiment's values put where its voxels are in the brain."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from voxelcast.cli.dataset_option import open_dataset


@click.command()
@click.argument("output", type=click.Path(path_type=Path))
@click.option(
    "--quantity", "quantities", multiple=True, help="E.g. pearson_r; repeat for several. Default: the main ones."
)
@click.option("--dataset", "source", metavar="KIND:ROOT|FILE", help="Default: that of OUTPUT/config.yaml.")
@click.option(
    "--affine",
    "image",
    type=click.Path(path_type=Path),
    help="A NIfTI file of the same grid, where the dataset does not say where it lies (Algonauts 2021: example.nii).",
)
@click.option("--pictures/--no-pictures", default=True, help="Draw each map as PNG too, for the report.")
def maps(output: Path, quantities: tuple[str, ...], source: str | None, image: Path | None, pictures: bool) -> None:
    """Write OUTPUT/brain_maps/<subject>_<quantity>.nii.gz (volumes) or _hemi-L/R.func.gii (surfaces), and pictures.

    OUTPUT is the output folder of a run or of voxelcast score. The report, where there is one, is written again with
    the pictures in it.
    """
    from voxelcast.report.brain_maps import (
        FOLDER,
        VolumeMap,
        choose_quantities,
        make_map,
        read_affine,
        read_voxels,
        write_map,
    )
    from voxelcast.report.page import write_report

    dataset = open_dataset(source or str(output / "config.yaml"))
    found = read_voxels(output, dataset)
    for subject, voxels in found.items():
        for quantity in choose_quantities(voxels, quantities):
            there = {roi: values[quantity] for roi, values in voxels.items() if quantity in values}
            brain_map = make_map(dataset, subject, there)
            if image is not None and isinstance(brain_map, VolumeMap):
                brain_map = replace(brain_map, affine=read_affine(image, brain_map.values.shape))
            name = f"{subject}_{quantity}"
            written = write_map(output / FOLDER, name, brain_map)
            if pictures:
                from voxelcast.report.brain_pictures import draw_map

                written.append(draw_map(output / FOLDER / f"{name}.png", brain_map, subject, quantity))
            click.echo(f"{subject} {quantity}: {', '.join(path.name for path in written)}")
    absent = [f"{s} {roi}" for s in dataset.subjects for roi in dataset.rois(s) if roi not in found.get(s, {})]
    if absent:
        click.echo(f"not on the maps, as {output / 'voxels'} has no values of them: {', '.join(absent)}", err=True)
    click.echo(f"maps in {output / FOLDER}")
    if (output / "report.html").is_file():
        click.echo(f"report: {write_report(output)}")
