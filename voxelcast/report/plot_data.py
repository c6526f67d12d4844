"""The numbers that the figures draw, from the tables and arrays of an experiment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.colors import to_hex

from voxelcast.core.arrays import FloatArray
from voxelcast.report.depth import NETWORK, Depth, Network, network_of, rows_of
from voxelcast.report.summary import network_label
from voxelcast.results.read import Results

_N_BINS: Final = 40
_DIGITS: Final = 4
"""Decimals of the interactive chart's numbers."""


def layer_scores(results: Results, roi: str, depth: Depth) -> dict[Network, pd.DataFrame]:
    """Give the best candidate's selection score in an ROI, for each network a table of layer (by depth) x subject."""
    candidates = results.search[results.search["roi"] == roi]
    best = candidates.groupby(["subject", *NETWORK, "layer"], sort=False)["score"].max().reset_index()
    by_network = {network: rows_of(best, network) for network in depth.layers}
    return {
        network: rows.pivot(index="layer", columns="subject", values="score").reindex(list(depth.layers[network]))
        for network, rows in by_network.items()
        if not rows.empty
    }


def staircase(scores: FloatArray) -> FloatArray:
    """Return the best score among the first k candidates for every k; NaN until one is finite."""
    return np.fmax.accumulate(np.asarray(scores, dtype=np.float64))


def best_so_far(results: Results, roi: str) -> tuple[list[FloatArray], FloatArray]:
    """Give each subject's best selection score so far, (n_candidates,), and their mean.

    A subject whose search was shorter keeps its last best in the mean.
    """
    candidates = results.search[results.search["roi"] == roi]
    steps = [staircase(group["score"].to_numpy()) for _, group in candidates.groupby("subject", sort=False)]
    length = max(len(some) for some in steps)
    filled = np.stack([np.pad(some, (0, length - len(some)), mode="edge") for some in steps])
    there = np.isfinite(filled)
    total = np.where(there, filled, 0.0).sum(axis=0)
    return steps, np.divide(total, there.sum(axis=0), out=np.full(length, np.nan), where=there.any(axis=0))


def parse_hyperparameters(text: str) -> dict[str, float]:
    """Read ``"n_components=4; relative_alpha=0.01"``; what is no number is left out."""
    values: dict[str, float] = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            continue
    return values


@dataclass(frozen=True)
class HyperparameterScores:
    """Selection scores in an ROI against one hyper-parameter of an encoder, in the layer and pool chosen."""

    encoder: str
    name: str
    points: pd.DataFrame
    """``subject``, ``value`` and ``score`` of each candidate."""
    chosen: FloatArray
    """Values of the models chosen, (n_chosen,)."""

    def best(self) -> pd.DataFrame:
        """Give the best score over the other hyper-parameters, (n_values, n_subjects)."""
        return self.points.groupby(["value", "subject"])["score"].max().unstack("subject")


def hyperparameter_scores(results: Results, roi: str) -> list[HyperparameterScores]:
    """List the hyper-parameters of each encoder of which several values were tried."""
    chosen = results.scores[results.scores["roi"] == roi]
    keys = ["subject", *NETWORK, "layer"]
    tried = results.search[results.search["roi"] == roi].merge(chosen[keys], on=keys)
    params = pd.DataFrame([parse_hyperparameters(text) for text in tried["hyperparameters"]], index=tried.index)
    found = []
    for encoder in dict.fromkeys(tried["encoder"]):
        mine = tried["encoder"] == encoder
        texts = chosen.loc[chosen["encoder"] == encoder, "hyperparameters"]
        for name in params.columns:
            points = tried.loc[mine, ["subject", "score"]].assign(value=params.loc[mine, name]).dropna()
            if points["value"].nunique() > 1:
                values = np.asarray([parse_hyperparameters(text).get(str(name), np.nan) for text in texts])
                found.append(HyperparameterScores(encoder, str(name), points, values[np.isfinite(values)]))
    return found


def pooled_voxels(results: Results, roi: str) -> dict[str, FloatArray]:
    """Join ``pearson_r``, ``noise_ceiling_r`` and ``held_out_r`` of all subjects' voxels, finite values only.

    Where only held-out stimuli were scored, the ceiling is theirs.
    """
    mine = [arrays for (_, name), arrays in results.voxels.items() if name == roi]
    of_held_out = not any("pearson_r" in arrays for arrays in mine)
    pooled: dict[str, FloatArray] = {}
    for key in ("pearson_r", "noise_ceiling_r", "held_out_r"):
        source = f"held_out_{key}" if of_held_out and key == "noise_ceiling_r" else key
        parts = [arrays[source] for arrays in mine if source in arrays]
        values = np.concatenate(parts) if parts else np.empty(0)
        pooled[key] = values[np.isfinite(values)]
    return pooled


def histogram_edges(pooled: Mapping[str, Mapping[str, FloatArray]]) -> FloatArray:
    """Give edges of bins that hold the voxels of all ROIs; empty if there are none.

    Zero is always an edge, so that signs do not mix.
    """
    everything = [values for arrays in pooled.values() for values in arrays.values() if values.size]
    if not everything:
        return np.empty(0)
    low, high = min(float(v.min()) for v in everything), max(float(v.max()) for v in everything)
    # One bin more below zero than needed costs nothing.
    width = max(high - min(low, 0.0), 1e-3) / _N_BINS
    edges: FloatArray = width * np.arange(np.floor(min(low, 0.0) / width), np.ceil(high / width) + 1)
    return edges


def explorer_data(results: Results, depth: Depth) -> dict[str, Any]:
    """Gather what the page's interactive chart draws.

    ``rois``, ``subjects``; ``networks``: list of ``{label, colour, layers, depths}``; ``scores``: by ROI, subject and
    network, the best candidate's selection score of each layer (None where it was not tried); ``chosen``: by ROI and
    subject, the numbers of network and layer.
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
            {
                "label": network_label(*network),
                "colour": to_hex(depth.colours[network]),
                "layers": layers,
                "depths": [None if np.isnan(place) else round(place, _DIGITS) for place in depth.depths[network]],
            }
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
