"""Unique and shared variance: what each group of layers explains alone, and what several have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from voxelcast.report.figures import PALETTE
from voxelcast.report.summary import listed, mean_or_nan
from voxelcast.results.read import Results

_GROUP_COLOURS: Final = (PALETTE[0], PALETTE[2], PALETTE[3], PALETTE[4])
"""Those of the palette that mean nothing else in a figure with a noise ceiling."""
SHARED_COLOUR: Final = "#6b7580"


@dataclass(frozen=True)
class PartRow:
    """One part of the variance in an ROI: means over subjects, of the ends of its interval too; NaN where unknown."""

    roi: str
    kind: str
    """``"model"``, ``"unique"`` or ``"shared"``."""
    groups: tuple[str, ...]
    r2: float
    low: float
    high: float
    values: tuple[float, ...]
    """The subjects' shares."""

    @property
    def label(self) -> str:
        """What it is, in words."""
        names = listed(self.groups)
        return {"model": f"explained by {names}", "unique": f"unique to {names}"}.get(self.kind, f"shared by {names}")


def group_colours(results: Results) -> dict[str, str]:
    """Give the colour of each group."""
    names = dict.fromkeys(name for part in results.partition["part"] for name in part.split("+"))
    return dict(zip(names, _GROUP_COLOURS * len(names), strict=False))


def part_rows(results: Results, roi: str) -> list[PartRow]:
    """List the parts of the variance in an ROI: models, unique parts, shared parts."""
    table = results.partition[results.partition["roi"] == roi]
    rows = []
    for (kind, part), mine in table.groupby(["kind", "part"], sort=False):
        shares = tuple(float(value) for value in mine["r2"] if np.isfinite(value))
        ends = (mean_or_nan(mine["low"]), mean_or_nan(mine["high"]))
        rows.append(PartRow(roi, str(kind), tuple(str(part).split("+")), mean_or_nan(shares), *ends, shares))
    return rows


@dataclass(frozen=True)
class GroupRow:
    """A group of layers in an ROI; numbers are means over subjects, counts their sums; NaN where unknown."""

    roi: str
    group: str
    n_preferred: int
    n_voxels: int
    lead: tuple[float, float, float]
    """R2 of the model on the group alone minus that of the best other group, with the ends of the interval."""
    lesion: tuple[float, float, float]
    """Fall of r without the group, likewise."""


def group_rows(results: Results, roi: str) -> list[GroupRow]:
    """List the groups in an ROI."""
    rows = []
    for group, mine in results.groups[results.groups["roi"] == roi].groupby("group", sort=False):
        means = {name: mean_or_nan(mine[name]) for name in mine if str(name).startswith(("lead", "lesion"))}
        lead = means["lead"], means["lead_low"], means["lead_high"]
        lesion = means["lesion"], means["lesion_low"], means["lesion_high"]
        counts = int(mine["n_preferred"].sum()), int(mine["n_voxels"].sum())
        rows.append(GroupRow(roi, str(group), *counts, lead, lesion))
    return rows


def partition_ceiling(results: Results, roi: str) -> float:
    """Give the noise ceiling (R²) in an ROI, mean over subjects."""
    return mean_or_nan(results.partition.loc[results.partition["roi"] == roi, "noise_ceiling_r2"])
