"""How well each layer of the networks predicts a ROI."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from voxelcast.core.arrays import FloatArray
from voxelcast.report.figures import PALETTE, SUBJECT_COLOUR, Panel, inline, new_axes
from voxelcast.report.summary import network_label, number
from voxelcast.results.read import Results

_BAR_SPACE: Final = 0.22
"""Part of a panel's height that a layer chosen for every subject would fill."""

_MOST_TICKS: Final = 8

Network = tuple[str, str, str]
"""Name, weights, and the pool over time where there are several (else empty): what has a line of its own."""

NETWORK: Final = ["network", "weights", "pool"]
"""The columns that tell networks from each other."""


def network_of(row: Mapping[Any, Any]) -> Network:
    """Return the network of a row of a table."""
    return str(row["network"]), str(row["weights"]), str(row["pool"])


def rows_of(table: pd.DataFrame, network: Network) -> pd.DataFrame:
    """Return the rows of a table that speak of a network."""
    name, weights, pool = network
    return table[(table["network"] == name) & (table["weights"] == weights) & (table["pool"] == pool)]


@dataclass(frozen=True)
class Depth:
    """Layers of each network in their order of depth.

    Parameters
    ----------
    layers : mapping of Network to tuple of str
        From the layer nearest the pixels on.
    colours : mapping of Network to str
    """

    layers: Mapping[Network, tuple[str, ...]]
    colours: Mapping[Network, str]


def layer_order(results: Results) -> Depth:
    """Order the layers: as in layers.csv, and layers that it does not list behind, as they were tried."""
    tried = pd.concat([results.search, results.scores])[[*NETWORK, "layer"]].drop_duplicates()
    layers: dict[Network, tuple[str, ...]] = {}
    for (network, weights, pool), group in tried.groupby(NETWORK, sort=False):
        listed = results.layers.loc[results.layers["network"] == network, "layer"]
        names = set(group["layer"])
        order = [layer for layer in dict.fromkeys(listed) if layer in names]
        others = (layer for layer in group["layer"] if layer not in order)
        layers[str(network), str(weights), str(pool)] = (*order, *others)
    colours = {network: PALETTE[index % len(PALETTE)] for index, network in enumerate(layers)}
    return Depth(layers, colours)


def layer_profiles(results: Results, depth: Depth, rois: Sequence[str]) -> dict[str, Panel]:
    """Draw one panel per ROI: the best candidate's selection score per layer, against depth."""
    keys = ["roi", "subject", *NETWORK, "layer"]
    best = results.search.groupby(keys, sort=False)["score"].max().reset_index()
    return {roi: _panel(roi, best[best["roi"] == roi], results, depth) for roi in rois if roi in set(best["roi"])}


def _panel(roi: str, best: pd.DataFrame, results: Results, depth: Depth) -> Panel:
    figure, axes = new_axes("layer, by depth", "selection score (r)")
    chosen = results.scores[results.scores["roi"] == roi]
    sentences = []
    for lane, (network, layers) in enumerate(depth.layers.items()):
        mine = rows_of(best, network)
        if mine.empty:
            continue
        # (n_layers, n_subjects)
        table = mine.pivot(index="layer", columns="subject", values="score").reindex(list(layers))
        mean = table.mean(axis=1).to_numpy(dtype=np.float64)
        x = np.arange(1, len(layers) + 1)
        if table.shape[1] > 1:
            axes.plot(x, table.to_numpy(), color=SUBJECT_COLOUR, linewidth=0.6, alpha=0.55, zorder=1)
        colour = depth.colours[network]
        axes.plot(x, mean, color=colour, marker="o", markersize=2.5, zorder=3)
        picked = rows_of(chosen, network)["layer"]
        counts = {str(layer): int(count) for layer, count in picked.value_counts().items()}
        _mark_chosen(axes, layers, counts, len(chosen), colour, (lane, len(depth.layers)))
        sentences.append(_sentence(network, layers, mean))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    _number_layers(axes, max(len(layers) for layers in depth.layers.values()))
    _leave_space_for_bars(axes, best["score"].to_numpy(dtype=np.float64))
    picks = ", ".join(f"{layer} ({count})" for layer, count in chosen["layer"].value_counts().items())
    return inline(figure, roi, f"Layer profile of {roi}. {' '.join(sentences)} Chosen: {picks}.")


def _mark_chosen(
    axes: Axes, layers: tuple[str, ...], counts: dict[str, int], n_subjects: int, colour: str, lane: tuple[int, int]
) -> None:
    """Stand a bar on the horizontal axis for each chosen layer; its height is the share of subjects.

    ``lane`` is the network's number and how many there are: the bars of several networks stand side by side.
    """
    width = 0.7 / lane[1]
    x = [layers.index(layer) + 1 + (lane[0] - (lane[1] - 1) / 2) * width for layer in counts]
    heights = [_BAR_SPACE * count / n_subjects for count in counts.values()]
    floor = axes.get_xaxis_transform()
    axes.bar(x, heights, width=width, color=colour, alpha=0.45, linewidth=0, transform=floor, zorder=2)
    if n_subjects > 1:
        for place, height, count in zip(x, heights, counts.values(), strict=True):
            axes.text(place, height + 0.01, str(count), transform=floor, ha="center", va="bottom", fontsize=6.5)


def _number_layers(axes: Axes, n_layers: int) -> None:
    step = -(-n_layers // _MOST_TICKS)
    axes.set_xticks([1] if n_layers == 1 else range(step, n_layers + 1, step))
    # A few layers do not fill the panel with one wide bar each.
    half = max(n_layers, _MOST_TICKS) / 2 + 0.2
    axes.set_xlim((n_layers + 1) / 2 - half, (n_layers + 1) / 2 + half)


def _leave_space_for_bars(axes: Axes, scores: FloatArray) -> None:
    finite = scores[np.isfinite(scores)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    span = (high - low) or 0.1
    axes.set_ylim(low - span * (_BAR_SPACE + 0.12), high + 0.06 * span)


def _sentence(network: Network, layers: tuple[str, ...], mean: FloatArray) -> str:
    name = network_label(*network)
    if not np.isfinite(mean).any():
        return f"{name}: no finite score."
    place = int(np.nanargmax(mean))
    where = f"layer {place + 1} of {len(layers)}, {layers[place]}"
    return f"{name}: highest mean selection score {number(float(mean[place]))} at {where}."
