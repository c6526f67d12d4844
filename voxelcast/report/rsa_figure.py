"""The figure of a representational similarity analysis: layers against the noise ceiling, and two RDMs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure

from voxelcast.core.arrays import FloatArray
from voxelcast.report import plot
from voxelcast.report.figures import STYLE
from voxelcast.store.atomic import atomic_path


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
        plot.layer_similarity(layers, ceiling=ceiling, comparison=comparison, ax=figure.add_subplot(grid[0, :]))
        for column, (rdm, title) in enumerate(((measured, "measured, mean over subjects"), (model, model_name))):
            plot.rdm(rdm, title=title, ax=figure.add_subplot(grid[1, column]))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
