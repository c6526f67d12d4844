"""Scores that a search by proposals has computed so far, on disk, so that a killed search goes on where it was.

Proposals follow from the seed and the scores before them. A search that starts again therefore proposes the same
parameters in the same order, takes the scores it finds here, and goes on with the first that is not: it ends with the
same bits as one that was never killed.

Where voxels choose for themselves, every evaluation leaves the scores of all voxels while a study runs; once it is
over, what each voxel chose takes their place. For q voxels that is 8 q bytes for each evaluation of the one study under
way, and 16 q bytes for each study that is over: with 20,000 voxels 40 MB for 25 proposals on ten folds, and 176 MB for
25 layers, two encoders and eleven studies of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import StoreError
from voxelcast.search.choice import Choice
from voxelcast.store.flock import lock
from voxelcast.store.lock import open_lock
from voxelcast.store.result import ResultWriter, StepResult

Key = tuple[str, ...]


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
        text = path.read_bytes()
        # A kill may have cut the last line short.
        whole = text[: text.rfind(b"\n") + 1]
        if whole != text:
            path.write_bytes(whole)
        for line in whole.splitlines():
            crc, _, entry = line.partition(b" ")
            if crc == _crc(entry):  # a line that is damaged costs a fit
                *key, score = json.loads(entry)
                self._scores[tuple(key)] = float(score)

    def get(self, key: Key) -> float | None:
        """Return the score of a key, or None."""
        return self._scores.get(key)

    def put(self, key: Key, score: float) -> None:
        """Note a score."""
        self._scores[key] = score
        if self._path is not None:
            entry = json.dumps([*key, score]).encode()
            with self._path.open("ab") as file:
                file.write(b"%b %b\n" % (_crc(entry), entry))

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
    with open_lock(folder / ".lock") as file:
        try:
            lock(file.fileno())
        except OSError:
            yield EvaluationLog()
            return
        yield EvaluationLog(folder)


class VoxelLog:
    """The voxels' scores of one study: of one encoder on one layer in one outer fold.

    A file is whole or absent. One that is absent or damaged costs a fit and changes nothing.

    Parameters
    ----------
    folder : Path or None
        Of all studies of the search; None: scores are kept in memory alone.
    """

    def __init__(self, folder: Path | None, study: Key) -> None:
        self._folder = None if folder is None else folder / _digest(study)
        self._known: dict[Key, FloatArray] = {}

    def get(self, key: Key) -> FloatArray | None:
        """Return the voxels' scores of an evaluation, ndarray of shape (q,), or None."""
        if key not in self._known and self._folder and (found := _read(self._folder / f"{_digest(key)}.npz")):
            self._known[key] = found["scores"]
        return self._known.get(key)

    def put(self, key: Key, scores: FloatArray) -> None:
        """Note the voxels' scores of an evaluation."""
        self._known[key] = scores
        if self._folder is not None:
            _write(self._folder / f"{_digest(key)}.npz", {"scores": scores})

    def choice(self) -> Choice | None:
        """Return what the voxels chose when the study was over, or None."""
        found = None if self._folder is None else _read(self._folder.with_suffix(".npz"))
        return None if found is None else Choice(found["score"], found["pick"])

    def finish(self, choice: Choice) -> None:
        """Note what the voxels chose in place of their scores."""
        if self._folder is not None:
            _write(self._folder.with_suffix(".npz"), {"score": choice.score, "pick": choice.pick})
            shutil.rmtree(self._folder, ignore_errors=True)


def _digest(key: Key) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _crc(entry: bytes) -> bytes:
    return b"%08x" % zlib.crc32(entry)


def _read(path: Path) -> dict[str, NDArray[Any]] | None:
    """Read arrays; None where they are not there or damaged."""
    try:
        return StepResult(path).arrays("voxels") if path.is_file() else None
    except StoreError:
        return None


def _write(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")  # the log's lock keeps other processes away
    temporary.unlink(missing_ok=True)
    writer = ResultWriter(temporary)
    writer.arrays("voxels", arrays)
    writer.close()
    os.replace(temporary, path)
