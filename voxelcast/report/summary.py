"""The numbers of the report's first screen: means over subjects, on an axis and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from voxelcast.core.arrays import FloatArray
from voxelcast.results.read import ROI_ORDER, Results

_LABELS: Final = {
    frozenset({"nested_cv"}): "nested cross-validated Pearson r",
    frozenset({"held_out"}): "Pearson r on held-out stimuli",
}
_MIXED: Final = "Pearson r (nested cross-validated for some pairs, on held-out stimuli for others)"
_SELECTION: Final = "selection score"
_MEANS: Final = {
    "ceiling": "noise_ceiling_r",
    "normalised": "noise_normalised_r",
    "selection": "selection_score",
    "held_out": "held_out_score",
    "held_out_ceiling": "held_out_noise_ceiling_r",
}
"""Fields of a `Row` that are means of a column of scores.csv."""
_NAN: Final = float("nan")
_MOST_NAMED: Final = 3
"""Layers that share the first place and are named; of more, the number is said."""


@dataclass(frozen=True)
class Measure:
    """Which column of scores.csv the report calls the score."""

    column: str
    """``"score"``, or ``"selection_score"`` where no pair has a score that no choice saw."""
    label: str
    """What it is, to go into a sentence."""

    @property
    def is_selection(self) -> bool:
        """Whether only the score by which models were chosen is there, which is too high."""
        return self.column == "selection_score"


@dataclass(frozen=True)
class Mean:
    """A mean score with its interval and the mean noise ceiling; NaN where unknown.

    The interval is the mean over subjects of the ends of each subject's interval. The mean over
    subjects varies less than its terms, so it is, if anything, too wide. ``values``: the subjects' finite scores.
    """

    score: float = _NAN
    low: float = _NAN
    high: float = _NAN
    ceiling: float = _NAN
    values: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row(Mean):
    """Means over subjects of one ROI, or over ROIs; ``n_subjects`` have a finite score."""

    name: str = ""
    n_subjects: int = 0
    normalised: float = _NAN
    selection: float = _NAN
    held_out: float = _NAN
    held_out_ceiling: float = _NAN


def choose_measure(scores: pd.DataFrame) -> Measure:
    """Say which score the table holds and what it is called."""
    with_score = scores[np.isfinite(scores["score"])]
    if with_score.empty:
        return Measure("selection_score", _SELECTION)
    return Measure("score", _LABELS.get(frozenset(with_score["score_from"]), _MIXED))


def mean_or_nan(values: Sequence[float] | pd.Series | FloatArray) -> float:
    """Average the finite values; NaN if there are none."""
    array = np.asarray(values, dtype=np.float64)
    array = array[np.isfinite(array)]
    return float(array.mean()) if array.size else _NAN


def roi_rows(results: Results, measure: Measure) -> list[Row]:
    """Average over subjects, one row per ROI in the report's order."""
    return [_roi_row(roi, results.scores[results.scores["roi"] == roi], measure) for roi in results.rois]


def _roi_row(roi: str, table: pd.DataFrame, measure: Measure) -> Row:
    finite = table[np.isfinite(table[measure.column])]
    ends = finite[["score_low", "score_high"]].to_numpy(dtype=np.float64)
    # An interval of fewer subjects than the mean beside it would be about something else; selection scores have none.
    interval = bool(np.isfinite(ends).all()) and not measure.is_selection
    low, high = (mean_or_nan(end) if interval else _NAN for end in ends.T)
    values = tuple(float(value) for value in finite[measure.column])
    means = {name: mean_or_nan(table[column]) for name, column in _MEANS.items()}
    return Row(mean_or_nan(values), low, high, values=values, name=roi, n_subjects=len(finite), **means)


def overall_row(rows: Sequence[Row]) -> Row:
    """Average the ROIs, each counting the same."""
    means = {name: mean_or_nan([getattr(row, name) for row in rows]) for name in ("score", "low", "high", *_MEANS)}
    if not all(np.isfinite(row.low) and np.isfinite(row.high) for row in rows if np.isfinite(row.score)):
        means |= {"low": _NAN, "high": _NAN}
    n_subjects = max((row.n_subjects for row in rows), default=0)
    return Row(name="mean over ROIs", n_subjects=n_subjects, values=(), **means)


@dataclass(frozen=True)
class StripAxis:
    """Ends of the axis that all strips share: a strip beside a score shows subjects, mean, interval and ceiling."""

    low: float
    high: float

    @property
    def labels(self) -> tuple[str, str]:
        """The ends as text."""
        return number(self.low), number(self.high)

    def position(self, value: float) -> float | None:
        """Return where a value lies, in percent of the axis' length; None for NaN."""
        if not np.isfinite(value):
            return None
        # 2 % at either end keep a dot at the end whole.
        return round(2 + 96 * (value - self.low) / (self.high - self.low), 2)


def strip_axis(rows: Sequence[Mean]) -> StripAxis:
    """Fit the axis to the numbers of all rows; zero is always on it."""
    numbers = [value for row in rows for value in (row.score, row.low, row.high, row.ceiling, *row.values)]
    finite = [value for value in numbers if np.isfinite(value)] or [1.0]
    low, high = min(0.0, *finite), max(0.0, *finite)
    return StripAxis(low, high if high > low else low + 1.0)


def chosen_counts(results: Results) -> dict[str, list[tuple[str, int]]]:
    """Count how often each network, layer (``network: layer``), encoder, and pool of several was chosen, by kind.

    The most frequent come first.
    """
    scores = results.scores
    columns = {
        "network": [network_label(n, w) for n, w in zip(scores["network"], scores["weights"], strict=True)],
        "layer": [f"{n}: {layer}" for n, layer in zip(scores["network"], scores["layer"], strict=True)],
        "pool": [pool for pool in scores["pool"] if pool],
        "encoder": list(scores["encoder"]),
    }
    return {what: Counter(names).most_common() for what, names in columns.items() if names}


def sort_rois(rois: Iterable[str]) -> tuple[str, ...]:
    """Name each ROI once, from early to late visual cortex, then the others as they come."""
    return tuple(sorted(dict.fromkeys(rois), key=lambda roi: (*ROI_ORDER, roi).index(roi)))


def config_networks(config: Mapping[str, Any]) -> list[str]:
    """Name the networks of an experiment's settings, with their weights."""
    listed = config.get("networks")
    known = [network for network in listed if isinstance(network, Mapping)] if isinstance(listed, list) else []
    return [network_label(str(n.get("label") or n.get("name")), str(n.get("weights") or "")) for n in known]


def network_label(network: str, weights: str, pool: str = "") -> str:
    """Name a network together with its weights, if it has any, and with the pool, where there are several."""
    named = f"{network} ({weights})" if weights else network
    return f"{named} · {pool}" if pool else named


def findings(results: Results, measure: Measure, rows: Sequence[Row], overall: Row) -> list[str]:
    """Say what was found, one sentence each."""
    sentences = [_score_sentence(results, measure, rows, overall)]
    scored = [row for row in rows if np.isfinite(row.score)]
    if len(scored) > 1:
        best, worst = max(scored, key=lambda row: row.score), min(scored, key=lambda row: row.score)
        sentences.append(
            f"It is highest in {best.name} ({number(best.score)}) and lowest in {worst.name} ({number(worst.score)})."
        )
    if np.isfinite(overall.normalised):
        sentences.append(
            f"Relative to the noise ceiling (mean {number(overall.ceiling)}), the mean noise-normalised correlation is "
            f"{number(overall.normalised)}."
        )
    if np.isfinite(overall.held_out) and set(results.scores["score_from"]) != {"held_out"}:
        known = np.isfinite(overall.held_out_ceiling)
        limit = f" (noise ceiling {number(overall.held_out_ceiling)})" if known else ""
        sentences.append(
            f"On the held-out stimuli, which no choice saw, mean Pearson r is {number(overall.held_out)}{limit}."
        )
    sentences.append(_chosen_sentence(results))
    return sentences


def _score_sentence(results: Results, measure: Measure, rows: Sequence[Row], overall: Row) -> str:
    if not np.isfinite(overall.score):
        return "No subject and ROI has a finite score: see the notes and what was excluded."
    if len(results.scores) == 1:
        where = f"in ROI {results.rois[0]} of {results.subjects[0]}"
    else:
        where = f"over {plural(len(rows), 'ROI')} and {plural(overall.n_subjects, 'subject')}"
    if results.missing:
        pairs = len(results.scores) + len(results.missing)
        is_or_are = "is" if len(results.missing) == 1 else "are"
        where += f"; {len(results.missing)} of {pairs} pairs of subject and ROI {is_or_are} missing"
    interval = (
        f" ({results.interval_name} {number(overall.low)} to {number(overall.high)})"
        if np.isfinite(overall.low)
        else ""
    )
    sentence = f"The mean {measure.label} is {number(overall.score)}{interval}, {where}."
    if measure.is_selection:
        sentence += (
            " It is the score by which the models were chosen and therefore too high: performance was not measured."
        )
    return sentence


def _chosen_sentence(results: Results) -> str:
    counts = chosen_counts(results)
    n_pairs = len(results.scores)
    (layers, layer_count), (pools, pool_count), (encoders, encoder_count) = (
        _most_frequent(counts.get(what, [])) for what in ("layer", "pool", "encoder")
    )
    if n_pairs == 1:
        return f"Chosen: {layers[0]}, with {f'the pool {pools[0]} and ' if pools else ''}the encoder {encoders[0]}."
    of = f"{n_pairs} pairs of subject and ROI"
    others = [f"the pool{_s(pools)} {_share(pools, pool_count, n_pairs)}"] if pools else []
    others.append(f"the encoder{_s(encoders)} {_share(encoders, encoder_count, n_pairs)}")
    if len(layers) <= _MOST_NAMED:
        return f"Chosen most often: {listed([_share(layers, layer_count, of), *others])}."
    return (
        f"No layer was chosen most often: {len(layers)} layers were each chosen for {layer_count} of {of}. "
        f"Chosen most often: {listed(others)}."
    )


def _share(names: Sequence[str], count: int, of: str | int) -> str:
    return f"{listed(names)} ({count} of {of}{' each' if len(names) > 1 else ''})"


def _s(names: Sequence[str]) -> str:
    return "" if len(names) == 1 else "s"


def _most_frequent(counts: Sequence[tuple[str, int]]) -> tuple[list[str], int]:
    """Return the names that share the highest count, and that count."""
    most = counts[0][1] if counts else 0
    return [name for name, count in counts if count == most], most


def listed(names: Sequence[str]) -> str:
    """Join names by commas and a last "and"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def number(value: float) -> str:
    """Show a correlation with three decimals, a true minus sign, and a dash for NaN."""
    if not np.isfinite(value):
        return "—"
    text = f"{value:.3f}"
    text = "0.000" if text == "-0.000" else text
    return text.replace("-", "−")


def plural(count: int, noun: str) -> str:
    """Show a count with its noun."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
