"""What a search by proposals knows of every voxel, on disk, so that a killed search goes on where it was.

While a study runs, every evaluation leaves the scores of all voxels; once it is over, what each voxel chose takes their
place. For q voxels that is 8 q bytes for each evaluation of the one study under way, and 16 q bytes for each study that
is over: with 20,000 voxels 40 MB for 25 proposals on ten folds, and 176 MB for 25 layers, two encoders and eleven
studies of each.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.search.choice import Choice

Key = tuple[str, ...]


class VoxelLog:
    """The voxels' scores of one study: of one encoder on one layer in one outer fold.

    A file is whole or absent. One that is absent costs a fit and changes nothing.

    Parameters
    ----------
    folder : Path or None
        Of all studies of the search; None: nothing is kept.
    """

    def __init__(self, folder: Path | None, study: Key) -> None:
        self._folder = None if folder is None else folder / _digest(study)

    def get(self, key: Key) -> FloatArray | None:
        """Return the voxels' scores of an evaluation, ndarray of shape (q,), or None."""
        if self._folder is None or not (path := self._folder / f"{_digest(key)}.npy").is_file():
            return None
        scores: FloatArray = np.load(path)
        return scores

    def put(self, key: Key, scores: FloatArray) -> None:
        """Note the voxels' scores of an evaluation."""
        if self._folder is not None:
            _write(self._folder / f"{_digest(key)}.npy", lambda file: np.save(file, scores))

    def choice(self) -> Choice | None:
        """Return what the voxels chose when the study was over, or None."""
        if self._folder is None or not (path := self._folder.with_suffix(".npz")).is_file():
            return None
        with np.load(path) as stored:
            return Choice(stored["score"], stored["pick"])

    def finish(self, choice: Choice) -> None:
        """Note what the voxels chose in place of their scores."""
        if self._folder is not None:
            path = self._folder.with_suffix(".npz")
            _write(path, lambda file: np.savez(file, score=choice.score, pick=choice.pick))
            shutil.rmtree(self._folder, ignore_errors=True)


def _digest(key: Key) -> str:
    return hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]


def _write(path: Path, write: Callable[[BinaryIO], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")  # the log's lock keeps other processes away
    with temporary.open("wb") as file:
        write(file)
    os.replace(temporary, path)
