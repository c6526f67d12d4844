"""Measured against predicted responses of a few voxels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from voxelcast.core.arrays import FloatArray
from voxelcast.report.figures import PALETTE, SUBJECT_COLOUR, Panel, inline
from voxelcast.report.summary import number
from voxelcast.results.read import Results

_INCHES: Final = (5.4, 2.1)
_RANKS: Final = {1.0: "best", 0.75: "upper quartile", 0.5: "median"}


def observed_panels(results: Results, rois: Sequence[str]) -> dict[str, Panel]:
    """Draw, for each ROI, a few voxels of the subject whose score is the median: neither the best nor the worst."""
    panels = {}
    for roi in rois:
        subjects = [subject for subject, name in results.examples if name == roi]
        if subjects:
            scores = results.scores[(results.scores["roi"] == roi) & results.scores["subject"].isin(subjects)]
            middle = scores.sort_values("score", kind="stable")["subject"].iloc[(len(scores) - 1) // 2]
            panels[roi] = _panel(roi, str(middle), results.examples[str(middle), roi])
    return panels


def _panel(roi: str, subject: str, example: Mapping[str, FloatArray]) -> Panel:
    figure = Figure(figsize=_INCHES)
    n_voxels = len(example["voxel"])
    sentences = []
    for k in range(n_voxels):
        rank = _RANKS[float(example["quantile"][k])]
        axes = figure.add_subplot(1, len(_RANKS), k + 1)
        score = number(float(example["score"][k]))
        axes.set_title(f"{rank}: r = {score}", fontsize=8)
        _scatter(axes, example["predicted"][:, k], example["measured"][:, k])
        sentences.append(f"{rank}, voxel {int(example['voxel'][k])}: r = {score}")
    figure.axes[0].set_ylabel("measured response")
    figure.axes[n_voxels // 2].set_xlabel("predicted response")
    n_stimuli = len(example["measured"])
    alt = f"Measured against predicted responses to {n_stimuli:,} stimuli in {roi}, {subject}. {'; '.join(sentences)}."
    return inline(figure, f"{roi}, {subject}", alt)


def _scatter(axes: Axes, predicted: FloatArray, measured: FloatArray) -> None:
    there = np.isfinite(predicted) & np.isfinite(measured)
    x, y = predicted[there], measured[there]
    # Thousands of dots as vectors would weigh more than the rest of the page.
    axes.plot(x, y, linestyle="", marker="o", markersize=2, markeredgewidth=0, color=PALETTE[0], alpha=0.45,
              rasterized=True)  # fmt: skip
    if x.size:
        low, high = max(x.min(), y.min()), min(x.max(), y.max())
        if high > low:
            axes.plot([low, high], [low, high], color=SUBJECT_COLOUR, linewidth=0.8, linestyle="--")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4))
