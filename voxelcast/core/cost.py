"""What a piece of work costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Time, memory and disk; of several pieces of work, one after the other, the sum, but of memory the most.

    ``operations`` are floating-point ones, where the time depends on how fast a machine does them, ``python`` seconds
    of Python code on the machine where they were measured, ``seconds`` what depends on neither; ``memory`` is in bytes
    at most at a time, ``disk`` in bytes.
    """

    operations: float = 0.0
    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0
    python: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.operations + other.operations,
            self.seconds + other.seconds,
            max(self.memory, other.memory),
            self.disk + other.disk,
            self.python + other.python,
        )

    def __mul__(self, n: float) -> Cost:
        """Return the cost of doing it n times."""
        return Cost(self.operations * n, self.seconds * n, self.memory, self.disk * n, self.python * n)


def readable_bytes(n: int) -> str:
    """Write a number of bytes with three digits and a decimal unit, e.g. ``"8.85 GB"``."""
    value, units = float(n), ["B", "kB", "MB", "GB", "TB", "PB"]
    while value >= 999.5 and len(units) > 1:
        value, units = value / 1000, units[1:]
    return f"{n} B" if units[0] == "B" else f"{value:.3g} {units[0]}"
