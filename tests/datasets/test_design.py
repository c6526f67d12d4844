"""Events in volumes, drifts and nuisance against explicit computation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.fft import dct

from voxelcast.core.errors import (
    DataError,
    MissingFileError,
    OptionError,
    ShapeError,
    UnknownNameError,
    VoxelcastWarning,
)
from voxelcast.datasets.design import (
    conditions_per_volume,
    drift_columns,
    read_events,
    read_nuisance,
    remove_nuisance,
)


def test_events_fill_volumes_by_their_share_of_time() -> None:
    events = pd.DataFrame(
        {"onset": [1.0, 6.5, 9.0, -1.0], "duration": [3.5, 1.0, 0.0, 2.0], "trial_type": ["a", "b", "b", "b"]}
    )
    design = conditions_per_volume(events, ["a", "b"], 5, 2.0)
    # Brute force: the share of 2,000 moments of each volume at which the event is on.
    moments = (np.arange(5 * 2000) + 0.5) / 1000
    fine = [
        ((moments >= on) & (moments < on + lasts)).reshape(5, 2000).mean(axis=1)
        for on, lasts in ((1.0, 3.5), (6.5, 1.0), (-1.0, 2.0))
    ]
    impulse = np.array([0, 0, 0, 0, 1.0])
    np.testing.assert_allclose(design, np.stack([fine[0], fine[1] + fine[2] + impulse], axis=1), atol=1e-3)


def test_cosines_are_those_of_the_discrete_cosine_transform() -> None:
    columns = drift_columns("cosine(128)", 100, 2.0)
    assert columns.shape == (100, 1 + int(2 * 100 * 2.0 / 128))
    for k, column in enumerate(columns.T):
        spectrum = dct(column)
        assert np.abs(np.delete(spectrum, k)).max() < 1e-9 * np.abs(spectrum[k])
    assert drift_columns("none", 10, 2.0).tolist() == [[1.0]] * 10
    line = drift_columns("polynomial(1)", 10, 2.0)
    np.testing.assert_allclose(np.linalg.lstsq(line, 3 + 2.0 * np.arange(10), rcond=None)[1], 0, atol=1e-18)


def test_residuals_equal_least_squares_and_survive_dependent_columns() -> None:
    rng = np.random.default_rng(1)
    columns, signal = rng.standard_normal((30, 4)), rng.standard_normal((30, 3)) + 50
    columns[:, 3] = 2 * columns[:, 0] - columns[:, 1]
    expected = signal - columns @ np.linalg.lstsq(columns, signal, rcond=None)[0]
    np.testing.assert_allclose(remove_nuisance(signal, columns), expected, atol=1e-10)
    assert (remove_nuisance(columns[:, :1] * 1e6 + columns[:, 1:2], columns) == 0).all()
    with pytest.raises(DataError, match="leave nothing of a run of 30 volumes"):
        remove_nuisance(signal, rng.standard_normal((30, 30)))


@pytest.mark.parametrize("drift", ["cosine", "cosine(0)", "cosine(-3)", "polynomial(1.5)", "linear", "cosine(x)"])
def test_refuses_unknown_drifts(drift: str) -> None:
    with pytest.raises(OptionError, match=r"drift must be none, cosine\(SECONDS\)"):
        drift_columns(drift, 100, 2.0)
    with pytest.raises(OptionError, match="leaves nothing of a run of 5 volumes"):
        drift_columns("polynomial(4)", 5, 2.0)


def test_reads_nuisance_by_name_and_fills_what_is_missing(tmp_path: Path) -> None:
    table = tmp_path / "confounds.tsv"
    table.write_text("x\tdx\ttext\tnone\n1\tn/a\tq\t\n2\t1\tq\tNaN\n3\t3\tq\tn/a\n")
    with pytest.warns(VoxelcastWarning, match=r"1 missing values became their column's mean \(row 1\)"):
        assert read_nuisance(table, 3, ["dx", "x"]).tolist() == [[2.0, 1.0], [1.0, 2.0], [3.0, 3.0]]
    with pytest.raises(DataError, match=r"column 'text' must hold numbers, or n/a .* got 'q' in line 2"):
        read_nuisance(table, 3, None)
    with pytest.raises(DataError, match="every nuisance column must hold numbers"):
        read_nuisance(table, 3, ["none"])
    with pytest.raises(UnknownNameError, match="nuisance column 'y' does not exist"):
        read_nuisance(table, 3, ["y"])
    with pytest.raises(ShapeError, match="must have 4 rows, one per volume; got 3"):
        read_nuisance(table, 4, ["x"])
    plain = tmp_path / "motion.txt"
    plain.write_text("1 2\n3 4\n")
    assert read_nuisance(plain, 2, None).tolist() == [[1.0, 2.0], [3.0, 4.0]]
    with pytest.raises(OptionError, match="nuisance_columns need names"):
        read_nuisance(plain, 2, ["x"])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onset\tduration\n1\t2\n", "must have the columns onset, duration, trial_type"),
        ("onset\tduration\ttrial_type\nsoon\t2\ta\n", "onset must be seconds; got 'soon' in event 1"),
        ("onset\tduration\ttrial_type\n20\t2\ta\n", "must begin before the run ends"),
        ("onset\tduration\ttrial_type\n2\t-1\ta\n", "last 0 s or longer"),
    ],
)
def test_refuses_bad_events(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "events.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=message):
        read_events(path, 20.0)
    with pytest.raises(MissingFileError, match="events not found"):
        read_events(tmp_path / "other.tsv", 20.0)


def test_trial_types_are_text_and_those_without_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events.tsv"
    kinds = ["None", "NA", "face ", "null", "n/a", "nan", "", "face"]
    path.write_text("onset\tduration\ttrial_type\n" + "".join(f"{k}\t1\t{kind}\n" for k, kind in enumerate(kinds)))
    with pytest.warns(VoxelcastWarning, match=r"2 of 8 events have no trial_type and are left out \(row 5, 7\)"):
        events = read_events(path, 20.0)
    assert events["trial_type"].tolist() == ["None", "NA", "face", "null", "nan", "face"]
    assert events["onset"].tolist() == [0.0, 1.0, 2.0, 3.0, 5.0, 7.0]


@pytest.mark.parametrize("cell", ["error", "0,12", "1_000", "inf", "-inf", "1e999", "None", "NA", "\u0661\u0662"])
@pytest.mark.parametrize("name", ["n.tsv", "n.csv", "n.txt"])
def test_text_in_a_nuisance_table_is_refused_by_column_and_line(tmp_path: Path, cell: str, name: str) -> None:
    separator = {"tsv": "\t", "csv": ",", "txt": " "}[name[-3:]]
    rows = [["1", "2"], ["3", f'"{cell}"' if name == "n.csv" else cell], ["5", "6"]]
    head = [] if name == "n.txt" else [["a", "b"]]
    (tmp_path / name).write_text("".join(f"{separator.join(row)}\n" for row in [*head, *rows]))
    line = 2 if name == "n.txt" else 3
    with pytest.raises(DataError, match=f"column '[b2]' must hold numbers.* in line {line}"):
        read_nuisance(tmp_path / name, 3, None)


def test_every_missing_value_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "n.tsv"
    path.write_text("a\tb\nn/a\tNaN\n1\t\n3\t5\n")
    with pytest.warns(VoxelcastWarning, match=r"3 missing values became their column's mean \(row 1, 2\)"):
        assert read_nuisance(path, 3, None).tolist() == [[2.0, 5.0], [1.0, 5.0], [3.0, 5.0]]
