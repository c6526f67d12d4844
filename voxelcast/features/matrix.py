"""A feature matrix too large for memory, read block by block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.store.result import StoredArray


class FeatureMatrix:
    """Rows of features stacked over shards; a shard is an array, or one in a file, which is mapped, not read.

    A file is mapped while a block is read and let go: what was read does not count as this process' memory, and the
    number of shards is not bounded by the number of files that may be open.

    Shards are float, of shape (n_i, n_features), or (n_i, n_times, n_features) where time was kept: each step's
    features are then columns of their own, first step first; :meth:`over_time` gives a matrix of weighted sums over
    time instead.

    Raises DataError if a shard does not hold floating-point numbers; ShapeError if there is no shard, or the shards
    differ in their number of features or of time steps.
    """

    def __init__(self, shards: Sequence[StoredArray | FloatArray], time_weights: FloatArray | None = None) -> None:
        if not shards:
            raise ShapeError("a feature matrix needs at least one shard; got none")
        self._shards = tuple(shards)
        all_shapes = [_opened(shard).shape for shard in shards]
        self._n_rows = [shape[0] for shape in all_shapes]
        shapes = sorted({shape[1:] for shape in all_shapes})
        if len({len(shape) for shape in shapes}) > 1 or len({shape[-1] for shape in shapes}) > 1:
            raise ShapeError(
                f"shards must have the same number of features; got {', '.join(str(shape[-1]) for shape in shapes)}"
            )
        if len(shapes) > 1:
            raise ShapeError(
                "with time kept all stimuli must have the same number of time steps; got "
                f"{', '.join(str(shape[0]) for shape in shapes)}; set frames: {{n: ...}} to as many as all have"
            )
        self.stored_shape: tuple[int, ...] = (sum(self._n_rows), *shapes[0])
        self._weights = time_weights
        self.n_times: int | None = shapes[0][0] if len(shapes[0]) == 2 and time_weights is None else None
        self.shape: tuple[int, int] = (self.stored_shape[0], shapes[0][-1] * (self.n_times or 1))

    def over_time(self, weights: FloatArray) -> FeatureMatrix:
        """Return the matrix of weighted sums over time, of shape (n_stimuli, n_features); weights are one per step."""
        check_shape("weights over time", weights, ("n_times",), (self.n_times,))
        return FeatureMatrix(self._shards, weights)

    def columns(self, start: int, stop: int) -> FloatArray:
        """Read columns ``start`` to ``stop - 1`` of all rows: float64, shape (n_stimuli, stop - start)."""
        return self._read(0, self.shape[0], start, stop)

    def rows(self, start: int, stop: int) -> FloatArray:
        """Read rows ``start`` to ``stop - 1``: float64, shape (stop - start, n_features)."""
        return self._read(start, stop, 0, self.shape[1])

    def blocks(self, width: int) -> Iterator[FloatArray]:
        """Read all columns from left to right, ``width`` at a time: float64, shape (n_stimuli, at most width)."""
        if width < 1:
            raise OptionError(f"the width of a block must be at least 1; got {width}")
        for start in range(0, self.shape[1], width):
            yield self.columns(start, start + width)

    def blocks_over_time(self, width: int) -> Iterator[FloatArray]:
        """Read all time steps of ``width`` features at a time, where time was kept: (n_stimuli, n_times, <= width)."""
        for start in range(0, self.stored_shape[-1], width):
            parts = [_opened(shard)[:, :, start : start + width].astype(np.float64) for shard in self._shards]
            yield np.concatenate(parts)

    def _read(self, top: int, bottom: int, left: int, right: int) -> FloatArray:
        """Read some rows of some columns; what lies beyond the last is left out."""
        bottom, right = min(bottom, self.shape[0]), min(right, self.shape[1])
        block = np.empty((max(0, bottom - top), max(0, right - left)))
        first = 0
        for shard, n_rows in zip(self._shards, self._n_rows, strict=True):
            rows = slice(max(top - first, 0), min(bottom - first, n_rows))
            if rows.start < rows.stop:
                values = _opened(shard)[rows]
                part = block[first + rows.start - top : first + rows.stop - top]
                if self._weights is not None:
                    part[:] = np.tensordot(self._weights, values[:, :, left:right].astype(np.float64), axes=(0, 1))
                else:
                    part[:] = values.reshape(len(values), self.shape[1])[:, left:right]
            first += n_rows
        return block


def _opened(source: StoredArray | FloatArray) -> FloatArray:
    """Return a shard's rows; those of a file are mapped as long as the caller holds them."""
    return _check(source.map(), str(source.path)) if isinstance(source, StoredArray) else _check(source, "an array")


def _check(shard: FloatArray, name: str) -> FloatArray:
    if shard.ndim not in (2, 3):
        raise ShapeError(
            "features must have shape (n_stimuli, n_features), or (n_stimuli, n_times, n_features) with time kept; "
            f"got {shard.shape} from {name}"
        )
    if not np.issubdtype(shard.dtype, np.floating):
        raise DataError(f"features must be floating-point numbers; got {shard.dtype} from {name}")
    return shard
