"""Tables of the report that are not scores: layers, exclusions, steps, provenance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from voxelcast.report.layer_profile import Depth
from voxelcast.report.results import Results
from voxelcast.report.summary import network_label

_NAMES_SHOWN: Final = 8


@dataclass(frozen=True)
class LayerRow:
    """One layer: its number by depth, its sizes, and for how many pairs it was chosen."""

    network: str
    colour: str
    place: int
    layer: str
    n_features: float
    n_components: float
    explained_variance: float
    chosen: int


def layer_rows(results: Results, depth: Depth) -> list[LayerRow]:
    """List the layers of every network in their order of depth."""
    known = results.layers.drop_duplicates(["network", "layer"]).set_index(["network", "layer"])
    chosen = results.scores.groupby(["network", "weights", "layer"]).size().to_dict()
    rows = []
    for (network, weights), layers in depth.layers.items():
        for place, layer in enumerate(layers, start=1):
            facts: Mapping[str, Any] = known.loc[(network, layer)].to_dict() if (network, layer) in known.index else {}
            rows.append(
                LayerRow(
                    network=network_label(network, weights),
                    colour=depth.colours[network, weights],
                    place=place,
                    layer=layer,
                    n_features=float(facts.get("n_features", np.nan)),
                    n_components=float(facts.get("n_components", np.nan)),
                    explained_variance=float(facts.get("explained_variance", np.nan)),
                    chosen=int(chosen.get((network, weights, layer), 0)),
                )
            )
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
    """Gather the exclusions that share kind, subject, ROI and reason."""
    rows = []
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
    """Time that the steps of one kind took."""

    kind: str
    count: int
    seconds: float
    longest: float
    share: float


def step_rows(provenance: Mapping[str, Any]) -> list[StepRow]:
    """Sum the seconds of the steps of each kind.

    ``provenance["steps"]`` is a list of ``{"kind": ..., "name": ..., "seconds": ...}``; what has no seconds is left to
    the listing of the whole provenance.
    """
    steps = provenance.get("steps", [])
    if not isinstance(steps, list):
        return []
    seconds: dict[str, list[float]] = {}
    for step in steps:
        if isinstance(step, Mapping) and isinstance(step.get("seconds"), int | float):
            seconds.setdefault(str(step.get("kind", step.get("name", "step"))), []).append(float(step["seconds"]))
    longest_kind = max((sum(values) for values in seconds.values()), default=0.0)
    return [
        StepRow(kind, len(values), sum(values), max(values), sum(values) / longest_kind if longest_kind else 0.0)
        for kind, values in seconds.items()
    ]


def flatten(value: object, name: str = "") -> list[tuple[str, str]]:
    """List a nested mapping as (dotted name, text), e.g. ``("packages.numpy", "2.1.0")``; a list's items take a line each."""
    if isinstance(value, Mapping) and value:
        return [row for key, inner in value.items() for row in flatten(inner, f"{name}.{key}" if name else str(key))]
    if isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        return [(f"{name}.{place}", _line(item)) for place, item in enumerate(value)]
    return [(name, _line(value))]


def _line(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {_line(inner)}" for key, inner in value.items()) or "—"
    if isinstance(value, list):
        return " ".join(_line(item) for item in value) or "—"
    return "—" if value is None else str(value)


def duration(seconds: float) -> str:
    """Show a time span in the two largest units, e.g. ``"3 min 20 s"``."""
    if seconds < 59.5:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
