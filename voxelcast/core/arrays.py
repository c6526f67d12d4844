"""Names of the array types that pass between rooms, and how large arrays are gone through in blocks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.floating[Any]]
IntArray = NDArray[np.integer[Any]]
BoolArray = NDArray[np.bool_]
ByteArray = NDArray[np.uint8]


def blocks(n: int, each_bytes: int, most_bytes: int) -> Iterator[slice]:
    """Divide n items of ``each_bytes`` into slices of at most ``most_bytes``, at least one item in each."""
    size = max(1, most_bytes // max(each_bytes, 1))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
