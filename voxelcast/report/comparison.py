"""Several outputs side by side: what they found, how they differ, and whether they may be compared at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from voxelcast.core.errors import OptionError
from voxelcast.report.depth import layer_order
from voxelcast.report.facts import flatten
from voxelcast.report.figures import PALETTE
from voxelcast.report.summary import Mean, Measure, choose_measure, config_networks, mean_or_nan, sort_rois
from voxelcast.results.read import Results, read_results
from voxelcast.results.schema import Pair
from voxelcast.scoring.intervals import Difference, judge_difference
from voxelcast.scoring.permutation import holm

ALL_ROIS: Final = "all ROIs"
"""What stands for an ROI where all count, each the same."""
_NOT_COMPARED: Final = ("name", "compute")


@dataclass(frozen=True)
class Output:
    """One output as the comparison shows it."""

    label: str
    """Name of the experiment; with the folder's name where several experiments have the same."""
    folder: str
    colour: str
    results: Results
    measure: Measure

    @property
    def level(self) -> float:
        """Share of intervals that are to hold the expected score."""
        return self.results.interval_level or 0.95

    @cached_property
    def score_of(self) -> dict[Pair, float]:
        """The score of each subject and ROI."""
        table = self.results.scores
        return dict(zip(zip(table["subject"], table["roi"], strict=True), table["score"], strict=True))


def outputs_of(results: Mapping[str, Results], folders: Mapping[str, str] | None = None) -> list[Output]:
    """Give the results of each label a colour, and say what their score is; ``folders`` has each label's folder."""
    return [
        Output(label, (folders or {}).get(label, ""), PALETTE[index % len(PALETTE)], one, choose_measure(one.scores))
        for index, (label, one) in enumerate(results.items())
    ]


def read_outputs(folders: Sequence[Path]) -> list[Output]:
    """Read several output folders and name each; raise OptionError if one is given twice."""
    whole = [folder.resolve() for folder in folders]
    twice = next((folder for folder in whole if whole.count(folder) > 1), None)
    if twice is not None:
        raise OptionError(f"outputs to compare must differ; got {twice} twice: name each once")
    read = [read_results(folder) for folder in folders]
    titles = [results.name for results in read]
    labels = [f"{n} ({f.name})" if titles.count(n) > 1 else n for n, f in zip(titles, whole, strict=True)]
    if len(set(labels)) < len(labels):
        labels = [f"{n} ({f})" for n, f in zip(titles, whole, strict=True)]
    names = [folder.name for folder in whole]
    return outputs_of(dict(zip(labels, read, strict=True)), dict(zip(labels, names, strict=True)))


def mean_rows(outputs: Sequence[Output], *, by_voxel: bool) -> list[tuple[str, list[Mean]]]:
    """Average each output's scores over subjects: for each ROI its name and the mean of every output.

    The ROIs are those of any output, from early to late visual cortex, then the others as they come; at last comes
    `ALL_ROIS`. ``by_voxel``: whether every voxel counts the same, so that a subject or ROI counts by its number of
    voxels; otherwise every subject counts the same, and over all ROIs every ROI.
    """
    rois = sort_rois(roi for output in outputs for roi in output.results.rois)
    rows = [(roi, [roi_mean(output, roi, by_voxel=by_voxel) for output in outputs]) for roi in rois]
    return [*rows, (ALL_ROIS, [roi_mean(output, None, by_voxel=by_voxel) for output in outputs])]


def roi_mean(output: Output, roi: str | None, *, by_voxel: bool) -> Mean:
    """Average an output's scores over subjects as `mean_rows` does, in one ROI or (None) over all."""
    scores, column = output.results.scores, output.measure.column
    table = scores[np.isfinite(scores[column])]
    if roi is None and not by_voxel:
        rows = [roi_mean(output, name, by_voxel=False) for name in output.results.rois]
        names = ("score", "low", "high", "ceiling")
        score, low, high, ceiling = (mean_or_nan([getattr(row, name) for row in rows]) for name in names)
        return Mean(score, low, high, ceiling)
    table = table if roi is None else table[table["roi"] == roi]
    if table.empty:
        return Mean()
    counted = table["n_voxels"] - (0 if output.measure.is_selection else table["n_voxels_without_score"].fillna(0))
    weights = counted if by_voxel else pd.Series(1.0, index=table.index)
    score, low, high = (_weighted(table[name], weights) for name in (column, "score_low", "score_high"))
    if output.measure.is_selection:
        low = high = np.nan
    return Mean(score, low, high, _weighted(table["noise_ceiling_r"], weights))


def _weighted(values: pd.Series, weights: pd.Series) -> float:
    """Average with weights; NaN if a value is missing, for the mean of fewer would be about something else."""
    if not np.isfinite(values).all() or not weights.sum() > 0:
        return float("nan")
    return float(np.average(values.to_numpy(dtype=np.float64), weights=weights.to_numpy(dtype=np.float64)))


@dataclass(frozen=True)
class Paired:
    """How the score of ``label`` differs from that of ``other`` in an ROI; ``found`` says why, where it is not judged.

    ``p_corrected`` is Holm's over all pairs of outputs: for `ALL_ROIS` among themselves, for single ROIs all together.
    """

    label: str
    other: str
    roi: str
    found: Difference | str
    p_corrected: float = float("nan")

    def turned(self) -> Paired:
        """Return the same with the outputs exchanged."""
        one = self.found
        turned = one if isinstance(one, str) else Difference(-one.value, -one.high, -one.low, one.p)
        return Paired(self.other, self.label, self.roi, turned, self.p_corrected)


def paired_differences(outputs: Sequence[Output]) -> list[Paired]:
    """Judge how each output's score differs from that of each before it, on the stimuli that are in both.

    For each pair come `ALL_ROIS`, every ROI counting the same, and each ROI that all outputs have.
    """
    rois = [roi for roi in sort_rois(outputs[0].results.rois) if all(roi in one.results.rois for one in outputs)]
    rows = [
        Paired(later.label, earlier.label, name, _paired(later, earlier, some))
        for earlier, later in combinations(outputs, 2)
        for name, some in ((ALL_ROIS, rois), *((roi, [roi]) for roi in rois))
    ]
    p = np.array([float("nan") if isinstance(row.found, str) else row.found.p for row in rows])
    whole = np.array([row.roi == ALL_ROIS for row in rows], dtype=bool)
    for family in (whole, ~whole):
        p[family] = holm(p[family])
    return [replace(row, p_corrected=float(value)) for row, value in zip(rows, p, strict=True)]


def _paired(one: Output, other: Output, rois: Sequence[str]) -> Difference | str:
    """Judge one output's score minus another's: the mean over ROIs of the means over subjects."""
    values, without, n_folds = [], [], set()
    for roi in rois:
        pairs = [(subject, roi) for subject in one.results.subjects if subject in other.results.subjects]
        known = [pair for pair in pairs if pair in one.results.jackknife and pair in other.results.jackknife]
        if not known or len(known) < len(pairs):
            return "no nested interval"
        values.append(np.mean([one.score_of[pair] - other.score_of[pair] for pair in known]))
        parts = []
        for pair in known:
            a, b = one.results.jackknife[pair], other.results.jackknife[pair]
            if not np.array_equal(a["units"], b["units"]):
                return "other stimuli"
            parts.append(a["without"] - b["without"])
            n_folds |= {int(a["n_folds"]), int(b["n_folds"])}
        if len({len(part) for part in parts}) > 1:
            return "subjects with other stimuli"
        without.append(np.mean(parts, axis=0))
    if not rois or len({len(part) for part in without}) > 1:
        return "no ROI in both" if not rois else "ROIs with other stimuli"
    return judge_difference(float(np.mean(values)), np.mean(without, axis=0), max(n_folds), one.level)


@dataclass(frozen=True)
class Rank:
    """The place of an output by its score, and the places that differences from others leave possible."""

    place: int
    best: int
    worst: int

    def __str__(self) -> str:
        between = "" if self.best == self.worst else f" ({self.best} to {self.worst})"
        return f"{self.place}{between}"


def ranks(outputs: Sequence[Output], means: Sequence[Mean], paired: Sequence[Paired], roi: str) -> list[Rank | None]:
    """Rank the outputs by their scores in an ROI (or `ALL_ROIS`), ``means``; None where an output has no score.

    `Rank.best` counts the outputs that are reliably better (corrected p at most 1 - the level of intervals),
    `Rank.worst` those that are reliably worse.
    """
    scores = [mean.score for mean in means]
    n, alpha = int(np.isfinite(scores).sum()), 1 - outputs[0].level
    better: Counter[str] = Counter()
    worse: Counter[str] = Counter()
    for row in paired:
        if row.roi == roi and not isinstance(row.found, str) and row.p_corrected <= alpha:
            upper, lower = (row.label, row.other) if row.found.value > 0 else (row.other, row.label)
            worse[upper] += 1
            better[lower] += 1
    return [
        Rank(1 + sum(other > score for other in scores), 1 + better[output.label], n - worse[output.label])
        if np.isfinite(score)
        else None
        for output, score in zip(outputs, scores, strict=True)
    ]


def mean_depth(output: Output, roi: str) -> float:
    """Return how deep the chosen layers lie, mean over subjects (and of `ALL_ROIS` over these); NaN where unknown."""
    depth, scores = layer_order(output.results), output.results.scores
    rows = scores if roi == ALL_ROIS else scores[scores["roi"] == roi]
    return mean_or_nan([depth.position(row) for row in rows.to_dict("records")])


def differences(outputs: Sequence[Output]) -> list[tuple[str, tuple[str, ...]]]:
    """List the settings that are not the same in all outputs, each with its value in every output."""
    flat = [dict(compared_settings(output.results.config)) for output in outputs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [(name, tuple(settings.get(name, "—") for settings in flat)) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def compared_settings(config: Mapping[str, object]) -> list[tuple[str, str]]:
    """List the settings of an experiment that a comparison shows, (name, value); not names and places."""
    rows = []
    for name, value in config.items():
        if name == "networks" and isinstance(value, list):
            layers = [n.get("layers") for n in value if isinstance(n, Mapping)]
            shown = [
                "all" if some == "all" else f"{len(some) if isinstance(some, list) else 1} named" for some in layers
            ]
            rows += [("networks", ", ".join(config_networks(config))), ("networks.layers", ", ".join(shown))]
        elif name not in _NOT_COMPARED:
            rows += flatten(value, name)
    return rows


def warnings_of(outputs: Sequence[Output]) -> list[str]:
    """Say what makes the outputs' scores differ for other reasons than the models."""
    found = []
    for what, values in {
        "measures": [output.measure.label for output in outputs],
        "datasets": [str(output.results.config.get("dataset")) for output in outputs],
        "subjects": [", ".join(sorted(output.results.subjects)) for output in outputs],
        "ROIs": [", ".join(sorted(output.results.rois)) for output in outputs],
        "numbers of folds": [str(output.results.config.get("folds")) for output in outputs],
        "seeds, and so folds": [str(output.results.config.get("seed")) for output in outputs],
    }.items():
        if len(set(values)) > 1:
            shown = "; ".join(f"{o.label}: {v}" for o, v in zip(outputs, values, strict=True))
            found.append(f"The outputs have different {what}{f' ({shown})' if what in _SHOWN else ''}.")
    for note in dict.fromkeys(note for output in outputs for note in output.results.notes):
        named = [output.label for output in outputs if note in output.results.notes]
        found.append(f"{'All' if len(named) == len(outputs) else ', '.join(named)}: {note}")
    return found


_SHOWN: Final = ("measures", "subjects", "ROIs")
