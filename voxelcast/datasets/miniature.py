"""Miniatures: small copies of a dataset's layout with a planted signal, for tests and tutorials.

A miniature has the folders, file names and array layouts of its dataset and sizes of its own, which it states in
``miniature.json`` at its root. The dataset's reader goes by these sizes, so that the same settings read both. Those who
write them: `voxelcast.testing.miniatures`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from voxelcast.core.errors import DataError
from voxelcast.store.readers.guard import reading
from voxelcast.store.readers.plain import read_json

NOTE = "miniature.json"


def read_miniature(root: Path, kind: str) -> dict[str, Any] | None:
    """Read the sizes of a miniature, such as ``n_train``; None where ``root`` is no miniature, but the real dataset.

    Raises DataError where it is a miniature of another dataset, or the note cannot be read.
    """
    path = root / NOTE
    if not path.is_file():
        return None
    with reading(path, "a note of a miniature", "write the miniature again"):
        note = read_json(path, "note")
        found, sizes = note["kind"], dict(note["sizes"])
    if found != kind:
        raise DataError(f"{root} holds a miniature of {found}; got dataset kind {kind}; set kind or root")
    return sizes
