"""How many voxels are predicted better than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from voxelcast.report.heatmap import Heatmap, heatmap
from voxelcast.results.read import Results


@dataclass(frozen=True)
class Significance:
    """Share of significant voxels, ROI by subject, and how they were tested, in words."""

    shares: Heatmap
    sentence: str


def significance(results: Results) -> Significance | None:
    """Lay out the share of voxels with a significant score; None where none were tested."""
    table = results.scores.assign(share=results.scores["n_significant_voxels"] / results.scores["n_voxels"])
    titles = {
        (str(row["subject"]), str(row["roi"])): f"{row['roi']}, {row['subject']}: "
        f"{row['n_significant_voxels']:,.0f} of {row['n_voxels']:,.0f} voxels"
        for row in table.to_dict("records")
        if np.isfinite(row["share"])
    }
    shares = heatmap(table, "share", results.rois, results.subjects, top=1.0, titles=titles, show=percent)
    if shares is None:
        return None
    tested = table[np.isfinite(table["share"])]
    found, of = int(tested["n_significant_voxels"].sum()), int(tested["n_voxels"].sum())
    settings = results.config.get("significance")
    alpha = settings.get("alpha") if isinstance(settings, Mapping) else None
    rate = f" at a false discovery rate of {alpha:g}" if isinstance(alpha, float) else ""
    return Significance(
        shares,
        f"{found:,} of {of:,} voxels ({percent(found / of)}) are predicted better than chance{rate}: a one-sided "
        "permutation test of each voxel, corrected over the voxels of its ROI (Benjamini-Hochberg).",
    )


def percent(value: float) -> str:
    """Show a share in percent; a dash for NaN. 100 % means all and 0 % none, not nearly so."""
    if not np.isfinite(value):
        return "—"
    rounded = f"{100 * value:.0f} %"
    if rounded == "100 %" and value < 1:
        return "over 99 %"
    return "under 1 %" if rounded == "0 %" and value > 0 else rounded
