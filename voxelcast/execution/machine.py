"""What this machine offers: cores, memory, disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from voxelcast.core.errors import UnwritableError


def available_cores() -> int:
    """Cores this process may use (a batch system's allotment counts, not the whole machine)."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1


def check_disk(folder: Path, needed_bytes: int) -> None:
    """Raise UnwritableError if the disk of ``folder`` has less room than ``needed_bytes``."""
    there = folder
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free
    if needed_bytes > free:
        raise UnwritableError(
            f"{folder} needs about {needed_bytes / 1e9:.1f} GB but its disk has {free / 1e9:.1f} GB free; "
            "choose another --store, fewer layers, or spatially smaller ones"
        )
