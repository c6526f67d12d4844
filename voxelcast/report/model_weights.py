"""Which layers the predictions combine, where they combine several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from voxelcast.report.depth import NETWORK
from voxelcast.report.summary import mean_or_nan, network_label
from voxelcast.results.read import Results

MOST_LAYERS: Final = 6


@dataclass(frozen=True)
class WeightRow:
    """A layer's mean weight over the subjects of an ROI, and its share of all the ROI's weights."""

    roi: str
    network: str
    layer: str
    weight: float
    share: float


@dataclass(frozen=True)
class GainRow:
    """What combining models gained over the best single one in an ROI: means over subjects; NaN where unknown."""

    roi: str
    n_models: float
    single: float
    gain: float
    low: float
    high: float


def weight_rows(results: Results) -> list[WeightRow]:
    """List the heaviest layers of each ROI; empty where every prediction comes from one model.

    Weights of a layer's different hyper-parameters are added; a layer without weight in a subject counts 0 there.
    """
    table = results.weights
    if table.empty or table.groupby(["subject", "roi"]).size().max() < 2:
        return []
    rows = []
    for roi in results.rois:
        mine = table[table["roi"] == roi]
        summed = mine.groupby([*NETWORK, "layer"], sort=False)["weight"].sum() / mine["subject"].nunique()
        summed = summed.sort_values(ascending=False, kind="stable")
        total = float(summed.sum()) or 1.0
        for *network, layer, weight in summed.head(MOST_LAYERS).reset_index().itertuples(index=False):
            rows.append(WeightRow(roi, network_label(*network), layer, weight, max(weight / total, 0.0)))
    return rows


def gain_rows(results: Results) -> list[GainRow]:
    """List per ROI what combining gained; empty where it was not measured."""
    scores = results.scores
    if not scores["gain"].notna().any():
        return []
    columns = ("n_models", "single_score", "gain", "gain_low", "gain_high")
    return [
        GainRow(roi, *(mean_or_nan(scores.loc[scores["roi"] == roi, column]) for column in columns))
        for roi in results.rois
    ]
