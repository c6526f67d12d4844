"""How far a run is, read from what lies in its output and its store: while it runs, and after it was killed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from voxelcast.core.errors import MissingFileError
from voxelcast.core.progress import TimeLeft
from voxelcast.execution.journal import FILE_NAME, beside, read_journal
from voxelcast.store.lock import is_locked
from voxelcast.store.readers.guard import reading
from voxelcast.store.steps import is_worked_in

_STRETCHED_AFTER = 5.0
"""Seconds of stages, as foreseen and as they were, that count as equal beforehand."""


@dataclass(frozen=True)
class StageStatus:
    """One stage: how many of its steps are done, under way, waiting and failed; all None where it has not begun."""

    what: str
    done: int | None = None
    running: int = 0
    waiting: int = 0
    failed: int = 0
    ended: bool = False

    @property
    def total(self) -> int | None:
        """Steps of the stage; None where it has not begun."""
        return None if self.done is None else self.done + self.running + self.waiting + self.failed

    def line(self) -> str:
        """Say it in words."""
        if self.done is None:
            return f"{self.what:21} not begun"
        if not self.total:  # it has no steps
            return f"{self.what:21} {'done' if self.ended else 'under way'}"
        others = [("running", self.running), ("waiting", self.waiting), ("failed", self.failed)]
        return f"{self.what:21} {self.done} of {self.total} done" + "".join(f", {n} {name}" for name, n in others if n)


@dataclass(frozen=True)
class RunStatus:
    """A run: ``running``, ``finished`` or ``not running`` (it was stopped or killed), and where (``engine``).

    ``seconds`` count from its beginning, until its end if it ended; ``troubles`` are the steps that were lost and tried
    again, or failed, and why; ``seconds_left`` is None where nothing is left to do, and where it is not known.
    """

    state: str
    engine: str
    seconds: float
    stages: tuple[StageStatus, ...]
    troubles: tuple[str, ...]
    seconds_left: float | None

    def lines(self) -> list[str]:
        """Say it in words."""
        where = "this machine" if self.engine == "local" else self.engine
        began = f"{self.state}; on {where}, {'for' if self.state == 'running' else 'after'} {duration(self.seconds)}"
        lines = [began, *(stage.line() for stage in self.stages), *self.troubles]
        if self.seconds_left is not None:
            lines.append(f"about {duration(self.seconds_left)} left")
        if self.state == "not running":
            lines.append("run the same command again to go on")
        return lines


def read_statuses(output: Path) -> dict[str, RunStatus]:
    """Read how far the last run in a folder is, and those in the folders below it, by their names below it.

    The folder's own has the name ``""``. So a sweep has that of each experiment. Of a command that leaves one file,
    ``output`` is that file. Raises as `read_status`, where there is no run at all.
    """
    folder = beside(output) if not output.is_dir() and beside(output).is_dir() else output
    below = sorted({path.parent for depth in ("*", "*/*") for path in folder.glob(f"{depth}/{FILE_NAME}")})
    found = {str(inner.relative_to(folder)): read_status(inner) for inner in below if read_journal(inner)}
    if read_journal(folder) or not found:
        found = {"": read_status(folder)} | found
    return found


def summary_lines(statuses: Mapping[str, RunStatus]) -> list[str]:
    """Say in words how far one run is; of several how many are in which state, and a line for each."""
    if list(statuses) == [""]:
        return statuses[""].lines()
    counts = Counter(status.state for status in statuses.values())
    how_many = "1 run" if len(statuses) == 1 else f"{len(statuses)} runs"
    lines = [f"{how_many}: {', '.join(f'{n} {state}' for state, n in counts.items())}"]
    width = max(map(len, statuses))
    for name, status in statuses.items():
        begun = [stage for stage in status.stages if stage.done is not None]
        stage = f"; {' '.join(begun[-1].line().split())}" if begun and status.state != "finished" else ""
        left = "" if status.seconds_left is None else f"; about {duration(status.seconds_left)} left"
        lines.append(f"{name or '.':{width}}  {status.state}, {duration(status.seconds)}{stage}{left}")
        lines += [f"{'':{width}}  {trouble}" for trouble in status.troubles]
    return lines


def read_status(output: Path) -> RunStatus:
    """Read how far the last run in a folder is.

    Raises MissingFileError if none was begun there, DataError where what it wrote is damaged.
    """
    with reading(output / FILE_NAME, "what a run says of itself", "run the experiment again"):
        return _read(output)


def _read(output: Path) -> RunStatus:
    lines = read_journal(output)
    if not lines:
        raise MissingFileError(
            f"{output} is not the output of voxelcast run, extract, sweep, rsa, simulate, transfer, predict or "
            f"networks finetune or validate, or that was killed as it began: there is no run in its {FILE_NAME}"
        )
    begin: dict[str, Any] = lines[0]
    under_way = is_locked(output / ".lock") or is_locked(output / FILE_NAME)
    ended = next((line for line in lines if line["event"] == "end"), None)
    finished = ended is not None and ended["how"] == "finished" and not under_way
    now = float(str(ended["time"])) if ended is not None and not under_way else time.time()
    begun = {str(line["what"]): line for line in lines if line["event"] == "stage"}
    failed = {str(line["step"]) for line in lines if line["event"] == "failed"}
    root = Path(begin["root"])
    over = {str(line["what"]): float(str(line["time"])) for line in lines if line["event"] == "stage_end"}
    stages = [
        replace(_stage(root, begun[what], failed), ended=what in over) if what in begun else StageStatus(what)
        for what in begin["stages"]
    ]
    work = [line for line in lines if line["event"] == "work"]
    done = {str(line["what"]): (int(str(line["done"])), int(str(line["total"]))) for line in work}
    others = [StageStatus(what, n, waiting=max(0, total - n)) for what, (n, total) in done.items()]
    troubles = [_trouble(output, line) for line in lines if line["event"] in ("lost", "failed")]
    return RunStatus(
        "finished" if finished else "running" if under_way else "not running",
        begin["engine"],
        now - begin["time"],
        (*stages, *others),
        tuple(troubles),
        None
        if finished or not begin["stages"]
        else _seconds_left(root, begin, begun, over, stages, tried_again=not under_way),
    )


def _trouble(output: Path, line: dict[str, Any]) -> str:
    if line["event"] == "lost":
        return f"lost and tried again: {line['step']}: {line['reason']}"
    return f"failed: {line['step']}: {line['reason']} (log: {output / line['log']})"


def _stage(root: Path, line: dict[str, Any], failed: set[str]) -> StageStatus:
    """Count the steps of a stage by listing its folders once."""
    steps = set(line["steps"])
    done, running = set(), set()
    for kind in {step.partition("/")[0] for step in steps}:
        folder = root / kind
        for entry in folder.iterdir() if folder.is_dir() else ():
            name = f"{kind}/{entry.name}"
            begun = f"{kind}/{entry.name[1:].rpartition('.')[0]}"
            if name in steps:
                done.add(name)
            elif begun in steps and is_worked_in(entry):
                running.add(begun)
    running -= done
    given_up = (failed & steps) - done - running
    waiting = len(steps) - len(done) - len(running) - len(given_up)
    return StageStatus(line["what"], len(done), len(running), waiting, len(given_up))


def _seconds_left(
    root: Path,
    begin: dict[str, Any],
    begun: dict[str, Any],
    over: dict[str, float],
    stages: list[StageStatus],
    *,
    tried_again: bool,
) -> float | None:
    """Add up what is left of each stage; None if the forecast of one is needed and there is none.

    Forecasts are stretched as those of the stages that are over turned out. ``tried_again``: whether what failed is
    still to be done, as it is by the next run.
    """
    left, took, foreseen = 0.0, _STRETCHED_AFTER, _STRETCHED_AFTER
    for stage in stages:
        forecast: float | None = begin["stages"][stage.what]
        stretched = None if forecast is None else forecast * took / foreseen
        if stage.done is None:
            if stretched is None:
                return None
            left += stretched
            continue
        line = begun[stage.what]
        n_steps, begin_time = len(line["steps"]), float(line["time"])
        times = [
            when for when in map(_finished, (root / step / "DONE" for step in line["steps"])) if when >= begin_time
        ]
        to_do = stage.running + stage.waiting + (stage.failed if tried_again else 0)
        if stage.ended and not to_do:
            if forecast is not None and (times or not n_steps):
                took += over[stage.what] - begin_time
                foreseen += forecast * len(times) / n_steps if n_steps else forecast
            continue
        if not n_steps:
            left += max(0.0, (stretched or 0.0) - (time.time() - begin_time))
        elif to_do:
            share = (len(times) + to_do) / n_steps
            known = TimeLeft(len(times) + to_do, None if stretched is None else stretched * share)
            seconds = known.seconds(0.0, 0)
            for number, when in enumerate(sorted(times), start=1):
                seconds = known.seconds(when - begin_time, number, min(stage.running, len(times) + to_do - number))
            if seconds is None:
                return None
            left += max(0.0, seconds - (time.time() - max(times, default=time.time())) * (not tried_again))
    return left


def _finished(mark: Path) -> float:
    """Return when a step was finished; before all times where it was not."""
    try:
        return mark.stat().st_mtime
    except OSError:
        return -1.0


def duration(seconds: float) -> str:
    """Write seconds in the unit that suits them, e.g. ``"12 min"``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
