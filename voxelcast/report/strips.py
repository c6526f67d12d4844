"""The strip beside each ROI of the first table: subjects, mean, interval and ceiling on one axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.report.summary import Row, number


@dataclass(frozen=True)
class Strip:
    """Places on the axis in percent of its length; None where there is no number.

    Parameters
    ----------
    dots : tuple of float
        The subjects.
    mean, low, high, ceiling, zero : float or None
    """

    dots: tuple[float, ...]
    mean: float | None
    low: float | None
    high: float | None
    ceiling: float | None
    zero: float | None


@dataclass(frozen=True)
class StripAxis:
    """Ends of the axis that all strips share."""

    low: float
    high: float

    @property
    def labels(self) -> tuple[str, str]:
        """The ends as text."""
        return number(self.low), number(self.high)

    def place(self, value: float) -> float | None:
        """Return where a value lies, in percent; None for NaN."""
        if not np.isfinite(value):
            return None
        # 2 % at either end keep a dot at the end whole.
        return round(2 + 96 * (value - self.low) / (self.high - self.low), 2)


def strip_axis(rows: Sequence[Row]) -> StripAxis:
    """Fit the axis to the numbers of all rows; zero is always on it."""
    numbers = [value for row in rows for value in (row.score, row.low, row.high, row.ceiling, *row.values)]
    finite = [value for value in numbers if np.isfinite(value)] or [1.0]
    low, high = min(0.0, *finite), max(0.0, *finite)
    return StripAxis(low, high if high > low else low + 1.0)


def strip(row: Row, axis: StripAxis) -> Strip:
    """Place the numbers of one row."""
    places = [axis.place(value) for value in row.values] if len(row.values) > 1 else []
    return Strip(
        dots=tuple(place for place in places if place is not None),
        mean=axis.place(row.score),
        low=axis.place(row.low),
        high=axis.place(row.high),
        ceiling=axis.place(row.ceiling),
        zero=axis.place(0.0),
    )
