"""The strip beside a score in a table: subjects, mean, interval and ceiling on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.report.summary import Mean, number


@dataclass(frozen=True)
class StripAxis:
    """Ends of the axis that all strips share."""

    low: float
    high: float

    @property
    def labels(self) -> tuple[str, str]:
        """The ends as text."""
        return number(self.low), number(self.high)

    def position(self, value: float) -> float | None:
        """Return where a value lies, in percent of the axis' length; None for NaN."""
        if not np.isfinite(value):
            return None
        # 2 % at either end keep a dot at the end whole.
        return round(2 + 96 * (value - self.low) / (self.high - self.low), 2)


def strip_axis(rows: Sequence[Mean]) -> StripAxis:
    """Fit the axis to the numbers of all rows; zero is always on it."""
    numbers = [value for row in rows for value in (row.score, row.low, row.high, row.ceiling, *row.values)]
    finite = [value for value in numbers if np.isfinite(value)] or [1.0]
    low, high = min(0.0, *finite), max(0.0, *finite)
    return StripAxis(low, high if high > low else low + 1.0)
