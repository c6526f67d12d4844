"""Some experiments side by side: scores by ROI, and the settings in which they differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from voxelcast.app.experiment import Experiment, need_results
from voxelcast.core.errors import OptionError
from voxelcast.report.comparison import Output, all_rois, differences, outputs_of, roi_mean, warnings_of
from voxelcast.report.comparison_page import write_comparison
from voxelcast.report.strips import Strip, StripAxis, strip, strip_axis
from voxelcast.report.summary import Mean

MOST = 20
"""Experiments in one comparison; a table of more is not read but sorted, which the list does."""


@dataclass(frozen=True)
class Cell:
    """The mean of an experiment in an ROI, whether it is the highest there, and its position on the axis."""

    mean: Mean
    is_highest: bool
    strip: Strip


@dataclass(frozen=True)
class SideBySide:
    """What the page shows.

    Parameters
    ----------
    experiments : tuple of Experiment
    labels : tuple of str
        Names; with the folder where several have the same.
    rows : tuple of (str, tuple of Cell)
        An ROI and its cell for each experiment; the last row is the mean over ROIs.
    axis : StripAxis
        That all cells share.
    differences : list of (str, tuple of str)
        Settings that are not the same, with each experiment's value.
    warnings : list of str
        What makes scores differ for other reasons than the models.
    """

    experiments: tuple[Experiment, ...]
    labels: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    axis: StripAxis
    differences: list[tuple[str, tuple[str, ...]]]
    warnings: list[str]


def side_by_side(experiments: Sequence[Experiment], *, by_voxel: bool) -> SideBySide:
    """Compare experiments that have scores.

    Parameters
    ----------
    experiments : sequence of Experiment
    by_voxel : bool
        Whether every voxel counts the same in a mean; otherwise every subject, and over ROIs every ROI.

    Raises
    ------
    OptionError
        If there are fewer than two, or more than ``MOST``.
    DataError
        If one has no scores.
    """
    check_count(experiments)
    outputs = _outputs(experiments)
    rois = all_rois(outputs)
    means = [(roi, [roi_mean(o, roi, by_voxel=by_voxel) for o in outputs]) for roi in rois]
    means.append(("all ROIs", [roi_mean(output, None, by_voxel=by_voxel) for output in outputs]))
    axis = strip_axis([mean for _, of_roi in means for mean in of_roi])
    return SideBySide(
        tuple(experiments),
        tuple(output.label for output in outputs),
        tuple((roi, _cells(of_roi, axis)) for roi, of_roi in means),
        axis,
        differences(outputs),
        warnings_of(outputs),
    )


def full_comparison(experiments: Sequence[Experiment]) -> str:
    """Write the report's comparison, with its figures, and return it as HTML.

    Raises
    ------
    OptionError, DataError, MissingFileError
        As :func:`side_by_side`, or if a file of an output cannot be read.
    """
    check_count(experiments)
    for experiment in experiments:
        need_results(experiment)
    with TemporaryDirectory() as folder:
        path = write_comparison([experiment.folder for experiment in experiments], Path(folder) / "comparison.html")
        return path.read_text(encoding="utf-8")


def check_count(experiments: Sequence[Experiment]) -> None:
    """Raise OptionError unless there are as many experiments as one comparison takes."""
    if not 2 <= len(experiments) <= MOST:
        raise OptionError(f"a comparison takes 2 to {MOST} experiments; got {len(experiments)}: tick them in the list")


def _outputs(experiments: Sequence[Experiment]) -> list[Output]:
    names = [experiment.name for experiment in experiments]
    labels = [f"{e.name} ({e.shown})" if names.count(e.name) > 1 else e.name for e in experiments]
    return outputs_of(dict(zip(labels, map(need_results, experiments), strict=True)))


def _cells(means: Sequence[Mean], axis: StripAxis) -> tuple[Cell, ...]:
    highest = max((mean.score for mean in means if np.isfinite(mean.score)), default=float("nan"))
    return tuple(Cell(mean, mean.score == highest, strip(mean, axis)) for mean in means)
