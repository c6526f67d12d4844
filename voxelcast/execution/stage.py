"""Running steps: what is done is skipped, the rest goes to an engine's workers in batches.

A step stores its own result (see :class:`voxelcast.store.steps.StepStore`); nothing but success or failure travels
back. What was done before is verified when its stage begins. Steps last from milliseconds to hours: small ones are
grouped, by how long those before them took, so that sending them to a worker is worth while.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, replace
from pathlib import Path

from voxelcast.core.errors import ExecutionError, VoxelcastError
from voxelcast.core.progress import Progress
from voxelcast.execution.engine import Engine, Kind
from voxelcast.execution.journal import Journal
from voxelcast.execution.steps import Batch, Step
from voxelcast.store.steps import StepId, StepStore

_NO_JOURNAL = Journal()
_LEAST_SHARE = 1 / 50  # of the seconds for which sending is worth while: shorter batches do not even out what they cost
_POLL_SECONDS = 0.5  # how soon a new worker is noticed
_PATIENCE_SECONDS = 90.0  # in which a network file system must show what another machine wrote


@dataclass(frozen=True)
class Failure:
    """A step that was given up: the error, what is said of it in a line, and the file that has the rest."""

    step_id: StepId
    error: BaseException
    reason: str
    log: Path | None


@dataclass(frozen=True)
class Attempt:
    """What became of some steps: how many were run now, and those that failed."""

    n_run: int
    failures: tuple[Failure, ...]

    def all_done(self) -> int:
        """Return how many were run now; raise the first failure if there is one."""
        if self.failures:
            raise self.failures[0].error
        return self.n_run


@dataclass(frozen=True)
class StageRunner:
    """Runs the stages of a run, one after the other; a step whose worker was lost is tried again ``retries`` times."""

    engine: Engine
    store: StepStore
    progress: Progress
    journal: Journal = _NO_JOURNAL
    retries: int = 2

    def run(self, what: str, steps: Sequence[Step], unit: str = "step") -> int:
        """Run the steps that are not done yet, all of which are needed, and return how many were run.

        As `attempt`, but wrong data or settings end the work at once, and any other first failure is raised when the
        other steps are done.
        """
        return self.attempt(what, steps, unit, wrong_ends=True).all_done()

    def attempt(self, what: str, steps: Sequence[Step], unit: str = "step", *, wrong_ends: bool = False) -> Attempt:
        """Run the steps that are not done yet, each for itself, and say which failed.

        A step that fails for good is reported at once; the others go on. Where ``wrong_ends``, wrong data or settings,
        which a step reports by a VoxelcastError, end the work at once, because correcting them may well change the
        other steps too; otherwise they are a failure like any other. Another error of a step that runs in this process
        is raised in any case, and an ExecutionError if there are no workers; what other steps finished stays.

        ``what`` is the stage, e.g. ``"compress layers"``, ``unit`` what the steps' sizes count.
        """
        store, progress = self.store, self.progress
        for line in store.set_aside_damaged(step.step_id for step in steps):
            progress.note(line)
        waiting = [step for step in steps if not store.is_done(step.step_id)]
        if any(store.is_claimed(step.step_id) for step in waiting):
            waiting.reverse()  # another run on this store is at the first: begin with the last and meet it
        self.journal.stage(what, [step.step_id.folder for step in steps], [step.size for step in steps])
        left = sum(step.size for step in waiting)
        finished = sum(step.size for step in steps) - left
        failures: tuple[Failure, ...] = ()
        if not waiting:
            progress.note(f"{what}: all {finished} done before")
        else:
            if finished:
                progress.note(f"{what}: {finished} of {finished + left} done before")
            store.clear_abandoned(step.step_id for step in waiting)
            progress.start(what, left, unit)
            try:
                failures = self._attempt(waiting, wrong_ends)
            finally:
                progress.finish()
                store.clear_abandoned(step.step_id for step in waiting)
        self.journal.stage_end(what)
        return Attempt(len(waiting) - len(failures), failures)

    def _attempt(self, steps: Sequence[Step], wrong_ends: bool) -> tuple[Failure, ...]:
        if self.engine.gpu_steps_here:
            steps = [replace(step, uses_gpu=False) if step.shares_gpu else step for step in steps]
        here = [step for step in steps if step.uses_gpu and self.engine.gpu_steps_here]
        failures: list[Failure] = []
        for step in here:
            with self.store.claiming(step.step_id) as wanted:
                if not wanted:
                    self.progress.advance(step.size)
                    continue
                try:
                    step.run(self.store, self.progress)
                except VoxelcastError as error:
                    if wrong_ends:
                        raise
                    log = self.journal.failed(step.step_id.folder, str(error), error)
                    failures.append(Failure(step.step_id, error, str(error), log))
        kinds: tuple[Kind, ...] = ("gpu", "cpu")
        for kind in kinds:
            away = [step for step in steps if step.uses_gpu is (kind == "gpu") and step not in here]
            if away:
                self.engine.prepare(kind, len(away), self.store.root)
                failures += _Stage(self, kind, wrong_ends).run(away)
        return tuple(failures)


class _Stage:
    """Steps of one kind on their way to the workers and back."""

    def __init__(self, runner: StageRunner, kind: Kind, wrong_ends: bool) -> None:
        self._runner, self._kind, self._wrong_ends = runner, kind, wrong_ends
        self._store, self._engine, self._progress = runner.store, runner.engine, runner.progress
        self._queue: deque[Step] = deque()
        self._pending: dict[Future[float], tuple[Step, ...]] = {}
        self._losses: Counter[str] = Counter()
        self._failures: list[Failure] = []
        self._timed_steps, self._timed_seconds = 0, 0.0

    def run(self, steps: Sequence[Step]) -> list[Failure]:
        """Run all steps and return those that failed."""
        self._queue.extend(steps)
        folder = Path.cwd()
        try:
            while self._queue or self._pending:
                for _ in range(self._engine.free(self._kind)):
                    if self._queue:
                        batch = self._next_batch()
                        future = self._engine.submit(self._kind, Batch(batch, self._store.root.resolve(), folder))
                        self._pending[future] = batch
                if not self._pending:
                    time.sleep(_POLL_SECONDS)
                    continue
                done, _ = wait(self._pending, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    self._take_back(future, self._pending.pop(future))
        finally:
            for future in self._pending:
                future.cancel()
        return self._failures

    def _next_batch(self) -> tuple[Step, ...]:
        batch = [self._queue.popleft() for _ in range(self._batch_size())]
        while self._queue and batch[-1].together and self._queue[0].together == batch[-1].together:
            batch.append(self._queue.popleft())
        return tuple(batch)

    def _batch_size(self) -> int:
        """Return how many steps make a batch worth sending and still leave some for the other workers."""
        if not self._timed_steps:
            return 1
        worth = self._engine.batch_seconds * self._timed_steps / max(self._timed_seconds, 1e-6)
        share = len(self._queue) / (2 * max(1, self._engine.slots(self._kind)))
        return min(max(1, int(min(worth, max(share, worth * _LEAST_SHARE)))), len(self._queue))

    def _take_back(self, future: Future[float], batch: tuple[Step, ...]) -> None:
        error = future.exception()
        if error is None:
            self._timed_steps += len(batch)
            self._timed_seconds += future.result()
            for step in batch:
                self._await(step)
            self._progress.advance(sum(step.size for step in batch))
            return
        # A worker does its steps in order: the first that is not done is the one that failed.
        self._store.unfinished(step.step_id for step in batch)
        done = [self._store.is_done(step.step_id) for step in batch]
        first = done.index(False) if False in done else len(batch)
        if first:
            self._progress.advance(sum(step.size for step in batch[:first]))
        self._queue.extendleft(reversed(batch[first + 1 :]))
        if first < len(batch):
            self._fail(batch[first], error)

    def _fail(self, step: Step, error: BaseException) -> None:
        """Put a step back into the queue if another try may help; otherwise report it."""
        name, lost = step.step_id.folder, self._engine.lost(error)
        wrong = isinstance(error, VoxelcastError)  # raised on purpose: it would be raised again
        may_help = not wrong and (lost is not None or isinstance(error, OSError | MemoryError))
        reason = lost or (str(error) if wrong else f"{type(error).__name__}: {error}")
        self._losses[name] += 1
        if may_help and self._losses[name] <= self._runner.retries:
            self._queue.appendleft(step)
            self._progress.note(f"{name}: {reason}; trying again ({self._losses[name]} of {self._runner.retries})")
            self._runner.journal.lost(name, reason)
            return
        shown: BaseException = error
        if may_help:
            tries = f"tried {self._losses[name]} times" if self._losses[name] > 1 else "tried once"
            reason = f"{tries}: {reason}"
            shown = ExecutionError(
                f"step {name} failed, {reason}; finished steps are kept: run the same command again, with more memory "
                "or time for each worker if that was short"
            )
            shown.__cause__ = error
        log = self._runner.journal.failed(name, reason, shown)
        if wrong and self._wrong_ends:
            raise shown
        others = bool(self._queue or self._pending)
        if others or self._failures or not self._wrong_ends:  # else it is raised in a moment, and said then
            where = f" (log: {log})" if log else ""
            self._progress.note(f"failed: {name}: {reason}{where}{'; the rest goes on' if others else ''}")
        self._failures.append(Failure(step.step_id, shown, reason, log))

    def _await(self, step: Step) -> None:
        """Wait until a finished step can be seen from here: network file systems may take a while."""
        waited = time.monotonic() + _PATIENCE_SECONDS
        while not self._store.is_done(step.step_id):
            if time.monotonic() > waited:
                raise ExecutionError(
                    f"step {step.step_id.folder} was finished by a worker but is not to be seen in {self._store.root}; "
                    "the store must be in a folder that all machines share"
                )
            time.sleep(_POLL_SECONDS)
            self._store.unfinished([step.step_id])
