"""How readouts and networks are trained: several at a time, resumed after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from voxelcast.core.errors import DataError, one_line
from voxelcast.core.seeds import derive_seed
from voxelcast.core.torch_training import deterministic
from voxelcast.encoders.learned.settings import ReadoutSettings
from voxelcast.encoders.learned.student import Lesson, Student, Trained
from voxelcast.store.atomic import atomic_path

SAVE_SECONDS = 5.0
"""A checkpoint is written after the first epoch that ends so long after the last one."""
T = TypeVar("T")


@dataclass(frozen=True)
class Failed:
    """A training that was given up, and why."""

    reason: str


def train(
    lesson: Lesson, trainings: Sequence[tuple[ReadoutSettings, int]], checkpoint: Path | None = None
) -> list[Trained | Failed]:
    """Train several readouts (or networks) on the same stimuli, side by side, each with its settings and seed.

    One whose loss is no longer finite, or for which there is no memory, is left behind. ``checkpoint`` is a file that a
    killed training goes on from.
    """
    with ExitStack() as stack:
        stack.enter_context(deterministic(0))
        flags = {"enabled": True, "benchmark": False, "deterministic": True, "allow_tf32": True}
        stack.enter_context(torch.backends.cudnn.flags(**flags))
        students, failed, first = dict[int, Student](), dict[int, Failed](), 0

        def attempt(k: int, work: Callable[[], T]) -> T | None:
            try:
                return None if k in failed else work()
            except (DataError, MemoryError, torch.OutOfMemoryError) as error:
                failed[k] = Failed(one_line(error) or "there is not enough memory")
                students.pop(k, None)
                return None

        for k, (settings, seed) in enumerate(trainings):
            student = attempt(k, partial(Student, lesson, settings, seed))
            students |= {k: student} if student else {}
        if checkpoint is not None and checkpoint.is_file():
            kept = torch.load(checkpoint, map_location=lesson.device, weights_only=True)
            first, failed = kept["epoch"], {k: Failed(reason) for k, reason in kept["failed"].items()}
            students = {k: students[k] for k in kept["students"]}
            for k, student in students.items():
                student.load(kept["students"][k])
        saved = time.monotonic()
        for epoch in range(first, max((student.n_epochs for student in students.values()), default=0)):
            live = {k: student for k, student in students.items() if student.goes_on(epoch)}
            for k, student in live.items():
                attempt(k, partial(student.begin, epoch))
            for step in range(max((student.n_steps for student in live.values()), default=0)):
                for k, student in live.items():
                    if step < student.n_steps:
                        attempt(k, partial(student.advance, step))
            for k, student in live.items():
                attempt(k, partial(student.end, epoch))
            if checkpoint is not None and time.monotonic() - saved >= SAVE_SECONDS:
                checkpoint.parent.mkdir(parents=True, exist_ok=True)
                state = {"epoch": epoch + 1, "students": {k: student.state() for k, student in students.items()}}
                with atomic_path(checkpoint) as temporary:
                    torch.save(state | {"failed": {k: one.reason for k, one in failed.items()}}, temporary)
                saved = time.monotonic()
        finished = {k: attempt(k, student.finish) for k, student in list(students.items())}
        return [finished.get(k) or failed[k] for k in range(len(trainings))]


def same_for_all(settings: ReadoutSettings, seed: int) -> list[tuple[ReadoutSettings, int]]:
    """List the trainings of an encoder: every variant with every seed."""
    variants = settings.trainings()
    return [
        (replace(one, seeds=1), derive_seed(seed, "variant", v, "seed", s))
        for v, one in enumerate(variants)
        for s in range(settings.seeds)
    ]
