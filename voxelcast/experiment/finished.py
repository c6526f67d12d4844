"""What a run has finished: its steps, and the subjects x ROI that are missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from voxelcast.execution.stage import Attempt
from voxelcast.execution.steps import Step
from voxelcast.experiment.compress_plan import compress_steps
from voxelcast.experiment.missing import Missing, Pair
from voxelcast.experiment.plan import Plan, Readable, Space


@dataclass(frozen=True)
class Finished:
    """The steps of an experiment that are done, and the subjects x ROI that are missing because a step failed."""

    plan: Plan
    readable: Readable
    responses: dict[Pair, Step]
    extracted: dict[str, list[Step]]
    spaces: Sequence[Space]
    fits: dict[Pair, Step]
    missing: dict[Pair, Missing]
    repeated: Sequence[Sequence[Space]]
    partitions: dict[Pair, Step]
    divided: Attempt

    def all_steps(self) -> list[Step]:
        """Every step, in the order of the work."""
        extracted = [step for steps in self.extracted.values() for step in steps]
        compressed = compress_steps(self.spaces, self.repeated)
        divided = self.divided_pairs().values()
        return [*self.responses.values(), *extracted, *compressed, *self.fits.values(), *divided]

    def divided_pairs(self) -> dict[Pair, Step]:
        """Return the steps that divided variance, without those that failed."""
        failed = {failure.step_id for failure in self.divided.failures}
        return {pair: step for pair, step in self.partitions.items() if step.step_id not in failed}

    def folder(self, step: Step) -> Path:
        """Where a step's result lies."""
        return self.plan.store.path(step.step_id)
