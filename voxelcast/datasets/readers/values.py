"""Plain arrays and tables, and the numbers that count as responses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError, one_line


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


def open_npy(path: Path, what: str, *, mapped: bool = False) -> NDArray[Any]:
    """Read a .npy file, or map it into memory; raises MissingFileError or DataError."""
    if not path.is_file():
        raise MissingFileError(f"{what} not found: {path} does not exist; get the whole folder")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{path} is no plain .npy file ({one_line(error)}); get it again") from error
    return array


def read_table(
    path: Path, columns: Sequence[str] = (), what: str = "table", *, separator: str = ",", missing: bool = False
) -> pd.DataFrame:
    """Read a table as text, every field as written, and check that it has ``columns``.

    With ``missing``, empty fields and ``n/a`` become NaN; ``what`` is what a message calls it. Raises MissingFileError,
    DataError where the file is missing, is no table, or lacks a column.
    """
    if not path.is_file():
        raise MissingFileError(f"{what} not found: {path} does not exist")
    try:
        frame = pd.read_csv(path, sep=separator, dtype=str, keep_default_na=missing, encoding="utf-8-sig")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        kind = "CSV" if separator == "," else "table"
        raise DataError(f"{path.name} cannot be read as a {kind} ({one_line(error)}); write it again") from error
    if any(name not in frame.columns for name in columns):
        raise DataError(
            f"{path.name} must have the columns {', '.join(columns)}; got {', '.join(map(str, frame.columns))}"
        )
    return frame
