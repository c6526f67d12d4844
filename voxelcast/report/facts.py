"""Tables of the report that are not scores: layers, exclusions, steps, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from voxelcast.report.depth import NETWORK, Depth
from voxelcast.report.summary import network_label
from voxelcast.results.read import Results

_NAMES_SHOWN: Final = 8


@dataclass(frozen=True)
class LayerRow:
    """One layer: its number by depth, its sizes, and for how many pairs it was chosen."""

    network: str
    colour: str
    number: int
    layer: str
    n_features: float
    n_components: float
    explained_variance: float
    chosen: int


def layer_rows(results: Results, depth: Depth) -> list[LayerRow]:
    """List the layers of every network in their order of depth."""
    columns = ["network", "pool", "layer", "n_features", "n_components", "explained_variance"]
    known = {row[:3]: row[3:] for row in results.layers[columns].itertuples(index=False, name=None)}
    chosen = results.scores.groupby([*NETWORK, "layer"]).size().to_dict()
    rows = []
    for (network, weights, pool), layers in depth.layers.items():
        label, colour = network_label(network, weights, pool), depth.colours[network, weights, pool]
        for number, layer in enumerate(layers, start=1):
            n_features, n_components, explained = known.get((network, pool, layer), (np.nan, np.nan, np.nan))
            count = int(chosen.get((network, weights, pool, layer), 0))
            rows.append(LayerRow(label, colour, number, layer, n_features, n_components, explained, count))
    return rows


@dataclass(frozen=True)
class ExclusionRow:
    """What was left out for one reason: how many, and the first names."""

    kind: str
    subject: str
    roi: str
    reason: str
    count: int
    names: str


def exclusion_rows(results: Results) -> list[ExclusionRow]:
    """List the pairs that failed, and gather the exclusions that share kind, subject, ROI and reason."""
    rows = [ExclusionRow("subject x ROI", *pair, reason, 1, "") for pair, reason in results.missing.items()]
    for (kind, subject, roi, reason), group in results.exclusions.groupby(
        ["kind", "subject", "roi", "reason"], sort=False
    ):
        names = [name for name in group["name"] if name]
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        shown = ", ".join(names[:_NAMES_SHOWN]) + more
        rows.append(ExclusionRow(str(kind), str(subject), str(roi), str(reason), len(group), shown))
    return rows


@dataclass(frozen=True)
class StepRow:
    """Time that the steps of one kind took, and the most memory that one of them held (NaN where not measured)."""

    kind: str
    count: int
    seconds: float
    longest: float
    peak_mb: float
    share: float


def step_rows(provenance: Mapping[str, Any]) -> list[StepRow]:
    """Sum the seconds of the steps of each kind.

    ``provenance["steps"]`` maps ``"<kind>/<name>"`` to ``{"seconds": ..., "peak_mb": ...}``; what has no seconds is
    left to the listing of the whole provenance.
    """
    steps = provenance.get("steps", {})
    kinds: dict[str, list[Mapping[str, Any]]] = {}
    for name, facts in steps.items() if isinstance(steps, Mapping) else ():
        if isinstance(facts, Mapping) and isinstance(facts.get("seconds"), int | float):
            kinds.setdefault(str(name).partition("/")[0], []).append(facts)
    totals = {kind: sum(float(step["seconds"]) for step in found) for kind, found in kinds.items()}
    most = max(totals.values(), default=0.0)
    return [
        StepRow(
            kind=kind,
            count=len(found),
            seconds=totals[kind],
            longest=max(float(step["seconds"]) for step in found),
            peak_mb=max((float(step["peak_mb"]) for step in found if step.get("peak_mb") is not None), default=np.nan),
            share=totals[kind] / most if most else 0.0,
        )
        for kind, found in kinds.items()
    ]


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
