"""How the scores are spread over the voxels of a ROI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.ticker import MaxNLocator

from voxelcast.core.arrays import FloatArray
from voxelcast.report.figures import PALETTE, Panel, inline, new_axes
from voxelcast.report.summary import number, plural
from voxelcast.results.read import Results

SCORE_COLOUR: Final = PALETTE[0]
CEILING_COLOUR: Final = PALETTE[1]
HELD_OUT_COLOUR: Final = PALETTE[2]
_LINES: Final = {
    "noise_ceiling_r": (CEILING_COLOUR, "noise ceiling", "-"),
    "held_out_r": (HELD_OUT_COLOUR, "held-out stimuli", "--"),
}
_N_BINS: Final = 40


def voxel_histograms(results: Results, rois: Sequence[str]) -> dict[str, Panel]:
    """Draw one histogram per ROI over the voxels of all subjects; all share the bins."""
    pooled = {roi: _pool(results, roi) for roi in rois}
    everything = [values for arrays in pooled.values() for values in arrays.values() if values.size]
    if not everything:
        return {}
    low, high = min(float(v.min()) for v in everything), max(float(v.max()) for v in everything)
    # One bin more below zero than needed costs nothing; zero is always an edge, so that signs do not mix.
    width = max(high - min(low, 0.0), 1e-3) / _N_BINS
    edges = width * np.arange(np.floor(min(low, 0.0) / width), np.ceil(high / width) + 1)
    return {roi: _panel(roi, arrays, edges) for roi, arrays in pooled.items() if any(v.size for v in arrays.values())}


def _pool(results: Results, roi: str) -> dict[str, FloatArray]:
    """Join the finite values of all subjects; where only held-out stimuli were judged, the ceiling is theirs."""
    mine = [arrays for (_, name), arrays in results.voxels.items() if name == roi]
    judged_on_held_out = not any("pearson_r" in arrays for arrays in mine)
    pooled: dict[str, FloatArray] = {}
    for key in ("pearson_r", *_LINES):
        source = f"held_out_{key}" if judged_on_held_out and key == "noise_ceiling_r" else key
        parts = [arrays[source] for arrays in mine if source in arrays]
        values = np.concatenate(parts) if parts else np.empty(0)
        pooled[key] = values[np.isfinite(values)]
    return pooled


def _panel(roi: str, arrays: dict[str, FloatArray], edges: FloatArray) -> Panel:
    figure, axes = new_axes("Pearson r", "voxels")
    sentences = []
    scores = arrays["pearson_r"]
    if scores.size:
        axes.hist(scores, bins=edges.tolist(), color=SCORE_COLOUR, alpha=0.75, linewidth=0)
        axes.axvline(float(scores.mean()), color=SCORE_COLOUR, linewidth=1)
        sentences.append(f"score: {plural(scores.size, 'voxel')}, mean {number(float(scores.mean()))}, "
                         f"highest {number(float(scores.max()))}")  # fmt: skip
    for key, (colour, name, style) in _LINES.items():
        values = arrays[key]
        if values.size:
            axes.hist(values, bins=edges.tolist(), histtype="step", color=colour, linestyle=style, linewidth=1.2)
            axes.axvline(float(values.mean()), color=colour, linewidth=1, linestyle=style)
            sentences.append(f"{name}: mean {number(float(values.mean()))}")
    axes.set_xlim(float(edges[0]), float(edges[-1]))
    axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
    axes.grid(visible=False, axis="x")
    return inline(figure, roi, f"Distribution over voxels in {roi}. {'; '.join(sentences)}.")
