"""Tables: .csv and .tsv (also packed as .gz), .parquet. Every cell as it was written, numbers that are numbers."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from pathlib import Path
from typing import Final

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import nfc, optional_package
from voxelcast.core.errors import DataError
from voxelcast.store.readers.guard import check_file, read_text, reading

NOT_KNOWN: Final = ("", "n/a", "nan")
"""What stands for a number that is missing, in any case; any other text is no number, and refused."""

_NUMBER = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_RUN = re.compile(r"'*[=+\-@\t\r]")
"""How a cell begins that a spreadsheet would run, or one that `shown_cell` has marked."""


@dataclass(frozen=True)
class Table:
    """A table: its columns' names, and its rows, each with as many cells; ``lines``: in which line each row ends."""

    path: Path
    names: tuple[str, ...]
    rows: Sequence[Sequence[str]]
    lines: Sequence[int]

    def column(self, name: str) -> list[str]:
        """Return the cells of a column."""
        place = self.names.index(name)
        return [row[place] for row in self.rows]

    def numbers(self, names: Sequence[str]) -> FloatArray:
        """Read the numbers of some columns, (n_rows, n_columns); NaN where they are `NOT_KNOWN`.

        Raises DataError for any other text, with its column and line.
        """
        places = [self.names.index(name) for name in names]
        values = np.empty((len(self.rows), len(places)))
        for number, (row, line) in enumerate(zip(self.rows, self.lines, strict=True)):
            values[number] = as_numbers([row[place] for place in places], names, self.path, line)
        return values


def read_table(path: Path, columns: Sequence[str] = (), what: str = "table", *, separator: str | None = None) -> Table:
    """Read a table whose first line names its columns; it must have ``columns``.

    Cells are stripped, and composed Unicode. The separator is a tab in a .tsv, else a comma. Raises MissingFileError,
    DataError where the file is missing, is no table, names a column twice, has a row of another length, or lacks a
    column.
    """
    stream = table_rows(path, what, separator=separator)
    _, names = next(stream)
    missing = [name for name in columns if name not in names]
    if missing:
        raise DataError(f"{path} must have the columns {', '.join(columns)}; got {', '.join(names)}")
    numbered = list(stream)
    return Table(path, tuple(names), [row for _, row in numbered], [line for line, _ in numbered])


def table_rows(
    path: Path, what: str = "table", *, separator: str | None = None, titled: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """Yield the head of a table and each row, with the number of the line; raises as `read_table`.

    One that is not ``titled`` may have no head, so that the first row may hold anything.
    """
    text = read_text(path, what)
    separator = separator or ("\t" if ".tsv" in path.suffixes[-2:] else ",")
    kind = "a table" if separator == "\t" else "a CSV"
    names: list[str] = []
    with reading(path, kind):
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        for raw in reader:
            row = [nfc(original_cell(cell.strip())) for cell in raw]
            if not any(row) and len(raw) <= 1:
                continue
            if not names:
                names = row
                twice = [name for name in names if name and names.count(name) > 1]
                if twice and titled:
                    raise DataError(f"{path} names the column {twice[0]!r} twice; rename one of them")
            elif len(row) != len(names):
                raise DataError(
                    f"{path} must have {len(names)} cells in every row, as in its head; got {len(row)} in line "
                    f"{reader.line_num}; correct it"
                )
            yield reader.line_num, row
    if not names:
        raise DataError(f"{path} cannot be read as {kind} (it is empty); write it again")


def read_numbers(path: Path) -> FloatArray:
    """Read numbers in columns that white space separates; what follows a # is passed over.

    Raises MissingFileError, DataError where the file is missing, or holds something else.
    """
    lines = [line.partition("#")[0].split() for line in read_text(path, "numbers").splitlines()]
    rows = [(number, cells) for number, cells in enumerate(lines, 1) if cells]
    if not rows or len({len(cells) for _, cells in rows}) > 1:
        got = ", ".join(map(str, sorted({len(cells) for _, cells in rows}))) or "nothing"
        raise DataError(f"{path} must hold numbers in columns, as many in every row; got {got}; correct it")
    names = [str(number) for number in range(1, len(rows[0][1]) + 1)]
    return np.stack([as_numbers(cells, names, path, number) for number, cells in rows])


def as_numbers(cells: Sequence[str], names: Sequence[str], path: Path, line: int) -> FloatArray:
    """Read a row's numbers, (n_cells,); NaN for what is `NOT_KNOWN`, DataError for any other text."""
    joined = "".join(cells)
    if joined.isascii() and "_" not in joined and "n" not in joined.lower():  # float() takes 1_000 and inf
        try:
            values = np.array([float(cell) for cell in cells])
            if np.isfinite(values).all():
                return values
        except ValueError:
            pass
    values = np.empty(len(cells))
    for place, cell in enumerate(cells):
        number = number_of(cell)
        if number is None:
            raise DataError(
                f"{path}: column {names[place]!r} must hold numbers, or n/a where one is missing; got {cell!r} in line "
                f"{line}; correct it"
            )
        values[place] = number
    return values


def number_of(cell: str) -> float | None:
    """Read a number; NaN where it is missing (`NOT_KNOWN`), None where the text is no number or is not finite."""
    if cell.lower() in NOT_KNOWN:
        return nan
    return float(cell) if _NUMBER.fullmatch(cell) and isfinite(float(cell)) else None


def shown_cell(text: str) -> str:
    """Return text for a cell that no spreadsheet runs: what begins like a formula gets an apostrophe before it."""
    return f"'{text}" if _RUN.match(text) else text


def original_cell(text: str) -> str:
    """Return what `shown_cell` was given."""
    return text[1:] if text.startswith("'") and _RUN.match(text) else text


def read_parquet(path: Path, what: str) -> Table:
    """Read a Parquet file as a table; every cell as text that gives back its number, empty where there is none.

    Raises MissingFileError, DataError where it is missing, is none, or names a column twice; MissingPackageError
    without ``pyarrow``.
    """
    check_file(path, what)
    needs = f"{path} needs the package pyarrow; install it (pip install 'voxelcast[parquet]'), or save a .csv"
    parquet = optional_package("pyarrow.parquet", needs)
    with reading(path, "Parquet"):
        found = parquet.ParquetFile(path).read()
        names = tuple(nfc(name) for name in found.column_names)
        if len(set(names)) < len(names):
            raise DataError(f"{path} names a column twice; rename one of them")
        columns = [["" if cell is None else nfc(str(cell)) for cell in column.to_pylist()] for column in found.columns]
        rows = [list(row) for row in zip(*columns, strict=True)]
    return Table(path, names, rows, range(1, len(rows) + 1))
