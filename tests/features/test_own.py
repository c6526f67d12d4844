"""Features of the user's own: every form of file gives the same, joined by ids, and what is wrong is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxelcast.core.errors import AlignmentError, DataError, OptionError, ShapeError, VoxelcastError
from voxelcast.features.own import FeatureFile, Timeline, read_features

IDS = ("b", "a", "d", "c")  # in the order in which they are asked for
KNOWN = ("a", "x", "c", "b", "d")  # in the order of the files, with one more
VALUES = np.random.default_rng(0).standard_normal((5, 3))
WANTED = VALUES[[3, 0, 4, 2]]
SERIES = Timeline(
    2.0, {"one": 3, "two": 2}, {f"{run}/{k}": (run, k) for run, n in (("one", 3), ("two", 2)) for k in range(n)}
)
VOLUMES = tuple(SERIES.series)


def write_npy(folder: Path) -> Path:
    np.save(folder / "f.npy", VALUES)
    (folder / "f_ids.txt").write_text("\n".join(KNOWN))
    return folder / "f.npy"


def write_extracted(folder: Path) -> Path:
    np.save(folder / "f.npy", VALUES)
    rows = [f"{name},3,{reason}" for name, reason in (*((one, "") for one in KNOWN), ("broken", "cut off"))]
    (folder / "stimuli.csv").write_text("\n".join(["stimulus_id,n_frames,broken", *rows]))
    return folder / "f.npy"


def write_npz(folder: Path) -> Path:
    np.savez(folder / "f.npz", features=VALUES, stimulus_id=np.array(KNOWN))
    return folder / "f.npz"


def write_h5(folder: Path) -> Path:
    with h5py.File(folder / "f.h5", "w") as file:
        file["features"], file["stimulus_id"] = VALUES, [one.encode() for one in KNOWN]
    return folder / "f.h5"


def write_csv(folder: Path) -> Path:
    rows = [",".join([name, *map(repr, row.tolist())]) for name, row in zip(KNOWN, VALUES, strict=True)]
    (folder / "f.csv").write_text("\n".join(["stimulus_id,p,q,r", *rows]))
    return folder / "f.csv"


def write_parquet(folder: Path) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"stimulus_id": list(KNOWN)} | {name: VALUES[:, k].tolist() for k, name in enumerate("pqr")}
    parquet.write_table(pyarrow.table(columns), folder / "f.parquet")
    return folder / "f.parquet"


@pytest.mark.parametrize("write", [write_npy, write_extracted, write_npz, write_h5, write_csv, write_parquet])
def test_every_form_is_joined_by_id(write: Callable[[Path], Path], tmp_path: Path) -> None:
    found = read_features(FeatureFile(str(write(tmp_path))), "f", IDS, None)
    np.testing.assert_array_equal(found, WANTED)


def test_columns_are_chosen_in_order(tmp_path: Path) -> None:
    found = read_features(FeatureFile(str(write_csv(tmp_path)), columns=("r", "p")), "f", IDS, None)
    np.testing.assert_array_equal(found, WANTED[:, [2, 0]])


def test_one_column_may_be_a_vector_in_sorted_order(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.arange(4))
    found = read_features(FeatureFile(str(tmp_path / "f.npy"), ids="sorted"), "f", IDS, None)
    assert found.tolist() == [[1.0], [0.0], [3.0], [2.0]]


def broken_npy(array: np.ndarray) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        np.save(folder / "f.npy", array)
        (folder / "f_ids.txt").write_text("\n".join(KNOWN))
        return folder / "f.npy"

    return write


def broken_csv(text: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / "f.csv").write_text(text)
        return folder / "f.csv"

    return write


def without_ids(folder: Path) -> Path:
    np.save(folder / "f.npy", VALUES)
    return folder / "f.npy"


HOLE = np.where(np.arange(15).reshape(5, 3) == 4, np.nan, VALUES)


@pytest.mark.parametrize(
    ("write", "error", "said"),
    [
        (without_ids, AlignmentError, "put f_ids.txt beside it"),
        (broken_npy(VALUES[:4]), ShapeError, "must have 5 rows, one per id; got 4"),
        (broken_npy(VALUES[None]), ShapeError, r"\(n_stimuli, n_features\); got \(1, 5, 3\)"),
        (broken_npy(np.array(list("abcde"))), DataError, "must hold numbers; got <U1"),
        (broken_npy(np.full((5, 3), np.inf)), DataError, "got 12 of 12 values .* first of b in column 1"),
        (broken_csv("stimulus_id,p\na,1\nb,2\nc,3\n"), AlignmentError, "no row for 1 of 4 stimuli, first 'd'"),
        (broken_csv("stimulus_id,p\na,1\nb,2\nc,3\nd,4\na,1\n"), AlignmentError, "got 'a' several times"),
        (broken_csv("stimulus_id,p\na,1\nb,much\n"), DataError, "column 'p' must hold numbers.* 'much' in line 3"),
        (broken_csv("stimulus_id,p,q\na,1,2\nb,1,\nc,1,2\nd,1,2\n"), DataError, "first of b in column q"),
        (broken_csv("name,p\na,1\n"), DataError, "must have the columns stimulus_id; got name, p"),
        (broken_csv("stimulus_id\na\nb\nc\nd\n"), DataError, "no column of features"),
        (broken_csv("onset,duration\n0,1\n"), OptionError, "this dataset has none"),
    ],
)
def test_what_is_wrong_is_said(
    write: Callable[[Path], Path], error: type[VoxelcastError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said):
        read_features(FeatureFile(str(write(tmp_path))), "f", IDS, None)


def test_a_hole_in_a_row_that_is_not_used_is_none(tmp_path: Path) -> None:
    found = read_features(FeatureFile(str(broken_npy(HOLE)(tmp_path))), "f", IDS, None)
    np.testing.assert_array_equal(found, WANTED)


def test_events_of_each_run_in_one_table_or_in_several(tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("run,onset,duration,p\none,1,2,4\ntwo,0,2,6\n")
    found = read_features(FeatureFile(str(tmp_path / "all.csv")), "f", VOLUMES, SERIES)
    assert found.ravel().tolist() == [2.0, 2.0, 0.0, 6.0, 0.0]
    (tmp_path / "one.tsv").write_text("onset\tduration\tp\n11\t2\t4\n")
    (tmp_path / "two.tsv").write_text("onset\tduration\tp\n10\t2\t6\n")
    several = FeatureFile(str(tmp_path / "{run}.tsv"), start=-10.0)
    np.testing.assert_array_equal(read_features(several, "f", VOLUMES, SERIES), found)


def test_samples_of_each_run(tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", np.arange(12.0))
    np.save(tmp_path / "two.npy", np.arange(8.0))
    found = read_features(FeatureFile(str(tmp_path / "{run}.npy"), rate=2.0), "f", VOLUMES, SERIES)
    assert found.ravel().tolist() == [1.5, 5.5, 9.5, 1.5, 5.5]
    with pytest.raises(OptionError, match="needs rate"):
        read_features(FeatureFile(str(tmp_path / "{run}.npy")), "f", VOLUMES, SERIES)


def test_volumes_may_have_rows_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "f.csv").write_text("\n".join(["stimulus_id,p", *(f"{one},{k}" for k, one in enumerate(VOLUMES))]))
    found = read_features(FeatureFile(str(tmp_path / "f.csv")), "f", VOLUMES[::-1], SERIES)
    assert found.ravel().tolist() == [4.0, 3.0, 2.0, 1.0, 0.0]


@pytest.mark.parametrize(
    "wrong", [{"file": "f.pkl"}, {"file": "f.npy", "columns": ("a",)}, {"file": "f.csv", "ids": "sorted"}]
)
def test_settings_that_do_not_go_together(wrong: dict[str, object]) -> None:
    with pytest.raises(OptionError):
        FeatureFile(**wrong)  # type: ignore[arg-type]


def test_events_with_many_features_are_summed_averaged_or_the_last(tmp_path: Path) -> None:
    """As of words: two in the first volume, one that lasts into the second."""
    values = np.array([[1.0, 10.0], [3.0, 30.0], [5.0, 50.0]])
    times = {"onset": np.array([0.0, 1.0, 1.5]), "duration": np.array([0.5, 0.0, 1.0])}
    for run in SERIES.lengths:
        np.savez(tmp_path / f"{run}.npz", features=values, **times)
    wanted = {"sum": [1 * 0.25 + 3 + 5 * 0.25, 5 * 0.25], "last": [5.0, 0.0]}
    wanted["mean"] = [wanted["sum"][0] / 1.5, 5.0]
    for combine, numbers in wanted.items():
        source = FeatureFile(str(tmp_path / "{run}.npz"), combine=combine)  # type: ignore[arg-type]
        found = read_features(source, "f", VOLUMES, SERIES)
        np.testing.assert_allclose(found[:2, 0], numbers)
        np.testing.assert_allclose(found[:, 1], 10 * found[:, 0])
