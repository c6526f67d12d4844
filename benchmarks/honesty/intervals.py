"""Intervals of scores: how often they cover the truth."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.honesty.check import Check


def checks(draws: int, seed: int) -> Iterator[Check]:
    """Yield the checks of this section."""
    yield from ()
