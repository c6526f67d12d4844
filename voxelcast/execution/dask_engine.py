"""Batches on the workers of Dask clusters, one cluster for each kind of worker.

Dask brings the workers, and batches to them. What is tried again, and how often, is decided in
:mod:`voxelcast.execution.stage`, the same for every engine; so Dask is set to report a lost worker at once and to try
nothing again by itself. A worker is given one batch at a time: if it is lost, there is no doubt what it was doing.
"""

from __future__ import annotations

import logging
import platform
import signal
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dask
from dask.distributed import Client
from distributed.scheduler import KilledWorker

import voxelcast
from voxelcast.core.errors import ExecutionError, one_line
from voxelcast.execution.engine import Kind
from voxelcast.execution.steps import Batch, run_batch

_SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.work-stealing": False,
    "distributed.comm.timeouts.connect": "30s",
    "distributed.admin.large-graph-warning-threshold": "100MB",
}
# A worker over its memory is ended (and the step reported); waiting for memory to come back would be for ever.
WORKER_ENVIRONMENT = {
    "DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__PAUSE": "False",
    "DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "0.95",
    "DASK_LOGGING__DISTRIBUTED": "warning",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
_PROBE_SECONDS = 120
_LOGGER = logging.getLogger(__name__)
# What goes wrong there is said by what is raised.
_LOUD = ("distributed", "tornado", "tornado.application", "asyncio")


@dataclass
class Pool:
    """The workers of one kind: their cluster, and what is on its way."""

    cluster: Any
    client: Client
    executor: Any
    asked: int
    probed: bool = False
    pending: set[Future[float]] = field(default_factory=set)


class DaskEngine(ABC):
    """An engine over Dask clusters; use it in a ``with`` block, whose end ends all that it started.

    ``note`` is told, in a line each, what the user may want to know.
    """

    batch_seconds = 10.0
    gpu_steps_here = False

    def __init__(self, name: str, note: Callable[[str], None]) -> None:
        self.name = name
        self.note = note
        self._pools: dict[Kind, Pool] = {}
        self._open = ExitStack()
        self._root = Path()

    @abstractmethod
    def _start(self, kind: Kind) -> Any:
        """Start a cluster without workers for a kind."""

    @abstractmethod
    def _size(self, kind: Kind) -> tuple[int, int]:
        """Return the most jobs (or machines) of a kind, and the steps that one runs side by side."""

    @abstractmethod
    def _adapt(self, cluster: Any, n: int) -> None:
        """Have ``n`` jobs or machines and replace those that go."""

    @abstractmethod
    def _check(self, kind: Kind, pool: Pool, alive: int) -> None:
        """Raise ExecutionError if workers that were asked for will not come."""

    @abstractmethod
    def _loss_reason(self, worker: str) -> str:
        """Say how a worker ended, as far as it is known."""

    def prepare(self, kind: Kind, n_steps: int, root: Path) -> None:
        """Have enough workers of a kind ready; those of the other kind, which would only wait, are given back."""
        self._root = root.resolve()
        for other in [other for other in self._pools if other != kind]:
            self._close(self._pools.pop(other))
        if kind not in self._pools:
            cluster = self._start(kind)
            client = Client(cluster)
            self._pools[kind] = Pool(cluster, client, client.get_executor(pure=False, retries=0), 0)
        pool = self._pools[kind]
        most, side_by_side = self._size(kind)
        needed = min(most, -(-n_steps // side_by_side))
        if needed > pool.asked:
            pool.asked = needed
            self._adapt(pool.cluster, needed)

    def slots(self, kind: Kind) -> int:
        """Return the number of workers that are there."""
        return len(self._pools[kind].client.nthreads())

    def free(self, kind: Kind) -> int:
        """Return the number of workers that are there and have nothing to do."""
        pool = self._pools[kind]
        alive = self.slots(kind)
        if alive and not pool.probed:
            pool.probed = self._probe(pool)
        self._check(kind, pool, alive)
        pool.pending = {future for future in pool.pending if not future.done()}
        return max(0, alive - len(pool.pending))

    def submit(self, kind: Kind, batch: Batch) -> Future[float]:
        """Have a free worker run a batch."""
        pool = self._pools[kind]
        future: Future[float] = pool.executor.submit(run_batch, batch)
        pool.pending.add(future)
        return future

    def lost(self, error: BaseException) -> str | None:
        """Say how a worker ended."""
        return self._loss_reason(str(error.last_worker.name)) if isinstance(error, KilledWorker) else None

    def _probe(self, pool: Pool) -> bool:
        """Check that a worker sees the store and runs the same software; False if it went before it answered."""
        mark = self._root / f".probe-{time.time_ns():x}"
        mark.touch()
        try:
            found = pool.executor.submit(describe_worker, mark).result(timeout=_PROBE_SECONDS)
        except KilledWorker:
            return False
        finally:
            mark.unlink()
        if not found["sees"]:
            raise ExecutionError(
                f"worker on {found['host']} does not see {self._root}; put the output (or --store) into a folder that "
                "all machines share"
            )
        for what, here in _versions().items():
            if found[what] != here:
                raise ExecutionError(
                    f"worker on {found['host']} runs {what} {found[what]}, this process {here}; use the same "
                    "environment on all machines (python and setup lines of the profile)"
                )
        return True

    def __enter__(self) -> DaskEngine:
        self._open.enter_context(_interrupts())
        self._open.enter_context(dask.config.set(_SETTINGS))
        for name in _LOUD:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        return self

    def __exit__(self, *_: object) -> None:
        while self._pools:
            self._close(self._pools.popitem()[1])
        self._open.close()

    def _close(self, pool: Pool) -> None:
        """End workers; what goes wrong in that must not hide why the work ended, and is logged alone."""
        for part in (pool.client, pool.cluster):
            try:
                part.close()
            except Exception as error:
                _LOGGER.debug("%s: closing %s: %s", self.name, type(part).__name__, one_line(error))


@contextmanager
def _interrupts() -> Iterator[None]:
    """Have Ctrl-C, and SIGTERM of a batch system that ends the driver's job, end the work in good order.

    Importing dask_jobqueue sets handlers of its own, which would exit in silence as if all were well.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def describe_worker(mark: Path) -> dict[str, Any]:
    """Say who this worker is and whether it sees a file: what :meth:`DaskEngine._probe` has a worker do."""
    end = time.monotonic() + 10
    while not (sees := mark.exists()) and time.monotonic() < end:
        time.sleep(0.5)
    return {"host": platform.node(), "sees": sees, **_versions()}


def _versions() -> dict[str, str]:
    return {"voxelcast": voxelcast.__version__, "python": ".".join(platform.python_version_tuple()[:2])}
