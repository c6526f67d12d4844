"""What a piece of work costs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Time, memory and disk; of several pieces of work, one after the other, the sum.

    Parameters
    ----------
    operations : float
        Floating-point operations, where the time depends on how fast a machine does them.
    seconds : float
        What does not.
    memory : float
        Bytes at most at a time; of several pieces that of the largest.
    disk : float
        Bytes.
    """

    operations: float = 0.0
    seconds: float = 0.0
    memory: float = 0.0
    disk: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.operations + other.operations,
            self.seconds + other.seconds,
            max(self.memory, other.memory),
            self.disk + other.disk,
        )

    def __mul__(self, n: float) -> Cost:
        """Return the cost of doing it n times."""
        return Cost(self.operations * n, self.seconds * n, self.memory, self.disk * n)
