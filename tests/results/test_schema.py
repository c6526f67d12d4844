"""The schema of the tables: what is written is read back, and every column says what it means."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from voxelcast.results.read import read_table
from voxelcast.results.schema import SCORES, SEARCH, TABLES, Table
from voxelcast.results.write import row_text, table_text, write_joined, write_table


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_what_is_written_is_read_with_its_types(table: Table, tmp_path: Path) -> None:
    row = {column.name: "01" if column.type == "text" else 2 for column in table.columns}
    empty = {column.name: None for column in table.columns}
    write_table(tmp_path, table, [row, empty], pools=("mean", "max"), missing=True, n_folds=2)
    read = read_table(tmp_path / table.file)
    assert list(read.columns) == [column.name for column in table.columns]
    for column in table.columns:
        first, second = read[column.name]
        assert (first, second) == ("01", "") if column.type == "text" else (first == 2.0 and pd.isna(second))


def test_a_table_has_the_columns_of_its_experiment() -> None:
    assert SEARCH.names()[-2:] == ("hyperparameters", "score")
    assert SEARCH.names(pools=("mean", "max"), n_folds=2) == (
        *("subject", "roi", "network", "weights", "layer", "pool", "encoder", "hyperparameters", "score"),
        *("fold_1", "fold_2"),
    )
    assert "pool" not in SCORES.names(pools=("mean",))
    assert SCORES.names(missing=True)[-1] == "missing"


def test_parts_without_header_make_the_table(tmp_path: Path) -> None:
    rows = [{"subject": "ann", "roi": "V1", "score": 0.1 + 0.2}, {"subject": "bob", "roi": 'a "b", c'}]
    write_joined(tmp_path, SEARCH, [row_text(SEARCH, [row]) for row in rows])
    assert (tmp_path / "search.csv").read_text() == table_text(SEARCH, rows)
    assert "0.30000000000000004" in table_text(SEARCH, rows)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_column_is_documented(table: Table) -> None:
    text = table.markdown()
    for column in table.columns:
        assert column.meaning
        assert f"| `{column.name}` | {column.type} | {column.unit} | " in text
