"""Write the files of an output folder: tables by their schema, arrays of each subject x ROI; remove outdated ones."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from voxelcast.core.arrays import FloatArray
from voxelcast.results.schema import PREDICTED_STIMULI, TABLES, Pair, Table, pair_name
from voxelcast.store.atomic import save_array, write_text
from voxelcast.store.readers.tables import shown_cell

VOXEL_FILE: Final = "voxels/{}.npz"
PARTITION_FILE: Final = "variance_partitioning/{}.npz"
EXAMPLE_FILE: Final = "examples.npz"
THUMBNAIL_FILE: Final = "thumbnails.npz"
"""JPEG files of the stimuli predicted best and worst, as bytes."""
JACKKNIFE_FILE: Final = "jackknife.npz"
"""Both of all subjects x ROI, as many files would be too many: ``<subject>_<roi>/<name>``."""
WEIGHT_FILE: Final = "weights/{}.npy"
PREDICTION_FILE: Final = "predictions/{}.npy"
PLACES_FILE: Final = "places/{}.npz"
STIMULUS_FILE: Final = "predictions/{}_stimuli.csv"
PAIR_FILES: Final = (
    *(PREDICTION_FILE, STIMULUS_FILE, VOXEL_FILE),
    *(WEIGHT_FILE, PARTITION_FILE, PLACES_FILE),
)
"""Files of each subject x ROI."""


def pair_file(output: Path, name: str, pair: Pair) -> Path:
    """Return the path of one of `PAIR_FILES`."""
    return output / name.format(pair_name(*pair))


def table_text(table: Table, rows: Iterable[Mapping[str, Any]], **there: Any) -> str:
    """Write a table as CSV text; a value of a row that is None or absent is left empty.

    ``there`` is what `Table.names` takes: ``pools``, ``missing``, ``n_folds``.
    """
    names, text = table.names(**there), io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([_cell(row.get(name)) for name in names] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Return a value for a cell: no spreadsheet runs a name from outside, such as a stimulus id."""
    return "" if value is None else shown_cell(value) if isinstance(value, str) else value


def row_text(table: Table, rows: Iterable[Mapping[str, Any]], **there: Any) -> str:
    """Write rows of a table as CSV text without the header: one subject x ROI's part of it."""
    return table_text(table, rows, **there).partition("\n")[2]


def write_table(output: Path, table: Table, rows: Iterable[Mapping[str, Any]], **there: Any) -> None:
    """Write a table into an output folder; see `table_text`."""
    write_text(output / table.file, table_text(table, rows, **there))


def write_joined(output: Path, table: Table, parts: Iterable[str], **there: Any) -> None:
    """Write a table from the texts of its parts, which have no header."""
    write_text(output / table.file, "".join([table_text(table, [], **there), *parts]))


def write_predictions(output: Path, pair: Pair, predictions: FloatArray, ids: Sequence[str], split: str) -> None:
    """Write the predictions of a subject x ROI, ndarray of shape (n_stimuli, n_voxels), and whose they are."""
    save_array(pair_file(output, PREDICTION_FILE, pair), predictions)
    rows = [{"stimulus_id": stimulus_id, "split": split} for stimulus_id in ids]
    write_text(pair_file(output, STIMULUS_FILE, pair), table_text(PREDICTED_STIMULI, rows))


def remove_pairs(output: Path, pairs: Iterable[Pair], files: Sequence[str] = PAIR_FILES) -> None:
    """Remove what an earlier run, on other data, left of pairs that failed now."""
    for pair in pairs:
        for name in files:
            pair_file(output, name, pair).unlink(missing_ok=True)


def remove_tables(output: Path) -> None:
    """Remove the tables, notes, provenance and report of an earlier run."""
    for name in (*TABLES, "notes.json", "provenance.json", "report.html", EXAMPLE_FILE, JACKKNIFE_FILE, THUMBNAIL_FILE):
        (output / name).unlink(missing_ok=True)
