"""What every engine offers: workers that run batches of steps, here or on other machines."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Literal, Protocol

from voxelcast.execution.steps import Batch

Kind = Literal["cpu", "gpu"]


class Engine(Protocol):
    """Workers that take a batch of steps each; what goes together and is tried again is decided elsewhere."""

    name: str
    """What the user calls it, e.g. ``slurm``."""

    batch_seconds: float
    """Seconds of work for which sending a batch to a worker is worth while."""

    gpu_steps_here: bool
    """Whether steps that use a GPU run in the driver's process."""

    def prepare(self, kind: Kind, n_steps: int, root: Path) -> None:
        """Have workers of a kind ready for ``n_steps`` steps whose results go to the store at ``root``."""

    def slots(self, kind: Kind) -> int:
        """Batches that run side by side on the workers that are there."""

    def free(self, kind: Kind) -> int:
        """Batches that a worker would begin at once; 0 while there is no worker yet.

        Raises ExecutionError if there are no workers and none will come.
        """

    def submit(self, kind: Kind, batch: Batch) -> Future[float]:
        """Have a free worker run a batch; the result is the seconds it took."""

    def lost(self, error: BaseException) -> str | None:
        """Say how a lost worker ended; None if ``error`` is about something else."""
