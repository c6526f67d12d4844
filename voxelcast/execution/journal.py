"""What a run says of itself in a file, for ``voxelcast status``: a line of JSON for each thing that happened."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

FILE_NAME = "progress.jsonl"


class Journal:
    """The lines of one run, added to those of earlier ones.

    Parameters
    ----------
    folder : Path
        Where ``progress.jsonl`` lies.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME

    @contextmanager
    def run(self, root: Path, engine: str, stages: Mapping[str, float]) -> Iterator[None]:
        """Note that a run begins, and how it ends.

        ``root`` is its store, ``engine`` where its work runs, ``stages`` the seconds that each is thought to take.
        """
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

    def lost(self, step: str, reason: str) -> None:
        """Note that a step will be tried again, and why."""
        self._add("lost", step=step, reason=reason)

    def failed(self, step: str, reason: str) -> None:
        """Note that a step was given up, and why."""
        self._add("failed", step=step, reason=reason)

    def _add(self, event: str, **facts: object) -> None:
        line = json.dumps({"event": event, "time": round(time.time(), 3), **facts})
        with self._path.open("a") as file:
            file.write(line + "\n")


def read_journal(folder: Path) -> list[dict[str, object]]:
    """Read the lines of the last run in a folder; a line that a kill cut off is left out."""
    path = folder / FILE_NAME
    if not path.is_file():
        return []
    lines: list[dict[str, object]] = []
    for text in path.read_text().splitlines():
        if not text.endswith("}"):
            continue
        line = json.loads(text)
        lines = [line] if line["event"] == "begin" else [*lines, line]
    return lines
