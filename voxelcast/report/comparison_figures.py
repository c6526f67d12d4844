"""Scores per ROI of several outputs beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from voxelcast.report.comparison import Mean, Output, mean_depth
from voxelcast.report.figures import Panel, inline
from voxelcast.report.summary import number

_MARKERS = "osD^vP*"
_CEILING = "#57606a"


def score_panel(
    title: str, outputs: Sequence[Output], rois: Sequence[str], means: Sequence[Sequence[Mean]], measure: str
) -> Panel:
    """Draw each output's score in each ROI with its interval; the mean noise ceiling is a grey bar over the ROI.

    Parameters
    ----------
    title : str
    outputs : sequence of Output
    rois : sequence of str
    means : sequence of sequence of Mean
        By ROI, then by output.
    measure : str
        Label of the vertical axis.
    """
    figure, axes = _figure(len(rois), len(outputs))
    for place, output in enumerate(outputs):
        x = np.arange(len(rois)) + _offset(place, len(outputs))
        mine = [row[place] for row in means]
        scores, low, high = (np.array([getattr(m, name) for m in mine]) for name in ("score", "low", "high"))
        axes.vlines(x, low, high, color=output.colour, linewidth=1.4, alpha=0.6)
        marker = _marker(place)
        axes.plot(x, scores, linestyle="", marker=marker, markersize=5, color=output.colour, label=output.label)
    for place, row in enumerate(means):
        ceilings = [mean.ceiling for mean in row if np.isfinite(mean.ceiling)]
        if ceilings:
            axes.hlines(float(np.mean(ceilings)), place - 0.4, place + 0.4, color=_CEILING, linewidth=2, alpha=0.7,
                        label="noise ceiling" if place == 0 else None)  # fmt: skip
    axes.axhline(0, color=_CEILING, linewidth=0.7)
    axes.set_ylabel(measure)
    _finish(figure, rois)
    best = [
        f"{roi}: {max(zip(row, outputs, strict=True), key=lambda pair: np.nan_to_num(pair[0].score, nan=-2))[1].label}"
        f" {number(max((mean.score for mean in row if np.isfinite(mean.score)), default=float('nan')))}"
        for roi, row in zip(rois, means, strict=True)
    ]
    return inline(figure, title, f"{title}. The highest of each ROI: {'; '.join(best)}.")


def depth_panel(outputs: Sequence[Output], rois: Sequence[str]) -> Panel | None:
    """Draw how deep the chosen layer lies in each ROI; None where no network has several layers."""
    depths = np.array([[mean_depth(output, roi) for output in outputs] for roi in rois])
    if not np.isfinite(depths).any():
        return None
    figure, axes = _figure(len(rois), len(outputs))
    for place, output in enumerate(outputs):
        look: dict[str, Any] = {"marker": _marker(place), "color": output.colour}
        x = np.arange(len(rois)) + _offset(place, len(outputs))
        axes.plot(x, depths[:, place], linestyle="", markersize=5, label=output.label, **look)
    axes.set_ylim(-0.05, 1.05)
    axes.set_ylabel("depth of the chosen layer")
    _finish(figure, rois)
    means = [
        f"{output.label} {np.nanmean(depths[:, k]):.2f}"
        for k, output in enumerate(outputs)
        if np.isfinite(depths[:, k]).any()
    ]
    title = "Depth of the chosen layer"
    return inline(figure, title, f"{title}, mean over ROIs: {', '.join(means)}.")


def _figure(n_rois: int, n_outputs: int) -> tuple[Figure, Any]:
    figure = Figure(figsize=(max(4.5, 1.2 + n_rois * (0.35 + 0.13 * n_outputs)), 3.2))
    return figure, figure.add_subplot()


def _marker(place: int) -> str:
    """Return a marker that, with the colour, is an output's own: seven times seven of them."""
    return _MARKERS[(place + place // len(_MARKERS)) % len(_MARKERS)]


def _offset(place: int, n_outputs: int) -> float:
    return (place - (n_outputs - 1) / 2) * min(0.18, 0.75 / n_outputs)


def _finish(figure: Figure, rois: Sequence[str]) -> None:
    axes = figure.axes[0]
    axes.set_xticks(range(len(rois)), rois, rotation=0 if len(rois) <= 12 else 60)
    axes.set_xlim(-0.6, len(rois) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))
    figure.legend(loc="outside upper left", ncols=2, fontsize=7.5)
