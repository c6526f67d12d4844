"""Scores against settings: one setting at a time, and all that differ as parallel coordinates; as places in an SVG."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from voxelcast.app.experiment import Experiment
from voxelcast.app.table import Line
from voxelcast.core.arrays import FloatArray
from voxelcast.report.comparison import compared_settings
from voxelcast.report.summary import number, strip_axis

WIDTH, HEIGHT = 960, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 30, 24, 48
_MOST_AXES: Final = 7
_MOST_VALUES: Final = 12
"""Values that are written at an axis; of more, every so many."""
_LETTERS: Final = 22
_KNOWN: Final[WeakKeyDictionary[Experiment, dict[str, str]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Place:
    """A vertical axis (its ``text`` names it) or a mark on an axis; pixels of the drawing."""

    x: float
    y: float
    text: str


@dataclass(frozen=True)
class Curve:
    """An experiment: a dot or a line through the axes; ``share`` is where its score lies, from 0 (lowest) to 1."""

    points: tuple[tuple[float, float], ...]
    share: float
    text: str

    @property
    def path(self) -> str:
        """The points as the attribute of a polyline."""
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in self.points)


@dataclass(frozen=True)
class Drawing:
    """What the page draws: axes, what is written at them, and the experiments; ``alt`` says it in words."""

    axes: tuple[Place, ...]
    marks: tuple[Place, ...]
    curves: tuple[Curve, ...]
    alt: str


def settings_of(experiment: Experiment) -> dict[str, str]:
    """Name the settings of an experiment that a comparison shows, with their values."""
    if experiment not in _KNOWN:
        _KNOWN[experiment] = dict(compared_settings(experiment.config))
    return _KNOWN[experiment]


def varying(experiments: Sequence[Experiment]) -> dict[str, list[str]]:
    """List the settings that differ between experiments with scores, each with its values in order."""
    tables = [settings_of(one) for one in experiments if one.results]
    names = dict.fromkeys(["networks", "encoders", *(name for table in tables for name in table)])
    found = {name: _in_order({table.get(name, "—") for table in tables}) for name in names}
    return {name: values for name, values in found.items() if len(values) > 1}


def _in_order(values: set[str]) -> list[str]:
    """Sort by number where all are numbers, else by text."""
    try:
        return sorted(values, key=float)
    except ValueError:
        return sorted(values)


def _scored(lines: Sequence[Line]) -> list[Line]:
    return [line for line in lines if line.experiment.results and np.isfinite(line.mean.score)]


def score_by_setting(lines: Sequence[Line], name: str, values: Sequence[str]) -> Drawing | None:
    """Draw a dot for each experiment: its score, above its value of a setting; None without scores."""
    scored = _scored(lines)
    if not scored:
        return None
    axis = strip_axis([line.mean for line in scored])
    places = dict(
        zip(values, _LEFT + (np.arange(len(values)) + 0.5) / len(values) * (WIDTH - _LEFT - _RIGHT), strict=True)
    )
    ticks = np.linspace(axis.low, axis.high, 5)
    marks = [Place(_LEFT - 6, _height(tick, axis.low, axis.high), number(float(tick))) for tick in ticks]
    curves = []
    for line in scored:
        value = settings_of(line.experiment).get(name, "—")
        y = _height(line.mean.score, axis.low, axis.high)
        said = f"{line.experiment.name}: {number(line.mean.score)}, {name} {value}"
        curves.append(Curve(((float(places[value]), y),), 1.0, said))
    step = -(-len(values) // _MOST_VALUES)
    axes = [Place(float(places[value]), HEIGHT - _BOTTOM + 18, _short(value)) for value in values[::step]]
    best = max(scored, key=lambda line: line.mean.score)
    alt = f"Scores of {len(scored)} experiments by {name}, {len(values)} values; the highest, "
    alt += f"{number(best.mean.score)}, has {settings_of(best.experiment).get(name, '—')}."
    return Drawing(tuple(axes), tuple(marks), tuple(curves), alt)


def parallel_coordinates(lines: Sequence[Line], settings: Mapping[str, Sequence[str]]) -> Drawing | None:
    """Draw each experiment as a line through its settings to its score; None with fewer than two, or no setting.

    Settings with the fewest values come, where there are too many to draw.
    """
    scored = _scored(lines)
    chosen = sorted(settings, key=lambda name: len(settings[name]))[:_MOST_AXES]
    names = [name for name in settings if name in chosen]
    if len(scored) < 2 or not names:
        return None
    scores = np.array([line.mean.score for line in scored])
    low, high = float(scores.min()), float(scores.max())
    high = high if high > low else low + 1e-3
    x = np.linspace(_LEFT + 40, WIDTH - _RIGHT - 50, len(names) + 1)
    heights: list[dict[str, float]] = [
        dict(zip(settings[name], _spread(len(settings[name])).tolist(), strict=True)) for name in names
    ]
    marks = [
        Place(float(at) + 6, height + 4, _short(value))
        for at, name, of_axis in zip(x, names, heights, strict=False)
        for value, height in list(of_axis.items())[:: -(-len(settings[name]) // _MOST_VALUES)]
    ]
    marks += [Place(float(x[-1]) + 6, _height(end, low, high) + 4, number(end)) for end in (low, high)]
    curves = []
    for line, score in zip(scored, scores.tolist(), strict=True):
        mine = settings_of(line.experiment)
        points = [
            (float(at), of_axis[mine.get(name, "—")]) for at, name, of_axis in zip(x, names, heights, strict=False)
        ]
        points.append((float(x[-1]), _height(score, low, high)))
        curves.append(Curve(tuple(points), (score - low) / (high - low), f"{line.experiment.name}: {number(score)}"))
    axes = [Place(float(at), _TOP - 8, _short(name)) for at, name in zip(x, [*names, "score"], strict=True)]
    alt = f"{len(scored)} experiments as lines through {', '.join(names)} to their score; the fainter, the lower."
    return Drawing(tuple(axes), tuple(marks), tuple(sorted(curves, key=lambda curve: curve.share)), alt)


def _height(value: Any, low: float, high: float) -> float:
    return float(HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM))


def _spread(n: int) -> FloatArray:
    return np.linspace(HEIGHT - _BOTTOM, _TOP, n) if n > 1 else np.array([(HEIGHT - _BOTTOM + _TOP) / 2])


def _short(text: str) -> str:
    return text if len(text) <= _LETTERS else f"{text[: _LETTERS - 1]}…"
