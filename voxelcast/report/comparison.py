"""Several outputs side by side: what they found, how they differ, and whether they may be compared at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
from voxelcast.scoring.intervals import Difference, judge_difference

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
    ``"all ROIs"``. ``by_voxel``: whether every voxel counts the same, so that a subject or ROI counts by its number of
    voxels; otherwise every subject counts the same, and over all ROIs every ROI.
    """
    rois = sort_rois(roi for output in outputs for roi in output.results.rois)
    rows = [(roi, [roi_mean(output, roi, by_voxel=by_voxel) for output in outputs]) for roi in rois]
    return [*rows, ("all ROIs", [roi_mean(output, None, by_voxel=by_voxel) for output in outputs])]


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


def paired_differences(outputs: Sequence[Output]) -> list[tuple[str, list[tuple[str, Difference | str]]]]:
    """Judge how each further output's score differs from that of the first, on the stimuli that are in both.

    Returns
    -------
    rows : list of (label, list of (ROI, Difference or str))
        For each further output; at first ``"all ROIs"``, every ROI counting the same. Where a difference cannot be
        judged, the reason stands.
    """
    first, *others = outputs
    rois = [roi for roi in sort_rois(first.results.rois) if all(roi in one.results.rois for one in others)]
    rows = []
    for other in others:
        whole = ("all ROIs", _paired(other, first, rois))
        rows.append((other.label, [whole, *((roi, _paired(other, first, [roi])) for roi in rois)]))
    return rows


def _paired(one: Output, other: Output, rois: Sequence[str]) -> Difference | str:
    """Judge one output's score minus another's: the mean over ROIs of the means over subjects."""
    values, without, n_folds = [], [], set()
    for roi in rois:
        pairs = [(subject, roi) for subject in one.results.subjects if subject in other.results.subjects]
        known = [pair for pair in pairs if pair in one.results.jackknife and pair in other.results.jackknife]
        if not known or len(known) < len(pairs):
            return "no nested interval"
        scores = [output.results.scores.set_index(["subject", "roi"])["score"] for output in (one, other)]
        values.append(np.mean([scores[0][pair] - scores[1][pair] for pair in known]))
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
    level = one.results.config.get("interval", {}).get("level", 0.95)
    return judge_difference(float(np.mean(values)), np.mean(without, axis=0), max(n_folds), float(level))


def mean_depth(output: Output, roi: str) -> float:
    """Return how deep in their networks the chosen layers lie, mean over subjects; NaN where none has a depth."""
    depth, scores = layer_order(output.results), output.results.scores
    return mean_or_nan([depth.position(row) for row in scores[scores["roi"] == roi].to_dict("records")])


def differences(outputs: Sequence[Output]) -> list[tuple[str, tuple[str, ...]]]:
    """List the settings that are not the same in all outputs, each with its value in every output."""
    flat = [dict(_settings(output.results.config)) for output in outputs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    rows = [(name, tuple(settings.get(name, "—") for settings in flat)) for name in names]
    return [(name, values) for name, values in rows if len(set(values)) > 1]


def _settings(config: Mapping[str, object]) -> list[tuple[str, str]]:
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
