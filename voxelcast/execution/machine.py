"""What this machine offers: cores, memory, disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from voxelcast.core.errors import UnwritableError

# How batch systems say what a job was given, where they do not bind it to cores; the first is that of our workers.
_ALLOTTED = ("VOXELCAST_CORES", "SLURM_CPUS_PER_TASK", "NSLOTS")


def available_cores() -> int:
    """Cores this process may use (a batch system's allotment counts, not the whole machine)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    allotted = next((int(said) for name in _ALLOTTED if (said := os.environ.get(name, "")).isdigit()), cores)
    return max(1, min(cores, allotted))


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
