"""Representational similarity: layers against the noise ceiling, and dissimilarity matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from matplotlib.axes import Axes
from scipy.spatial.distance import squareform

from voxelcast.core.arrays import FloatArray
from voxelcast.report.figures import PALETTE
from voxelcast.report.heatmap import COLORMAP
from voxelcast.report.plot.base import LINE, drawing

_COEFFICIENTS: Final = {"spearman": "Spearman r", "kendall_tau_a": "Kendall tau-a", "pearson": "Pearson r"}


def layer_similarity(
    layers: Sequence[tuple[str, str, float, float, float]],
    *,
    ceiling: tuple[float, float] = (float("nan"), float("nan")),
    comparison: str = "spearman",
    ax: Axes | None = None,
) -> Axes:
    """Draw how similar the representations of layers are to the measured ones.

    Parameters
    ----------
    layers : sequence of (network, layer, similarity, low, high)
        In the order of the axis.
    ceiling : tuple of float
        Lower and upper bound of the noise ceiling; NaN where there is none.
    comparison : {"spearman", "kendall_tau_a", "pearson"}

    Examples
    --------
    >>> rows = [("resnet", "layer1", 0.2, 0.1, 0.3), ("resnet", "layer2", 0.3, 0.2, 0.4)]
    >>> ax = layer_similarity(rows, ceiling=(0.5, 0.6))
    >>> ax.get_ylabel()
    'Spearman r, mean over subjects'
    """
    with drawing(ax, inches=(max(7.5, 3.6 + 0.22 * len(layers)), 3.0)) as axes:
        for index, network in enumerate(dict.fromkeys(row[0] for row in layers)):
            mine = [at for at, row in enumerate(layers) if row[0] == network]
            scores, low, high = (np.array([layers[at][k] for at in mine]) for k in (2, 3, 4))
            colour = PALETTE[index % len(PALETTE)]
            axes.vlines(mine, low, high, color=colour, alpha=0.5)
            axes.plot(mine, scores, "o-", color=colour, label=network, markersize=4)
        if np.isfinite(ceiling).all():
            axes.axhspan(*ceiling, color=LINE, alpha=0.35, lw=0, label="noise ceiling")
        axes.axhline(0, color=LINE, lw=0.7)
        names = [row[1] for row in layers]
        axes.set_xticks(list(range(len(layers))), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_ylabel(f"{_COEFFICIENTS[comparison]}, mean over subjects")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    return axes


def rdm(dissimilarities: FloatArray, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the ranks of a representational dissimilarity matrix.

    Parameters
    ----------
    dissimilarities : ndarray of shape (n_pairs,)
        The upper triangle, row by row, as :func:`scipy.spatial.distance.pdist` gives it.

    Examples
    --------
    >>> import numpy as np
    >>> ax = rdm(np.array([0.1, 0.5, 0.4]), title="three stimuli")
    >>> ax.get_title()
    'three stimuli (ranks)'
    """
    with drawing(ax, inches=(2.6, 2.6)) as axes:
        from scipy.stats import rankdata  # takes a second to import

        axes.imshow(squareform(rankdata(dissimilarities)), cmap=COLORMAP, interpolation="nearest")
        axes.set_title(f"{title} (ranks)" if title else "ranks", fontsize=8)
        axes.set_axis_off()
    return axes
