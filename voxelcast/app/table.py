"""The table of experiments: which are shown, with which numbers, in which order."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Final
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

import numpy as np

from voxelcast.app.experiment import STATES, Experiment
from voxelcast.core.checks import check_option
from voxelcast.report.summary import Row, choose_measure, overall_row, roi_rows, sort_rois
from voxelcast.results.read import Results


@dataclass(frozen=True)
class Query:
    """What the user asked the table for; every part of it is in the page's address.

    What is empty is any; with an ROI or a subject the numbers are those of that ROI or subject alone.
    """

    text: str = ""
    """Words that must all occur in an experiment's name, folder, tags, dataset, networks, encoders or layer."""
    state: str = ""
    roi: str = ""
    subject: str = ""
    group: str = ""
    """One of ``GROUPS``: lines are gathered by it."""
    x: str = ""
    """The setting against which scores are drawn; empty: the first that differs."""
    sort: str = "-score"
    """One of ``SORTS``; with ``-`` before it, the other way round."""

    @property
    def column(self) -> str:
        """What is sorted by."""
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Whether the highest comes first."""
        return self.sort.startswith("-")

    def address(self, **changes: str) -> str:
        """Return the table's address with some parts changed; parts at their default are left out."""
        parts = asdict(replace(self, **changes))
        return "/?" + urlencode({name: value for name, value in parts.items() if value != getattr(Query, name)})

    def toggled(self, column: str) -> str:
        """Return the address that sorts by a column: the best first, and the other way round the next time."""
        first = f"-{column}" if column in _HIGH_FIRST else column
        other = column if column in _HIGH_FIRST else f"-{column}"
        return self.address(sort=other if self.sort == first else first)


@dataclass(frozen=True)
class Line:
    """One experiment in the table, with the means over what is shown of it."""

    experiment: Experiment
    mean: Row = field(default_factory=Row)
    measure: str = ""
    """What its score is; empty where there is none."""
    n_subjects: int = 0
    n_rois: int = 0


Numbers = tuple[Row, str, int, int]  # of a line, after the experiment

# Means of 90 subject x ROI take pandas 20 ms: too long for each of hundreds of experiments, each time they are shown.
_NUMBERS: Final[WeakKeyDictionary[Experiment, dict[tuple[str, str], Numbers]]] = WeakKeyDictionary()
_UNUSED: Final = frozenset({"network", "weights", "layer", "encoder", "hyperparameters"})

SORTS: Final[Mapping[str, Callable[[Line], str | float]]] = {
    "name": lambda line: line.experiment.name.lower(),
    "state": lambda line: STATES.index(line.experiment.state),
    "dataset": lambda line: line.experiment.dataset.lower(),
    "network": lambda line: ", ".join(line.experiment.networks).lower(),
    "encoder": lambda line: ", ".join(line.experiment.encoders).lower(),
    "layer": lambda line: line.experiment.layer,
    "score": lambda line: line.mean.score,
    "ceiling": lambda line: line.mean.ceiling,
    "normalised": lambda line: line.mean.normalised,
    "held_out": lambda line: line.mean.held_out,
    "changed": lambda line: line.experiment.changed.timestamp(),
}
GROUPS: Final[Mapping[str, Callable[[Experiment], str]]] = {
    "network": lambda experiment: ", ".join(experiment.networks),
    "encoder": lambda experiment: ", ".join(experiment.encoders),
    "dataset": lambda experiment: experiment.dataset,
    "tag": lambda experiment: ", ".join(experiment.tags),
    "state": lambda experiment: experiment.state,
}
_HIGH_FIRST: Final = ("score", "ceiling", "normalised", "held_out", "changed")


def read_query(parameters: Mapping[str, str]) -> Query:
    """Read a query from the parameters of an address; raise OptionError if the state or order does not exist."""
    query = Query(**{name: parameters[name].strip() for name in asdict(Query()) if name in parameters})
    check_option("state", query.state, ("", *STATES))
    check_option("group", query.group, ("", *GROUPS))
    check_option("sort", query.column, tuple(SORTS))
    return query


def table_lines(experiments: Sequence[Experiment], query: Query) -> list[Line]:
    """Filter and sort; experiments without the number that is sorted by come last."""
    lines = [line for experiment in experiments if (line := _line(experiment, query)) is not None]
    key = SORTS[query.column]
    lines.sort(key=lambda line: line.experiment.shown)
    known = [line for line in lines if _is_known(key(line))]
    known.sort(key=key, reverse=query.descending)
    return known + [line for line in lines if not _is_known(key(line))]


def grouped(lines: Sequence[Line], query: Query) -> list[tuple[str, list[Line]]]:
    """Gather lines, in their order, by what the query groups by; one nameless group where it asks for none."""
    if not query.group:
        return [("", list(lines))]
    groups: dict[str, list[Line]] = {}
    for line in lines:
        groups.setdefault(GROUPS[query.group](line.experiment) or "—", []).append(line)
    return list(groups.items())


def _is_known(value: str | float) -> bool:
    return isinstance(value, str) or bool(np.isfinite(value))


def _line(experiment: Experiment, query: Query) -> Line | None:
    described = (experiment.name, experiment.shown, *experiment.tags, experiment.dataset, experiment.layer)
    about = " ".join((*described, *experiment.networks, *experiment.encoders)).lower()
    if (query.state and experiment.state != query.state) or any(w not in about for w in query.text.lower().split()):
        return None
    if experiment.results is None:
        return None if query.roi or query.subject else Line(experiment)
    # An address can ask for any ROI and subject: only those that exist are remembered.
    remembered = _NUMBERS.setdefault(experiment, {})
    asked = query.roi, query.subject
    if asked not in remembered:
        numbers = _numbers(experiment.results, query)
        if numbers is None:
            return None
        remembered[asked] = numbers
    return Line(experiment, *remembered[asked])


def _numbers(results: Results, query: Query) -> Numbers | None:
    """Average what is shown of an experiment; None where it has nothing of the ROI or subject asked for."""
    scores = results.scores[[name for name in results.scores if name not in _UNUSED]]
    scores = scores[scores["roi"] == query.roi] if query.roi else scores
    scores = scores[scores["subject"] == query.subject] if query.subject else scores
    if scores.empty:
        return None
    shown = replace(results, scores=scores)
    measure = choose_measure(scores)
    mean = overall_row(roi_rows(shown, measure))
    return mean, measure.label, len(shown.subjects), len(shown.rois)


def choices(experiments: Sequence[Experiment]) -> tuple[list[str], list[str]]:
    """List the ROIs (from early to late visual cortex, then the others) and the subjects of all experiments."""
    tables = [experiment.results for experiment in experiments if experiment.results]
    subjects = sorted({subject for results in tables for subject in results.subjects})
    return list(sort_rois(roi for results in tables for roi in results.rois)), subjects
