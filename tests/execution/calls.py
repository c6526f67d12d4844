"""Steps that call a function of a test."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.store.result import ResultWriter


@dataclass(frozen=True)
class Call(Job):
    """Calls ``function(writer, value=value)``; what is called is no part of its key."""

    kind = "t"
    version = 1
    value: int
    function: Annotated[Callable[..., None], NO_EFFECT]

    @property
    def name(self) -> str:
        return f"s{self.value}"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        self.function(writer, value=self.value)


def steps(function: Any, values: Iterable[int], *, uses_gpu: bool = False) -> list[Step]:
    return [Step(Call(value, function), uses_gpu=uses_gpu) for value in values]
