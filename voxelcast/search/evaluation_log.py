"""Scores that a search by proposals has computed so far, on disk, so that a killed search goes on where it was.

Proposals follow from the seed and the scores before them. A search that starts again therefore proposes the same
parameters in the same order, takes the scores it finds here, and goes on with the first that is not: it ends with the
same bits as one that was never killed.
"""

from __future__ import annotations

import fcntl
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxelcast.search.voxel_log import Key, VoxelLog


class EvaluationLog:
    """Scores by key, one JSON line each in ``scores.jsonl``, and those of single voxels in the folder ``voxels``.

    Parameters
    ----------
    folder : Path or None
        Written to as scores come in; None: only in memory, and no voxel's scores.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._path = path = None if folder is None else folder / "scores.jsonl"
        self._scores: dict[Key, float] = {}
        if path is None or not path.is_file():
            return
        text = path.read_text()
        # A kill may have cut the last line short.
        whole = text[: text.rfind("\n") + 1]
        if whole != text:
            path.write_text(whole)
        for line in whole.splitlines():
            *key, score = json.loads(line)
            self._scores[tuple(key)] = float(score)

    def get(self, key: Key) -> float | None:
        """Return the score of a key, or None."""
        return self._scores.get(key)

    def put(self, key: Key, score: float) -> None:
        """Note a score."""
        self._scores[key] = score
        if self._path is not None:
            with self._path.open("a") as file:
                file.write(json.dumps([*key, score]) + "\n")

    def of_voxels(self, study: Key) -> VoxelLog:
        """Return the log of the voxels' scores of one study."""
        return VoxelLog(None if self._folder is None else self._folder / "voxels", study)


@contextmanager
def open_log(folder: Path) -> Iterator[EvaluationLog]:
    """Open the log of a folder, which is made if it is not there.

    Another process that is at the same search keeps the log to itself; this one then has one in memory. So it has on
    a file system that knows no locks: the result is the same, but a killed search starts again.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield EvaluationLog()
            return
        yield EvaluationLog(folder)
