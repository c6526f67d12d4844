"""The first frame alone."""

from __future__ import annotations

from typing import Any

from voxelcast.core.arrays import FloatArray
from voxelcast.features.pooling import TemporalPool, register_pool


@register_pool("lab_first")
class FirstPool(TemporalPool):
    """What was there when the stimulus came on."""

    def __init__(self) -> None:
        self._first: Any = None

    def update(self, chunk: Any, times: FloatArray) -> None:
        self._first = chunk[0] if self._first is None else self._first

    def pooled(self) -> Any:
        return self._first
