"""Pooling over time: the activations of a stimulus' frames become one feature vector.

A pool is fed chunk by chunk, so that a whole clip's activations are never held. What it returns does not depend on
where the chunks were cut (to 1e-6 relative). Chunks are NumPy arrays or torch tensors on any device; this room does
not import torch, it only calls what both kinds of array offer.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from fnmatch import fnmatchcase
from typing import Any, ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, ShapeError


class TemporalPool(ABC):
    """Reduces the activations of one layer to one stimulus over time; made anew for each stimulus and layer."""

    name: ClassVar[str]

    @abstractmethod
    def update(self, chunk: Any, times: FloatArray) -> None:
        """Take in the next stretch of activations.

        Parameters
        ----------
        chunk : ndarray or tensor of shape (n_times, ...)
            Activations, in the order of time; every chunk has the same trailing shape.
        times : ndarray of shape (n_times,)
            When each was shown, in seconds from the stimulus' start.

        Raises
        ------
        ShapeError
            If the trailing shape differs from that of earlier chunks.
        """

    @abstractmethod
    def result(self) -> FloatArray:
        """Return the features.

        Returns
        -------
        features : ndarray of shape (n_features,), float32
            What is left after time, flattened in C order.

        Raises
        ------
        DataError
            If nothing was taken in.
        """


class MeanPool(TemporalPool):
    """The mean over time.

    Sums of single-precision chunks are kept in double precision, on the device that the activations are on.
    """

    name = "mean"

    def __init__(self) -> None:
        self._total: Any = None
        self._n_times = 0

    def update(self, chunk: Any, times: FloatArray) -> None:
        """Add a chunk of shape (n_times, ...) to the sum."""
        if len(chunk) != len(times):
            raise ShapeError(
                f"activations must have one time each; got {len(chunk)} activations and {len(times)} times"
            )
        # A tensor spells its types as methods, an array as an argument; neither is copied where it already fits.
        is_array = isinstance(chunk, np.ndarray)
        total = chunk.sum(0, dtype=np.float64) if is_array else chunk.float().sum(0).double()
        if self._total is not None and self._total.shape != total.shape:
            raise ShapeError(
                "activations of one layer must keep their shape over a stimulus; "
                f"got {tuple(total.shape)} after {tuple(self._total.shape)}"
            )
        self._total = total if self._total is None else self._total + total
        self._n_times += len(chunk)

    def result(self) -> FloatArray:
        """Return the mean, ndarray of shape (n_features,), float32."""
        if self._n_times == 0:
            raise DataError("a pool needs at least one frame; got none; check the sampling of frames")
        mean = self._total / self._n_times
        return np.asarray(mean if isinstance(mean, np.ndarray) else mean.cpu()).ravel().astype(np.float32)


POOLS: dict[str, type[TemporalPool]] = {pool.name: pool for pool in (MeanPool,)}


def list_pools(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the pools that match a shell pattern, sorted."""
    return tuple(sorted(name for name in POOLS if fnmatchcase(name, pattern)))


def make_pool(name: str) -> TemporalPool:
    """Make a fresh pool.

    Raises
    ------
    UnknownNameError
        If there is none of that name; the message lists what there is.
    """
    check_known("pool", name, list_pools())
    return POOLS[name]()
