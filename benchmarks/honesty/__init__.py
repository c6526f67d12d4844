"""What the documentation claims of scores, intervals, ceilings and tests, held against simulations with a known truth.

Each section is a module with ``checks(draws, seed, workers)``, which yields a `Check` for each cell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from time import perf_counter
from typing import Final

from benchmarks.honesty.check import Check
from voxelcast.core.checks import check_option
from voxelcast.core.errors import OptionError

SECTIONS: Final = ("intervals", "ceilings", "exchangeability", "controls", "prediction-intervals")


def run_checks(sections: Sequence[str], draws: int, seed: int, workers: int) -> Iterator[Check]:
    """Yield the checks of the sections; raises OptionError for an unknown one, or fewer than 20 draws."""
    for section in sections:
        check_option("section", section, SECTIONS)
    if draws < 20:
        raise OptionError(f"draws must be at least 20; got {draws}; 300 take minutes")
    for section in sections:
        yield from import_module(f"benchmarks.honesty.{section.replace('-', '_')}").checks(draws, seed, workers)


def benchmark_honesty(
    sections: Sequence[str] = SECTIONS, draws: int = 300, seed: int = 0, workers: int = 2
) -> Iterator[str]:
    """Yield the table of all checks line by line, and at the end how many hold."""
    started = perf_counter()
    yield "section | cell | claimed | measured | allowed | draws | holds"
    checks = []
    for check in run_checks(sections, draws, seed, workers):
        checks.append(check)
        yield (
            f"{check.section} | {check.cell} | {check.claimed} | {check.measured:.3f} | "
            f"{check.low:.3f} to {check.high:.3f} | {check.draws} | {'ok' if check.holds else 'FAIL'}"
        )
    holding = sum(check.holds for check in checks)
    yield f"{holding} of {len(checks)} hold; {perf_counter() - started:.0f} s"
