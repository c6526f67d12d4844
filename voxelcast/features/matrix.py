"""A feature matrix too large for memory, read column block by column block."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError, MissingFileError, OptionError, ShapeError


class FeatureMatrix:
    """Rows of features stacked over shards; a shard is an array or a .npy file, which is mapped, not read.

    Where time was kept, shards have an axis of it, and each step's features are columns of their own, first step
    first; :meth:`over_time` gives a matrix of weighted sums over time instead.

    Parameters
    ----------
    shards : sequence of Path or ndarray of shape (n_i, n_features) or (n_i, n_times, n_features), float
        The rows, in order.
    time_weights : ndarray of shape (n_times,) or None
        Of a weighted sum over time.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    DataError
        If a file is no plain .npy array of floating-point numbers.
    ShapeError
        If there is no shard, or the shards differ in their number of features or of time steps.
    """

    def __init__(self, shards: Sequence[Path | FloatArray], time_weights: FloatArray | None = None) -> None:
        if not shards:
            raise ShapeError("a feature matrix needs at least one shard; got none")
        self._shards = [_open(shard) if isinstance(shard, Path) else _check(shard, "an array") for shard in shards]
        shapes = sorted({shard.shape[1:] for shard in self._shards})
        if len({len(shape) for shape in shapes}) > 1 or len({shape[-1] for shape in shapes}) > 1:
            raise ShapeError(
                f"shards must have the same number of features; got {', '.join(str(shape[-1]) for shape in shapes)}"
            )
        if len(shapes) > 1:
            raise ShapeError(
                "with time kept all stimuli must have the same number of time steps; got "
                f"{', '.join(str(shape[0]) for shape in shapes)}; set frames: {{n: ...}} to as many as all have"
            )
        self.stored_shape: tuple[int, ...] = (sum(len(shard) for shard in self._shards), *shapes[0])
        self._weights = time_weights
        self.n_times: int | None = shapes[0][0] if len(shapes[0]) == 2 and time_weights is None else None
        self.shape: tuple[int, int] = (self.stored_shape[0], shapes[0][-1] * (self.n_times or 1))

    def over_time(self, weights: FloatArray) -> FeatureMatrix:
        """Return the matrix of weighted sums over time, of shape (n_stimuli, n_features); weights are one per step."""
        check_shape("weights over time", weights, ("n_times",), (self.n_times,))
        return FeatureMatrix(self._shards, weights)

    def columns(self, start: int, stop: int) -> FloatArray:
        """Read columns ``start`` to ``stop - 1`` of all rows.

        Returns
        -------
        columns : ndarray of shape (n_stimuli, stop - start), float64
        """
        columns = np.empty((self.shape[0], max(0, min(stop, self.shape[1]) - start)))
        row = 0
        for shard in self._shards:
            part = columns[row : row + len(shard)]
            if self._weights is not None:
                part[:] = np.tensordot(self._weights, shard[:, :, start:stop].astype(np.float64), axes=(0, 1))
            else:
                part[:] = shard.reshape(len(shard), self.shape[1])[:, start:stop]
            row += len(shard)
            _forget(shard)
        return columns

    def blocks(self, width: int) -> Iterator[FloatArray]:
        """Read all columns from left to right, ``width`` at a time.

        Yields
        ------
        block : ndarray of shape (n_stimuli, at most width), float64
        """
        if width < 1:
            raise OptionError(f"the width of a block must be at least 1; got {width}")
        for start in range(0, self.shape[1], width):
            yield self.columns(start, start + width)

    def blocks_over_time(self, width: int) -> Iterator[FloatArray]:
        """Read all time steps of ``width`` features at a time, where time was kept.

        Yields
        ------
        block : ndarray of shape (n_stimuli, n_times, at most width), float64
        """
        for start in range(0, self.stored_shape[-1], width):
            yield np.concatenate([shard[:, :, start : start + width].astype(np.float64) for shard in self._shards])


def _forget(shard: FloatArray) -> None:
    """Have what was read of a mapped file not count as this process' memory any more; the system still caches it."""
    mapped = getattr(shard, "_mmap", None)
    if mapped is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapped.madvise(mmap.MADV_DONTNEED)


def _open(path: Path) -> FloatArray:
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise MissingFileError(f"feature file {path} does not exist; extract the features again") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"feature file {path} is no plain .npy array; extract the features again") from error
    return _check(shard, str(path))


def _check(shard: FloatArray, name: str) -> FloatArray:
    if shard.ndim not in (2, 3):
        raise ShapeError(
            "features must have shape (n_stimuli, n_features), or (n_stimuli, n_times, n_features) with time kept; "
            f"got {shard.shape} from {name}"
        )
    if not np.issubdtype(shard.dtype, np.floating):
        raise DataError(f"features must be floating-point numbers; got {shard.dtype} from {name}")
    return shard
