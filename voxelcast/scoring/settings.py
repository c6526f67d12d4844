"""Settings of what is said about a score: its interval, and which voxels are predicted better than chance."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Lt

from voxelcast.core.settings import NO_EFFECT, settings


@settings
class IntervalSettings:
    """Interval of the score: the share of intervals that are to hold the truth.

    ``resamples``: of the bootstrap of ``voxelcast rsa``; the interval of a prediction's score needs none.
    """

    level: Annotated[float, Gt(0), Lt(1)] = 0.95
    resamples: Annotated[int, Ge(100), NO_EFFECT] = 1000


@settings
class SignificanceSettings:
    """Permutation test of every voxel's score; 0 permutations: none. ``alpha`` is the false discovery rate allowed."""

    permutations: Annotated[int, Ge(0)] = 1000
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.05
