"""Some experiments side by side: scores by ROI, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from voxelcast.app.experiment import Experiment, need_results
from voxelcast.core.errors import OptionError
from voxelcast.report.comparison import differences, mean_rows, outputs_of, warnings_of
from voxelcast.report.comparison_page import write_comparison
from voxelcast.report.summary import strip_axis

MOST = 20
"""Experiments in one comparison; a table of more is not read but sorted, which the list does."""


def side_by_side(experiments: Sequence[Experiment], *, by_voxel: bool) -> dict[str, Any]:
    """Compare experiments that have scores; raise OptionError for too few or many, DataError if one has none.

    Gives ``experiments``; their ``labels``, with the folder where several have the same name; ``rows``: (ROI, its
    `Mean` for each experiment, the highest score) as :func:`voxelcast.report.comparison.mean_rows` has them; the
    ``axis`` that all share; ``differences`` of settings, and ``warnings``.
    """
    _check_count(experiments)
    names = [experiment.name for experiment in experiments]
    labels = [f"{e.name} ({e.shown})" if names.count(e.name) > 1 else e.name for e in experiments]
    outputs = outputs_of(dict(zip(labels, map(need_results, experiments), strict=True)))
    rows = mean_rows(outputs, by_voxel=by_voxel)
    return {
        "experiments": experiments,
        "labels": [output.label for output in outputs],
        "rows": [
            (roi, means, max((mean.score for mean in means if np.isfinite(mean.score)), default=float("nan")))
            for roi, means in rows
        ],
        "axis": strip_axis([mean for _, means in rows for mean in means]),
        "differences": differences(outputs),
        "warnings": warnings_of(outputs),
    }


def full_comparison(experiments: Sequence[Experiment]) -> str:
    """Return the report's comparison, with its figures, as HTML; raises as `side_by_side` and `read_results` do."""
    _check_count(experiments)
    for experiment in experiments:
        need_results(experiment)
    with TemporaryDirectory() as folder:
        path = write_comparison([experiment.folder for experiment in experiments], Path(folder) / "comparison.html")
        return path.read_text(encoding="utf-8")


def _check_count(experiments: Sequence[Experiment]) -> None:
    if not 2 <= len(experiments) <= MOST:
        raise OptionError(f"a comparison takes 2 to {MOST} experiments; got {len(experiments)}: tick them in the list")
