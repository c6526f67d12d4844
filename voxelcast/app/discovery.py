"""Find the experiments in the folders that the user named."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voxelcast.core.errors import MissingFileError

MARKS: Final = ("config.yaml", "progress.jsonl", "steps")
"""A folder with one of these is the output of an experiment, perhaps of one that was stopped early."""

SWEEP: Final = "sweep.yaml"
"""A folder with this holds the experiments of a sweep, and the steps that they share."""
_DEEPEST: Final = 3  # OUTPUT/study/network/experiment; deeper lie data, not outputs


@dataclass(frozen=True)
class Found:
    """An experiment's folder: where it is, and what it is called below the folder that the user named."""

    folder: Path
    shown: str


def check_folders(outputs: Sequence[Path]) -> tuple[Path, ...]:
    """Resolve the folders that the user named, each once; raise MissingFileError if one is no folder."""
    for output in outputs:
        if not output.is_dir():
            raise MissingFileError(
                f"{output} does not exist or is no folder; give output folders, or a folder that holds them"
            )
    return tuple(dict.fromkeys(output.resolve() for output in outputs))


def find_experiments(roots: Sequence[Path]) -> list[Found]:
    """List the experiments in resolved folders, by name, each once.

    A folder below an experiment belongs to it. Links are not followed, so nothing outside the roots is reached.
    """
    found: dict[Path, Found] = {}
    for root in roots:
        for folder in _below(root, _DEEPEST):
            shown = root.name if folder == root else str(Path(root.name) / folder.relative_to(root))
            found.setdefault(folder, Found(folder, shown))
    return list(found.values())


def _below(folder: Path, deepest: int) -> Iterator[Path]:
    if any((folder / mark).exists() for mark in MARKS) and not (folder / SWEEP).exists():
        yield folder
        return
    if deepest == 0:
        return
    try:
        with os.scandir(folder) as entries:
            inside = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith("."))
    except OSError:
        return  # not ours to read, or deleted since; what lies there is not shown
    for name in inside:
        yield from _below(folder / name, deepest - 1)
