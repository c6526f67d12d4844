"""Which frames of a video are looked at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.errors import OptionError


@dataclass(frozen=True)
class FrameSampling:
    """Every k-th frame, or n frames evenly spaced; exactly one of the two.

    Parameters
    ----------
    every : int or None
        Keep frames 0, k, 2k, ...
    n : int or None
        Keep n frames at the centres of n equal parts of the video; a video with fewer frames gives each of its
        frames once.
    """

    every: int | None = None
    n: int | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.every, self.n) if value is not None]
        if len(given) != 1 or given[0] < 1:
            raise OptionError(
                f"frames must be either every=k or n=k with k >= 1; got every={self.every}, n={self.n}; set one of them"
            )

    def indices(self, n_frames: int) -> IntArray:
        """Return the frames kept, ascending, of a video of ``n_frames`` frames.

        Returns
        -------
        indices : ndarray of int, shape (n_kept,)
        """
        if self.every is not None:
            return np.arange(0, n_frames, self.every)
        assert self.n is not None
        if self.n >= n_frames:
            return np.arange(n_frames)
        return (((2 * np.arange(self.n) + 1) * n_frames) // (2 * self.n)).astype(np.int64)
