"""The numbers behind the interactive chart: selection score by layer, for every ROI, subject and network."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from voxelcast.report.layer_profile import NETWORK, Depth, network_of
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
    networks = list(depth.layers)
    keys = ["roi", "subject", *NETWORK, "layer"]
    best = results.search.groupby(keys, sort=False)["score"].max().reset_index()
    by_place: dict[tuple[str, str, int], dict[str, float]] = {}
    for roi, subject, *network, layer, score in best.itertuples(index=False):
        by_place.setdefault((roi, subject, networks.index(tuple(network))), {})[layer] = float(score)
    rois, subjects = results.rois, results.subjects
    return {
        "rois": rois,
        "subjects": subjects,
        "networks": [
            {"label": network_label(*network), "colour": to_hex(depth.colours[network]), "layers": layers}
            for network, layers in depth.layers.items()
        ],
        "scores": [
            [
                [
                    _rounded(by_place.get((roi, subject, place), {}), depth.layers[network])
                    for place, network in enumerate(networks)
                ]
                for subject in subjects
            ]
            for roi in rois
        ],
        "chosen": _chosen(results, depth),
    }


def _rounded(scores: dict[str, float], layers: tuple[str, ...]) -> list[float | None]:
    values = [scores.get(layer, np.nan) for layer in layers]
    return [round(value, _DIGITS) if np.isfinite(value) else None for value in values]


def _chosen(results: Results, depth: Depth) -> list[list[tuple[int, int] | None]]:
    networks = list(depth.layers)
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for row in results.scores.to_dict("records"):
        network = network_of(row)
        found[str(row["roi"]), str(row["subject"])] = (
            networks.index(network),
            depth.layers[network].index(str(row["layer"])),
        )
    return [[found.get((roi, subject)) for subject in results.subjects] for roi in results.rois]
