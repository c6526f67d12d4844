"""Worker processes on this machine: one BLAS thread each, kept for all the steps of a run."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Any

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Workers:
    """Up to ``n`` processes, started when they are first needed; use it in a ``with`` block.

    The block ends when work under way is finished; after Ctrl-C the processes are ended at once. They also end by
    themselves when the process that started them is gone, however it went.
    """

    def __init__(self, n: int) -> None:
        self._executor = ProcessPoolExecutor(
            n, mp_context=multiprocessing.get_context("spawn"), initializer=_begin_worker
        )

    def submit(self, function: Callable[..., None], *arguments: Any) -> Future[None]:
        """Have a worker call a top-level function."""
        with _environment(dict.fromkeys(_THREAD_VARIABLES, "1")):
            return self._executor.submit(function, *arguments)

    def __enter__(self) -> Workers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            for worker in multiprocessing.active_children():
                worker.terminate()
        self._executor.shutdown(wait=True, cancel_futures=True)


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for the processes that are started inside the block.

    BLAS libraries read them when they are loaded, which in a worker may be late: a limit set from inside would miss
    those loaded after it.
    """
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin_worker() -> None:
    """End this worker when the process that started it is gone; Ctrl-C is that process's to handle."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)
