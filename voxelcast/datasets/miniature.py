"""Miniatures: small copies of a dataset's layout with a planted signal, for tests and tutorials.

A miniature has the folders, file names and array layouts of its dataset and sizes of its own, which it states in
``miniature.json`` at its root. The dataset's reader goes by these sizes, so that the same settings read both. Those who
write them: `voxelcast.testing.miniatures`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from voxelcast.core.errors import DataError

NOTE = "miniature.json"


@dataclass(frozen=True)
class Miniature:
    """What ``miniature.json`` says.

    Parameters
    ----------
    kind : str
        Of the dataset.
    seed : int
    sizes : dict
        In plain types, as the kind's writer and reader agree: e.g. ``n_train`` and ``voxels``.
    """

    kind: str
    seed: int
    sizes: dict[str, Any] = field(default_factory=dict)


def read_miniature(root: Path, kind: str) -> Miniature | None:
    """Read the sizes of a miniature; None where ``root`` is no miniature, but the real dataset.

    Raises DataError where it is a miniature of another dataset, or the note cannot be read.
    """
    path = root / NOTE
    if not path.is_file():
        return None
    try:
        miniature = Miniature(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a whole note of a miniature; write the miniature again") from error
    if miniature.kind != kind:
        raise DataError(f"{root} holds a miniature of {miniature.kind}; got dataset kind {kind}; set kind or root")
    return miniature
