"""Measured haemodynamic responses, read from a table."""

from __future__ import annotations

import csv
from functools import lru_cache
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known, check_option
from voxelcast.core.errors import DataError, MissingFileError, OptionError
from voxelcast.features.hrf import MeasuredResponse
from voxelcast.store.keys import file_hash

TIME_NAMES = ("time", "times", "time_s", "seconds", "t")


def parse_response(text: str) -> MeasuredResponse:
    """Read the response that a text such as ``"my_hrf.tsv, column=3, step=0.1"`` describes.

    That is the table's path, then, as they are needed, ``column`` and ``step``; see :func:`read_response`, which also
    has the errors.
    """
    path, *parts = (part.strip() for part in text.split(","))
    given: dict[str, str] = {}
    for part in parts:
        name, _, value = (piece.strip() for piece in part.partition("="))
        check_option("a parameter of pool hrf(...)", name, ("column", "step"))
        given[name] = value
    if not path:
        raise OptionError("pool hrf(...) needs a table, e.g. hrf(my_hrf.csv, column=V1); got none")
    step = None
    if "step" in given:
        try:
            step = float(given["step"])
        except ValueError as error:
            raise OptionError(f"step of pool hrf(...) must be a number of seconds; got {given['step']!r}") from error
    return _read(path, given.get("column"), step, file_hash(Path(path)))


def read_response(path: Path, column: str | None = None, step: float | None = None) -> MeasuredResponse:
    """Read a measured response from a table with a row for each time.

    Parameters
    ----------
    path : Path
        A .csv (commas) or .tsv (tabs) with or without a row of names, or a .npy of shape (n_times,) or (n_times,
        n_columns).
    column : str or None
        Name of the response's column, or its number from 0 where there are no names; may be left out where there is
        only one.
    step : float or None
        Seconds between rows, the first of them at 0 s; left out where a column named time, times, time_s, seconds or t
        says when each row is.

    Raises
    ------
    MissingFileError, DataError
        If there is no such file, or it is no table of numbers.
    OptionError, UnknownNameError
        If ``column`` or ``step`` are missing, superfluous or not there.
    """
    names, values = _table(path)
    clock = next((index for index, name in enumerate(names) if name.lower() in TIME_NAMES), None)
    if (step is None) == (clock is None) or (step is not None and not 0 < step < np.inf):
        raise OptionError(
            f"pool hrf({path.name}) needs the times of rows: either step=SECONDS above 0, or a column named "
            f"{', '.join(TIME_NAMES)}; got step={step} and columns {', '.join(names)}"
        )
    others = [index for index in range(len(names)) if index != clock]
    if column is None:
        if len(others) != 1:
            raise OptionError(
                f"pool hrf({path.name}) needs column=NAME or NUMBER, since the table has {len(others)}: "
                f"{', '.join(names[index] for index in others)}"
            )
        column = names[others[0]]
    check_known("column", column, [names[index] for index in others], where=f"in {path.name}")
    times = np.arange(len(values)) * (step or 0.0) if clock is None else values[:, clock]
    return MeasuredResponse(times, values[:, names.index(column)])


@lru_cache(maxsize=8)
def _read(path: str, column: str | None, step: float | None, _content: str) -> MeasuredResponse:
    """Read a table once, however many stimuli and layers ask for it."""
    return read_response(Path(path), column, step)


def _table(path: Path) -> tuple[list[str], FloatArray]:
    """Read names of columns (numbers where there are none) and values of shape (n_times, n_columns)."""
    suffix = path.suffix.lower()
    check_option("the suffix of a table of pool hrf(...)", suffix, (".csv", ".tsv", ".npy"))
    try:
        if suffix == ".npy":
            values = np.load(path, allow_pickle=False).astype(np.float64)
            values = values.reshape(len(values), -1)
            return [str(number) for number in range(values.shape[1])], values
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [row for row in csv.reader(file, delimiter="\t" if suffix == ".tsv" else ",") if row]
        named = not all(map(_is_number, rows[0]))
        values = np.array(rows[1:] if named else rows, dtype=np.float64)
    except FileNotFoundError as error:
        raise MissingFileError(f"table {path} of pool hrf(...) does not exist; check its path") from error
    except (ValueError, IndexError, TypeError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} must be a table of numbers with rows of equal length ({error}); correct it") from error
    return [name.strip() for name in rows[0]] if named else [str(n) for n in range(values.shape[1])], values


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
