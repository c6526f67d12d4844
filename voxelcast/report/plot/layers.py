"""Scores by layer, and the layers chosen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
from matplotlib.axes import Axes

from voxelcast.report.depth import Depth, layer_order, rows_of
from voxelcast.report.figures import SUBJECT_COLOUR
from voxelcast.report.heatmap import COLORMAP
from voxelcast.report.plot.base import INK, check_roi, drawing, from_zero
from voxelcast.report.plot_data import layer_scores
from voxelcast.report.summary import network_label
from voxelcast.results.read import Results

_MOST_TICKS: Final = 8


def layer_profile(results: Results, roi: str, *, depth: Depth | None = None, ax: Axes | None = None) -> Axes:
    """Draw the best candidate's selection score of each layer in an ROI, against depth.

    A line for each network, the mean over subjects, and thin grey lines for the subjects. Triangles on the axis mark
    the layers that were chosen, with the number of subjects for whom each was. ``depth`` has order and colours of the
    layers; by default it is that of :func:`voxelcast.report.depth.layer_order`.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = layer_profile(example_results(), "V1")
    >>> ax.get_ylabel()
    'selection score (r)'
    """
    check_roi(results, roi)
    depth = layer_order(results) if depth is None else depth
    chosen = results.scores[results.scores["roi"] == roi]
    tables, names = layer_scores(results, roi, depth), [network for network, *_ in depth.layers]
    with drawing(ax, xlabel="layer, by depth", ylabel="selection score (r)") as axes:
        for lane, (network, layers) in enumerate(depth.layers.items()):
            if network not in tables:
                continue
            table = tables[network]
            x = np.arange(1, len(layers) + 1)
            if table.shape[1] > 1:
                axes.plot(x, table.to_numpy(), color=SUBJECT_COLOUR, linewidth=0.7, alpha=0.8, zorder=1)
            colour = depth.colours[network]
            axes.plot(
                x, table.mean(axis=1).to_numpy(dtype=np.float64), color=colour, marker="o", markersize=2.5, zorder=3,
                label=network[0] if names.count(network[0]) == 1 else network_label(*network),
            )  # fmt: skip
            picked = rows_of(chosen, network)["layer"].value_counts()
            beside = (lane - (len(depth.layers) - 1) / 2) * 0.7 / len(depth.layers)
            counts = {layers.index(str(layer)) + 1 + beside: int(count) for layer, count in picked.items()}
            _mark_chosen(axes, counts, colour, several=len(chosen) > 1)
        n_layers = max(len(layers) for layers in depth.layers.values())
        step = -(-n_layers // _MOST_TICKS)
        axes.set_xticks([1] if n_layers == 1 else range(step, n_layers + 1, step))
        half = max(n_layers - 1, 1) / 2 + 0.6
        axes.set_xlim((n_layers + 1) / 2 - half, (n_layers + 1) / 2 + half)
        from_zero(axes)
    return axes


def _mark_chosen(axes: Axes, counts: Mapping[float, int], colour: str, *, several: bool) -> None:
    """Mark places on the horizontal axis by triangles, with their counts above them where there may be several."""
    floor = axes.get_xaxis_transform()
    axes.plot(list(counts), [0.0] * len(counts), linestyle="", marker="^", markersize=6, color=colour, transform=floor,
              clip_on=False, markeredgewidth=0, zorder=5)  # fmt: skip
    for place, count in counts.items() if several else ():
        axes.text(
            place, 0.035, str(count), transform=floor, ha="center", va="bottom", fontsize=6.5, color=INK, zorder=5
        )


def layer_map(results: Results, *, ax: Axes | None = None) -> Axes:
    """Draw which layer was chosen, ROI by subject, coloured by its depth in its network.

    The numbers count layers by depth; with several networks a letter before them names the network, in the order of the
    results.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = layer_map(example_results())
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['V1']
    """
    depth, rois, subjects = layer_order(results), results.rois, results.subjects
    letters = depth.letters
    shades = np.full((len(rois), len(subjects)), np.nan)
    with drawing(ax, inches=(max(3.5, 1.2 + 0.4 * len(subjects)), max(1.5, 0.8 + 0.3 * len(rois)))) as axes:
        for row in results.scores.to_dict("records"):
            at = rois.index(row["roi"]), subjects.index(row["subject"])
            shades[at] = np.nan_to_num(depth.position(row))
            network = str(row["network"]), str(row["weights"]), str(row["pool"])
            axes.text(at[1], at[0], f"{letters[network]}{depth.index(row) + 1}", ha="center", va="center",
                      color="black" if shades[at] > 0.5 else "white", fontsize=7)  # fmt: skip
        axes.imshow(shades, cmap=COLORMAP, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_xticks(range(len(subjects)), subjects, rotation=0 if len(subjects) <= 6 else 60)
        axes.set_yticks(range(len(rois)), rois)
        axes.grid(visible=False)
    return axes
