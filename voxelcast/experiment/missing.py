"""Subjects x ROI that a run could not finish: which, why, and how the results say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxelcast.execution.stage import Failure
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan

Pair = tuple[str, str]

_NAMED = 3  # in one line; scores.csv has them all


@dataclass(frozen=True)
class Missing:
    """Why a subject x ROI has no results: in a line, and the file that has the rest."""

    reason: str
    log: Path | None


def find_missing(
    plan: Plan, responses: Mapping[Pair, Step], fits: Mapping[Pair, Step], failures: Sequence[Failure]
) -> dict[Pair, Missing]:
    """Find the pairs whose fit failed, or whose responses or those of a subject they share targets with did."""
    failed = {failure.step_id: failure for failure in failures}
    missing = {}
    for pair in plan.pairs:
        needed = [responses[other].step_id for other in (pair, *plan.sharers(pair))]
        cause = next((failed[step] for step in (*needed, fits[pair].step_id) if step in failed), None)
        if cause is not None:
            what = f"responses of {cause.step_id.name} failed: " if cause.step_id in needed else ""
            missing[pair] = Missing(" ".join(f"{what}{cause.reason}".split()), cause.log)
    return missing


def missing_note(missing: Mapping[Pair, Missing], n_pairs: int) -> str:
    """Say in the results that they are incomplete."""
    named = _named([f"{' '.join(pair)}: {one.reason}" for pair, one in missing.items()])
    return (
        f"Incomplete: {len(missing)} of {n_pairs} subject x ROI failed, which no mean counts ({named}). scores.csv "
        "names every one; the same command runs just what is missing."
    )


def missing_line(missing: Mapping[Pair, Missing], n_pairs: int, output: Path | None = None) -> str:
    """Say to the user at the end of a run what is missing, why, where its logs are and how to go on.

    ``output``: where the results of the others are; None if there are no others.
    """
    named = _named(
        [f"{' '.join(pair)}: {one.reason}{f' (log: {one.log})' if one.log else ''}" for pair, one in missing.items()]
    )
    others = f"the others' results are in {output}, marked as incomplete" if output else "there are no results"
    return (
        f"{len(missing)} of {n_pairs} subject x ROI failed: {named}; {others}; mend the cause and run the same command "
        "again: it does just what is missing"
    )


def undivided_line(failures: Sequence[Failure], n_pairs: int, output: Path) -> str:
    """Say to the user at the end of a run that the variance of some pairs was not divided, and how to go on."""
    named = _named([f"{one.step_id.name}: {one.reason}{f' (log: {one.log})' if one.log else ''}" for one in failures])
    return (
        f"the variance of {len(failures)} of {n_pairs} subject x ROI was not divided: {named}; all else is in "
        f"{output}; mend the cause and run the same command again: it does just what is missing"
    )


def _named(told: Sequence[str]) -> str:
    more = f"; and {len(told) - _NAMED} more" if len(told) > _NAMED else ""
    return "; ".join(told[:_NAMED]) + more
