"""Figures of encoders that are trained: learning curves, and where voxels read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from voxelcast.core.arrays import FloatArray
from voxelcast.report.figures import PALETTE, PANEL_INCHES, Panel, inline
from voxelcast.report.summary import number
from voxelcast.results.read import Results
from voxelcast.results.schema import Pair

_SHOWN = 8
"""Voxels of which pictures are drawn: those that are predicted best."""


def training(results: Results) -> dict[str, Any] | None:
    """Lay out learning curves, pictures of where voxels read, and rules; None where nothing was trained or compared."""
    if results.training.empty and results.rules.empty:
        return None
    named = ["encoder", "network", "trained_on"]
    curves = [_curves(name, table) for name, table in results.training.groupby(named, sort=False)]
    pictures = [_places(results, pair, places) for pair, places in results.places.items() if places]
    return {"curves": curves, "pictures": pictures, "rules": results.rules.to_dict("records")}


def _curves(name: Any, table: Any) -> Panel:
    """Draw the loss of each variant over epochs, mean over the folds left out."""
    figure = Figure(figsize=PANEL_INCHES)
    axes, title = figure.add_subplot(), ", ".join(name)
    means = table.groupby(["variant", "epoch"])["loss"].mean()
    for k, (variant, curve) in enumerate(means.groupby("variant")):
        values = curve.droplevel("variant")
        axes.plot(values.index, values.to_numpy(), color=PALETTE[k % len(PALETTE)], label=str(variant))
    axes.set(xlabel="epoch", ylabel="loss")
    n_epochs = int(table["epoch"].max())
    last = number(float(table[table["epoch"] == n_epochs]["loss"].mean()))
    said = f"{table['variant'].nunique()} variants, {n_epochs} epochs; {last} at the end"
    return inline(figure, title, f"Learning curves of {title}: {said}.", means.unstack("variant").reset_index())


def _places(results: Results, pair: Pair, places: Mapping[str, FloatArray]) -> Panel:
    """Draw where the best voxels read: a row for each encoder and layer."""
    scores = next(iter(results.voxels[pair].values()), np.zeros(0))
    best = np.argsort(-np.nan_to_num(scores, nan=-2.0), kind="stable")[:_SHOWN]
    figure = Figure(figsize=(0.7 * len(best) + 1.2, 0.75 * len(places) + 0.4))
    grid = figure.subplots(len(places), len(best), squeeze=False)
    for row, (layer, maps) in zip(grid, places.items(), strict=True):
        for axes, voxel in zip(row, best.tolist(), strict=True):
            axes.imshow(maps[voxel], cmap="magma", vmin=0)
            axes.set(xticks=[], yticks=[])
        row[0].set_ylabel(layer.rpartition(" ")[2], rotation=0, ha="right", va="center", fontsize=7)
    for axes, voxel in zip(grid[0], best.tolist(), strict=True):
        axes.set_title(str(voxel), fontsize=7)
    named = ", ".join(places)
    alt = f"Where the {len(best)} best predicted voxels of {' '.join(pair)} read, brightest where most: {named}."
    return inline(figure, " ".join(pair), alt)
