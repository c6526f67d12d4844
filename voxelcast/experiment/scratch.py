"""What only later steps of a run read: removed at its end, and made anew where a step that is to be done reads it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from voxelcast.core.cost import readable_bytes
from voxelcast.execution.stage import Attempt
from voxelcast.execution.steps import Step
from voxelcast.experiment.planning.stages import Stage
from voxelcast.store.steps import StepId, StepStore

T = TypeVar("T")


def restoring(
    work: Generator[Stage, Attempt, T], store: StepStore, note: Callable[[str], None]
) -> Generator[Stage, Attempt, T]:
    """Go through the stages of some work; before each, have released steps done again that its steps read.

    The work is told nothing of what was done again.
    """
    made: dict[StepId, tuple[Stage, Step]] = {}
    stage = next(work)
    while True:
        for line in store.set_aside_damaged(step.step_id for step in stage.steps):
            note(line)
        lost = _released([step for step in stage.steps if not store.is_done(step.step_id)], made, store)
        for earlier, steps in lost:
            note(f"{earlier.what}: {len(steps)} are done again, as {stage.what} reads what the last run did not keep")
            for step in steps:
                store.forget(step.step_id)
            (yield Stage(earlier.what, steps, earlier.unit, wrong_ends=True)).all_done()
        made |= {step.step_id: (stage, step) for step in stage.steps}
        try:
            stage = work.send((yield stage))
        except StopIteration as end:
            found: T = end.value
            return found


def _released(
    steps: Iterable[Step], made: Mapping[StepId, tuple[Stage, Step]], store: StepStore
) -> list[tuple[Stage, list[Step]]]:
    """Find the released steps that some steps read, and those that these read in turn, by stage, in order."""
    lost: dict[StepId, None] = {}
    queue = list(steps)
    while queue:
        new = [one for one in inputs(queue.pop().job) if one not in lost and one in made and store.is_released(one)]
        lost |= dict.fromkeys(new)
        queue += [made[one][1] for one in new]
    by_stage: dict[str, tuple[Stage, list[Step]]] = {}
    for step_id, (stage, step) in made.items():
        if step_id in lost:
            by_stage.setdefault(stage.what, (stage, []))[1].append(step)
    return list(by_stage.values())


def inputs(job: Any) -> list[StepId]:
    """Find the steps that a job refers to, wherever in its fields, each once."""
    found, seen, queue = dict[StepId, None](), set[int](), [job]
    for value in queue:  # which grows meanwhile
        if isinstance(value, StepId):
            found[value] = None
        elif isinstance(value, str | int | float) or id(value) in seen:
            continue
        elif is_dataclass(value):
            queue += [getattr(value, field.name) for field in fields(value)]
        elif isinstance(value, Mapping | tuple | list):
            queue += value.values() if isinstance(value, Mapping) else value
        seen.add(id(value))
    return list(found)


def released_line(freed: int | None) -> str:
    """Say what became of the scratch files of a finished run."""
    if freed is None:
        return "features are kept: another run uses the store, or its file system knows no locks"
    return (
        f"{readable_bytes(freed)} of features removed, which no step is left to read; a later one that does has them "
        "made again (compute.keep_scratch=true keeps them)"
    )
