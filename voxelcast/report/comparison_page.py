"""Several outputs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd

from voxelcast.core.errors import OptionError
from voxelcast.report.comparison import (
    ALL_ROIS,
    Output,
    Paired,
    differences,
    mean_depth,
    mean_rows,
    paired_differences,
    ranks,
    read_outputs,
    warnings_of,
)
from voxelcast.report.depth import layer_order
from voxelcast.report.facts import layer_rows
from voxelcast.report.figures import STYLE
from voxelcast.report.heatmap import Heatmap, heatmap
from voxelcast.report.page import MOST_PANELS, environment, scripts, write_page
from voxelcast.report.panels import depth_panel, rank_panel, score_panel
from voxelcast.report.summary import Mean, number, plural, strip_axis
from voxelcast.results.schema import DIFFERENCES, LEADERBOARD
from voxelcast.results.write import write_table
from voxelcast.scoring.intervals import Difference

_WAYS = {  # the last is the one that the page begins with
    True: ("Every voxel counts the same", "voxel-weighted: a subject counts by the number of its voxels"),
    False: ("Every subject counts the same", "mean over voxels of each subject, then over subjects, then over ROIs"),
}


def write_comparison(outputs: Sequence[Path], path: Path) -> Path:
    """Write one page that shows several experiments side by side, named by their names.

    The same folders give the same bytes. Raises OptionError if there are fewer than two folders, or one is given twice;
    MissingFileError, DataError or UnwritableError if a file is missing or cannot be understood, or ``path`` cannot be
    written.
    """
    if len(outputs) < 2:
        raise OptionError(f"a comparison needs at least 2 outputs; got {len(outputs)}")
    read = read_outputs([Path(output) for output in outputs])
    _write_page(read, paired_differences(read), read[0].label, path)
    return path


def write_leaderboard(outputs: Sequence[Path], folder: Path) -> Path:
    """Write ``leaderboard.csv``, ``differences.csv`` and the page that shows them, with differences from the best.

    Returns the page, ``leaderboard.html``. Raises as `write_comparison`; one output may be alone.
    """
    read = read_outputs(outputs)
    paired, by_roi, rows = paired_differences(read), mean_rows(read, by_voxel=False), []
    for roi, means in by_roi:
        for output, mean, rank in zip(read, means, ranks(read, means, paired, roi), strict=True):
            row = {"experiment": output.label, "roi": roi, "score": mean.score, "score_low": mean.low}
            row |= {"score_high": mean.high, "noise_ceiling_r": mean.ceiling, "depth": mean_depth(output, roi)}
            rows.append(row | ({} if rank is None else asdict(rank)))
    write_table(folder, LEADERBOARD, [_without_nan(row) for row in rows])
    judged = [
        {"experiment": one.label, "other": one.other, "roi": one.roi, "p_corrected": one.p_corrected}
        | ({"not_judged": one.found} if isinstance(one.found, str) else _difference(one.found))
        for one in paired
    ]
    write_table(folder, DIFFERENCES, [_without_nan(row) for row in judged])
    _write_page(read, paired, read[_order(by_roi[-1][1])[0]].label, folder / "leaderboard.html")
    return folder / "leaderboard.html"


def _difference(found: Difference) -> dict[str, float]:
    return {"difference": found.value, "difference_low": found.low, "difference_high": found.high, "p_value": found.p}


def _without_nan(row: dict[str, Any]) -> dict[str, Any]:
    return {name: None if value != value else value for name, value in row.items()}


def _write_page(outputs: Sequence[Output], paired: Sequence[Paired], reference: str, path: Path) -> None:
    content = _content(outputs, paired, reference) | scripts("pick", "save")
    write_page(path, environment().get_template("comparison.html.j2").render(content))


def _content(outputs: Sequence[Output], paired: Sequence[Paired], reference: str) -> dict[str, Any]:
    labels = [output.label for output in outputs]
    measures = list(dict.fromkeys(output.measure.label for output in outputs))
    measure = measures[0] if len(measures) == 1 else "score (of different kinds: see the notes)"
    rows = mean_rows(outputs, by_voxel=False)
    rois, overall = [roi for roi, _ in rows[:-1]], rows[-1][1]
    order = _order(overall)
    ranked = [outputs[k] for k in order]
    ways = []
    with mpl.rc_context(STYLE):
        for by_voxel, (title, explained) in _WAYS.items():
            weighted = mean_rows(outputs, by_voxel=by_voxel)
            panel = score_panel(f"Scores by ROI: {title.lower()}", outputs, weighted[:-1][:MOST_PANELS], measure)
            ways.append({"title": title, "explained": explained, "panel": panel, "map": _map(outputs, weighted, order)})
        depth = depth_panel(outputs, rois[:MOST_PANELS])
        depths = np.array([[mean_depth(output, roi) for output in ranked] for roi in rois])
        ranking = rank_panel(ranked, [overall[k] for k in order], depths, measure)
    places = ranks(outputs, overall, paired, ALL_ROIS)
    return {
        "outputs": ranked,
        "ranks": [places[k] for k in order],
        "ranking": ranking,
        "overall": [overall[k] for k in order],
        "axis": strip_axis(overall),
        "rois": rois,
        "measure": measure,
        "one_measure": len(measures) == 1,
        "lead": _lead(outputs, overall, rois, measure),
        "ways": ways,
        "depth": depth,
        "n_without_figures": max(0, len(rois) - MOST_PANELS),
        "differences": differences(outputs),
        "paired": _from_reference(paired, [output.label for output in ranked], reference, len(rois) == 1),
        "reference": reference,
        "labels": labels,
        "warnings": warnings_of(outputs),
        "chosen": {output.label: _chosen(output) for output in outputs},
    }


def _map(outputs: Sequence[Output], rows: Sequence[tuple[str, Sequence[Mean]]], order: Sequence[int]) -> Heatmap:
    """Lay out experiment x ROI, the best experiment first, each score with its interval below it."""
    rows = rows[:-1] if len(rows) == 2 else rows  # one ROI is all of them
    table = pd.DataFrame(
        {roi: [means[k].score for k in order] for roi, means in rows}, index=[outputs[k].label for k in order]
    )
    below = {
        (roi, output.label): f"{number(mean.low)} to {number(mean.high)}"
        for roi, means in rows
        for output, mean in zip(outputs, means, strict=True)
        if mean.low == mean.low
    }
    return heatmap(table, below=below, with_mean=False)


def _order(means: Sequence[Mean]) -> list[int]:
    """Return positions from the highest score to the lowest, those without one at last."""
    return sorted(range(len(means)), key=lambda k: -means[k].score if means[k].score == means[k].score else 2)


def _from_reference(paired: Sequence[Paired], labels: Sequence[str], reference: str, alone: bool) -> list[Paired]:
    """Take the differences of the others from one output, in the order of ``labels``; ``alone``: of a single ROI."""
    turned = [one if one.other == reference else one.turned() for one in paired if reference in (one.label, one.other)]
    shown = [one for one in turned if not (alone and one.roi == ALL_ROIS)]
    return sorted(shown, key=lambda one: labels.index(one.label))


def _lead(outputs: Sequence[Output], overall: Sequence[Mean], rois: Sequence[str], measure: str) -> str:
    scored = [(mean.score, output.label) for mean, output in zip(overall, outputs, strict=True)]
    scored = [pair for pair in scored if pair[0] == pair[0]]
    if not scored:
        return "None of the outputs has a finite score."
    (best, name), (least, worst) = max(scored), min(scored)
    return (
        f"{name} has the highest mean {measure} over {plural(len(rois), 'ROI')}, {number(best)}; "
        f"{worst} the lowest, {number(least)}."
    )


def _chosen(output: Output) -> list[str]:
    """Name the layers chosen for the most pairs of subject and ROI."""
    rows = [row for row in layer_rows(output.results, layer_order(output.results)) if row["chosen"]]
    rows.sort(key=lambda row: -row["chosen"])
    return [f"{row['network']}: {row['layer']} ({row['chosen']} of {len(output.results.scores)})" for row in rows[:3]]
