"""Time series of the user's own, against the files written and against nilearn."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
    VoxelcastWarning,
)
from voxelcast.datasets.patterns import find_file, find_runs, sidecar_tr
from voxelcast.datasets.readers import brain_images, shared_reading
from voxelcast.datasets.registry import open_dataset
from voxelcast.datasets.time_series import TimeSeriesDataset, TimeSeriesSettings
from voxelcast.stimuli.encode import write_video


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
    expect(OptionError, r"events must have the field \{run\}, or \{session\}", events="{subject}.tsv")
    expect(OptionError, "ROIs come from masks or from columns", columns=["a"])
    expect(ShapeError, "columns must name the 24 columns", masks=None, columns=["a"])
    expect(OptionError, r"may have the fields .*; got \{task\}", events="{task}_{run}.tsv")
    expect(OptionError, r"events may have the fields that bold has; got \{session\}", events="{session}_{run}.tsv")
    expect(OptionError, "bold must be relative to root", bold="/data/{subject}/{subject}_{run}_bold.nii")
    expect(OptionError, r"but not \*\*", bold="**/{subject}_{run}_bold.nii", nuisance="{run}")
    expect(OptionError, "tr must be", tr=0)
    expect(OptionError, "needs tr, in seconds, or hz; got tr 2.0 and hz 0.5", hz=0.5)
    expect(DataError, "more than the 20 \\+ 20 volumes that are dropped", drop_first=20, drop_last=20)
    expect(DataError, "no run is left for training", test_runs=RUNS)
    expect(UnknownNameError, "run 'run3' does not exist", test_runs=["run3"])
    expect(UnknownNameError, "ROI 'V1' does not exist", rois=["V1"])
    expect(DataError, "no voxel of label 9", masks={"x": "atlas.nii[9]"})
    expect(MissingFileError, "mask not found", masks={"x": "none.nii"})
    expect(
        MissingFileError,
        "nuisance not found: 3 of 3 files do not exist: .*run1_nothing.txt, .*run2_nothing.txt, .*run10_nothing.txt",
        nuisance="{run}_nothing.txt",
    )
    copy = _copy(root, tmp_path)
    nib.save(nib.Nifti1Image(np.ones((2, 2, 2), np.uint8), np.diag([3.0, 3, 3, 1])), copy / "small.nii")
    nib.save(nib.Nifti1Image(np.ones(SHAPE, np.uint8), np.diag([2.0, 3, 3, 1])), copy / "moved.nii")
    expect(ShapeError, "grid 2 x 2 x 2 against 3 x 4 x 2", copy, masks={"x": "small.nii"})
    expect(AlignmentError, "affine differs, by which voxels lie up to 2 mm elsewhere", copy, masks={"x": "moved.nii"})
    (copy / "bob" / "bob_run2_bold.nii").unlink()
    expect(DataError, "bob lacks run2", copy)
    for run in RUNS:
        for subject in ("ann", "bob"):
            shutil.copy(copy / f"{run}_events.tsv", copy / subject / f"{run}_events.tsv")
    (copy / "bob" / "run1_events.tsv").write_text("onset\tduration\ttrial_type\n2\t2\tface\n")
    expect(
        AlignmentError,
        "events of run run1 must be the same for all subjects",
        copy,
        events="{subject}/{run}_events.tsv",
        runs=["run1", "run10"],
    )


def test_a_field_means_the_same_wherever_it_comes_again(tmp_path: Path) -> None:
    for name in ("s1/s1_run-2.npy", "s1/s1_run-10.npy", "s1/s2_run-3.npy", "s2/s2_run-1.npy"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_runs(tmp_path, "{subject}/{subject}_run-{run}.npy")
    assert {subject: tuple(runs) for subject, runs in found.items()} == {"s1": ("2", "10"), "s2": ("1",)}


def _touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_sessions_and_any_parts_of_names(tmp_path: Path) -> None:
    names = [f"sub-1/ses-{s}/func/sub-1_ses-{s}_task-x_run-{r}_bold.nii.gz" for s in ("10", "9") for r in (1, 2)]
    _touch(tmp_path, *names, "sub-1/ses-9/func/sub-1_ses-9_task-rest_run-1_bold.nii.gz")
    pattern = "{subject}/{session}/func/{subject}_{session}_task-x_{run}_bold.nii.gz"
    (found,) = find_runs(tmp_path, pattern).values()
    assert list(found) == ["ses-9_run-1", "ses-9_run-2", "ses-10_run-1", "ses-10_run-2"]
    assert found["ses-10_run-2"].path == tmp_path / names[1]
    (found,) = find_runs(tmp_path, "{subject}/{session}/*/*task-x_{run}_*.nii.gz").values()
    assert [run.path for run in found.values()] == [tmp_path / name for name in (*names[2:], *names[:2])]
    with pytest.raises(AlignmentError, match=r"one file of run ses-9_run-1; got .*task-rest.* and .*task-x"):
        find_runs(tmp_path, "{subject}/{session}/func/*_{run}_bold.nii.gz")
    (found,) = find_runs(tmp_path, "sub-1/{session}/func/sub-1_*_task-x_run-2_bold.nii.gz").values()
    assert list(found) == ["ses-9", "ses-10"]  # a session with one run is a run


def test_names_with_signs_of_patterns_are_plain_names(tmp_path: Path) -> None:
    _touch(tmp_path, "a[1]/run-1.npy", "a1/run-1.npy", "a[1]/run-1_x.tsv", "a1/run-1_y.tsv")
    assert list(find_runs(tmp_path, "a[1]/{run}.npy")["subject"]) == ["run-1"]
    found = find_runs(tmp_path, "{subject}/{run}.npy")
    run = found["a[1]"]["run-1"]
    assert find_file(tmp_path, "events", "{subject}/{run}_*.tsv", run) == tmp_path / "a[1]" / "run-1_x.tsv"
    _touch(tmp_path, "a[1]/run-1_z.tsv")
    with pytest.raises(AlignmentError, match="events must fit one file of run run-1"):
        find_file(tmp_path, "events", "{subject}/{run}_*.tsv", run)


def test_both_hemispheres_are_one_run_and_a_folder_is_none(tmp_path: Path) -> None:
    _touch(tmp_path, *(f"sub-1_{run}_hemi-{side}_bold.func.gii" for run in ("a", "b") for side in "LR"))
    (found,) = find_runs(tmp_path, "{subject}_{run}_hemi-{hemi}_bold.func.gii").values()
    assert [run.path.name for run in found.values()] == [f"sub-1_{run}_hemi-{{hemi}}_bold.func.gii" for run in "ab"]
    (tmp_path / "sub-1_c_hemi-L_bold.func.gii").mkdir()
    with pytest.raises(DataError, match=r"sub-1_c_hemi-L_bold.func.gii must be a file"):
        find_runs(tmp_path, "{subject}_{run}_hemi-{hemi}_bold.func.gii")


def _damage_run2(root: Path, kind: str, change: Callable[[np.ndarray], None]) -> dict[str, Any]:
    """Write two runs of 8 voxels in one format, the second changed; (n_volumes, n_voxels) is what is changed."""
    names = {"nii": "nii.gz", "cifti": "dtseries.nii", "gifti": "func.gii", "npy": "npy"}
    for number, run in enumerate(("run1", "run2")):
        rows = np.random.default_rng(number).normal(100, 5, (20, 8)).astype(np.float32)
        if run == "run2":
            change(rows)
        path = root / f"{run}.{names[kind]}"
        if kind == "nii":
            nib.save(nib.Nifti1Image(rows.T.reshape(2, 2, 2, 20), np.eye(4)), path)
        elif kind == "cifti":
            models = nib.cifti2.BrainModelAxis.from_mask(np.ones(8), name="thalamus_left")
            nib.save(nib.Cifti2Image(rows, (nib.cifti2.SeriesAxis(0, 2, 20), models)), path)
        elif kind == "gifti":
            nib.save(nib.gifti.GiftiImage(darrays=[nib.gifti.GiftiDataArray(row) for row in rows]), path)
        else:
            np.save(path, rows)
        (root / f"{run}.tsv").write_text("onset\tduration\ttrial_type\n4\t2\tface\n20\t4\thouse\n")
    return {"bold": f"{{run}}.{names[kind]}", "tr": 2.0, "events": "{run}.tsv", "drift": "polynomial(1)"}


@pytest.mark.parametrize("standardise", [True, False])
@pytest.mark.parametrize("kind", ["nii", "cifti", "gifti", "npy"])
def test_nan_and_constant_runs_reach_the_check_of_voxels(kind: str, standardise: bool, tmp_path: Path) -> None:
    def change(rows: np.ndarray) -> None:
        rows[7, 3] = np.nan
        rows[:, 5] = 41.5
        rows[:, 6] = 0

    settings = _damage_run2(tmp_path, kind, change)
    dataset = TimeSeriesDataset(TimeSeriesSettings(tmp_path, **settings, standardise=standardise))
    got = dataset.responses("subject", "all")
    first, second = np.split(got.values[:, 0], 2)
    assert np.isfinite(first).all()
    assert np.isnan(second[:, [3, 5, 6]]).all()
    assert np.isfinite(np.delete(second, [3, 5, 6], axis=1)).all()
    assert got.faults == dict.fromkeys((5, 6), "constant in 1 of 2 runs, first run2")


def test_a_tr_that_header_or_sidecar_contradict_is_said(tmp_path: Path) -> None:
    def notes(tr: float = 2.0) -> str:
        return "\n".join(TimeSeriesDataset(TimeSeriesSettings(tmp_path, **{**settings, "tr": tr})).notes())

    settings = _damage_run2(tmp_path, "nii", lambda rows: None)
    image = nib.load(tmp_path / "run1.nii.gz")
    rows, said = np.asarray(image.dataobj), {}
    for zoom, unit in ((1.5, "sec"), (1500, "msec"), (1.5e6, "usec"), (1500, "unknown"), (2000, "sec"), (0, "sec")):
        changed = nib.Nifti1Image(rows, np.eye(4))
        changed.header["pixdim"][4] = zoom
        changed.header.set_xyzt_units("mm", unit)
        for run in ("run1", "run2"):
            nib.save(changed, tmp_path / f"{run}.nii.gz")
        said[zoom, unit] = notes(), notes(1.5)
    for zoom in ((1.5, "sec"), (1500, "msec"), (1.5e6, "usec"), (1500, "unknown")):
        shown = "1500" if zoom[1] == "unknown" else "1.5"
        assert f"tr is 2 s in the settings and {shown} s in " in said[zoom][0]
        assert "(2 of 2 headers and sidecars differ)" in said[zoom][0]
        assert said[zoom][1] == ""
    assert "2000 s in" in said[2000, "sec"][0]
    assert said[0, "sec"] == ("", "")
    (tmp_path / "run1.json").write_text('{"RepetitionTime": 0.8}')
    assert re.search(
        r"tr is 2 s in the settings and 0.8 s in .*run1.json \(1 of 1 headers and sidecars differ", notes()
    )
    with pytest.warns(VoxelcastWarning, match=r"0.8 s in .*run1.json"):
        open_dataset("time_series", tmp_path, **settings)
    (tmp_path / "run1.json").write_text("not json")
    assert notes() == ""


def test_sidecars_are_inherited_as_in_bids(tmp_path: Path) -> None:
    bold = tmp_path / "sub-1" / "func" / "sub-1_task-x_run-1_bold.nii.gz"
    _touch(tmp_path, str(bold.relative_to(tmp_path)))
    assert sidecar_tr(bold, tmp_path) is None
    for name, seconds in (
        ("task-y_bold.json", 9),
        ("task-x_bold.json", 3),
        ("sub-1/sub-1_task-x_bold.json", 2),
        ("sub-1/func/sub-1_task-x_run-2_bold.json", 8),
        ("sub-1/func/sub-1_task-x_run-1_bold.json", 1),
    ):
        (tmp_path / name).write_text(json.dumps({"RepetitionTime": seconds}))
        expected = seconds if seconds < 8 else {9: None, 8: 2}[seconds]
        found = sidecar_tr(bold, tmp_path)
        assert (None if found is None else found[0]) == expected


def test_series_steps_of_cifti_are_compared_too(tmp_path: Path) -> None:
    settings = _damage_run2(tmp_path, "cifti", lambda rows: None)
    assert TimeSeriesDataset(TimeSeriesSettings(tmp_path, **settings)).notes() == ()
    (note,) = TimeSeriesDataset(TimeSeriesSettings(tmp_path, **{**settings, "tr": 2.5})).notes()
    assert "tr is 2.5 s in the settings and 2 s in" in note


def test_a_movie_that_ends_before_its_run_is_said(tmp_path: Path) -> None:
    for run, n_frames in (("run1", 40), ("run2", 100)):
        write_video(tmp_path / f"{run}.mp4", np.zeros((n_frames, 32, 32, 3), np.uint8), 10)
        np.save(tmp_path / f"{run}.npy", np.random.default_rng(0).standard_normal((10, 3)))
    settings = {"bold": "{run}.npy", "movies": "{run}.mp4", "tr": 1.0}
    (note,) = TimeSeriesDataset(TimeSeriesSettings(tmp_path, **settings)).notes()
    assert re.search(r"run1.mp4 lasts 4 s and run run1 10 s: check tr", note)
    assert TimeSeriesDataset(TimeSeriesSettings(tmp_path, **settings, drop_last=5)).notes() == ()
    assert TimeSeriesDataset(TimeSeriesSettings(tmp_path, **settings, runs=["run2"])).notes() == ()


def test_a_subject_s_files_are_inflated_once_for_all_rois(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _damage_run2(tmp_path, "nii", lambda rows: None)
    for voxel in range(8):
        np.save(tmp_path / f"v{voxel}.npy", np.arange(8) == voxel)
    masks = {f"v{voxel}": f"v{voxel}.npy" for voxel in range(8)}
    dataset = TimeSeriesDataset(TimeSeriesSettings(tmp_path, **settings, masks=masks))
    opened: list[Path] = []
    plain = brain_images._opened
    monkeypatch.setattr(brain_images, "_opened", lambda path: opened.append(path) or plain(path))
    one_by_one = [dataset.responses("subject", roi).values for roi in masks]
    assert sorted(path.name for path in opened) == ["run1.nii.gz", "run2.nii.gz"]
    together = TimeSeriesDataset(TimeSeriesSettings(tmp_path, **settings)).responses("subject", "all").values
    np.testing.assert_allclose(np.concatenate(one_by_one, axis=2), together, atol=1e-12)
    # Where not all fit into memory, as many as do are read at a time.
    monkeypatch.setattr(shared_reading, "MOST_KEPT", 2 * 20 * 4 * 3)
    opened.clear()
    again = [dataset.responses("subject", roi).values for roi in masks]
    np.testing.assert_array_equal(np.concatenate(again, axis=2), np.concatenate(one_by_one, axis=2))
    assert sorted(path.name for path in opened) == ["run1.nii.gz"] * 3 + ["run2.nii.gz"] * 3
