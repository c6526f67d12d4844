"""Unique and shared variance of groups of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from voxelcast.core.errors import DataError
from voxelcast.report.figures import CEILING_COLOUR, SUBJECT_COLOUR
from voxelcast.report.plot.base import INK, LINE, check_roi, drawing
from voxelcast.report.summary import number
from voxelcast.report.variance_parts import SHARED_COLOUR, PartRow, group_colours, part_rows, partition_ceiling
from voxelcast.results.read import Results

_ABSENT: Final = "#d8dce0"
_CEILING_REACH: Final = 2.5
"""A ceiling higher than this multiple of the bars is named, not drawn, so that it leaves them room."""


def variance_partitioning(results: Results, roi: str, *, ax: Axes | None = None) -> Axes:
    """Draw the variance of the responses that each group of layers explains alone, and that several share.

    A bar stands for each part, mean over subjects, with its interval; the dashed line is what all groups explain
    together, and the full line the noise ceiling (R²). Raises DataError if variance was not divided.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = variance_partitioning(example_results(groups=("early", "late")), "V1")
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['unique to early', 'unique to late', 'shared by early and late']
    """
    check_roi(results, roi)
    if results.partition.empty:
        raise DataError("variance was not divided in this experiment; name groups under variance_partitioning")
    rows, colours = part_rows(results, roi), group_colours(results)
    parts = [row for row in rows if row.kind != "model"]
    with drawing(ax, inches=(max(3.5, 1.1 + 0.5 * len(parts)), 3.2)) as axes:
        draw_parts(axes, rows, colours, partition_ceiling(results, roi))
        labels = [row.label for row in parts]
        axes.set_xticks(range(len(parts)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.tick_params(labelbottom=True)
    return axes


def draw_parts(axes: Axes, rows: Sequence[PartRow], colours: Mapping[str, str], ceiling: float) -> None:
    """Draw a bar for each unique and shared part; lines at what all explain together and at the noise ceiling."""
    for index, row in enumerate(row for row in rows if row.kind != "model"):
        axes.bar(index, row.r2, width=0.62, color=colours[row.groups[0]] if row.kind == "unique" else SHARED_COLOUR)
        if len(row.values) > 1:
            axes.plot([index] * len(row.values), row.values, "o", color=SUBJECT_COLOUR, markersize=2.5, alpha=0.8)
        if np.isfinite(row.low) and np.isfinite(row.high):
            axes.vlines(index, row.low, row.high, color=INK, linewidth=1.2)
    axes.axhline(0, color=LINE, linewidth=0.8)
    axes.set_ylabel("share of variance (R²)")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(visible=False, axis="x")
    axes.tick_params(bottom=False, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    for row in rows:
        if row.kind == "model" and len(row.groups) == len(colours):
            axes.axhline(row.r2, color=INK, linewidth=1, linestyle="--")
    if np.isfinite(ceiling) and ceiling <= _CEILING_REACH * axes.get_ylim()[1]:
        axes.axhline(ceiling, color=CEILING_COLOUR, linewidth=1.6)
    elif np.isfinite(ceiling):
        text = f"noise ceiling {number(ceiling)} ↑"
        axes.annotate(text, (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=7)


def group_matrix(axes: Axes, parts: Sequence[PartRow], colours: Mapping[str, str]) -> None:
    """Draw, below the bars of the parts, to which groups each belongs."""
    names = list(colours)
    for index, row in enumerate(parts):
        inside = [names.index(name) for name in row.groups]
        axes.vlines(index, min(inside), max(inside), color=SHARED_COLOUR, linewidth=1.5)
        for level, name in enumerate(names):
            axes.plot(index, level, "o", color=colours[name] if level in inside else _ABSENT, markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.tick_params(bottom=False, labelbottom=False)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
