"""``voxelcast report``, ``figures``, ``maps`` and ``view``: pages and pictures of the results of experiments."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from voxelcast.cli.options import DATASET, OUTPUTS, PATH, names, open_dataset
from voxelcast.core.errors import DataError, MissingPackageError


@click.command()
@OUTPUTS
@click.option("--output", "path", type=PATH, help="HTML file of the comparison; default comparison.html.")
def report(outputs: tuple[Path, ...], path: Path | None) -> None:
    """Write OUTPUT/report.html again from the files in OUTPUT; of several OUTPUTs, a page that compares them."""
    from voxelcast.report.comparison_page import write_comparison
    from voxelcast.report.page import write_report

    if len(outputs) == 1:
        if path is not None:
            raise click.UsageError("--output is for comparisons; the report of one experiment lies in its own folder")
        click.echo(f"report: {write_report(outputs[0])}")
        return
    click.echo(f"comparison: {write_comparison(outputs, path or Path('comparison.html'))}")


@click.command()
@click.argument("output", type=PATH)
@click.option("--to", type=PATH, help="A new folder; default OUTPUT/figures.")
@click.option("--format", "formats", type=names, default="pdf", show_default=True, help="Of pdf, svg, png; by commas.")
@click.option("--columns", type=click.IntRange(1, 2), default=1, show_default=True, help="Width: of a page's columns.")
def figures(output: Path, to: Path | None, formats: tuple[str, ...], columns: int) -> None:
    """Draw the figures of OUTPUT for a paper, and write its scores as a LaTeX table."""
    from voxelcast.report.paper import write_figures
    from voxelcast.results.read import read_results

    for path in write_figures(read_results(output), to or output / "figures", formats, columns=columns):
        click.echo(path)


@click.command()
@click.argument("output", type=PATH)
@click.option(
    "--quantity", "quantities", multiple=True, help="E.g. pearson_r; repeat for several. Default: the main ones."
)
@click.option("--dataset", "source", metavar=DATASET, help="Default: that of OUTPUT/config.yaml.")
@click.option(
    "--affine",
    "image",
    type=PATH,
    help="A NIfTI file of the same grid, where the dataset does not say where it lies (Algonauts 2021: example.nii).",
)
@click.option("--space", type=click.Choice(["MNI", "native"]), help="Where the files do not say it, or say it wrongly.")
@click.option("--significant", type=float, metavar="Q", help="Leave out voxels whose q-value is above Q, e.g. 0.05.")
@click.option("--pictures/--no-pictures", default=True, help="Draw each map, for the report: PNG and interactive.")
@click.option("--bids", type=PATH, metavar="FOLDER", help="Write a BIDS derivative instead: a new folder.")
def maps(
    output: Path,
    quantities: tuple[str, ...],
    source: str | None,
    image: Path | None,
    space: str | None,
    significant: float | None,
    pictures: bool,
    bids: Path | None,
) -> None:
    """Write OUTPUT/brain_maps/<subject>_<quantity>.nii.gz (volumes) or _hemi-L/R.func.gii (surfaces), and pictures.

    OUTPUT is the output folder of a run or of voxelcast score. Volumes in MNI coordinates are drawn as glass brains,
    others in slices of their own grid, surfaces where they are of fsaverage; a quantity has one colour scale for all
    subjects. Beside a picture of MNI or fsaverage, a page (.html) shows all slices, or turns the surface. The report,
    where there is one, is written again with the pictures in it. With --bids instead a map per subject, ROI and
    quantity, e.g. FOLDER/sub-01/func/sub-01_task-x_space-T1w_roi-V1_stat-r_statmap.nii.gz.
    """
    from voxelcast.report import brain_maps
    from voxelcast.report.page import write_report
    from voxelcast.results.schema import pair_name

    dataset = open_dataset(source or str(output / "config.yaml"))
    found = brain_maps.read_voxels(output, dataset)
    if significant is not None:
        found = {subject: brain_maps.only_significant(voxels, significant) for subject, voxels in found.items()}
    if bids is not None:
        from voxelcast.report.bids_maps import write_derivatives

        by_roi = {f"{subject} {roi}": there for subject, rois in found.items() for roi, there in rois.items()}
        chosen = brain_maps.choose_quantities(by_roi, quantities)
        written = write_derivatives(bids, output, dataset, found, chosen, image=image, space=space)
        click.echo(f"BIDS derivative in {bids}: {len(written)} images")
        return
    made: dict[str, dict[str, brain_maps.BrainMap]] = {}
    elsewhere: dict[str, int] = {}
    no_picture: dict[str, None] = {}
    for subject, shown in found.items():
        for quantity in brain_maps.choose_quantities(shown, quantities):
            there = {roi: values[quantity] for roi, values in shown.items() if quantity in values}
            brain_map = brain_maps.place_map(brain_maps.make_map(dataset, subject, there), image, space)
            made.setdefault(quantity, {})[subject] = brain_map
            if isinstance(brain_map, brain_maps.SurfaceMap):
                elsewhere[subject] = max(elsewhere.get(subject, 0), brain_map.n_elsewhere)
    for quantity, by_subject in made.items():
        for subject, brain_map in by_subject.items():
            name = pair_name(subject, quantity)
            written = brain_maps.write_map(output / brain_maps.FOLDER, name, brain_map)
            if pictures:
                from voxelcast.report.brain_pictures import colour_scale, draw_map, write_viewer

                scale = colour_scale(list(by_subject.values()), quantity)
                for draw, suffix in ((draw_map, ".png"), (write_viewer, ".html")):
                    path = output / brain_maps.FOLDER / f"{name}{suffix}"
                    try:
                        written.append(draw(path, brain_map, subject, quantity, scale))
                    except (DataError, MissingPackageError) as error:
                        path.unlink(missing_ok=True)  # of an earlier map
                        if draw is draw_map and isinstance(error, MissingPackageError):
                            raise
                        no_picture[str(error)] = None
            click.echo(f"{subject} {quantity}: {', '.join(path.name for path in written)}")
    absent = [f"{s} {roi}" for s in dataset.subjects for roi in dataset.rois(s) if roi not in found.get(s, {})]
    if absent:
        click.echo(f"not on the maps, as {output / 'voxels'} has no values of them: {', '.join(absent)}", err=True)
    for subject, n_left_out in elsewhere.items():
        if n_left_out:
            click.echo(
                f"not on the maps: {n_left_out} voxels of {subject} that lie on the surface of neither hemisphere, "
                "such as subcortical ones",
                err=True,
            )
    for reason in no_picture:
        click.echo(f"no picture: {reason}", err=True)
    click.echo(f"maps in {output / brain_maps.FOLDER}")
    if (output / "report.html").is_file():
        click.echo(f"report: {write_report(output)}")


@click.command()
@OUTPUTS
@click.option("--port", type=int, default=8421, show_default=True, help="0: any that is free.")
@click.option("--open", "open_browser", is_flag=True, help="Open the page in your browser.")
def view(outputs: tuple[Path, ...], port: int, open_browser: bool) -> None:
    """Serve a page over the experiments in OUTPUTs: filter, sort, compare, open reports, watch runs.

    OUTPUT is an experiment's folder, or a folder that holds many. The page can be opened on this machine only and
    changes nothing (docs/app.md). Ctrl-C ends it.
    """
    from voxelcast.app.server import serve

    def ready(address: str) -> None:
        click.echo(f"open {address}")
        click.echo("Ctrl-C ends it", err=True)
        if open_browser:
            click.launch(address)

    with suppress(KeyboardInterrupt):  # its usual end, not a failure
        serve(outputs, port=port, ready=ready)
