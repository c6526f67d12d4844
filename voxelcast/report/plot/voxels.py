"""Single voxels: the distribution of their scores, and measured against predicted responses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.report.figures import CEILING_COLOUR, HELD_OUT_COLOUR, PALETTE, SUBJECT_COLOUR
from voxelcast.report.plot.base import check_roi, drawing
from voxelcast.report.plot_data import histogram_edges, pooled_voxels
from voxelcast.report.summary import number
from voxelcast.results.read import Results

RANKS: Final = {1.0: "best", 0.75: "upper quartile", 0.5: "median"}
"""What the voxels shown as examples are called, by the quantile of their score."""


def voxel_histogram(results: Results, roi: str, *, edges: FloatArray | None = None, ax: Axes | None = None) -> Axes:
    """Draw how the scores are spread over the voxels of an ROI, all subjects together.

    Filled: nested scores; lines: noise ceiling and scores on held-out stimuli. Vertical lines are means. Raises
    DataError if the results have no scores of the ROI's voxels.

    Parameters
    ----------
    edges : ndarray of shape (n_bins + 1,), optional
        Of the bins; by default 40 that hold the voxels of this ROI.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = voxel_histogram(example_results(), "V1")
    >>> ax.get_ylabel()
    'voxels'
    """
    check_roi(results, roi)
    arrays = pooled_voxels(results, roi)
    edges = histogram_edges({roi: arrays}) if edges is None else edges
    if not edges.size:
        raise DataError(f"the experiment left no scores of single voxels in {roi}; choose another ROI")
    with drawing(ax, xlabel="Pearson r", ylabel="voxels") as axes:
        scores = arrays["pearson_r"]
        if scores.size:
            axes.hist(scores, bins=edges.tolist(), color=PALETTE[0], alpha=0.75, linewidth=0, label="score")
            axes.axvline(float(scores.mean()), color=PALETTE[0], linewidth=1)
        lines = {"noise_ceiling_r": ("noise ceiling", CEILING_COLOUR, "-"),
                 "held_out_r": ("held-out stimuli", HELD_OUT_COLOUR, "--")}  # fmt: skip
        for key, (label, colour, style) in lines.items():
            values = arrays[key]
            if values.size:
                axes.hist(values, bins=edges.tolist(), histtype="step", color=colour, linestyle=style, linewidth=1.2)
                axes.axvline(float(values.mean()), color=colour, linewidth=1, linestyle=style, label=label)
        axes.set_xlim(float(edges[0]), float(edges[-1]))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.grid(visible=False, axis="x")
    return axes


def measured_and_predicted(
    results: Results, subject: str, roi: str, *, quantile: float = 0.5, ax: Axes | None = None
) -> Axes:
    """Draw measured against predicted responses of one voxel, a dot for each stimulus that the model had not seen.

    Raises DataError if the results hold no examples of the subject and ROI, or not that one.

    Parameters
    ----------
    quantile : {1.0, 0.75, 0.5}
        Which of the voxels kept as examples: the best of the ROI, the one at the upper quartile of the scores, or the
        median one.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = measured_and_predicted(example_results(), "sub01", "V1", quantile=1.0)
    >>> ax.get_title().startswith("best: r = 0.")
    True
    """
    example = results.examples.get((subject, roi), {"quantile": np.empty(0)})
    here = np.flatnonzero(example["quantile"] == quantile)
    if not here.size:
        raise DataError(f"the results hold no example voxel of {subject} {roi} at the quantile {quantile:g}")
    with drawing(ax, (2.4, 2.4), xlabel="predicted response", ylabel="measured response") as axes:
        draw_example(axes, example, int(here[0]))
    return axes


def draw_example(axes: Axes, example: Mapping[str, FloatArray], voxel: int) -> None:
    """Draw one of the example voxels of a subject and ROI."""
    rank, score = RANKS[float(example["quantile"][voxel])], number(float(example["score"][voxel]))
    axes.set_title(f"{rank}: r = {score}", fontsize=8)
    predicted, measured = example["predicted"][:, voxel], example["measured"][:, voxel]
    there = np.isfinite(predicted) & np.isfinite(measured)
    x, y = predicted[there], measured[there]
    # Thousands of dots as vectors would weigh more than the rest of the page.
    axes.plot(x, y, linestyle="", marker="o", markersize=2, markeredgewidth=0, color=PALETTE[0], alpha=0.7,
              rasterized=True)  # fmt: skip
    if x.size:
        low, high = max(x.min(), y.min()), min(x.max(), y.max())
        if high > low:
            axes.plot([low, high], [low, high], color=SUBJECT_COLOUR, linewidth=0.8, linestyle="--")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4))
