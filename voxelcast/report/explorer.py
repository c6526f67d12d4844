"""The numbers behind the interactive chart: selection score by layer, for every ROI, subject and network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from voxelcast.report.depth import Depth, network_of
from voxelcast.report.plot_data import layer_scores
from voxelcast.report.summary import network_label
from voxelcast.results.read import Results

_DIGITS = 4


def explorer_data(results: Results, depth: Depth) -> dict[str, Any]:
    """Gather what the page's script draws.

    Returns
    -------
    data : dict
        ``rois``, ``subjects``; ``networks``: list of ``{label, colour, layers}``; ``scores``: by ROI, subject and
        network, the best candidate's selection score of each layer (None where it was not tried); ``chosen``: by ROI
        and subject, the numbers of network and layer.
    """
    networks, rois, subjects = list(depth.layers), results.rois, results.subjects
    chosen = {
        (row["roi"], row["subject"]): (networks.index(network_of(row)), depth.index(row))
        for row in results.scores.to_dict("records")
    }
    tables = [layer_scores(results, roi, depth) for roi in rois]
    return {
        "rois": rois,
        "subjects": subjects,
        "networks": [
            {"label": network_label(*network), "colour": to_hex(depth.colours[network]), "layers": layers}
            for network, layers in depth.layers.items()
        ],
        "scores": [
            [
                [_column(of_roi.get(network), subject, len(layers)) for network, layers in depth.layers.items()]
                for subject in subjects
            ]
            for of_roi in tables
        ],
        "chosen": [[chosen.get((roi, subject)) for subject in subjects] for roi in rois],
    }


def _column(table: pd.DataFrame | None, subject: str, n_layers: int) -> list[float | None]:
    if table is None or subject not in table:
        return [None] * n_layers
    return [round(float(value), _DIGITS) if np.isfinite(value) else None for value in table[subject]]
