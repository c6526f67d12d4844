"""Miniatures: small copies of a data set's layout with a planted signal, for tests and tutorials.

A package that adds a kind of dataset adds its miniature by an entry point ``voxelcast.miniatures``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from voxelcast.core.registry import Registry
from voxelcast.datasets.settings import DatasetSettings

MiniatureWriter = Callable[[Path, int], DatasetSettings]
"""Writes a miniature to a new folder, from a seed, and returns the settings that read it."""

MINIATURES: Registry[MiniatureWriter] = Registry(
    "miniature",
    "voxelcast.miniatures",
    [
        f"voxelcast.testing.miniatures.{kind}"
        for kind in ("algonauts2021", "algonauts2023", "algonauts2025", "bold_moments", "folder", "time_series")
    ],
    remedy="Any size, in the layout of 2021: voxelcast simulate",
)
"""Writer of each kind."""

register_miniature = MINIATURES.register


def write_miniature(kind: str, root: Path, seed: int = 0) -> DatasetSettings:
    """Write a miniature of a kind of dataset to a new folder, and return the settings that read it.

    Raises UnknownNameError for a kind that has no miniature; StoreError where ``root`` holds anything else.
    """
    return MINIATURES.get(kind)(root, seed)
