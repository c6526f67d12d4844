"""Tables of the report that are not scores: layers, exclusions, steps, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pandas as pd

from voxelcast.report.depth import NETWORK, Depth
from voxelcast.report.summary import mean_or_nan, network_label
from voxelcast.results.read import Results

_NAMES_SHOWN: Final = 8
MOST_LAYERS: Final = 6
"""Layers of each ROI whose weights are shown."""


def layer_rows(results: Results, depth: Depth) -> list[dict[str, Any]]:
    """List the layers of every network by depth: number, sizes, and for how many pairs each was chosen."""
    sizes = ["n_features", "n_components", "explained_variance"]
    columns = ["network", "pool", "layer", *sizes]
    known = {row[:3]: row[3:] for row in results.layers[columns].itertuples(index=False, name=None)}
    chosen = results.scores.groupby([*NETWORK, "layer"]).size().to_dict()
    return [
        {
            "place": place,
            "network": network_label(*network),
            "colour": depth.colours[network],
            "number": number,
            "layer": layer,
            "chosen": int(chosen.get((*network, layer), 0)),
            **dict(zip(sizes, known.get((network[0], network[2], layer), (np.nan,) * 3), strict=True)),
        }
        for place, (network, layers) in enumerate(depth.layers.items())
        for number, layer in enumerate(layers, start=1)
    ]


def exclusion_rows(results: Results) -> list[tuple[Any, ...]]:
    """List the pairs that failed, and gather the exclusions that share kind, subject, ROI and reason.

    Rows are (kind, subject, roi, count, reason, the first names).
    """
    rows: list[tuple[Any, ...]] = [("subject x ROI", *pair, 1, reason, "") for pair, reason in results.missing.items()]
    keys = ["kind", "subject", "roi", "reason"]
    for (kind, subject, roi, reason), names in results.exclusions.groupby(keys, sort=False)["name"]:
        named = [name for name in names if name]
        more = f" and {len(named) - _NAMES_SHOWN} more" if len(named) > _NAMES_SHOWN else ""
        rows.append((kind, subject, roi, len(names), reason, ", ".join(named[:_NAMES_SHOWN]) + more))
    return rows


def weight_rows(results: Results) -> list[tuple[str, str, str, float, float]]:
    """List the heaviest layers of each ROI; empty where every prediction comes from one model.

    Rows are (roi, network, layer, mean weight over subjects, share of all the ROI's weights). Weights of a layer's
    different hyper-parameters are added; a layer without weight in a subject counts 0 there.
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
            rows.append((roi, network_label(*network), layer, weight, max(weight / total, 0.0)))
    return rows


def gain_rows(results: Results) -> list[tuple[Any, ...]]:
    """List per ROI what combining models gained over the best single one; empty where it was not measured.

    Rows are (roi, models, score of the best single one, gain, its low and high end), means over subjects; NaN where
    unknown.
    """
    if not results.scores["gain"].notna().any():
        return []
    columns = ["n_models", "single_score", "gain", "gain_low", "gain_high"]
    means = results.scores.groupby("roi")[columns].agg(mean_or_nan)
    return list(means.loc[list(results.rois)].itertuples(name=None))


def step_rows(provenance: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Sum the seconds of the steps of each kind.

    ``provenance["steps"]`` maps ``"<kind>/<name>"`` to ``{"seconds": ..., "peak_mb": ...}``; what has no seconds is
    left to the listing of the whole provenance. Rows are (kind, count, seconds, the longest's, most memory that one
    held in MB, share of the longest kind); the memory is NaN where it was not measured.
    """
    steps = provenance.get("steps")
    timed = [
        (str(name).partition("/")[0], float(facts["seconds"]), facts.get("peak_mb"))
        for name, facts in (steps.items() if isinstance(steps, Mapping) else ())
        if isinstance(facts, Mapping) and isinstance(facts.get("seconds"), int | float)
    ]
    table = pd.DataFrame(timed, columns=["kind", "seconds", "peak_mb"]).astype({"peak_mb": float})
    kinds = table.groupby("kind", sort=False)
    rows = kinds["seconds"].agg(["size", "sum", "max"]).assign(peak_mb=kinds["peak_mb"].max())
    return list(rows.assign(share=rows["sum"] / (rows["sum"].max() or 1.0)).itertuples(name=None))


def flatten(value: object, name: str = "") -> list[tuple[str, str]]:
    """List a nested mapping as (dotted name, text), e.g. ``("packages.numpy", "2.1.0")``.

    A mapping that holds no other mapping takes one line below the second level, as the many steps do.
    """
    if (
        isinstance(value, Mapping)
        and value
        and (name.count(".") < 1 or any(isinstance(v, Mapping) for v in value.values()))
    ):
        return [row for key, inner in value.items() for row in flatten(inner, f"{name}.{key}" if name else str(key))]
    return [(name, _line(value))]


def _line(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_line(inner)}" for key, inner in value.items()) or "—"
    if isinstance(value, list):
        return " ".join(_line(item) for item in value) or "—"
    return "—" if value is None else str(value)


def citations(results: Results) -> list[tuple[str, str]]:
    """List what to cite: the software, the data, and each network with its weights."""
    provenance = results.provenance
    git = provenance.get("git")
    commit = f", commit {git['commit'][:12]}" if isinstance(git, Mapping) and git.get("commit") else ""
    listed = [
        (
            "Software",
            "The voxelcast developers. voxelcast: encoding models of fMRI responses to videos and images from deep "
            f"networks. Version {provenance.get('voxelcast', 'unknown')}{commit}.",
        )
    ]
    dataset = provenance.get("dataset")
    if isinstance(dataset, Mapping):
        listed.append(
            ("Data", f"{dataset.get('title')}: {dataset.get('citation')} (licence: {dataset.get('licence')})")
        )
    networks = list(dict.fromkeys(zip(results.scores["network"], results.scores["weights"], strict=True)))
    papers = "the paper that introduced it, and its weights' where these come from another"
    listed += [("Network", f"{network_label(*network)}: {papers}") for network in networks]
    return listed


def memory(peak_mb: float) -> str:
    """Show an amount of memory, e.g. ``"1.3 GB"``; a dash where it is not known."""
    if not np.isfinite(peak_mb):
        return "—"
    return f"{peak_mb / 1000:.1f} GB" if peak_mb >= 1000 else f"{peak_mb:.0f} MB"


def duration(seconds: float) -> str:
    """Show a time span in the two largest units, e.g. ``"3 min 20 s"``."""
    if seconds < 59.5:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
