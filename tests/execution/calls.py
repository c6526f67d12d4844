"""Steps that call a function of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.steps import Job, Step, StepContext


@dataclass(frozen=True)
class Call(Job):
    """Calls ``function(folder, value=value)``; what is called is no part of its key."""

    kind = "t"
    version = 1
    value: int
    function: Annotated[Callable[..., None], NO_EFFECT]

    @property
    def name(self) -> str:
        return f"s{self.value}"

    def run(self, folder: Path, context: StepContext) -> None:
        self.function(folder, value=self.value)


def steps(function: Any, values: Iterable[int], *, uses_gpu: bool = False) -> list[Step]:
    return [Step(Call(value, function), uses_gpu=uses_gpu) for value in values]
