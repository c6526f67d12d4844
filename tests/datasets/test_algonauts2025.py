"""Algonauts 2025: the miniature's files, read by hand and by the dataset."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, ShapeError, UnknownNameError
from voxelcast.datasets.formats import algonauts2025 as layout
from voxelcast.datasets.formats.algonauts2025 import Algonauts2025Dataset, Algonauts2025Settings
from voxelcast.datasets.inventory import take_inventory
from voxelcast.testing.miniatures.algonauts2025 import LENGTHS, SURPLUS

FRIENDS = "sub-{}_task-friends_space-MNI152NLin2009cAsym_atlas-Schaefer18_parcel-1000Par7Net_desc-s123456_bold.h5"


@pytest.fixture(scope="module")
def root(miniature: Callable[[str], Path]) -> Path:
    return miniature("algonauts2025")


def test_rows_are_the_volumes_of_the_runs_without_their_ends(root: Path) -> None:
    dataset = Algonauts2025Dataset(Algonauts2025Settings(root, subjects="sub-01", movies=["s1", "s5", "figures"]))
    runs = ["s01e01a", "s01e01b", "s01e02a", "s05e20a", "figures01"]
    assert [run.name for run in dataset.runs_of("train")] == runs
    got = dataset.responses("sub-01", "parcels")
    assert got.values.shape == (sum(LENGTHS[run] - 10 for run in runs), 2, 1000)
    with h5py.File(root / "fmri/sub-01/func" / FRIENDS.format("01")) as file:
        (key,) = [key for key in file if "s01e01b" in key]
        rows = [i for i, name in enumerate(got.stimulus_ids) if name.startswith("s01e01b/")]
        assert got.stimulus_ids[rows[0]] == "s01e01b/tr0005"
        assert (got.values[rows, 0] == file[key][5:-5]).all()
        assert np.isnan(got.values[rows, 1]).all()
    repeated = got.values[-(LENGTHS["figures01"] - 10) :]
    assert np.isfinite(repeated).all()
    assert (repeated[:, 0] != repeated[:, 1]).any()


def test_movies_are_cut_into_volumes_and_delays_reach_before_the_first(root: Path) -> None:
    dataset = Algonauts2025Dataset(Algonauts2025Settings(root, subjects="sub-01", movies="bourne"))
    first = dataset.train_stimuli[0]
    assert first.path == root / "stimuli/movies/movie10/bourne/bourne01.mkv"
    assert first.seconds == (pytest.approx(5 * 1.49), pytest.approx(6 * 1.49))
    assert [s.stimulus_id for s in dataset.context_stimuli if s.stimulus_id.startswith("bourne")][:5] == [
        f"bourne01/tr000{k}" for k in range(5)
    ]


def test_subjects_share_the_runs_that_both_have(root: Path) -> None:
    dataset = Algonauts2025Dataset(Algonauts2025Settings(root))
    names = [run.name for run in dataset.runs_of("train")]
    assert "s05e20a" not in names  # sub-02 lacks it
    assert names == ["s01e01a", "s01e01b", "s01e02a", "bourne01", "figures01"]
    assert {run.name: run.n_volumes for run in dataset.runs_of("train")} == {name: LENGTHS[name] for name in names}
    alone = Algonauts2025Dataset(Algonauts2025Settings(root, subjects="sub-02"))
    assert alone.series_runs[0].n_volumes == LENGTHS["s01e01a"] + SURPLUS


def test_held_out_runs_are_predicted_whole(root: Path) -> None:
    dataset = Algonauts2025Dataset(Algonauts2025Settings(root, subjects="sub-01"))
    assert dataset.samples == {"sub-01": {"s07e01a": LENGTHS["s07e01a"]}}
    assert [s.stimulus_id for s in dataset.test_stimuli] == [f"s07e01a/tr{k:04d}" for k in range(24)]
    assert dataset.responses("sub-01", "parcels", "test").values.shape == (24, 1, 1000)
    assert Algonauts2025Dataset(Algonauts2025Settings(root, subjects="sub-01", held_out="none")).test_stimuli == ()


def test_rois_are_parcels_by_their_number(root: Path, tmp_path: Path) -> None:
    table = tmp_path / "rois.csv"
    table.write_text("voxel,roi\n1,first\n1000,ends\n1,ends\n")
    dataset = Algonauts2025Dataset(Algonauts2025Settings(root, subjects="sub-01", roi_table=str(table)))
    whole = Algonauts2025Dataset(Algonauts2025Settings(root, subjects="sub-01")).responses("sub-01", "parcels").values
    assert dataset.rois("sub-01") == ("first", "ends")
    assert np.array_equal(dataset.responses("sub-01", "ends").values, whole[:, :, [0, 999]], equal_nan=True)
    assert table in dataset.response_files("sub-01", "ends")


def test_names_of_files_follow_the_release(tmp_path: Path) -> None:
    assert layout.movie_path(tmp_path, "s03e07b") == tmp_path / "stimuli/movies/friends/s3/friends_s03e07b.mkv"
    assert layout.movie_path(tmp_path, "wolf12") == tmp_path / "stimuli/movies/movie10/wolf/wolf12.mkv"
    assert layout.movie_path(tmp_path, "chaplin1") == tmp_path / "stimuli/movies/ood/chaplin/task-chaplin1_video.mkv"
    keys = ["ses-004_task-life01_run-2", "ses-003_task-life01_run-1", "ses-001_task-s01e02a", "other"]
    assert layout.group_keys(keys) == {
        "life01": ("ses-003_task-life01_run-1", "ses-004_task-life01_run-2"),
        "s01e02a": ("ses-001_task-s01e02a",),
    }
    real = Algonauts2025Dataset.expected_files(Algonauts2025Settings(tmp_path))
    assert sum(expected.n_bytes or 0 for expected in real) == 4 * 607_000_000


def test_refuses_what_does_not_fit(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    with pytest.raises(UnknownNameError, match="season or movie 's9' does not exist"):
        Algonauts2025Dataset(Algonauts2025Settings(copy, subjects="sub-01", movies=["s9"]))
    with pytest.raises(DataError, match="sub-01 has no run of life"):
        Algonauts2025Dataset(Algonauts2025Settings(copy, subjects="sub-01", movies=["life", "s1"]))
    friends = copy / "fmri/sub-02/func" / FRIENDS.format("02")
    with h5py.File(friends, "a") as file:
        del file["ses-001_task-s01e01a"]
    with pytest.raises(DataError, match="sub-02 lacks 1 runs that others have, first s01e01a"):
        Algonauts2025Dataset(Algonauts2025Settings(copy))
    with h5py.File(friends, "a") as file:
        file["ses-001_task-s01e01a"] = np.zeros((50, 1000))
    with pytest.raises(AlignmentError, match="sub-02 has 20 volumes more"):
        Algonauts2025Dataset(Algonauts2025Settings(copy))
    with h5py.File(friends, "a") as file:
        file["ses-009_task-s02e01a"] = np.zeros((50, 7))
    with pytest.raises(ShapeError, match="must have shape \\(n_volumes, 1000\\)"):
        Algonauts2025Dataset(Algonauts2025Settings(copy, subjects="sub-02"))
    samples = copy / "fmri/sub-01/target_sample_number/sub-01_friends-s7_fmri_samples.npy"
    np.save(samples, {"s07e01a": 0.5}, allow_pickle=True)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="a number of volumes for each run"):
        Algonauts2025Dataset(Algonauts2025Settings(copy, subjects="sub-01"))
    samples.unlink()
    with pytest.raises(MissingFileError, match="held_out=none"):
        Algonauts2025Dataset(Algonauts2025Settings(copy, subjects="sub-01"))
    layout.movie_path(copy, "bourne01").unlink()
    with pytest.raises(MissingFileError, match="movie of run bourne01 not found"):
        Algonauts2025Dataset(Algonauts2025Settings(copy, subjects="sub-01", held_out="none"))
    friends.write_bytes(b"no HDF5")
    inventory = take_inventory(Algonauts2025Dataset.expected_files(Algonauts2025Settings(copy, subjects="sub-02")))
    assert [f.state for f in inventory.findings] == ["wrong", "found", "found"]
    assert "cannot be read as HDF5" in inventory.findings[0].detail
