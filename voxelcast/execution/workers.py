"""Worker processes on this machine: one BLAS thread each, kept for all the steps of a run."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voxelcast.core.errors import VoxelcastWarning
from voxelcast.execution.engine import Kind
from voxelcast.execution.machine import available_cores
from voxelcast.execution.steps import Batch, run_batch

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Workers:
    """Up to ``n`` processes, started when they are first needed; use it in a ``with`` block.

    With several GPUs, steps that use one run in a process for each GPU, which share out the cores; with one or none
    they run in the process that drives.

    Each has its executor, so that one that dies ends no other batch; it is replaced. The block ends
    when work under way is finished; after Ctrl-C the processes are ended at once. They also end by themselves when the
    process that started them is gone, however it went.
    """

    name = "this machine"
    batch_seconds = 2.0

    def __init__(self, n: int, gpus: int = 0) -> None:
        self._n: dict[Kind, int] = {"cpu": n, "gpu": gpus}
        self.gpu_steps_here = gpus < 2
        self._idle: dict[Kind, list[ProcessPoolExecutor]] = {"cpu": [], "gpu": []}
        self._busy: dict[Future[float], tuple[Kind, ProcessPoolExecutor]] = {}

    def prepare(self, kind: Kind, n_steps: int, root: Path) -> None:
        """Do nothing: processes start when they are needed."""

    def slots(self, kind: Kind) -> int:
        """Return the number of processes."""
        return self._n[kind]

    def free(self, kind: Kind) -> int:
        """Return the number of processes without work."""
        for future in [future for future in self._busy if future.done()]:
            used, executor = self._busy.pop(future)
            if isinstance(future.exception(), BrokenProcessPool):
                executor.shutdown()
            else:
                self._idle[used].append(executor)
        return self._n[kind] - sum(used == kind for used, _ in self._busy.values())

    def submit(self, kind: Kind, batch: Batch) -> Future[float]:
        """Have a process without work run a batch."""
        spawn = multiprocessing.get_context("spawn")
        idle = self._idle[kind]
        executor = idle.pop() if idle else ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin_worker)
        variables = dict.fromkeys(_THREAD_VARIABLES, "1")
        if kind == "gpu":
            variables["VOXELCAST_CORES"] = str(max(1, available_cores() // self._n["gpu"]))
        with _environment(variables), _without_main(batch):
            future = executor.submit(run_batch, batch)
        self._busy[future] = (kind, executor)
        return future

    def lost(self, error: BaseException) -> str | None:
        """Say that a process died, once it is gone with all the locks it held."""
        if not isinstance(error, BrokenProcessPool):
            return None
        self.free("cpu")
        return "its worker process died (killed, or out of memory)"

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            for worker in multiprocessing.active_children():
                worker.terminate()
        busy = [executor for _, executor in self._busy.values()]
        for executor in (*self._idle["cpu"], *self._idle["gpu"], *busy):
            executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started inside the block.

    BLAS libraries read them when they are loaded, which in a worker may be late: a limit set from inside would miss
    those loaded after it.
    """
    before = {name: os.environ[name] for name in variables if name in os.environ}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name in variables.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def _without_main(batch: Batch) -> Iterator[None]:
    """Have the processes that are started inside the block not import the user's script.

    A spawned process imports the main module anew, which in a script without ``if __name__ == "__main__":`` would run
    the experiment once more. It is imported only where a job refers to something that the script defines.
    """
    main = sys.modules["__main__"]
    hidden: dict[str, Any] = {name: vars(main)[name] for name in ("__spec__", "__file__") if name in vars(main)}
    if b"__main__" in pickle.dumps(batch):
        hidden = {}
    for name in hidden:
        setattr(main, name, None)
    try:
        yield
    finally:
        vars(main).update(hidden)


def _begin_worker() -> None:
    """End this worker when the process that started it is gone; Ctrl-C is that process's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore", VoxelcastWarning)  # the process that drives has said it
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
