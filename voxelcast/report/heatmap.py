"""Heat maps as tables: the numbers stay text, for readers, screen readers and copying."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.colors import to_hex, to_rgb

from voxelcast.report.depth import Depth, network_of
from voxelcast.report.summary import mean_or_nan, network_label, number
from voxelcast.results.read import Results
from voxelcast.results.schema import Pair

COLORMAP: Final = "viridis"
# One of the two has a contrast of at least 4.58 on any colour; with a softer black that does not hold.
_DARK, _LIGHT = "#000000", "#ffffff"


@dataclass(frozen=True)
class Cell:
    """One cell: its text, its colours (empty where there is no number), what hovering over it tells, a line below."""

    text: str
    background: str
    ink: str
    title: str = ""
    below: str = ""


@dataclass(frozen=True)
class Heatmap:
    """A table of ROI x subject (or experiment x ROI), cells coloured by value on a scale from ``low`` to ``high``."""

    subjects: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...], Cell | None], ...]
    """ROI, cells, and the mean over subjects or None."""
    low: str
    high: str
    n_missing: int
    """Cells without a number."""


def roi_table(results: Results, values: pd.Series) -> pd.DataFrame:
    """Lay out a value of each row of scores.csv as (n_rois, n_subjects), in the report's order; NaN where missing."""
    table = results.scores.assign(value=values).pivot(index="roi", columns="subject", values="value")
    return table.reindex(index=list(results.rois), columns=list(results.subjects)).astype(np.float64)


def heatmap(
    table: pd.DataFrame,
    *,
    top: float = 0.0,
    titles: Mapping[Pair, str] = MappingProxyType({}),
    below: Mapping[Pair, str] = MappingProxyType({}),
    show: Callable[[float], str] = number,
    with_mean: bool = True,
) -> Heatmap:
    """Colour a table of ROI x subject, (n_rois, n_subjects), or of experiment x ROI.

    ``top`` is the least upper end of the colour scale, e.g. 1 for noise-normalised scores. ``titles``, by (subject,
    roi), are what hovering over a cell tells, by default ROI and subject, and ``below`` what
    stands below its number; ``show`` turns a value into a cell's text;
    ``with_mean`` adds the mean over several subjects.
    """
    values = table.to_numpy(dtype=np.float64)
    finite = values[np.isfinite(values)]
    low, high = min(0.0, float(finite.min(initial=0.0))), max(float(finite.max(initial=0.0)), top)
    high = high if high > low else low + 1.0

    def cell(value: float, title: str, below: str = "") -> Cell:
        if not np.isfinite(value):
            return Cell(show(value), "", "", title)
        return replace(coloured(show(value), (value - low) / (high - low), title), below=below)

    rows = []
    for roi, line in zip(table.index, values.tolist(), strict=True):
        named = [titles.get((subject, roi), f"{roi}, {subject}") for subject in table.columns]
        more = [below.get((subject, roi), "") for subject in table.columns]
        mean = cell(mean_or_nan(line), f"{roi}: mean over subjects") if with_mean and len(line) > 1 else None
        rows.append((roi, tuple(map(cell, line, named, more)), mean))
    return Heatmap(tuple(table.columns), tuple(rows), show(low), show(high), values.size - finite.size)


def layer_map(results: Results, depth: Depth) -> Heatmap:
    """Lay out the number of the chosen layer, by depth; with several networks a letter before it names the network.

    The colour is the layer's position between the first layer searched (low) and the last (high) of its network.
    """
    letters, rois, subjects = depth.letters, results.rois, results.subjects
    cells: dict[Pair, Cell] = {}
    for row in results.scores.to_dict("records"):
        network, index = network_of(row), depth.index(row)
        named = f"{network_label(*network)}, layer {index + 1} of {len(depth.layers[network])}, {row['layer']}"
        text = f"{letters[network]}\N{NO-BREAK SPACE}{index + 1}" if letters[network] else f"{index + 1}"
        position = float(np.nan_to_num(depth.position(row)))
        pair = str(row["subject"]), str(row["roi"])
        cells[pair] = coloured(text, position, f"{row['roi']}, {row['subject']}: {named}")
    missing = Cell("—", "", "")
    rows = tuple((roi, tuple(cells.get((subject, roi), missing) for subject in subjects), None) for roi in rois)
    return Heatmap(subjects, rows, "first layer", "last layer", len(rois) * len(subjects) - len(cells))


def significance(results: Results) -> tuple[Heatmap, str] | None:
    """Lay out the share of significant voxels, and say how they were tested; None where none were."""
    scores = results.scores
    shares = scores["n_significant_voxels"] / scores["n_voxels"]
    tested = scores[np.isfinite(shares)]
    if tested.empty:
        return None
    titles = {
        (str(row["subject"]), str(row["roi"])): f"{row['roi']}, {row['subject']}: "
        f"{row['n_significant_voxels']:,.0f} of {row['n_voxels']:,.0f} voxels"
        for row in tested.to_dict("records")
    }
    found, of = int(tested["n_significant_voxels"].sum()), int(tested["n_voxels"].sum())
    settings = results.config.get("significance")
    alpha = settings.get("alpha") if isinstance(settings, Mapping) else None
    rate = f" at a false discovery rate of {alpha:g}" if isinstance(alpha, float) else ""
    return (
        heatmap(roi_table(results, shares), top=1.0, titles=titles, show=percent),
        f"{found:,} of {of:,} voxels ({percent(found / of)}) are predicted better than chance{rate}: a one-sided "
        "permutation test of each voxel, corrected over the voxels of its ROI (Benjamini-Hochberg).",
    )


def percent(value: float) -> str:
    """Show a share in percent; a dash for NaN. 100 % means all and 0 % none, not nearly so."""
    if not np.isfinite(value):
        return "—"
    rounded = f"{100 * value:.0f} %"
    if rounded == "100 %" and value < 1:
        return "over 99 %"
    return "under 1 %" if rounded == "0 %" and value > 0 else rounded


def coloured(text: str, position: float, title: str = "") -> Cell:
    """Make a cell in the colour of a position between 0 and 1 on the scale.

    Its ink, black or white, is the one of higher contrast (WCAG 2 relative luminance).
    """
    background = _colour(position)
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(background)]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    # (luminance + 0.05) / 0.05 is the contrast to black, 1.05 / (luminance + 0.05) that to white.
    return Cell(text, background, _DARK if (luminance + 0.05) ** 2 >= 0.05 * 1.05 else _LIGHT, title)


def _colour(position: float) -> str:
    return to_hex(matplotlib.colormaps[COLORMAP](float(position)))


GRADIENT: Final = ", ".join(_colour(position) for position in np.linspace(0, 1, 9))
"""CSS colours of the scale, low to high."""
