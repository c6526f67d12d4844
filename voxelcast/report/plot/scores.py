"""Scores by ROI: of one experiment, of several beside each other, and by rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from voxelcast.core.arrays import FloatArray
from voxelcast.report.comparison import Output, mean_rows, outputs_of
from voxelcast.report.figures import CEILING_COLOUR, PALETTE, SUBJECT_COLOUR
from voxelcast.report.plot.base import GREY, LINE, drawing
from voxelcast.report.summary import Mean, Row, choose_measure, roi_rows
from voxelcast.results.read import Results

_MARKERS: Final = "osD^vP*"


def roi_scores(results: Results | Mapping[str, Results], *, by_voxel: bool = False, ax: Axes | None = None) -> Axes:
    """Draw the score of each ROI with its interval and the noise ceiling, of one experiment or of several.

    Parameters
    ----------
    results : Results or mapping of str to Results
        Several by the name that the legend gives them.
    by_voxel : bool
        Whether every voxel counts the same in a mean; otherwise every subject.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = roi_scores({"one": example_results(seed=1), "two": example_results(seed=2)})
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['V1']
    """
    outputs = outputs_of({results.name: results} if isinstance(results, Results) else results)
    rois, means = zip(*mean_rows(outputs, by_voxel=by_voxel)[:-1], strict=True)
    with drawing(ax, inches=comparison_inches(len(rois), len(outputs))) as axes:
        draw_roi_scores(axes, outputs, rois, means)
        axes.set_ylabel(" / ".join(dict.fromkeys(output.measure.label for output in outputs)))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return axes


def roi_overview(results: Results, *, ax: Axes | None = None) -> Axes:
    """Draw a row for each ROI: mean score with its interval, the subjects as dots, and the noise ceiling.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = roi_overview(example_results(subjects=("a", "b"), rois=("V1", "EBA")))
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['V1', 'EBA']
    """
    measure = choose_measure(results.scores)
    rows = roi_rows(results, measure)
    with drawing(ax, inches=overview_inches(len(rows)), xlabel=measure.label) as axes:
        draw_overview(axes, rows)
    return axes


def overview_inches(n_rois: int) -> tuple[float, float]:
    """Give the size of an overview of so many ROIs."""
    return 5.4, 0.95 + 0.27 * n_rois


def draw_overview(axes: Axes, rows: Sequence[Row]) -> None:
    """Draw rows as `roi_overview` does."""
    for place, row in enumerate(rows):
        if len(row.values) > 1:
            axes.plot(row.values, [place] * len(row.values), "o", color=SUBJECT_COLOUR, markersize=3.5, alpha=0.6,
                      markeredgewidth=0, label="subject")  # fmt: skip
        axes.hlines(place, row.low, row.high, color=PALETTE[0], linewidth=1.8)
        axes.plot(row.score, place, "o", color=PALETTE[0], markersize=6, label="mean, interval")
        if np.isfinite(row.ceiling):
            axes.vlines(row.ceiling, place - 0.36, place + 0.36, color=CEILING_COLOUR, linewidth=2,
                        label="noise ceiling")  # fmt: skip
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    axes.legend(once.values(), once, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, borderaxespad=0.2,
                columnspacing=1.2, handlelength=1.2, handletextpad=0.4)  # fmt: skip
    axes.axvline(0, color=LINE, linewidth=0.8)
    axes.set_yticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def comparison_inches(n_rois: int, n_outputs: int) -> tuple[float, float]:
    """Give the size of a figure with so many ROIs and experiments."""
    legend = 0.15 * max(0, (n_outputs + 1) // 2 - 2)
    return max(4.5, 1.2 + n_rois * (0.35 + 0.13 * n_outputs)), 3.2 + legend


def draw_roi_scores(
    axes: Axes, outputs: Sequence[Output], rois: Sequence[str], means: Sequence[Sequence[Mean]]
) -> None:
    """Draw scores with intervals beside each other in each ROI, each with its own noise ceiling as a bar.

    ``means`` is by ROI, then by output.
    """
    for index, output in enumerate(outputs):
        mine = [row[index] for row in means]
        scores, low, high = (np.array([getattr(m, name) for m in mine]) for name in ("score", "low", "high"))
        axes.vlines(_beside(rois, index, outputs), low, high, color=output.colour, linewidth=1.4, alpha=0.6)
        _draw_dots(axes, outputs, index, rois, scores)
    half = 0.3 if len(outputs) == 1 else 0.42 * min(0.18, 0.75 / len(outputs))  # of what lies between two experiments
    for index, output in enumerate(outputs):
        ceilings, places = np.array([row[index].ceiling for row in means]), _beside(rois, index, outputs)
        there = np.isfinite(ceilings)
        axes.hlines(ceilings[there], places[there] - half, places[there] + half, color=output.colour, linewidth=2,
                    alpha=0.7, label="noise ceiling" if index == 0 and there.any() else "")  # fmt: skip
    axes.axhline(0, color=GREY, linewidth=0.7)
    _name_rois(axes, rois)


def draw_ranks(left: Axes, right: Axes, outputs: Sequence[Output], means: Sequence[Mean], depths: FloatArray) -> None:
    """Draw a row for each output, the best on top: its score, interval and noise ceiling, and how deep it reads.

    ``depths``, (n_rois, n_outputs), are of the chosen layers; the line goes from the earliest ROI's to the latest.
    """
    for row, (output, mean) in enumerate(zip(outputs, means, strict=True)):
        left.hlines(row, mean.low, mean.high, color=output.colour, linewidth=1.6)
        left.vlines(mean.ceiling, row - 0.35, row + 0.35, color=CEILING_COLOUR, linewidth=2)
        left.plot(mean.score, row, "o", color=output.colour, markersize=5)
        there = depths[np.isfinite(depths[:, row]), row]
        if there.size:
            right.hlines(row, there.min(), there.max(), color=output.colour, linewidth=1.6)
            right.plot(there.mean(), row, "o", color=output.colour, markersize=5)
    left.axvline(0, color=LINE, linewidth=0.8)
    left.set_yticks(range(len(outputs)), [output.label for output in outputs])
    left.set_ylim(len(outputs) - 0.5, -0.5)
    right.set_xlim(-0.05, 1.05)
    right.tick_params(labelleft=False)


def draw_depths(axes: Axes, outputs: Sequence[Output], rois: Sequence[str], depths: FloatArray) -> None:
    """Draw how deep the chosen layers lie, from 0 for a network's first to 1 for its last.

    ``depths`` has shape (n_rois, n_outputs).
    """
    for index in range(len(outputs)):
        _draw_dots(axes, outputs, index, rois, depths[:, index])
    axes.set_ylim(-0.05, 1.05)
    _name_rois(axes, rois)


def _draw_dots(axes: Axes, outputs: Sequence[Output], index: int, rois: Sequence[str], values: FloatArray) -> None:
    # A marker that, with the colour, is an output's alone: seven times seven of them.
    marker = _MARKERS[(index + index // len(_MARKERS)) % len(_MARKERS)]
    axes.plot(_beside(rois, index, outputs), values, linestyle="", marker=marker, markersize=5,
              color=outputs[index].colour, label=outputs[index].label)  # fmt: skip


def _beside(rois: Sequence[str], index: int, outputs: Sequence[Output]) -> FloatArray:
    return np.arange(len(rois)) + (index - (len(outputs) - 1) / 2) * min(0.18, 0.75 / len(outputs))


def _name_rois(axes: Axes, rois: Sequence[str]) -> None:
    axes.set_xticks(range(len(rois)), rois, rotation=0 if len(rois) <= 12 else 60)
    axes.set_xlim(-0.6, len(rois) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
