"""The figure of a representational similarity analysis: layers against the noise ceiling, and two RDMs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from voxelcast.core.arrays import FloatArray
from voxelcast.report.figures import PALETTE, STYLE
from voxelcast.store.atomic import atomic_path

_NAMES = {"spearman": "Spearman r", "kendall_tau_a": "Kendall tau-a", "pearson": "Pearson r"}


def draw_layers(
    path: Path,
    layers: Sequence[tuple[str, str, float, float, float]],
    ceiling: tuple[float, float],
    comparison: str,
    measured: FloatArray,
    model: FloatArray,
    model_name: str,
) -> None:
    """Draw the layers' similarities with their intervals and the ceiling; beside them the ranks of two RDMs.

    Parameters
    ----------
    path : Path
        A .png file.
    layers : sequence of (network, layer, similarity, low, high)
        In the order of the axis.
    ceiling : tuple of float
        Lower and upper bound; NaN where there is none.
    comparison : str
    measured, model : ndarray of shape (n_pairs,)
        The mean measured RDM, and that of the layer ``model_name``.
    model_name : str
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(7.5, 3.6 + 0.22 * len(layers)), 5.6))
        grid = figure.add_gridspec(2, 2, height_ratios=(1.15, 1))
        axes = figure.add_subplot(grid[0, :])
        places = list(range(len(layers)))
        networks = list(dict.fromkeys(row[0] for row in layers))
        for number, network in enumerate(networks):
            mine = [place for place in places if layers[place][0] == network]
            scores, low, high = (np.array([layers[place][k] for place in mine]) for k in (2, 3, 4))
            colour = PALETTE[number % len(PALETTE)]
            axes.vlines(mine, low, high, color=colour, alpha=0.5)
            axes.plot(mine, scores, "o-", color=colour, label=network, markersize=4)
        if np.isfinite(ceiling).all():
            axes.axhspan(*ceiling, color="#9aa1a8", alpha=0.35, lw=0, label="noise ceiling")
        axes.axhline(0, color="#9aa1a8", lw=0.7)
        axes.set_xticks(places, [row[1] for row in layers], rotation=60, ha="right", rotation_mode="anchor")
        axes.set_ylabel(f"{_NAMES[comparison]}, mean over subjects")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
        for column, (rdm, title) in enumerate(((measured, "measured, mean over subjects"), (model, model_name))):
            part = figure.add_subplot(grid[1, column])
            part.imshow(squareform(rankdata(rdm)), cmap="viridis", interpolation="nearest")
            part.set_title(f"{title} (ranks)", fontsize=8)
            part.set_axis_off()
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
