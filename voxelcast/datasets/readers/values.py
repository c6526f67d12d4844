"""The numbers that count as responses."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError


def as_response_values(values: NDArray[Any], where: str) -> FloatArray:
    """Return responses as float32 or float64, whichever holds them exactly.

    NaN marks a missing repetition; ``where`` is the file they come from, for the message. Raises DataError where they
    are not real numbers, or infinite.
    """
    if values.dtype.kind not in "fiu":
        raise DataError(f"{where}: responses must be real numbers; got {values.dtype}")
    exact = np.float32 if values.dtype in (np.float32, np.float16, np.int8, np.uint8, np.int16) else np.float64
    floats: FloatArray = values.astype(exact, copy=False)
    n_infinite = int(np.isinf(floats).sum())
    if n_infinite:
        raise DataError(
            f"{where}: responses must be finite, or NaN where missing; got {n_infinite} infinite values; correct them"
        )
    return floats
