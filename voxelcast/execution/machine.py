"""What this machine offers: cores, disk, and GPUs, where a batch system counts them but does not hand them out."""

from __future__ import annotations

import getpass
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO

from voxelcast.core.cost import readable_bytes
from voxelcast.core.errors import ExecutionError, UnwritableError
from voxelcast.store.flock import lock

_held: list[IO[str]] = []  # the lock on this process's GPU, kept as long as the process

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
            f"{folder} needs about {readable_bytes(needed_bytes)} but its disk has {readable_bytes(free)} free; "
            "choose another --store, fewer layers, or spatially smaller ones"
        )


def visible_gpus() -> list[str]:
    """List the GPUs this process may use, by what CUDA_VISIBLE_DEVICES would call them."""
    for variable in ("CUDA_VISIBLE_DEVICES", "SGE_HGR_gpu"):
        if said := os.environ.get(variable):
            return said.replace(",", " ").split()
    if shutil.which("nvidia-smi") is None:
        return []
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    listed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return listed.stdout.split() if listed.returncode == 0 else []


def claim_gpu() -> None:
    """Take one GPU for this process, once, and set CUDA_VISIBLE_DEVICES to it; call it before CUDA begins.

    Slurm gives a job its GPUs, which the job's processes share out; Grid Engine only counts them, so that all jobs on a
    machine share out all its GPUs. A lock file says which are taken; it ends with its process. Raises ExecutionError if
    there is no GPU, or none is left.
    """
    if _held:
        return
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    scope = os.environ.get("SLURM_JOB_ID", "machine") if given else "machine"
    gpus = visible_gpus()
    for gpu in gpus:
        path = Path(tempfile.gettempdir()) / f"voxelcast-gpu-{getpass.getuser()}-{scope}-{gpu.replace('/', '-')}.lock"
        file = path.open("w")
        try:
            lock(file.fileno())
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
        return
    raise ExecutionError(
        f"worker on {platform.node()} found no free GPU (it sees {len(gpus)}); check gpus, queue and directives of "
        "gpu_workers in the profile"
    )
