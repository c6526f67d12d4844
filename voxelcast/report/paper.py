"""Figures, a table and a paragraph of a run as a journal wants them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
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
    """Draw scores by ROI and, of each ROI, scores by layer and by voxel.

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
        for name, draw in _drawings(results):
            figure = Figure(figsize=(WIDTHS[columns], _HEIGHT))
            try:
                draw(figure.add_subplot())
            except DataError:  # there is nothing of that kind in the results
                continue
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


def _drawings(results: Results) -> Iterator[tuple[str, Callable[[Axes], object]]]:
    yield "scores", lambda ax: plot.roi_scores(results, ax=ax)
    for roi in results.rois:
        yield f"layers_{roi}", lambda ax, roi=roi: plot.layer_profile(results, roi, ax=ax)  # type: ignore[misc]
        yield f"voxels_{roi}", lambda ax, roi=roi: plot.voxel_histogram(results, roi, ax=ax)  # type: ignore[misc]


def _latex(scores: pd.DataFrame) -> str:
    names = {name: shown for name, shown in _TABLE.items() if name in scores and scores[name].notna().any()}
    table = scores[list(names)].astype({"n_voxels": "Int64"}).rename(columns=names)
    return str(table.to_latex(index=False, float_format="%.3f", na_rep="--", escape=True))
