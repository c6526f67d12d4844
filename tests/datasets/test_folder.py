from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from tests.datasets.miniatures import make_folder, write_images
from voxelcast.core.errors import (
    AlignmentError,
    DataError,
    MissingFileError,
    OptionError,
    ShapeError,
    UnknownNameError,
    UnsafeFileError,
    VoxelcastError,
)
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.folder_settings import FolderSettings

IDS = ("c", "a", "d", "b")
VALUES = np.random.default_rng(0).standard_normal((4, 2, 3))  # (stimulus, repetition, voxel)
VALUES[2, 1] = np.nan
ORDER = [1, 3, 0, 2]  # rows of VALUES for stimuli a, b, c, d


def _root(tmp_path: Path) -> Path:
    write_images(tmp_path / "stimuli", IDS)
    (tmp_path / "responses").mkdir()
    return tmp_path


def _write(path: Path, values: np.ndarray, ids: bool = True) -> None:
    extra: dict[str, Any] = {"stimulus_id": np.array(IDS)} if ids else {}
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, responses=values, **extra)
    elif path.suffix == ".h5":
        with h5py.File(path, "w") as file:
            file["responses"] = values
            if ids:
                file["stimulus_id"] = list(IDS)
    elif path.suffix == ".mat":
        scipy.io.savemat(
            path, {"responses": values, **{k: v.astype(object) for k, v in extra.items()}}, do_compression=True
        )
    else:
        lines = ["stimulus_id,repetition,x,y,z"]
        for i, stimulus_id in enumerate(IDS):
            for t in range(values.shape[1]):
                if np.isfinite(values[i, t]).all():
                    lines.append(f"{stimulus_id},{t + 1}," + ",".join(repr(float(v)) for v in values[i, t]))
        path.write_text("\n".join(lines))


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5", ".csv", ".mat"])
def test_every_format_gives_the_same_rows_by_id(tmp_path: Path, suffix: str) -> None:
    root = _root(tmp_path)
    _write(root / "responses" / f"ann{suffix}", VALUES)
    if suffix == ".npy":
        (root / "responses" / "ann_stimuli.txt").write_text("\n".join(IDS) + "\n")
    dataset = FolderDataset(FolderSettings(root, axes=["stimulus", "repetition", "voxel"], unit="z"))
    got = dataset.responses("ann", "all")
    assert got.stimulus_ids == ("a", "b", "c", "d")
    assert np.array_equal(got.values, VALUES[ORDER], equal_nan=True)
    assert got.unit == "z"
    assert dataset.test_stimuli == ()
    assert not dataset.has_test_responses
    assert dataset.groups is None


@pytest.mark.parametrize(
    "axes",
    [
        ("stimulus", "repetition", "voxel"),
        ("voxel", "stimulus", "repetition"),
        ("repetition", "voxel", "stimulus"),
        ("voxel", "repetition", "stimulus"),
        ("stimulus", "voxel"),
        ("voxel", "stimulus"),
    ],
)
def test_axes_in_any_order(tmp_path: Path, axes: tuple[str, ...]) -> None:
    root = _root(tmp_path)
    dims = ("stimulus", "repetition", "voxel") if len(axes) == 3 else ("stimulus", "voxel")
    values = VALUES if len(axes) == 3 else VALUES[:, 0]
    _write(root / "responses" / "ann.npy", values.transpose([dims.index(axis) for axis in axes]))
    (root / "stimulus_ids.txt").write_text("\n".join(IDS))
    got = FolderDataset(FolderSettings(root, axes=axes)).responses("ann", "all").values
    assert np.array_equal(got, VALUES[ORDER] if len(axes) == 3 else VALUES[ORDER, :1], equal_nan=True)


def test_rois_split_and_groups(tmp_path: Path) -> None:
    dataset = FolderDataset(make_folder(tmp_path))
    written = np.load(tmp_path / "responses" / "bob.npy")
    assert dataset.subjects == ("ann", "bob")
    assert dataset.rois("bob") == ("V1", "V4")
    assert [s.stimulus_id for s in dataset.train_stimuli] == ["img1", "img3", "img4"]
    # Rows were written in the order img3, img1, img2, img5, img4.
    assert np.array_equal(dataset.responses("bob", "V1").values[:, 0], written[[1, 0, 4]][:, [0, 2]])
    assert np.array_equal(dataset.responses("bob", "V4", "test").values[:, 0], written[[2, 3]][:, [2, 3]])
    assert dataset.groups == {"img3": "g0", "img1": "g0", "img2": "g1", "img5": "g1", "img4": "g2"}
    chosen = FolderDataset(FolderSettings(tmp_path, subjects=["bob"], rois=["V4"]))
    assert (chosen.subjects, chosen.rois("bob")) == (("bob",), ("V4",))
    names = {path.name for path in chosen.response_files("bob", "V4")}
    assert names == {"bob.npy", "stimulus_ids.txt", "rois.csv", "split.csv"}


def test_rois_by_column_name_and_per_subject(tmp_path: Path) -> None:
    root = _root(tmp_path)
    for subject in ("ann", "bob"):
        _write(root / "responses" / f"{subject}.csv", VALUES)
    (root / "areas.csv").write_text("subject,voxel,roi\nann,z,V1\nann,x,V1\nbob,y,V2\n")
    dataset = FolderDataset(FolderSettings(root, roi_table="areas.csv"))
    assert (dataset.rois("ann"), dataset.rois("bob")) == (("V1",), ("V2",))
    assert np.array_equal(dataset.responses("ann", "V1").values, VALUES[ORDER][:, :, [0, 2]], equal_nan=True)
    with pytest.raises(UnknownNameError, match="ROI 'V2'"):
        dataset.responses("ann", "V2")


def test_test_stimuli_may_lack_responses(tmp_path: Path) -> None:
    root = _root(tmp_path)
    np.save(root / "responses" / "ann.npy", VALUES[:3, 0])
    (root / "stimulus_ids.txt").write_text("\n".join(IDS[:3]))
    with pytest.raises(AlignmentError, match="no responses to 1 of 4 training stimuli, first 'b'"):
        FolderDataset(FolderSettings(root))
    (root / "split.csv").write_text("stimulus_id,split\na,train\nb,test\nc,train\nd,train\n")
    dataset = FolderDataset(FolderSettings(root))
    assert [s.stimulus_id for s in dataset.test_stimuli] == ["b"]
    assert not dataset.has_test_responses
    assert dataset.responses("ann", "all").stimulus_ids == ("a", "c", "d")


def _good(tmp_path: Path) -> Path:
    root = _root(tmp_path)
    np.save(root / "responses" / "ann.npy", VALUES[:, 0])
    (root / "stimulus_ids.txt").write_text("\n".join(IDS))
    return root


@pytest.mark.parametrize(
    ("file", "content", "error", "words"),
    [
        ("stimulus_ids.txt", None, AlignmentError, "stimulus_ids.txt .* 'stimulus_id' in .* say stimulus_ids: sorted"),
        ("stimulus_ids.txt", "a\nb\nc", ShapeError, r"must have 3 on its stimulus axis.*got shape \(4, 3\) with axes"),
        ("stimulus_ids.txt", "a\nb\nc\nc", AlignmentError, "'c' more than once"),
        ("stimulus_ids.txt", "a\nb\nc\nd.png", AlignmentError, "1 stimuli that are not there, first 'd.png'"),
        ("stimulus_ids.txt", "\n", DataError, "one stimulus id per line"),
        ("rois.csv", "voxel,area\n0,V1\n", DataError, "must have the columns voxel, roi; got voxel, area"),
        ("rois.csv", "voxel,roi\n3,V1\n", DataError, "0 to 2; got '3' in ROI V1|0 to 2; got '3' in ROI 'V1'"),
        ("rois.csv", "voxel,roi\n0,../V1\n", UnsafeFileError, "leads outside"),
        ("rois.csv", "subject,voxel,roi\nbob,0,V1\n", DataError, "voxels of subject ann; got none"),
        ("rois.csv", "", DataError, "cannot be read as a CSV"),
        ("split.csv", "stimulus_id,split\na,train\n", AlignmentError, "3 not in the table, first 'b'"),
        ("split.csv", "stimulus_id,split\na,train\nb,val\nc,test\nd,test\n", DataError, "got 'val' for 'b'"),
        ("split.csv", "stimulus_id,split\na,train\na,train\n", AlignmentError, "'a' more than once"),
        (
            "groups.csv",
            "stimulus_id,group\na,1\nb,1\nc,1\nd,1\ne,1\n",
            AlignmentError,
            "not among the stimuli, first 'e'",
        ),
        ("responses/ann.csv", "stimulus_id,x\na,1\n", AlignmentError, r"got ann\.csv, ann\.npy"),
        ("responses/ann.npy", "no array", DataError, "cannot be read as .npy"),
        ("responses/bob.csv", "id,x\na,1\n", DataError, "first column stimulus_id"),
        ("responses/bob.csv", "stimulus_id,x\na,one\n", DataError, "must hold numbers"),
        ("responses/bob.csv", "stimulus_id,x\na,1\na,2\n", AlignmentError, "'a' more than once .*'repetition'"),
        ("responses/bob.npz", "no archive", DataError, "cannot be read as .npz"),
        ("responses/bob.h5", "no file", DataError, "cannot be read as .h5"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    tmp_path: Path, file: str, content: str | None, error: type[VoxelcastError], words: str
) -> None:
    root = _good(tmp_path)
    FolderDataset(FolderSettings(root))
    if content is None:
        (root / file).unlink()
    else:
        (root / file).write_text(content)
    with pytest.raises(error, match=words) as caught:
        FolderDataset(FolderSettings(root))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"axes": ["voxel", "stimulus"]}, ShapeError, r"got shape \(4, 3\) with axes \[voxel, stimulus\]"),
        ({"axes": ["stimulus", "repetition", "voxel"]}, ShapeError, r"got shape \(4, 3\)"),
        ({"axes": ["stimulus"]}, OptionError, "axes must name stimulus and voxel"),
        ({"axes": ["stimulus", "neuron"]}, OptionError, "axes must be one of"),
        ({"subjects": ["bob"]}, UnknownNameError, "subject 'bob'"),
        ({"subjects": []}, OptionError, "subjects must be all, a name"),
        ({"rois": ["V1"]}, UnknownNameError, "ROI 'V1'"),
        ({"stimuli": "absent.zip"}, MissingFileError, "absent.zip does not exist"),
        ({"responses": {"ann": "absent.npy"}}, MissingFileError, "absent.npy does not exist"),
        ({"responses": {"ann": "ann.txt"}}, OptionError, "suffix of the responses"),
        ({"responses": {"../ann": "x.npy"}}, UnsafeFileError, "leads outside"),
        ({"roi_table": "absent.csv"}, MissingFileError, "absent.csv does not exist"),
        ({"stimulus_ids": "absent.txt"}, MissingFileError, "absent.txt does not exist"),
    ],
)
def test_settings_that_do_not_fit(
    tmp_path: Path, options: dict[str, Any], error: type[VoxelcastError], words: str
) -> None:
    root = _good(tmp_path)
    with pytest.raises(error, match=words):
        FolderDataset(FolderSettings(root, **options))


def test_arrays_of_objects_and_infinite_values(tmp_path: Path) -> None:
    root = _good(tmp_path)
    np.save(root / "responses" / "ann.npy", np.where(np.arange(12).reshape(4, 3) == 5, np.inf, 1.0))
    with pytest.raises(DataError, match="1 infinite"):
        FolderDataset(FolderSettings(root)).responses("ann", "all")
    np.save(root / "responses" / "ann.npy", np.full((4, 3), None), allow_pickle=True)
    with pytest.raises(UnsafeFileError, match="Python objects"):
        FolderDataset(FolderSettings(root))


def test_ids_in_the_file_and_beside_it_are_refused(tmp_path: Path) -> None:
    root = _root(tmp_path)
    _write(root / "responses" / "ann.npz", VALUES[:, 0])
    assert FolderDataset(FolderSettings(root)).responses("ann", "all").n_voxels == 3
    with pytest.raises(AlignmentError, match="ids of its own"):
        FolderDataset(FolderSettings(root, stimulus_ids="sorted"))


def test_real_session_with_few_settings(real_data: Path) -> None:
    dataset = FolderDataset(
        FolderSettings(
            real_data / "v4_macaque",
            stimuli="images_201025.zip",
            responses={"PE201025": "responses_avg_201025.npy"},
            axes=["voxel", "stimulus"],
            stimulus_ids="sorted",
        )
    )
    got = dataset.responses("PE201025", "all")
    assert got.values.shape == (1200, 1, 89)
    assert (got.stimulus_ids[0], got.stimulus_ids[-1]) == ("image0001", "image1200")
    assert np.array_equal(got.values[:, 0].T, np.load(real_data / "v4_macaque" / "responses_avg_201025.npy"))


def test_real_repetitions_average_to_the_published_means(real_data: Path) -> None:
    dataset = FolderDataset(
        FolderSettings(
            real_data / "v4_macaque",
            stimuli="images_210325.zip",
            responses={"210325": "responses_raw_210325.npy"},
            axes=["voxel", "stimulus", "repetition"],
            stimulus_ids="sorted",
        )
    )
    got = dataset.responses("210325", "all")
    assert got.values.shape == (640, 10, 50)
    assert np.isnan(got.values).any()
    assert np.allclose(got.mean().T, np.load(real_data / "v4_macaque" / "responses_avg_210325.npy"))
