"""Figures, a table and a paragraph of a run as a journal wants them."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from voxelcast.core.checks import check_option
from voxelcast.core.errors import DataError, UnwritableError
from voxelcast.report import plot
from voxelcast.report.figures import STYLE
from voxelcast.report.methods import bibtex, methods_paragraph
from voxelcast.report.plot.scores import overview_inches
from voxelcast.results.read import Results
from voxelcast.store.atomic import atomic_path, write_text

FORMATS: Final = ("pdf", "svg", "png")
WIDTHS: Final = {1: 3.35, 2: 7.0}
"""Inches of one column and of two."""
_HEIGHT: Final = 2.4
_STYLE: Final[Any] = STYLE | {
    "pdf.fonttype": 42,  # fonts are embedded whole, so that text can be edited
    "svg.fonttype": "path",
    "savefig.dpi": 600,
}
_TABLE: Final = {
    "subject": "subject",
    "roi": "ROI",
    "n_voxels": "voxels",
    "score": "r",
    "score_low": "low",
    "score_high": "high",
    "noise_ceiling_r": "ceiling",
    "noise_normalised_r": "normalised r",
}


def write_figures(
    results: Results, folder: Path, formats: Sequence[str] = ("pdf",), *, columns: int = 1
) -> tuple[Path, ...]:
    """Draw scores by ROI, with and without the subjects, and, of each ROI, scores by layer and by voxel.

    Beside them are a LaTeX table of the scores, a paragraph of methods, and BibTeX of what to cite. Vector figures have
    their fonts in them; colours stay apart under colour blindness.

    Parameters
    ----------
    results : Results
    folder : Path
        A new one.
    formats : sequence of {"pdf", "svg", "png"}
    columns : {1, 2}
        How wide figures are: 85 or 178 mm.

    Raises
    ------
    OptionError
        If a format or number of columns is unknown.
    UnwritableError
        If the folder is there already.
    """
    for name in formats:
        check_option("format", name, FORMATS)
    check_option("columns", columns, tuple(WIDTHS))
    if folder.is_symlink() or folder.exists():
        raise UnwritableError(f"{folder} is there already; choose another --to")
    folder.mkdir(parents=True)
    written = []
    with matplotlib.rc_context(_STYLE):
        for name, height, draw in _drawings(results):
            figure = Figure(figsize=(WIDTHS[columns], height))
            try:
                axes = draw(ax=figure.add_subplot())
            except DataError:  # there is nothing of that kind in the results
                continue
            if axes.get_legend() is None:
                _add_legend(figure, axes, columns)
            for suffix in formats:
                written.append(folder / f"{name}.{suffix}")
                dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}
                with atomic_path(written[-1]) as path:
                    figure.savefig(path, format=suffix, metadata=dates.get(suffix))
    beside = {"scores.tex": _latex(results.scores), "methods.txt": methods_paragraph(results)}
    for name, text in (beside | {"references.bib": bibtex(results)}).items():
        written.append(folder / name)
        write_text(written[-1], text)
    return tuple(written)


def _drawings(results: Results) -> Iterator[tuple[str, float, Callable[..., Axes]]]:
    """Name each figure, with its height in inches and what draws it."""
    yield "overview", overview_inches(len(results.rois))[1], partial(plot.roi_overview, results)
    yield "scores", _HEIGHT, partial(plot.roi_scores, results)
    for roi in results.rois:
        yield f"layers_{roi}", _HEIGHT, partial(plot.layer_profile, results, roi)
        yield f"voxels_{roi}", _HEIGHT, partial(plot.voxel_histogram, results, roi)


def _add_legend(figure: Figure, axes: Axes, columns: int) -> None:
    """Say above the axes what the colours are; the figure grows with the lines of the legend."""
    handles, labels = axes.get_legend_handles_labels()
    most = round(13 * WIDTHS[columns])
    labels = [textwrap.fill(label, most - 5) for label in labels]
    beside = max(1, min(len(labels), most // (max(map(len, labels)) + 5)))
    n_rows = -(-len(labels) // beside)
    rows = [labels[row::n_rows] for row in range(n_rows)]  # a legend is filled column by column
    n_lines = sum(max(label.count("\n") for label in row) + 1 for row in rows)
    figure.set_figheight(figure.get_figheight() + 0.16 * n_lines)
    figure.legend(
        handles, labels, loc="outside upper left", ncols=beside, handlelength=1.2, handletextpad=0.4, columnspacing=1.2
    )


def _latex(scores: pd.DataFrame) -> str:
    names = {name: shown for name, shown in _TABLE.items() if name in scores and scores[name].notna().any()}
    table = scores[list(names)].astype({"n_voxels": "Int64"}).rename(columns=names)
    return str(table.to_latex(index=False, float_format="%.3f", na_rep="--", escape=True))
