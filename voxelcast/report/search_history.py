"""How the search went: best score so far, and the score against each hyper-parameter."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, NullLocator

from voxelcast.core.arrays import FloatArray
from voxelcast.report.figures import PALETTE, SUBJECT_COLOUR, Panel, inline, new_axes
from voxelcast.report.layer_profile import NETWORK
from voxelcast.report.summary import number, plural
from voxelcast.results.read import Results

_MEAN_COLOUR = PALETTE[0]
_CHOSEN_COLOUR = PALETTE[1]
_LOG_RATIO = 50.0


def search_histories(results: Results, rois: Sequence[str]) -> dict[str, list[Panel]]:
    """Draw, per ROI, the best score so far and one panel per encoder and hyper-parameter."""
    panels: dict[str, list[Panel]] = {}
    by_roi = dict(iter(results.search.groupby("roi", sort=False)))
    for roi in rois:
        if roi in by_roi:
            candidates = by_roi[roi]
            chosen = results.scores[results.scores["roi"] == roi]
            panels[roi] = [_best_so_far(roi, candidates), *_hyperparameter_panels(roi, candidates, chosen)]
    return panels


def _best_so_far(roi: str, candidates: pd.DataFrame) -> Panel:
    figure, axes = new_axes("candidates tried", "best selection score so far (r)")
    staircases = [staircase(group["score"].to_numpy()) for _, group in candidates.groupby("subject", sort=False)]
    length = max(len(steps) for steps in staircases)
    if len(staircases) > 1:
        for steps in staircases:
            axes.plot(*_corners(steps), drawstyle="steps-post", color=SUBJECT_COLOUR, linewidth=0.6, alpha=0.55)
    # A subject whose search was shorter keeps its last best.
    filled = np.stack([np.pad(steps, (0, length - len(steps)), mode="edge") for steps in staircases])
    there = np.isfinite(filled)
    total = np.where(there, filled, 0.0).sum(axis=0)
    mean = np.divide(total, there.sum(axis=0), out=np.full(length, np.nan), where=there.any(axis=0))
    axes.plot(*_corners(mean), drawstyle="steps-post", color=_MEAN_COLOUR)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5, min_n_ticks=1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    half = np.flatnonzero(mean >= mean[-1] - 0.001) if np.isfinite(mean[-1]) else np.array([], dtype=int)
    reached = f"; within 0.001 of it after {plural(int(half[0]) + 1, 'candidate')}" if half.size else ""
    alt = (
        f"Search in {roi}: {plural(length, 'candidate')} per subject, mean best selection score "
        f"{number(float(mean[-1]))}{reached}."
    )
    return inline(figure, "best so far", alt)


def staircase(scores: FloatArray) -> FloatArray:
    """Return the best score among the first k candidates for every k; NaN until one is finite."""
    return np.fmax.accumulate(np.asarray(scores, dtype=np.float64))


def _corners(steps: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Keep the candidates where the staircase rises, and its end: the same line in a fraction of the points."""
    keep = np.append(True, steps[1:] != steps[:-1])
    keep &= np.isfinite(steps)
    keep[-1] = True
    return np.flatnonzero(keep) + 1.0, steps[keep]


def parse_hyperparameters(text: str) -> dict[str, float]:
    """Read ``"n_components=4; relative_alpha=0.01"``; settings that are no numbers are left out."""
    values: dict[str, float] = {}
    for part in text.split(";"):
        name, _, value = part.partition("=")
        try:
            values[name.strip()] = float(value)
        except ValueError:
            continue
    return values


def _hyperparameter_panels(roi: str, candidates: pd.DataFrame, chosen: pd.DataFrame) -> list[Panel]:
    """Draw the score against each hyper-parameter, in the layer and pool that were chosen for each subject."""
    keys = ["subject", *NETWORK, "layer"]
    tried = candidates.merge(chosen[keys], on=keys)
    if tried.empty:
        return []
    settings = pd.DataFrame([parse_hyperparameters(text) for text in tried["hyperparameters"]], index=tried.index)
    panels = []
    for encoder in dict.fromkeys(tried["encoder"]):
        mine = tried["encoder"] == encoder
        picked = chosen[chosen["encoder"] == encoder]
        for name in settings.columns:
            points = tried.loc[mine, ["subject", "score"]].assign(value=settings.loc[mine, name]).dropna()
            if points["value"].nunique() > 1:
                picks = [parse_hyperparameters(text).get(str(name), np.nan) for text in picked["hyperparameters"]]
                panels.append(_setting_panel(roi, f"{encoder}: {name}", points, np.asarray(picks)))
    return panels


def _setting_panel(roi: str, title: str, points: pd.DataFrame, picks: FloatArray) -> Panel:
    name = title.partition(": ")[2]
    figure, axes = new_axes(name, "selection score (r)")
    # The best over the other hyper-parameters: (n_values, n_subjects)
    table = points.groupby(["value", "subject"])["score"].max().unstack("subject")
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
    alt = f"Selection score in {roi} against {title}, {plural(len(x), 'value')} from {x.min():g} to {x.max():g}."
    if len(shared) > 1:
        mean = shared.mean(axis=1)
        axes.plot(mean.index, mean.to_numpy(), color=_MEAN_COLOUR, marker="o", markersize=2.5 if len(mean) < 40 else 0)
        best = float(mean.index[int(mean.argmax())])
        alt += f" The mean over subjects is highest, {number(float(mean.max()))}, at {best:g}."
    else:
        axes.plot(
            points["value"], points["score"], linestyle="", marker="o", markersize=2.5, color=_MEAN_COLOUR, alpha=0.6
        )
    picks = picks[np.isfinite(picks)]
    if picks.size:
        axes.plot(
            picks, np.zeros_like(picks), transform=axes.get_xaxis_transform(), linestyle="", marker="^", markersize=6,
            color=_CHOSEN_COLOUR, clip_on=False, alpha=0.7, markeredgewidth=0, zorder=5,
        )  # fmt: skip
        alt += f" Chosen values: {', '.join(f'{value:g}' for value in np.unique(picks))}."
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    return inline(figure, title, alt)
