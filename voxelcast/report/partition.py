"""Unique and shared variance: what each group of layers explains alone, and what several have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from voxelcast.report.figures import PALETTE, SUBJECT_COLOUR, Panel, inline
from voxelcast.report.summary import listed, mean_or_nan, number
from voxelcast.results.read import Results

GROUP_COLOURS: Final = (PALETTE[0], PALETTE[2], PALETTE[3], PALETTE[4])
"""Those of the palette that mean nothing else in a figure with a noise ceiling."""
SHARED_COLOUR: Final = "#6b7580"
_CEILING_COLOUR: Final = PALETTE[1]
_INK: Final = "#1b1f24"
_ABSENT: Final = "#d8dce0"
_MOST_ROOM: Final = 2.5


@dataclass(frozen=True)
class PartRow:
    """One part of the variance in a ROI: means over subjects; NaN where there is nothing.

    Parameters
    ----------
    roi : str
    kind : str
        ``"model"``, ``"unique"`` or ``"shared"``.
    groups : tuple of str
    r2, low, high : float
        Mean over subjects of the share and of the ends of its interval.
    values : tuple of float
        The subjects' shares.
    """

    roi: str
    kind: str
    groups: tuple[str, ...]
    r2: float
    low: float
    high: float
    values: tuple[float, ...]

    @property
    def label(self) -> str:
        """What it is, in words."""
        names = listed(self.groups)
        return {"model": f"explained by {names}", "unique": f"unique to {names}"}.get(self.kind, f"shared by {names}")


@dataclass(frozen=True)
class Partition:
    """All that the page shows of unique and shared variance.

    Parameters
    ----------
    groups : tuple of (name, colour)
    rows : tuple of PartRow
        ROI by ROI: models, unique parts, shared parts.
    panels : dict of str to Panel
        By ROI.
    n_negative : int
        Unique and shared parts below 0.
    """

    groups: tuple[tuple[str, str], ...]
    rows: tuple[PartRow, ...]
    panels: dict[str, Panel]
    n_negative: int


def partition(results: Results, rois: Sequence[str]) -> Partition | None:
    """Lay out the parts and draw those of some ROIs; None where variance was not divided."""
    table = results.partition
    if table.empty:
        return None
    names = tuple(dict.fromkeys(name for part in table["part"] for name in part.split("+")))
    colours = dict(zip(names, GROUP_COLOURS * len(names), strict=False))
    of_roi = {roi: _rows(roi, table[table["roi"] == roi]) for roi in results.rois if (table["roi"] == roi).any()}
    rows = tuple(row for own in of_roi.values() for row in own)
    return Partition(
        groups=tuple(colours.items()),
        rows=rows,
        panels={
            roi: _panel(roi, own, colours, mean_or_nan(table.loc[table["roi"] == roi, "noise_ceiling_r2"]))
            for roi, own in of_roi.items()
            if roi in rois
        },
        n_negative=sum(row.kind != "model" and row.r2 < 0 for row in rows),
    )


def _rows(roi: str, table: pd.DataFrame) -> list[PartRow]:
    rows = []
    for (kind, part), own in table.groupby(["kind", "part"], sort=False):
        shares = tuple(float(value) for value in own["r2"] if np.isfinite(value))
        ends = (mean_or_nan(own["low"]), mean_or_nan(own["high"]))
        rows.append(PartRow(roi, str(kind), tuple(str(part).split("+")), mean_or_nan(shares), *ends, shares))
    return rows


def _panel(roi: str, rows: Sequence[PartRow], colours: dict[str, str], ceiling: float) -> Panel:
    """Draw a bar for each part over a matrix of the groups that it belongs to."""
    parts = [row for row in rows if row.kind != "model"]
    whole = next((row for row in rows if row.kind == "model" and len(row.groups) == len(colours)), None)
    figure = Figure(figsize=(max(3.5, 1.1 + 0.28 * len(parts)), 2.1 + 0.2 * len(colours)))
    grid = figure.add_gridspec(2, 1, height_ratios=(1.8, 0.2 * len(colours)), hspace=0.02)
    bars = figure.add_subplot(grid[0])
    _draw_bars(bars, parts, colours)
    said = [f"{row.label} {number(row.r2)}{_interval(row)}" for row in parts]
    if whole is not None:
        bars.axhline(whole.r2, color=_INK, linewidth=1, linestyle="--")
        said.insert(0, f"all together {number(whole.r2)}{_interval(whole)}")
    if np.isfinite(ceiling):
        _draw_ceiling(bars, ceiling)
        said.append(f"noise ceiling {number(ceiling)}")
    _draw_matrix(figure.add_subplot(grid[1], sharex=bars), parts, colours)
    return inline(figure, roi, f"Unique and shared variance in {roi}: {'; '.join(said)}.")


def _draw_bars(axes: Axes, parts: Sequence[PartRow], colours: dict[str, str]) -> None:
    for place, row in enumerate(parts):
        colour = colours[row.groups[0]] if row.kind == "unique" else SHARED_COLOUR
        axes.bar(place, row.r2, width=0.62, color=colour)
        if len(row.values) > 1:
            axes.plot([place] * len(row.values), row.values, "o", color=SUBJECT_COLOUR, markersize=2.5, alpha=0.8)
        if np.isfinite(row.low) and np.isfinite(row.high):
            axes.vlines(place, row.low, row.high, color=_INK, linewidth=1.2)
    axes.axhline(0, color="#9aa1a8", linewidth=0.8)
    axes.set_ylabel("share of variance (R²)")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(visible=False, axis="x")
    axes.tick_params(bottom=False, labelbottom=False)
    axes.spines["bottom"].set_visible(False)


def _draw_ceiling(axes: Axes, ceiling: float) -> None:
    """Draw the ceiling where it leaves the bars room, else say how far up it is."""
    if ceiling <= _MOST_ROOM * axes.get_ylim()[1]:
        axes.axhline(ceiling, color=_CEILING_COLOUR, linewidth=1.6)
    else:
        text = f"noise ceiling {number(ceiling)} ↑"
        axes.annotate(text, (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=7)


def _draw_matrix(axes: Axes, parts: Sequence[PartRow], colours: dict[str, str]) -> None:
    names = list(colours)
    for place, row in enumerate(parts):
        inside = [names.index(name) for name in row.groups]
        axes.vlines(place, min(inside), max(inside), color=SHARED_COLOUR, linewidth=1.5)
        for level, name in enumerate(names):
            axes.plot(place, level, "o", color=colours[name] if level in inside else _ABSENT, markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.tick_params(bottom=False, labelbottom=False)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def _interval(row: PartRow) -> str:
    return f" ({number(row.low)} to {number(row.high)})" if np.isfinite(row.low) else ""
