"""The figures of the report, one by one, as matplotlib axes: ``vc.plot``.

Every function draws into ``ax``, matplotlib Axes, and returns it. Without ``ax`` it makes a small figure in the
report's style, through pyplot, so that a notebook shows it. ``results`` is what
:func:`voxelcast.results.read.read_results` returns, and ``roi`` the name of one of its ROIs; any other raises
UnknownNameError.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator
from scipy.spatial.distance import squareform
from scipy.stats import rankdata

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError
from voxelcast.report.comparison import Output, mean_rows, outputs_of
from voxelcast.report.depth import Depth, layer_order, rows_of
from voxelcast.report.figures import CEILING_COLOUR, HELD_OUT_COLOUR, PALETTE, PANEL_INCHES, STYLE, SUBJECT_COLOUR
from voxelcast.report.heatmap import COLORMAP
from voxelcast.report.plot_data import (
    HyperparameterScores,
    best_so_far,
    histogram_edges,
    hyperparameter_scores,
    layer_scores,
    pooled_voxels,
)
from voxelcast.report.summary import Mean, number
from voxelcast.report.variance_parts import SHARED_COLOUR, PartRow, group_colours, part_rows, partition_ceiling
from voxelcast.results.read import Results

__all__ = [
    "group_matrix",
    "hyperparameter",
    "layer_map",
    "layer_profile",
    "layer_similarity",
    "measured_and_predicted",
    "rdm",
    "roi_scores",
    "search_history",
    "variance_partitioning",
    "voxel_histogram",
]

_LINE: Final = "#9aa1a8"
_INK: Final = "#1b1f24"
_ABSENT: Final = "#d8dce0"
_GREY: Final = "#57606a"
_BAR_HEIGHT: Final = 0.22
"""Part of a panel's height that a layer chosen for every subject would fill."""
_MOST_TICKS: Final = 8
_LOG_RATIO: Final = 50.0
"""From this ratio of the largest to the smallest value on, an axis is logarithmic."""
_CEILING_REACH: Final = 2.5
"""A ceiling higher than this multiple of the bars is named, not drawn, so that it leaves them room."""
_MARKERS: Final = "osD^vP*"
_COEFFICIENTS: Final = {"spearman": "Spearman r", "kendall_tau_a": "Kendall tau-a", "pearson": "Pearson r"}
RANKS: Final = {1.0: "best", 0.75: "upper quartile", 0.5: "median"}
"""What the voxels shown as examples are called, by the quantile of their score."""


@contextmanager
def _drawing(ax: Axes | None, inches: tuple[float, float] = PANEL_INCHES, **labels: str) -> Iterator[Axes]:
    """Draw into ``ax``, or into new axes in the report's style; ``labels`` are ``xlabel`` and ``ylabel``."""
    if ax is not None:
        ax.set(**labels)
        yield ax
        return
    from matplotlib import pyplot

    # The first figure starts the backend, which may set parameters for good (a notebook's shows figures), so the style
    # begins after it.
    figure = pyplot.figure(figsize=inches, layout="constrained")
    with matplotlib.rc_context(STYLE):
        axes = figure.add_subplot()
        axes.set(**labels)
        yield axes


def _check_roi(results: Results, roi: str) -> None:
    check_known("ROI", roi, results.rois, where=f"in the results of {results.name}")


def layer_profile(results: Results, roi: str, *, depth: Depth | None = None, ax: Axes | None = None) -> Axes:
    """Draw the best candidate's selection score of each layer in an ROI, against depth.

    A line for each network, the mean over subjects, and thin grey lines for the subjects. A bar stands for each layer
    that was chosen, as high as the share of subjects for whom it was. ``depth`` has order and colours of the layers; by
    default it is that of :func:`voxelcast.report.depth.layer_order`.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = layer_profile(example_results(), "V1")
    >>> ax.get_ylabel()
    'selection score (r)'
    """
    _check_roi(results, roi)
    depth = layer_order(results) if depth is None else depth
    chosen = results.scores[results.scores["roi"] == roi]
    tables = layer_scores(results, roi, depth)
    with _drawing(ax, xlabel="layer, by depth", ylabel="selection score (r)") as axes:
        for lane, (network, layers) in enumerate(depth.layers.items()):
            if network not in tables:
                continue
            table = tables[network]
            x = np.arange(1, len(layers) + 1)
            if table.shape[1] > 1:
                axes.plot(x, table.to_numpy(), color=SUBJECT_COLOUR, linewidth=0.6, alpha=0.55, zorder=1)
            colour = depth.colours[network]
            mean = table.mean(axis=1).to_numpy(dtype=np.float64)
            axes.plot(x, mean, color=colour, marker="o", markersize=2.5, zorder=3)
            picked = rows_of(chosen, network)["layer"].value_counts()
            shares = {layers.index(str(layer)) + 1: int(count) for layer, count in picked.items()}
            _mark_chosen(axes, shares, len(chosen), colour, (lane, len(depth.layers)))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        n_layers = max(len(layers) for layers in depth.layers.values())
        step = -(-n_layers // _MOST_TICKS)
        axes.set_xticks([1] if n_layers == 1 else range(step, n_layers + 1, step))
        # A few layers do not fill the panel with one wide bar each.
        half = max(n_layers, _MOST_TICKS) / 2 + 0.2
        axes.set_xlim((n_layers + 1) / 2 - half, (n_layers + 1) / 2 + half)
        scores = np.concatenate([table.to_numpy().ravel() for table in tables.values()] or [np.empty(0)])
        finite = scores[np.isfinite(scores)]
        low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
        span = (high - low) or 0.1
        axes.set_ylim(low - span * (_BAR_HEIGHT + 0.12), high + 0.06 * span)
    return axes


def _mark_chosen(axes: Axes, counts: Mapping[int, int], n_subjects: int, colour: str, lane: tuple[int, int]) -> None:
    """Stand a bar on the horizontal axis for each chosen layer; its height is the share of subjects.

    ``lane`` is the network's number and how many there are: the bars of several networks stand side by side.
    """
    width = 0.7 / lane[1]
    x = [layer + (lane[0] - (lane[1] - 1) / 2) * width for layer in counts]
    heights = [_BAR_HEIGHT * count / n_subjects for count in counts.values()]
    floor = axes.get_xaxis_transform()
    axes.bar(x, heights, width=width, color=colour, alpha=0.45, linewidth=0, transform=floor, zorder=2)
    if n_subjects > 1:
        for at, height, count in zip(x, heights, counts.values(), strict=True):
            axes.text(at, height + 0.01, str(count), transform=floor, ha="center", va="bottom", fontsize=6.5)


def roi_scores(results: Results | Mapping[str, Results], *, by_voxel: bool = False, ax: Axes | None = None) -> Axes:
    """Draw the score of each ROI with its interval and the noise ceiling, of one experiment or of several.

    Parameters
    ----------
    results : Results or mapping of str to Results
        Several by the name that the legend gives them.
    by_voxel : bool
        Whether every voxel counts the same in a mean; otherwise every subject.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = roi_scores({"one": example_results(seed=1), "two": example_results(seed=2)})
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['V1']
    """
    outputs = outputs_of({results.name: results} if isinstance(results, Results) else results)
    rois, means = zip(*mean_rows(outputs, by_voxel=by_voxel)[:-1], strict=True)
    with _drawing(ax, inches=comparison_inches(len(rois), len(outputs))) as axes:
        draw_roi_scores(axes, outputs, rois, means)
        axes.set_ylabel(" / ".join(dict.fromkeys(output.measure.label for output in outputs)))
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=3)
    return axes


def comparison_inches(n_rois: int, n_outputs: int) -> tuple[float, float]:
    """Give the size of a figure with so many ROIs and experiments."""
    legend = 0.15 * max(0, (n_outputs + 1) // 2 - 2)
    return max(4.5, 1.2 + n_rois * (0.35 + 0.13 * n_outputs)), 3.2 + legend


def draw_roi_scores(
    axes: Axes, outputs: Sequence[Output], rois: Sequence[str], means: Sequence[Sequence[Mean]]
) -> None:
    """Draw scores with intervals beside each other in each ROI, each with its own noise ceiling as a bar.

    ``means`` is by ROI, then by output.
    """
    for index, output in enumerate(outputs):
        mine = [row[index] for row in means]
        scores, low, high = (np.array([getattr(m, name) for m in mine]) for name in ("score", "low", "high"))
        axes.vlines(_beside(rois, index, outputs), low, high, color=output.colour, linewidth=1.4, alpha=0.6)
        _draw_dots(axes, outputs, index, rois, scores)
    half = 0.42 * min(0.18, 0.75 / len(outputs))  # of what lies between two experiments
    for index, output in enumerate(outputs):
        ceilings, places = np.array([row[index].ceiling for row in means]), _beside(rois, index, outputs)
        there = np.isfinite(ceilings)
        axes.hlines(ceilings[there], places[there] - half, places[there] + half, color=output.colour, linewidth=2,
                    alpha=0.7, label="noise ceiling" if index == 0 and there.any() else "")  # fmt: skip
    axes.axhline(0, color=_GREY, linewidth=0.7)
    _name_rois(axes, rois)


def draw_ranks(left: Axes, right: Axes, outputs: Sequence[Output], means: Sequence[Mean], depths: FloatArray) -> None:
    """Draw a row for each output, the best on top: its score, interval and noise ceiling, and how deep it reads.

    ``depths``, (n_rois, n_outputs), are of the chosen layers; the line goes from the earliest ROI's to the latest.
    """
    for row, (output, mean) in enumerate(zip(outputs, means, strict=True)):
        left.hlines(row, mean.low, mean.high, color=output.colour, linewidth=1.6)
        left.vlines(mean.ceiling, row - 0.35, row + 0.35, color=CEILING_COLOUR, linewidth=2)
        left.plot(mean.score, row, "o", color=output.colour, markersize=5)
        there = depths[np.isfinite(depths[:, row]), row]
        if there.size:
            right.hlines(row, there.min(), there.max(), color=output.colour, linewidth=1.6)
            right.plot(there.mean(), row, "o", color=output.colour, markersize=5)
    left.set_yticks(range(len(outputs)), [output.label for output in outputs])
    left.set_ylim(len(outputs) - 0.5, -0.5)
    right.set_xlim(-0.05, 1.05)
    right.tick_params(labelleft=False)


def draw_depths(axes: Axes, outputs: Sequence[Output], rois: Sequence[str], depths: FloatArray) -> None:
    """Draw how deep the chosen layers lie, from 0 for a network's first to 1 for its last.

    ``depths`` has shape (n_rois, n_outputs).
    """
    for index in range(len(outputs)):
        _draw_dots(axes, outputs, index, rois, depths[:, index])
    axes.set_ylim(-0.05, 1.05)
    _name_rois(axes, rois)


def _draw_dots(axes: Axes, outputs: Sequence[Output], index: int, rois: Sequence[str], values: FloatArray) -> None:
    # A marker that, with the colour, is an output's alone: seven times seven of them.
    marker = _MARKERS[(index + index // len(_MARKERS)) % len(_MARKERS)]
    axes.plot(_beside(rois, index, outputs), values, linestyle="", marker=marker, markersize=5,
              color=outputs[index].colour, label=outputs[index].label)  # fmt: skip


def _beside(rois: Sequence[str], index: int, outputs: Sequence[Output]) -> FloatArray:
    return np.arange(len(rois)) + (index - (len(outputs) - 1) / 2) * min(0.18, 0.75 / len(outputs))


def _name_rois(axes: Axes, rois: Sequence[str]) -> None:
    axes.set_xticks(range(len(rois)), rois, rotation=0 if len(rois) <= 12 else 60)
    axes.set_xlim(-0.6, len(rois) - 0.4)
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6))


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
    _check_roi(results, roi)
    if not (results.search["roi"] == roi).any():
        raise DataError(f"no candidate was recorded for {roi} in search.csv; choose another ROI")
    steps, mean = best_so_far(results, roi)
    with _drawing(ax, xlabel="candidates tried", ylabel="best selection score so far (r)") as axes:
        if len(steps) > 1:
            for some in steps:
                axes.plot(*_corners(some), drawstyle="steps-post", color=SUBJECT_COLOUR, linewidth=0.6, alpha=0.55)
        axes.plot(*_corners(mean), drawstyle="steps-post", color=PALETTE[0])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
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
    _check_roi(results, roi)
    found = [one for one in hyperparameter_scores(results, roi) if encoder in (None, one.encoder)]
    check_known("hyper-parameter", name, [one.name for one in found], where=f"of which several were tried in {roi}")
    return draw_hyperparameter(next(one for one in found if one.name == name), ax=ax)


def draw_hyperparameter(scores: HyperparameterScores, *, ax: Axes | None = None) -> Axes:
    """Draw scores as `hyperparameter` does."""
    with _drawing(ax, xlabel=scores.name, ylabel="selection score (r)") as axes:
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
                axes.plot(line.index, line.to_numpy(), color=SUBJECT_COLOUR, linewidth=0.6, alpha=0.55)
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
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    return axes


def voxel_histogram(results: Results, roi: str, *, edges: FloatArray | None = None, ax: Axes | None = None) -> Axes:
    """Draw how the scores are spread over the voxels of an ROI, all subjects together.

    Filled: nested scores; lines: noise ceiling and scores on held-out stimuli. Vertical lines are means. Raises
    DataError if the results have no scores of the ROI's voxels.

    Parameters
    ----------
    edges : ndarray of shape (n_bins + 1,), optional
        Of the bins; by default 40 that hold the voxels of this ROI.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = voxel_histogram(example_results(), "V1")
    >>> ax.get_ylabel()
    'voxels'
    """
    _check_roi(results, roi)
    arrays = pooled_voxels(results, roi)
    edges = histogram_edges({roi: arrays}) if edges is None else edges
    if not edges.size:
        raise DataError(f"the experiment left no scores of single voxels in {roi}; choose another ROI")
    with _drawing(ax, xlabel="Pearson r", ylabel="voxels") as axes:
        scores = arrays["pearson_r"]
        if scores.size:
            axes.hist(scores, bins=edges.tolist(), color=PALETTE[0], alpha=0.75, linewidth=0)
            axes.axvline(float(scores.mean()), color=PALETTE[0], linewidth=1)
        for key, colour, style in (("noise_ceiling_r", CEILING_COLOUR, "-"), ("held_out_r", HELD_OUT_COLOUR, "--")):
            values = arrays[key]
            if values.size:
                axes.hist(values, bins=edges.tolist(), histtype="step", color=colour, linestyle=style, linewidth=1.2)
                axes.axvline(float(values.mean()), color=colour, linewidth=1, linestyle=style)
        axes.set_xlim(float(edges[0]), float(edges[-1]))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=6))
        axes.grid(visible=False, axis="x")
    return axes


def measured_and_predicted(
    results: Results, subject: str, roi: str, *, quantile: float = 0.5, ax: Axes | None = None
) -> Axes:
    """Draw measured against predicted responses of one voxel, a dot for each stimulus that the model had not seen.

    Raises DataError if the results hold no examples of the subject and ROI, or not that one.

    Parameters
    ----------
    quantile : {1.0, 0.75, 0.5}
        Which of the voxels kept as examples: the best of the ROI, the one at the upper quartile of the scores, or the
        median one.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = measured_and_predicted(example_results(), "sub01", "V1", quantile=1.0)
    >>> ax.get_title().startswith("best: r = 0.")
    True
    """
    example = results.examples.get((subject, roi), {"quantile": np.empty(0)})
    here = np.flatnonzero(example["quantile"] == quantile)
    if not here.size:
        raise DataError(f"the results hold no example voxel of {subject} {roi} at the quantile {quantile:g}")
    with _drawing(ax, (2.4, 2.4), xlabel="predicted response", ylabel="measured response") as axes:
        draw_example(axes, example, int(here[0]))
    return axes


def draw_example(axes: Axes, example: Mapping[str, FloatArray], voxel: int) -> None:
    """Draw one of the example voxels of a subject and ROI."""
    rank, score = RANKS[float(example["quantile"][voxel])], number(float(example["score"][voxel]))
    axes.set_title(f"{rank}: r = {score}", fontsize=8)
    predicted, measured = example["predicted"][:, voxel], example["measured"][:, voxel]
    there = np.isfinite(predicted) & np.isfinite(measured)
    x, y = predicted[there], measured[there]
    # Thousands of dots as vectors would weigh more than the rest of the page.
    axes.plot(x, y, linestyle="", marker="o", markersize=2, markeredgewidth=0, color=PALETTE[0], alpha=0.45,
              rasterized=True)  # fmt: skip
    if x.size:
        low, high = max(x.min(), y.min()), min(x.max(), y.max())
        if high > low:
            axes.plot([low, high], [low, high], color=SUBJECT_COLOUR, linewidth=0.8, linestyle="--")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MaxNLocator(nbins=4))


def variance_partitioning(results: Results, roi: str, *, ax: Axes | None = None) -> Axes:
    """Draw the variance of the responses that each group of layers explains alone, and that several share.

    A bar stands for each part, mean over subjects, with its interval; the dashed line is what all groups explain
    together, and the full line the noise ceiling (R²). Raises DataError if variance was not divided.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = variance_partitioning(example_results(groups=("early", "late")), "V1")
    >>> [text.get_text() for text in ax.get_xticklabels()]
    ['unique to early', 'unique to late', 'shared by early and late']
    """
    _check_roi(results, roi)
    if results.partition.empty:
        raise DataError("variance was not divided in this experiment; name groups under variance_partitioning")
    rows, colours = part_rows(results, roi), group_colours(results)
    parts = [row for row in rows if row.kind != "model"]
    with _drawing(ax, inches=(max(3.5, 1.1 + 0.5 * len(parts)), 3.2)) as axes:
        draw_parts(axes, rows, colours, partition_ceiling(results, roi))
        labels = [row.label for row in parts]
        axes.set_xticks(range(len(parts)), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.tick_params(labelbottom=True)
    return axes


def draw_parts(axes: Axes, rows: Sequence[PartRow], colours: Mapping[str, str], ceiling: float) -> None:
    """Draw a bar for each unique and shared part; lines at what all explain together and at the noise ceiling."""
    for index, row in enumerate(row for row in rows if row.kind != "model"):
        axes.bar(index, row.r2, width=0.62, color=colours[row.groups[0]] if row.kind == "unique" else SHARED_COLOUR)
        if len(row.values) > 1:
            axes.plot([index] * len(row.values), row.values, "o", color=SUBJECT_COLOUR, markersize=2.5, alpha=0.8)
        if np.isfinite(row.low) and np.isfinite(row.high):
            axes.vlines(index, row.low, row.high, color=_INK, linewidth=1.2)
    axes.axhline(0, color=_LINE, linewidth=0.8)
    axes.set_ylabel("share of variance (R²)")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.grid(visible=False, axis="x")
    axes.tick_params(bottom=False, labelbottom=False)
    axes.spines["bottom"].set_visible(False)
    for row in rows:
        if row.kind == "model" and len(row.groups) == len(colours):
            axes.axhline(row.r2, color=_INK, linewidth=1, linestyle="--")
    if np.isfinite(ceiling) and ceiling <= _CEILING_REACH * axes.get_ylim()[1]:
        axes.axhline(ceiling, color=CEILING_COLOUR, linewidth=1.6)
    elif np.isfinite(ceiling):
        text = f"noise ceiling {number(ceiling)} ↑"
        axes.annotate(text, (1, 1), xycoords="axes fraction", ha="right", va="top", fontsize=7)


def group_matrix(axes: Axes, parts: Sequence[PartRow], colours: Mapping[str, str]) -> None:
    """Draw, below the bars of the parts, to which groups each belongs."""
    names = list(colours)
    for index, row in enumerate(parts):
        inside = [names.index(name) for name in row.groups]
        axes.vlines(index, min(inside), max(inside), color=SHARED_COLOUR, linewidth=1.5)
        for level, name in enumerate(names):
            axes.plot(index, level, "o", color=colours[name] if level in inside else _ABSENT, markersize=5)
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(-0.6, len(parts) - 0.4)
    axes.tick_params(bottom=False, labelbottom=False)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def layer_similarity(
    layers: Sequence[tuple[str, str, float, float, float]],
    *,
    ceiling: tuple[float, float] = (float("nan"), float("nan")),
    comparison: str = "spearman",
    ax: Axes | None = None,
) -> Axes:
    """Draw how similar the representations of layers are to the measured ones.

    Parameters
    ----------
    layers : sequence of (network, layer, similarity, low, high)
        In the order of the axis.
    ceiling : tuple of float
        Lower and upper bound of the noise ceiling; NaN where there is none.
    comparison : {"spearman", "kendall_tau_a", "pearson"}

    Examples
    --------
    >>> rows = [("resnet", "layer1", 0.2, 0.1, 0.3), ("resnet", "layer2", 0.3, 0.2, 0.4)]
    >>> ax = layer_similarity(rows, ceiling=(0.5, 0.6))
    >>> ax.get_ylabel()
    'Spearman r, mean over subjects'
    """
    with _drawing(ax, inches=(max(7.5, 3.6 + 0.22 * len(layers)), 3.0)) as axes:
        for index, network in enumerate(dict.fromkeys(row[0] for row in layers)):
            mine = [at for at, row in enumerate(layers) if row[0] == network]
            scores, low, high = (np.array([layers[at][k] for at in mine]) for k in (2, 3, 4))
            colour = PALETTE[index % len(PALETTE)]
            axes.vlines(mine, low, high, color=colour, alpha=0.5)
            axes.plot(mine, scores, "o-", color=colour, label=network, markersize=4)
        if np.isfinite(ceiling).all():
            axes.axhspan(*ceiling, color=_LINE, alpha=0.35, lw=0, label="noise ceiling")
        axes.axhline(0, color=_LINE, lw=0.7)
        names = [row[1] for row in layers]
        axes.set_xticks(list(range(len(layers))), names, rotation=60, ha="right", rotation_mode="anchor")
        axes.set_ylabel(f"{_COEFFICIENTS[comparison]}, mean over subjects")
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4)
    return axes


def rdm(dissimilarities: FloatArray, *, title: str = "", ax: Axes | None = None) -> Axes:
    """Draw the ranks of a representational dissimilarity matrix.

    Parameters
    ----------
    dissimilarities : ndarray of shape (n_pairs,)
        The upper triangle, row by row, as :func:`scipy.spatial.distance.pdist` gives it.

    Examples
    --------
    >>> import numpy as np
    >>> ax = rdm(np.array([0.1, 0.5, 0.4]), title="three stimuli")
    >>> ax.get_title()
    'three stimuli (ranks)'
    """
    with _drawing(ax, inches=(2.6, 2.6)) as axes:
        axes.imshow(squareform(rankdata(dissimilarities)), cmap=COLORMAP, interpolation="nearest")
        axes.set_title(f"{title} (ranks)" if title else "ranks", fontsize=8)
        axes.set_axis_off()
    return axes


def layer_map(results: Results, *, ax: Axes | None = None) -> Axes:
    """Draw which layer was chosen, ROI by subject, coloured by its depth in its network.

    The numbers count layers by depth; with several networks a letter before them names the network, in the order of the
    results.

    Examples
    --------
    >>> from voxelcast.testing.results import example_results
    >>> ax = layer_map(example_results())
    >>> [text.get_text() for text in ax.get_yticklabels()]
    ['V1']
    """
    depth, rois, subjects = layer_order(results), results.rois, results.subjects
    letters = depth.letters
    shades = np.full((len(rois), len(subjects)), np.nan)
    with _drawing(ax, inches=(max(3.5, 1.2 + 0.4 * len(subjects)), max(1.5, 0.8 + 0.3 * len(rois)))) as axes:
        for row in results.scores.to_dict("records"):
            at = rois.index(row["roi"]), subjects.index(row["subject"])
            shades[at] = np.nan_to_num(depth.position(row))
            network = str(row["network"]), str(row["weights"]), str(row["pool"])
            axes.text(at[1], at[0], f"{letters[network]}{depth.index(row) + 1}", ha="center", va="center",
                      color="black" if shades[at] > 0.5 else "white", fontsize=7)  # fmt: skip
        axes.imshow(shades, cmap=COLORMAP, vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_xticks(range(len(subjects)), subjects, rotation=0 if len(subjects) <= 6 else 60)
        axes.set_yticks(range(len(rois)), rois)
        axes.grid(visible=False)
    return axes
