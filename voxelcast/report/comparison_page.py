"""Several outputs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pandas as pd

from voxelcast.core.errors import OptionError
from voxelcast.report.comparison import Output, differences, mean_rows, paired_differences, read_outputs, warnings_of
from voxelcast.report.depth import layer_order
from voxelcast.report.facts import layer_rows
from voxelcast.report.figures import STYLE
from voxelcast.report.heatmap import heatmap
from voxelcast.report.page import MOST_PANELS, environment, scripts, write_page
from voxelcast.report.panels import depth_panel, score_panel
from voxelcast.report.summary import Mean, number, plural, strip_axis

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
    text = environment().get_template("comparison.html.j2").render(_content(read) | scripts("pick"))
    write_page(path, text)
    return path


def _content(outputs: Sequence[Output]) -> dict[str, Any]:
    labels = [output.label for output in outputs]
    measures = list(dict.fromkeys(output.measure.label for output in outputs))
    measure = measures[0] if len(measures) == 1 else "score (of different kinds: see the notes)"
    ways = []
    with mpl.rc_context(STYLE):
        for by_voxel, (title, explained) in _WAYS.items():
            rows = mean_rows(outputs, by_voxel=by_voxel)
            scores = [[mean.score for mean in means] for _, means in rows]
            table = pd.DataFrame(scores, index=[name for name, _ in rows], columns=labels)
            panel = score_panel(f"Scores by ROI: {title.lower()}", outputs, rows[:-1][:MOST_PANELS], measure)
            scores_map = heatmap(table, with_mean=False)
            ways.append({"title": title, "explained": explained, "panel": panel, "map": scores_map})
        rois, overall = [roi for roi, _ in rows[:-1]], rows[-1][1]
        depth = depth_panel(outputs, rois[:MOST_PANELS])
    order = sorted(range(len(outputs)), key=lambda k: -overall[k].score if overall[k].score == overall[k].score else 2)
    return {
        "outputs": [outputs[k] for k in order],
        "overall": [overall[k] for k in order],
        "axis": strip_axis(overall),
        "rois": rois,
        "measure": measure,
        "lead": _lead(outputs, overall, rois, measure),
        "ways": ways,
        "depth": depth,
        "n_without_figures": max(0, len(rois) - MOST_PANELS),
        "differences": differences(outputs),
        "paired": paired_differences(outputs),
        "first": outputs[0].label,
        "labels": labels,
        "warnings": warnings_of(outputs),
        "chosen": {output.label: _chosen(output) for output in outputs},
    }


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
