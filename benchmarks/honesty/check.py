"""One line of ``python -m benchmarks honesty``: what is claimed, and what was measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import TypeVar

from threadpoolctl import threadpool_limits

_Cell = TypeVar("_Cell")
_Result = TypeVar("_Result")
_ERRORS = 2.0


@dataclass(frozen=True)
class Check:
    """A claim held against a simulation or real data.

    Parameters
    ----------
    section : str
        One of `benchmarks.honesty.SECTIONS`.
    cell : str
        What was simulated, e.g. "n=60 K=10 50 voxels, signal .3".
    claimed : str
        E.g. "95 % interval covers the truth".
    measured : float
        A share of the draws, or a mean over them.
    low, high : float
        What is allowed.
    draws : int
    error : float, optional
        Standard error of a mean over draws; None for a share of draws, whose error follows from their number.
    """

    section: str
    cell: str
    claimed: str
    measured: float
    low: float
    high: float
    draws: int
    error: float | None = None

    @property
    def holds(self) -> bool:
        """Whether the measured number is allowed, give or take two standard errors of so many draws.

        A share's standard error is ``sqrt(q (1 - q) / draws)`` with q the end of the range: its error if the truth lay
        there. NaN does not hold.
        """
        low, high = (_ERRORS * self._error(end) for end in (self.low, self.high))
        return self.low - low <= self.measured <= self.high + high

    def _error(self, end: float) -> float:
        if self.error is not None:
            return self.error
        share = min(max(end, 0.0), 1.0)
        return float((share * (1 - share) / self.draws) ** 0.5)


def in_processes(measure: Callable[[_Cell], _Result], cells: Iterable[_Cell], workers: int) -> Iterator[_Result]:
    """Measure cells in processes of one thread each; yield results in the order of the cells."""
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_one_thread) as pool:
        yield from pool.map(measure, cells)


def _one_thread() -> None:
    threadpool_limits(limits=1)  # for the life of the process; of so small products several threads only wait
