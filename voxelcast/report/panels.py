"""The figures of the page: each drawn, titled, and told in words for readers who do not see it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from voxelcast.core.arrays import FloatArray
from voxelcast.report.comparison import Output, mean_depth
from voxelcast.report.depth import Depth, Network
from voxelcast.report.figures import PANEL_INCHES, STYLE, Panel, inline
from voxelcast.report.plot.layers import layer_profile
from voxelcast.report.plot.partition import draw_parts, group_matrix
from voxelcast.report.plot.scores import (
    comparison_inches,
    draw_depths,
    draw_overview,
    draw_ranks,
    draw_roi_scores,
    overview_inches,
)
from voxelcast.report.plot.search import draw_hyperparameter, search_history
from voxelcast.report.plot.similarity import layer_similarity, rdm
from voxelcast.report.plot.voxels import RANKS, draw_example, voxel_histogram
from voxelcast.report.plot_data import (
    HyperparameterScores,
    best_so_far,
    histogram_edges,
    hyperparameter_scores,
    layer_scores,
    pooled_voxels,
)
from voxelcast.report.summary import Mean, Measure, Row, network_label, number, plural
from voxelcast.report.variance_parts import PartRow, group_colours, part_rows, partition_ceiling
from voxelcast.results.read import Results
from voxelcast.store.atomic import atomic_path


def overview_panel(rows: Sequence[Row], measure: Measure) -> Panel:
    """Draw a row for each ROI: mean, interval, subjects and noise ceiling."""
    figure = Figure(figsize=overview_inches(len(rows)))
    draw_overview(axes := figure.add_subplot(), rows)
    axes.set_xlabel(measure.label)
    said = [f"{row.name} {number(row.score)}, noise ceiling {number(row.ceiling)}" for row in rows]
    columns = ["name", "score", "low", "high", "ceiling", "n_subjects"]
    table = pd.DataFrame([[getattr(row, name) for name in columns] for row in rows], columns=["roi", *columns[1:]])
    return inline(figure, "Scores by ROI", f"Scores by ROI: {'; '.join(said)}.", table)


def layer_profiles(results: Results, depth: Depth, rois: Sequence[str]) -> dict[str, Panel]:
    """Draw the profile over layers of each ROI that has candidates, all on one vertical axis."""
    tables = {roi: found for roi in rois if (found := layer_scores(results, roi, depth))}
    figures = {roi: Figure(figsize=PANEL_INCHES) for roi in tables}
    for roi, figure in figures.items():
        layer_profile(results, roi, depth=depth, ax=figure.add_subplot())
    ends = np.array([figure.axes[0].get_ylim() for figure in figures.values()] or [(0.0, 1.0)])
    panels = {}
    for roi, figure in figures.items():
        figure.axes[0].set_ylim(ends[:, 0].min(), ends[:, 1].max())
        means = {network: table.mean(axis=1).to_numpy() for network, table in tables[roi].items()}
        said = [_profile_sentence(network, depth, mean) for network, mean in means.items()]
        chosen = results.scores.loc[results.scores["roi"] == roi, "layer"].value_counts()
        picks = ", ".join(f"{layer} ({count})" for layer, count in chosen.items())
        named = [table.assign(network=network_label(*network)) for network, table in tables[roi].items()]
        numbers = pd.concat(named).rename_axis("layer").reset_index().set_index("network").reset_index()
        panels[roi] = inline(figure, roi, f"Layer profile of {roi}. {' '.join(said)} Chosen: {picks}.", numbers)
    return panels


def _profile_sentence(network: Network, depth: Depth, mean: FloatArray) -> str:
    name, layers = network_label(*network), depth.layers[network]
    if not np.isfinite(mean).any():
        return f"{name}: no finite score."
    best = int(np.nanargmax(mean))
    where = f"layer {best + 1} of {len(layers)}, {layers[best]}"
    return f"{name}: highest mean selection score {number(float(mean[best]))} at {where}."


def search_histories(results: Results, rois: Sequence[str]) -> dict[str, list[Panel]]:
    """Draw, per ROI, one panel per encoder and hyper-parameter; before them, of a search in trials, the best so far."""
    tried = set(results.search["roi"])
    panels = {
        roi: [
            *([_best_so_far(results, roi)] if in_trials(results) else []),
            *(_hyperparameter_panel(roi, scores) for scores in hyperparameter_scores(results, roi)),
        ]
        for roi in rois
        if roi in tried
    }
    return {roi: found for roi, found in panels.items() if found}


def in_trials(results: Results) -> bool:
    """Whether candidates were proposed one after another, so that the best so far says how the search went."""
    search = results.config.get("search")
    return isinstance(search, Mapping) and search.get("method") in ("bayes", "random")


def _best_so_far(results: Results, roi: str) -> Panel:
    figure = Figure(figsize=PANEL_INCHES)
    search_history(results, roi, ax=figure.add_subplot())
    _, mean = best_so_far(results, roi)
    near = np.flatnonzero(mean >= mean[-1] - 0.001) if np.isfinite(mean[-1]) else np.array([], dtype=int)
    reached = f"; within 0.001 of it after {plural(int(near[0]) + 1, 'candidate')}" if near.size else ""
    alt = (
        f"Search in {roi}: {plural(len(mean), 'candidate')} per subject, mean best selection score "
        f"{number(float(mean[-1]))}{reached}."
    )
    table = pd.DataFrame({"candidates": np.arange(1, len(mean) + 1), "mean_best_score": mean})
    return inline(figure, "best so far", alt, table)


def _hyperparameter_panel(roi: str, scores: HyperparameterScores) -> Panel:
    figure = Figure(figsize=PANEL_INCHES)
    draw_hyperparameter(scores, ax=figure.add_subplot())
    title, table = f"{scores.encoder}: {scores.name}", scores.best()
    x, shared = table.index.to_numpy(dtype=np.float64), table.dropna()
    alt = f"Selection score in {roi} against {title}, {plural(len(x), 'value')} from {x.min():g} to {x.max():g}."
    if len(shared) > 1:
        mean = shared.mean(axis=1)
        best = float(mean.index[int(mean.argmax())])
        alt += f" The mean over subjects is highest, {number(float(mean.max()))}, at {best:g}."
    if scores.chosen.size:
        alt += f" Chosen values: {', '.join(f'{value:g}' for value in np.unique(scores.chosen))}."
    return inline(figure, title, alt, table.reset_index().rename(columns={"value": scores.name}))


def voxel_histograms(results: Results, rois: Sequence[str]) -> dict[str, Panel]:
    """Draw one histogram per ROI over the voxels of all subjects; all share the bins."""
    pooled = {roi: pooled_voxels(results, roi) for roi in rois}
    edges = histogram_edges(pooled)
    panels = {}
    for roi, arrays in pooled.items():
        if any(values.size for values in arrays.values()):
            figure = Figure(figsize=PANEL_INCHES)
            voxel_histogram(results, roi, edges=edges, ax=figure.add_subplot())
            means = {key: number(float(values.mean())) for key, values in arrays.items() if values.size}
            said = []
            if "pearson_r" in means:
                scores = arrays["pearson_r"]
                said.append(f"score: {plural(scores.size, 'voxel')}, mean {means['pearson_r']}, "
                            f"highest {number(float(scores.max()))}")  # fmt: skip
            names = {"noise_ceiling_r": "noise ceiling", "held_out_r": "held-out stimuli"}
            said += [f"{name}: mean {means[key]}" for key, name in names.items() if key in means]
            counts = {key: np.histogram(values, edges)[0] for key, values in arrays.items() if values.size}
            table = pd.DataFrame({"from": edges[:-1], "to": edges[1:]} | counts)
            panels[roi] = inline(figure, roi, f"Distribution over voxels in {roi}. {'; '.join(said)}.", table)
    return panels


def example_panels(results: Results, rois: Sequence[str]) -> dict[str, Panel]:
    """Draw measured against predicted responses of a few voxels of the subject whose score is the median, per ROI."""
    panels = {}
    for roi in rois:
        subjects = [subject for subject, name in results.examples if name == roi]
        if subjects:
            scores = results.scores[(results.scores["roi"] == roi) & results.scores["subject"].isin(subjects)]
            middle = str(scores.sort_values("score", kind="stable")["subject"].iloc[(len(scores) - 1) // 2])
            panels[roi] = _example_panel(results, roi, middle)
    return panels


def _example_panel(results: Results, roi: str, subject: str) -> Panel:
    example = results.examples[subject, roi]
    figure = Figure(figsize=(5.4, 2.1))
    said = []
    for k, voxel in enumerate(example["voxel"]):
        draw_example(figure.add_subplot(1, len(RANKS), k + 1), example, k)
        rank, score = RANKS[float(example["quantile"][k])], number(float(example["score"][k]))
        said.append(f"{rank}, voxel {int(voxel)}: r = {score}")
    figure.axes[0].set_ylabel("measured response")
    figure.axes[len(said) // 2].set_xlabel("predicted response")
    n_stimuli = len(example["measured"])
    alt = f"Measured against predicted responses to {n_stimuli:,} stimuli in {roi}, {subject}. {'; '.join(said)}."
    columns = {
        f"{what}_voxel_{int(voxel)}": example[what][:, k]
        for k, voxel in enumerate(example["voxel"])
        for what in ("predicted", "measured")
    }
    return inline(figure, f"{roi}, {subject}", alt, pd.DataFrame(columns))


def partition_panel(results: Results, roi: str) -> Panel:
    """Draw a bar for each part of the variance in an ROI over a matrix of the groups that it belongs to."""
    rows, colours, ceiling = part_rows(results, roi), group_colours(results), partition_ceiling(results, roi)
    parts = [row for row in rows if row.kind != "model"]
    figure = Figure(figsize=(max(3.5, 1.1 + 0.28 * len(parts)), 2.1 + 0.2 * len(colours)))
    grid = figure.add_gridspec(2, 1, height_ratios=(1.8, 0.2 * len(colours)), hspace=0.02)
    bars = figure.add_subplot(grid[0])
    draw_parts(bars, rows, colours, ceiling)
    group_matrix(figure.add_subplot(grid[1], sharex=bars), parts, colours)
    said = [
        f"all together {_with_interval(row)}" for row in rows if row.kind == "model" and len(row.groups) == len(colours)
    ]
    said += [f"{row.label} {_with_interval(row)}" for row in parts]
    said += [f"noise ceiling {number(ceiling)}"] if np.isfinite(ceiling) else []
    table = pd.DataFrame(
        [(row.label, row.r2, row.low, row.high) for row in rows], columns=["part", "r2", "low", "high"]
    )
    return inline(figure, roi, f"Unique and shared variance in {roi}: {'; '.join(said)}.", table)


def _with_interval(row: PartRow) -> str:
    return number(row.r2) + (f" ({number(row.low)} to {number(row.high)})" if np.isfinite(row.low) else "")


def score_panel(title: str, outputs: Sequence[Output], rows: Sequence[tuple[str, list[Mean]]], measure: str) -> Panel:
    """Draw each output's score in each ROI; ``rows`` as `mean_rows` gives them, ``measure`` names the axis."""
    rois, means = [roi for roi, _ in rows], [of_roi for _, of_roi in rows]
    figure = Figure(figsize=comparison_inches(len(rois), len(outputs)))
    axes = figure.add_subplot()
    draw_roi_scores(axes, outputs, rois, means)
    axes.set_ylabel(measure)
    figure.legend(loc="outside upper left", ncols=2, fontsize=7.5)
    said = []
    for roi, of_roi in rows:
        scores = [mean.score if np.isfinite(mean.score) else -2.0 for mean in of_roi]
        best = int(np.argmax(scores))
        said.append(f"{roi}: {outputs[best].label} {number(of_roi[best].score)}")
    columns = ["experiment", "roi", "score", "low", "high", "noise_ceiling_r"]
    numbers = [
        (output.label, roi, mean.score, mean.low, mean.high, mean.ceiling)
        for roi, of_roi in rows
        for output, mean in zip(outputs, of_roi, strict=True)
    ]
    alt = f"{title}. The highest of each ROI: {'; '.join(said)}."
    return inline(figure, title, alt, pd.DataFrame(numbers, columns=columns))


def rank_panel(outputs: Sequence[Output], means: Sequence[Mean], depths: FloatArray, measure: str) -> Panel:
    """Draw the outputs by rank with the depth of their layers; as `draw_ranks`, the best first."""
    figure = Figure(figsize=(7.5, 0.9 + 0.24 * len(outputs)))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 1))
    draw_ranks(left, right, outputs, means, depths)
    left.set_xlabel(measure)
    right.set_xlabel("depth of the layer")
    deep = [float(np.nanmean(column)) if np.isfinite(column).any() else np.nan for column in depths.T]
    said = [f"{o.label} {number(m.score)}, depth {number(d)}" for o, m, d in zip(outputs, means, deep, strict=True)]
    numbers = [(o.label, m.score, m.low, m.high, m.ceiling, d) for o, m, d in zip(outputs, means, deep, strict=True)]
    table = pd.DataFrame(numbers, columns=["experiment", "score", "low", "high", "noise_ceiling_r", "depth"])
    return inline(figure, "Rank, score and depth", f"Experiments by rank: {'; '.join(said)}.", table)


def depth_panel(outputs: Sequence[Output], rois: Sequence[str]) -> Panel | None:
    """Draw how deep the chosen layer lies in each ROI; None where no network has several layers."""
    depths = np.array([[mean_depth(output, roi) for output in outputs] for roi in rois])
    if not np.isfinite(depths).any():
        return None
    title = "Depth of the chosen layer"
    figure = Figure(figsize=comparison_inches(len(rois), len(outputs)))
    axes = figure.add_subplot()
    draw_depths(axes, outputs, rois, depths)
    axes.set_ylabel(title.lower())
    figure.legend(loc="outside upper left", ncols=2, fontsize=7.5)
    means = [
        f"{output.label} {np.nanmean(depths[:, k]):.2f}"
        for k, output in enumerate(outputs)
        if np.isfinite(depths[:, k]).any()
    ]
    table = pd.DataFrame(depths, columns=[output.label for output in outputs])
    table.insert(0, "roi", list(rois))
    return inline(figure, title, f"{title}, mean over ROIs: {', '.join(means)}.", table)


def draw_layers(
    path: Path,
    layers: Sequence[tuple[str, str, float, float, float]],
    ceiling: tuple[float, float],
    comparison: str,
    rdms: Mapping[str, FloatArray],
) -> None:
    """Draw a representational similarity analysis as a PNG: layers against the noise ceiling, and the ranks of RDMs.

    ``layers``, ``ceiling`` and ``comparison`` as :func:`voxelcast.report.plot.layer_similarity` takes them; ``rdms``
    are two arrays of shape (n_pairs,) by their titles.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(7.5, 3.6 + 0.22 * len(layers)), 5.6))
        grid = figure.add_gridspec(2, 2, height_ratios=(1.15, 1))
        layer_similarity(layers, ceiling=ceiling, comparison=comparison, ax=figure.add_subplot(grid[0, :]))
        for column, (title, dissimilarities) in enumerate(rdms.items()):
            rdm(dissimilarities, title=title, ax=figure.add_subplot(grid[1, column]))
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150, metadata={"Software": None})
