"""A feature matrix too large for memory, read column block by column block."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError, OptionError, ShapeError


class FeatureMatrix:
    """Rows of features stacked over shards; a shard is an array or a .npy file, which is mapped, not read.

    Parameters
    ----------
    shards : sequence of Path or ndarray of shape (n_i, n_features), float
        The rows, in order.

    Raises
    ------
    MissingFileError
        If a file does not exist.
    DataError
        If a file is no plain .npy array of floating-point numbers.
    ShapeError
        If there is no shard, or the shards differ in their number of features.
    """

    def __init__(self, shards: Sequence[Path | FloatArray]) -> None:
        if not shards:
            raise ShapeError("a feature matrix needs at least one shard; got none")
        self._shards = [_open(shard) if isinstance(shard, Path) else _check(shard, "an array") for shard in shards]
        widths = sorted({shard.shape[1] for shard in self._shards})
        if len(widths) > 1:
            raise ShapeError(f"shards must have the same number of features; got {', '.join(map(str, widths))}")
        self.shape: tuple[int, int] = (sum(len(shard) for shard in self._shards), widths[0])

    def columns(self, start: int, stop: int) -> FloatArray:
        """Read columns ``start`` to ``stop - 1`` of all rows.

        Returns
        -------
        columns : ndarray of shape (n_stimuli, stop - start), float64
        """
        columns = np.empty((self.shape[0], max(0, min(stop, self.shape[1]) - start)))
        row = 0
        for shard in self._shards:
            columns[row : row + len(shard)] = shard[:, start:stop]
            row += len(shard)
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


def _open(path: Path) -> FloatArray:
    try:
        shard = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise MissingFileError(f"feature file {path} does not exist; extract the features again") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"feature file {path} is no plain .npy array; extract the features again") from error
    return _check(shard, str(path))


def _check(shard: FloatArray, name: str) -> FloatArray:
    if shard.ndim != 2:
        raise ShapeError(f"features must have shape (n_stimuli, n_features); got {shard.shape} from {name}")
    if not np.issubdtype(shard.dtype, np.floating):
        raise DataError(f"features must be floating-point numbers; got {shard.dtype} from {name}")
    return shard
