"""How many voxels are predicted better than chance."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from voxelcast.report.heatmap import Heatmap, heatmap, roi_table
from voxelcast.results.read import Results


def significance(results: Results) -> tuple[Heatmap, str] | None:
    """Lay out the share of significant voxels, and say how they were tested; None where none were."""
    scores = results.scores
    shares = scores["n_significant_voxels"] / scores["n_voxels"]
    tested = scores[np.isfinite(shares)]
    if tested.empty:
        return None
    titles = {
        (str(row["subject"]), str(row["roi"])): f"{row['roi']}, {row['subject']}: "
        f"{row['n_significant_voxels']:,.0f} of {row['n_voxels']:,.0f} voxels"
        for row in tested.to_dict("records")
    }
    found, of = int(tested["n_significant_voxels"].sum()), int(tested["n_voxels"].sum())
    settings = results.config.get("significance")
    alpha = settings.get("alpha") if isinstance(settings, Mapping) else None
    rate = f" at a false discovery rate of {alpha:g}" if isinstance(alpha, float) else ""
    return (
        heatmap(roi_table(results, shares), top=1.0, titles=titles, show=percent),
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
