"""Several outputs on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from voxelcast.core.errors import OptionError
from voxelcast.report.comparison import Output, all_rois, differences, read_outputs, roi_mean, warnings_of
from voxelcast.report.depth import layer_order
from voxelcast.report.facts import layer_rows
from voxelcast.report.figures import STYLE
from voxelcast.report.heatmap import Heatmap, mean_map
from voxelcast.report.page import MOST_PANELS, environment, scripts
from voxelcast.report.panels import depth_panel, score_panel
from voxelcast.report.strips import strip, strip_axis
from voxelcast.report.summary import Mean, number, plural
from voxelcast.store.atomic import write_text

_WAYS = {
    True: ("Every voxel counts the same", "voxel-weighted: a subject counts by the number of its voxels"),
    False: ("Every subject counts the same", "mean over voxels of each subject, then over subjects, then over ROIs"),
}


def write_comparison(outputs: Sequence[Path], path: Path) -> Path:
    """Write one page that shows several experiments side by side, named by their names.

    The same folders give the same bytes.

    Parameters
    ----------
    outputs : sequence of Path
        At least two output folders.
    path : Path
        The HTML file.

    Raises
    ------
    OptionError
        If there are fewer than two folders, or one is given twice.
    MissingFileError, DataError
        If a folder or its files are missing or cannot be understood.
    UnwritableError
        If the file cannot be written.
    """
    if len(outputs) < 2:
        raise OptionError(f"a comparison needs at least 2 outputs; got {len(outputs)}")
    read = read_outputs([Path(output) for output in outputs])
    text = environment().get_template("comparison.html.j2").render(_content(read) | scripts("pick"))
    write_text(path, text)
    return path


def _content(outputs: Sequence[Output]) -> dict[str, Any]:
    rois = all_rois(outputs)
    labels = list(dict.fromkeys(output.measure.label for output in outputs))
    measure = labels[0] if len(labels) == 1 else "score (of different kinds: see the notes)"
    shown = rois[:MOST_PANELS]
    ways = []
    with mpl.rc_context(STYLE):
        for by_voxel, (title, explained) in _WAYS.items():
            means = [[roi_mean(output, roi, by_voxel=by_voxel) for output in outputs] for roi in rois]
            overall = [roi_mean(output, None, by_voxel=by_voxel) for output in outputs]
            panel = score_panel(f"Scores by ROI: {title.lower()}", outputs, shown, means[: len(shown)], measure)
            ways.append({"title": title, "explained": explained, "panel": panel,
                         "map": _map(outputs, rois, means, overall)})  # fmt: skip
        depth = depth_panel(outputs, shown)
    overall = [roi_mean(output, None, by_voxel=False) for output in outputs]
    axis = strip_axis(overall)
    order = sorted(range(len(outputs)), key=lambda k: -overall[k].score if overall[k].score == overall[k].score else 2)
    return {
        "outputs": [outputs[k] for k in order],
        "overall": [overall[k] for k in order],
        "strips": [strip(overall[k], axis) for k in order],
        "axis": axis,
        "rois": rois,
        "measure": measure,
        "lead": _lead(outputs, overall, rois, measure),
        "ways": ways,
        "depth": depth,
        "n_without_figures": len(rois) - len(shown),
        "differences": differences(outputs),
        "labels": [output.label for output in outputs],
        "warnings": warnings_of(outputs),
        "chosen": {output.label: _chosen(output) for output in outputs},
    }


def _map(outputs: Sequence[Output], rois: Sequence[str], means: list[list[Mean]], overall: list[Mean]) -> Heatmap:
    labels = [output.label for output in outputs]
    scores = [[mean.score for mean in row] for row in [*means, overall]]
    return mean_map([*rois, "all ROIs"], labels, scores)


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
    rows = [row for row in layer_rows(output.results, layer_order(output.results)) if row.chosen]
    rows.sort(key=lambda row: -row.chosen)
    return [f"{row.network}: {row.layer} ({row.chosen} of {len(output.results.scores)})" for row in rows[:3]]
