"""How a search went: the best so far, and scores by hyper-parameter."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError
from voxelcast.report.figures import PALETTE, SUBJECT_COLOUR
from voxelcast.report.plot.base import check_roi, drawing, from_zero
from voxelcast.report.plot_data import HyperparameterScores, best_so_far, hyperparameter_scores
from voxelcast.results.read import Results

_LOG_RATIO: Final = 50.0
"""From this ratio of the largest to the smallest value on, an axis is logarithmic."""


def search_history(results: Results, roi: str, *, ax: Axes | None = None) -> Axes:
    """Draw the best selection score so far in an ROI against the number of candidates tried.

    The line is the mean over subjects, thin grey lines are the subjects. Raises DataError if no candidate was recorded.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = search_history(example_results(), "V1")
    >>> ax.get_xlabel()
    'candidates tried'
    """
    check_roi(results, roi)
    if not (results.search["roi"] == roi).any():
        raise DataError(f"no candidate was recorded for {roi} in search.csv; choose another ROI")
    steps, mean = best_so_far(results, roi)
    with drawing(ax, xlabel="candidates tried", ylabel="best selection score so far (r)") as axes:
        if len(steps) > 1:
            for some in steps:
                axes.plot(*_corners(some), drawstyle="steps-post", color=SUBJECT_COLOUR, linewidth=0.7, alpha=0.8)
        axes.plot(*_corners(mean), drawstyle="steps-post", color=PALETTE[0])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        from_zero(axes)
    return axes


def _corners(steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep the candidates where the staircase rises, and its end: the same line in a fraction of the points."""
    keep = np.append(True, steps[1:] != steps[:-1])
    keep &= np.isfinite(steps)
    keep[-1] = True
    return np.flatnonzero(keep) + 1.0, steps[keep]


def hyperparameter(
    results: Results, roi: str, name: str, *, encoder: str | None = None, ax: Axes | None = None
) -> Axes:
    """Draw the selection score in an ROI against one hyper-parameter, in the layer chosen for each subject.

    Triangles on the axis mark the values chosen. ``name`` is e.g. ``"n_components"``, ``encoder`` by default the first
    that has it. Raises UnknownNameError if several values of that name were not tried.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = hyperparameter(example_results(), "V1", "relative_alpha")
    >>> ax.get_xscale()
    'log'
    """
    check_roi(results, roi)
    found = [one for one in hyperparameter_scores(results, roi) if encoder in (None, one.encoder)]
    check_known("hyper-parameter", name, [one.name for one in found], where=f"of which several were tried in {roi}")
    return draw_hyperparameter(next(one for one in found if one.name == name), ax=ax)


def draw_hyperparameter(scores: HyperparameterScores, *, ax: Axes | None = None) -> Axes:
    """Draw scores as `hyperparameter` does."""
    with drawing(ax, xlabel=scores.name, ylabel="selection score (r)") as axes:
        table = scores.best()
        x = table.index.to_numpy(dtype=np.float64)
        if bool((x > 0).all()) and x.max() / x.min() > _LOG_RATIO:
            axes.set_xscale("log")
            axes.xaxis.set_minor_locator(NullLocator())
        elif bool((x == np.round(x)).all()):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
        for subject in table.columns:
            if table.shape[1] > 1:
                line = table[subject].dropna()
                axes.plot(line.index, line.to_numpy(), color=SUBJECT_COLOUR, linewidth=0.7, alpha=0.8)
        shared = table.dropna()
        if len(shared) > 1:
            mean = shared.mean(axis=1)
            size = 2.5 if len(mean) < 40 else 0
            axes.plot(mean.index, mean.to_numpy(), color=PALETTE[0], marker="o", markersize=size)
        else:
            axes.plot(scores.points["value"], scores.points["score"], linestyle="", marker="o", markersize=2.5,
                      color=PALETTE[0], alpha=0.6)  # fmt: skip
        if scores.chosen.size:
            axes.plot(
                scores.chosen, np.zeros_like(scores.chosen), transform=axes.get_xaxis_transform(), linestyle="",
                marker="^", markersize=6, color=PALETTE[1], clip_on=False, alpha=0.7, markeredgewidth=0, zorder=5,
            )  # fmt: skip
        from_zero(axes)
    return axes
