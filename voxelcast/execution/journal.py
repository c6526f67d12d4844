"""What a run says of itself in a file, for ``voxelcast status``: a line of JSON for each thing that happened."""

from __future__ import annotations

import json
import os
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from voxelcast.core.errors import StoreError
from voxelcast.core.progress import Progress
from voxelcast.store.atomic import write_text
from voxelcast.store.flock import lock
from voxelcast.store.lock import open_lock

FILE_NAME = "progress.jsonl"
FAILURES = "failures"
"""Folder beside it: what is known of each step that failed in the last run."""

_SECONDS_BETWEEN_NOTES: Final = 5.0
_FACTS: Final[Mapping[object, Sequence[str]]] = {
    "begin": ("root", "engine", "stages"),
    "stage": ("what", "steps", "units"),
    "stage_end": ("what",),
    "work": ("what", "done", "total"),
    "lost": ("step", "reason"),
    "failed": ("step", "reason", "log"),
    "end": ("how",),
}
"""What a line says of each event; one that does not is damaged."""


class Journal:
    """The lines of one run, added to those of earlier ones in a folder; without a folder nothing is written."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    @contextmanager
    def run(self, root: Path, engine: str, stages: Mapping[str, float | None]) -> Iterator[None]:
        """Note that a run begins, and how it ends.

        ``root`` is its store, ``engine`` where its work runs, ``stages`` the seconds that each is thought to take (None
        where that is not known). What failed in the run before is tried again, so its logs are removed.
        """
        if self._folder is not None:
            shutil.rmtree(self._folder / FAILURES, ignore_errors=True)
        self._add("begin", root=str(root.resolve()), engine=engine, stages=dict(stages))
        how = "stopped"
        try:
            yield
            how = "finished"
        finally:
            self._add("end", how=how)

    def stage(self, what: str, steps: Sequence[str], units: Sequence[int]) -> None:
        """Note that a stage began: all its steps' folders, those done before too, and their sizes."""
        self._add("stage", what=what, steps=list(steps), units=list(units))

    def stage_end(self, what: str) -> None:
        """Note that a stage is over."""
        self._add("stage_end", what=what)

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Note that a stage without steps begins, and that it is over."""
        self.stage(what, [], [])
        yield
        self.stage_end(what)

    def work(self, what: str, done: int, total: int) -> None:
        """Note how many units of a piece of work that is not made of steps are done."""
        self._add("work", what=what, done=done, total=total)

    def lost(self, step: str, reason: str) -> None:
        """Note that a step will be tried again, and why."""
        self._add("lost", step=step, reason=reason)

    def failed(self, step: str, reason: str, error: BaseException) -> Path | None:
        """Note that a step was given up, and why; write all that is known of the error to a file and return it."""
        if self._folder is None:
            return None
        name = f"{FAILURES}/{step.replace('/', '-')}.log"
        when = time.strftime("%Y-%m-%d %H:%M:%S")
        path = self._folder / name
        write_text(path, f"{when} {step}\n{reason}\n\n{''.join(traceback.format_exception(error))}")
        self._add("failed", step=step, reason=reason, log=name)
        return path

    def _add(self, event: str, **facts: object) -> None:
        if self._folder is None:
            return
        line = json.dumps({"event": event, "time": round(time.time(), 3), **facts})
        with (self._folder / FILE_NAME).open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # a kill cut the last line off
                    line = f"\n{line}"
            file.write(f"{line}\n".encode())


class Told:
    """A Progress that also notes in a folder how far work is that is not made of steps, for ``voxelcast status``.

    Nothing is written before the first piece of work begins, so that a folder which is refused stays as it is. Used as
    a context: its end is that of the run.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self._folder, self._progress, self._journal = folder, progress, Journal(folder)
        self._lock, self._run = ExitStack(), ExitStack()
        self._begun, self._what, self._done, self._total, self._said = False, "", 0, 0, 0.0

    def __enter__(self) -> Told:
        return self

    def __exit__(self, *error: Any) -> None:
        with self._lock:
            if (self._folder / FILE_NAME).is_file():  # else the command has taken back what it began
                self._run.__exit__(*error)
        if self._begun and error[0] is not None and self._folder.is_dir() and os.listdir(self._folder) == [FILE_NAME]:
            (self._folder / FILE_NAME).unlink()  # nothing came of it: the same folder can be given again
            self._folder.rmdir()

    def start(self, what: str, total: int, unit: str) -> None:
        """Begin a piece of work of ``total`` units; StoreError where another command is at work in the folder."""
        if not self._begun:
            self._begun = True
            self._folder.mkdir(parents=True, exist_ok=True)
            file = self._lock.enter_context(open_lock(self._folder / FILE_NAME))
            try:
                lock(file.fileno())  # by this, status knows that it is under way
            except BlockingIOError as error:
                raise StoreError(f"another command is at work in {self._folder}; wait for it") from error
            self._run.enter_context(self._journal.run(self._folder, "local", {}))
        self._what, self._done, self._total = what, 0, total
        self._note()
        self._progress.start(what, total, unit)

    def advance(self, n: int = 1) -> None:
        """Say that ``n`` more units are done."""
        self._done += n
        if time.monotonic() - self._said >= _SECONDS_BETWEEN_NOTES:
            self._note()
        self._progress.advance(n)

    def note(self, message: str) -> None:
        """Tell the user something in one line."""
        self._progress.note(message)

    def finish(self) -> None:
        """End the piece of work begun last."""
        self._note()
        self._progress.finish()

    def _note(self) -> None:
        self._said = time.monotonic()
        self._journal.work(self._what, self._done, self._total)


def beside(file: Path) -> Path:
    """Return the folder in which work that leaves one file notes how far it is."""
    return file.with_name(f"{file.name}.status")


def read_journal(folder: Path) -> list[dict[str, object]]:
    """Read the lines of the last run in a folder; one that a kill cut off, or that is damaged, is left out."""
    path = folder / FILE_NAME
    if not path.is_file():
        return []
    lines: list[dict[str, object]] = []
    for text in path.read_bytes().splitlines():
        try:
            line = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if not isinstance(line, dict) or not {"time", *_FACTS.get(line.get("event"), ["?"])} <= line.keys():
            continue
        if line["event"] == "begin":
            lines = [line]
        elif lines:  # else it is of a run whose beginning was cut off
            lines.append(line)
    return lines
