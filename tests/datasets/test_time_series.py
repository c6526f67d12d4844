"""Time series of the user's own, against the files written and against nilearn."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.datasets.series_files import N_VOLUMES, RUNS, SETTINGS, SHAPE, write_series
from voxelcast.core.errors import (
    AlignmentError,
    DataError,
    MissingFileError,
    OptionError,
    ShapeError,
    UnknownNameError,
    VoxelcastError,
)
from voxelcast.datasets.time_series import TimeSeriesDataset, TimeSeriesSettings
from voxelcast.datasets.time_series_files import find_runs


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("series")
    write_series(folder)
    return folder


def test_runs_come_in_natural_order_and_are_groups(root: Path) -> None:
    dataset = TimeSeriesDataset(TimeSeriesSettings(root, **SETTINGS, drop_first=3, drop_last=2, test_runs=["run2"]))
    assert dataset.subjects == ("ann", "bob")
    assert [run.name for run in dataset.series_runs] == list(RUNS)
    assert dataset.train_stimuli[0].stimulus_id == "run1/tr0003"
    assert len(dataset.train_stimuli) == 2 * (N_VOLUMES - 5)
    assert {dataset.groups[s.stimulus_id] for s in dataset.test_stimuli} == {"run2"}
    assert [s.stimulus_id for s in dataset.context_stimuli[:5]] == [
        "run1/tr0000", "run1/tr0001", "run1/tr0002", "run1/tr0038", "run1/tr0039",
    ]  # fmt: skip


def test_signal_is_cleaned_as_nilearn_does(root: Path) -> None:
    signal = pytest.importorskip("nilearn.signal")
    dataset = TimeSeriesDataset(TimeSeriesSettings(root, **{**SETTINGS, "drift": "polynomial(1)"}))
    atlas = np.asarray(nib.load(root / "atlas.nii").dataobj) == 2
    for run, part in zip(RUNS, np.split(dataset.responses("bob", "four").values[:, 0], 3), strict=True):
        raw = nib.load(root / "bob" / f"bob_{run}_bold.nii").get_fdata()[atlas].T
        motion = np.loadtxt(root / "bob" / f"{run}_motion.txt")
        line = np.linspace(-1, 1, N_VOLUMES)[:, None]
        expected = signal.clean(
            raw, detrend=False, standardize=None, confounds=np.hstack([line, motion]), standardize_confounds=True
        )
        expected = (expected - expected.mean(axis=0)) / expected.std(axis=0)
        np.testing.assert_allclose(part, expected, atol=1e-6)


def test_dropped_volumes_change_neither_cleaning_nor_features(root: Path) -> None:
    settings = {**SETTINGS, "standardise": False}
    whole = TimeSeriesDataset(TimeSeriesSettings(root, **settings))
    dropped = TimeSeriesDataset(TimeSeriesSettings(root, **settings, drop_first=4, test_runs=["run1"]))
    rows = [i for i, s in enumerate(whole.train_stimuli) if whole.series[s.stimulus_id][1] >= 4]
    named = {whole.train_stimuli[i].stimulus_id: i for i in rows}
    values = whole.responses("ann", "all_voxels").values
    for split, stimuli in (("train", dropped.train_stimuli), ("test", dropped.test_stimuli)):
        expected = values[[named[s.stimulus_id] for s in stimuli]]
        got = dropped.responses("ann", "all_voxels", split).values  # type: ignore[arg-type]
        np.testing.assert_array_equal(got, expected)
    order = [s.stimulus_id for s in (*dropped.train_stimuli, *dropped.test_stimuli, *dropped.context_stimuli)]
    place = {s.stimulus_id: i for i, s in enumerate(whole.train_stimuli)}
    for table in dropped.feature_tables:
        assert (dropped.features(table) == whole.features(table)[[place[i] for i in order]]).all()
    onoff = whole.features("conditions").sum(axis=1, keepdims=True)
    assert (whole.features("onoff") == onoff).all()
    assert onoff.sum() == 24


def test_arrays_and_movies_do_too(root: Path, tmp_path: Path) -> None:
    for run in RUNS:
        np.save(tmp_path / f"bold_{run}.npy", np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32))
        (tmp_path / f"{run}.mp4").touch()
    np.save(tmp_path / "mask.npy", np.array([0, 1, 1, 0]))
    dataset = TimeSeriesDataset(
        TimeSeriesSettings(tmp_path, bold="bold_{run}.npy", tr=1.0, movies="{run}.mp4", masks={"two": "mask.npy"})
    )
    assert dataset.subjects == ("subject",)
    assert dataset.responses("subject", "two").values.shape == (27, 1, 2)
    assert dataset.can_be_shown
    assert dataset.feature_tables == ()
    with pytest.raises(UnknownNameError, match="feature table 'conditions' does not exist"):
        dataset.features("conditions")


def _copy(root: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(root, tmp_path / "copy"))


def test_refuses_what_does_not_fit(root: Path, tmp_path: Path) -> None:
    def expect(error: type[VoxelcastError], match: str, folder: Path = root, **settings: object) -> None:
        with pytest.raises(error, match=match):
            TimeSeriesDataset(TimeSeriesSettings(folder, **{**SETTINGS, **settings}))

    expect(MissingFileError, "no file in .* fits", bold="{subject}_{run}.nii")
    expect(OptionError, r"bold must have the field \{run\}", bold="{subject}/bold.nii")
    expect(OptionError, r"may have the fields .*; got \{task\}", events="{task}_{run}.tsv")
    expect(OptionError, "needs events or movies", events=None)
    expect(OptionError, "tr must be", tr=0)
    expect(DataError, "more than the 20 \\+ 20 volumes that are dropped", drop_first=20, drop_last=20)
    expect(DataError, "no run is left for training", test_runs=RUNS)
    expect(UnknownNameError, "run 'run3' does not exist", test_runs=["run3"])
    expect(UnknownNameError, "ROI 'V1' does not exist", rois=["V1"])
    expect(DataError, "no voxel of label 9", masks={"x": "atlas.nii[9]"})
    expect(MissingFileError, "mask not found", masks={"x": "none.nii"})
    expect(MissingFileError, "nuisance not found", nuisance="{run}_nothing.txt")
    copy = _copy(root, tmp_path)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.diag([3.0, 3, 3, 1])), copy / "small.nii")
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([2.0, 3, 3, 1])), copy / "moved.nii")
    expect(ShapeError, r"must have the grid \(3, 4, 2\)", copy, masks={"x": "small.nii"})
    expect(AlignmentError, "must have the same affine", copy, masks={"x": "moved.nii"})
    (copy / "bob" / "bob_run2_bold.nii").unlink()
    expect(DataError, "bob lacks run2", copy)
    for run in RUNS:
        for subject in ("ann", "bob"):
            shutil.copy(copy / f"{run}_events.tsv", copy / subject / f"{run}_events.tsv")
    (copy / "bob" / "run1_events.tsv").write_text("onset\tduration\ttrial_type\n2\t2\tface\n")
    expect(
        AlignmentError,
        "events of run run1 differ between ann and bob",
        copy,
        events="{subject}/{run}_events.tsv",
        runs=["run1", "run10"],
    )


def test_a_field_means_the_same_wherever_it_comes_again(tmp_path: Path) -> None:
    for name in ("s1/s1_run-2.npy", "s1/s1_run-10.npy", "s1/s2_run-3.npy", "s2/s2_run-1.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_runs(tmp_path, "{subject}/{subject}_run-{run}.npy") == {"s1": ("2", "10"), "s2": ("1",)}
