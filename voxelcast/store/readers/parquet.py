"""Parquet files, as the tables that they hold."""

from __future__ import annotations

from pathlib import Path

from voxelcast.core.checks import nfc
from voxelcast.core.errors import DataError, MissingPackageError
from voxelcast.store.readers.guard import check_file, reading
from voxelcast.store.readers.tables import Table


def read_parquet(path: Path, what: str) -> Table:
    """Read a Parquet file as a table; every cell as text that gives back its number, empty where there is none.

    Raises MissingFileError, DataError where it is missing, is none, or names a column twice; MissingPackageError
    without ``pyarrow``.
    """
    check_file(path, what)
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise MissingPackageError(
            f"{path} needs the package pyarrow; install it (pip install 'voxelcast[parquet]'), or save a .csv"
        ) from error
    with reading(path, "Parquet"):
        found = parquet.ParquetFile(path).read()
        names = tuple(nfc(name) for name in found.column_names)
        if len(set(names)) < len(names):
            raise DataError(f"{path} names a column twice; rename one of them")
        columns = [["" if cell is None else nfc(str(cell)) for cell in column.to_pylist()] for column in found.columns]
        rows = [list(row) for row in zip(*columns, strict=True)]
    return Table(path, names, rows, range(1, len(rows) + 1))
