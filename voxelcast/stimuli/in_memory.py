"""Stimuli whose frames are in memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxelcast.core.arrays import ByteArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError
from voxelcast.stimuli.decode import FrameChunk
from voxelcast.stimuli.sampling import FrameSampling


@dataclass(frozen=True, eq=False)
class FramesInMemory:
    """Frames of stimuli in memory, each of shape (n_frames, height, width, 3), uint8: a source of an extraction."""

    ids: tuple[str, ...]
    stimuli: Sequence[ByteArray]
    sampling: FrameSampling

    @classmethod
    def of(cls, given: Mapping[Any, ByteArray] | ByteArray, sampling: FrameSampling) -> FramesInMemory:
        """Check frames; raises ShapeError or DataError for another shape or type."""
        ids = tuple(map(str, given)) if isinstance(given, Mapping) else tuple(map(str, range(len(given))))
        stimuli = []
        for name, frames in zip(ids, given.values() if isinstance(given, Mapping) else given, strict=True):
            array = np.asarray(frames)
            array = array[None] if array.ndim == 3 else array
            check_shape(f"frames of {name}", array, ("n_frames", "height", "width", "channels"), (None, None, None, 3))
            if array.dtype != np.uint8 or not array.size:
                raise DataError(f"frames of {name} must be uint8, at least one; got {array.dtype} {array.shape}")
            stimuli.append(array)
        return cls(ids, stimuli, sampling)

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        """Give the frames of the stimulus at a position, at most 16 at a time."""
        frames = self.stimuli[position]
        indices, times = self.sampling.choose(np.full(len(frames), np.nan), np.nan)
        for start in range(0, len(indices), 16):
            chosen = indices[start : start + 16]
            yield FrameChunk(frames[chosen], chosen, times[start : start + 16])
