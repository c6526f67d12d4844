"""BOLD Moments, on a miniature of all its versions, spaces and kinds of file."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from voxelcast.core.errors import (
    AlignmentError,
    DataError,
    MissingFileError,
    OptionError,
    ShapeError,
    UnknownNameError,
    VoxelcastError,
)
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS
from voxelcast.datasets.formats.bold_moments import BoldMomentsDataset
from voxelcast.datasets.formats.bold_moments_files import BoldMomentsSettings, Selection
from voxelcast.datasets.formats.bold_moments_layout import SUBJECTS, main_rois, published_voxels, roi_parts
from voxelcast.datasets.inventory import take_inventory
from voxelcast.testing.miniatures.bold_moments import N_GRAYORDINATES, N_TEST, N_TRAIN, N_VERTICES

B = Path("derivatives") / "versionB"


@pytest.fixture(scope="module")
def root(miniature: Callable[[str], Path]) -> Path:
    return miniature("bold_moments")


@pytest.fixture
def own(root: Path, tmp_path: Path) -> Path:
    """A copy that a test may break: one subject's files of version B."""
    for part in ("stimuli_metadata", "versionB"):
        shutil.copytree(root / "derivatives" / part, tmp_path / "derivatives" / part)
    shutil.copy(root / "miniature.json", tmp_path)
    return tmp_path


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        return pickle.load(file)


def _roi_path(root: Path, name: str) -> Path:
    return root / B / "MNI152" / "prepared_allvoxel_pkl" / "sub-01" / f"sub-01_roi-{name}_betas_normalized.pkl"


def _whole_path(root: Path, part: str, template: str = "MNI152", side: str = "") -> Path:
    name = f"sub-01_organized_betas_task-{part}{side}_normalized.pkl"
    return root / B / template / "GLM" / "sub-01" / "prepared_betas" / name


def test_published_numbers_of_voxels() -> None:
    """Against what the dataset's own notebooks print."""
    b, a = published_voxels("B"), published_voxels("A")
    assert b["sub-01"]["lEBA"] + b["sub-01"]["rEBA"] == 324
    assert b["sub-05"]["rV1v"] == 170
    assert b["sub-01"]["WB"] == 108_219
    assert len(b["sub-01"]) == 2 * 23 + 2
    assert (a["sub-01"]["V1v"], a["sub-10"]["STS"], a["sub-07"]["RSC"]) == (320, 527, 0)
    assert (a["sub-01"]["WB"], a["sub-10"]["WB"]) == (98_273, 100_666)
    assert len(a["sub-01"]) == 23


def test_names_of_rois() -> None:
    parts = roi_parts("B", "MNI152")
    assert parts["V1"] == ("lV1v", "rV1v", "lV1d", "rV1d")
    assert parts["V4"] == ("lhV4", "rhV4")
    assert parts["EBA"] == ("lEBA", "rEBA")
    assert parts["V1d"] == ("lV1d", "rV1d")
    assert parts["rMT"] == ("rMT",)
    assert roi_parts("A", "MNI152")["V3"] == ("V3v", "V3d")
    assert "MT" not in roi_parts("A", "MNI152")
    for version in ("A", "B"):
        whole = [part for roi in main_rois(version, "MNI152") for part in roi_parts(version, "MNI152")[roi]]  # type: ignore[arg-type]
        assert len(whole) == len(set(whole)) == (22 if version == "A" else 46)


def test_rois_that_a_subject_lacks_are_left_out(tmp_path: Path) -> None:
    selection = Selection(BoldMomentsSettings(tmp_path, version="A", rois=["TOS", "V1"]))
    assert selection.subjects == SUBJECTS
    assert selection.rois_of("sub-06") == ("V1",)
    assert selection.rois_of("sub-01") == ("V1", "TOS")


def test_roi_files_of_version_b(root: Path) -> None:
    dataset = BoldMomentsDataset(BoldMomentsSettings(root, subjects=["sub-01"], rois=["V1", "challenge", "BMDgeneral"]))
    assert set(dataset.rois("sub-01")) == {*MINI_ROIS, "BMDgeneral"}
    for split, key in (("train", "train_data_allvoxel"), ("test", "test_data_allvoxel")):
        parts = [_load(_roi_path(root, name))[key] for name in ("lV1v", "rV1v", "lV1d", "rV1d")]
        got = dataset.responses("sub-01", "V1", split)  # type: ignore[arg-type]
        assert np.array_equal(got.values, np.concatenate(parts, axis=2))
    assert got.values.shape == (N_TEST, 10, 12)
    assert got.stimulus_ids == tuple(f"{number:04d}" for number in range(1001, 1001 + N_TEST))
    assert [s.stimulus_id for s in dataset.train_stimuli] == [f"{number:04d}" for number in range(1, 1 + N_TRAIN)]
    assert len(dataset.response_files("sub-01", "V1")) == 4


def test_whole_brain_holds_the_same_voxels_as_the_roi_files(root: Path) -> None:
    names = ["V1", "LOC", "rMT", "BMDgeneral", "WB"]
    files, whole = (
        BoldMomentsDataset(BoldMomentsSettings(root, rois=names, files=files)) for files in ("roi", "whole_brain")
    )  # type: ignore[arg-type]
    for roi in names:
        for split in ("train", "test"):
            ours, theirs = (d.responses("sub-02", roi, split).values for d in (whole, files))  # type: ignore[arg-type]
            assert np.array_equal(ours, theirs)
    assert np.array_equal(whole.responses("sub-01", "WB").values, _load(_whole_path(root, "train"))[0])


def test_voxels_lie_where_the_mask_says(root: Path) -> None:
    dataset = BoldMomentsDataset(BoldMomentsSettings(root, rois=["WB", "V1", "lEBA"]))
    image = nibabel.load(root / B / "MNI152" / "GLM" / "mask" / "sub-01_mask-nonans_space-MNI152.nii")
    mask = dataset.voxel_mask("sub-01")
    assert np.array_equal(mask, image.get_fdata() == 1)
    whole = dataset.responses("sub-01", "WB", "test").values
    volume = np.full((*mask.shape, *whole.shape[:2]), np.nan)
    volume[mask] = whole.transpose(2, 0, 1)
    for roi in ("WB", "V1", "lEBA"):
        where = dataset.voxel_indices("sub-01", roi)
        assert where is not None
        assert where.shape == mask.shape
        assert np.array_equal(where.affine, image.affine)
        got = dataset.responses("sub-01", roi, "test").values
        assert np.array_equal(volume[tuple(where.indices.T)].transpose(1, 2, 0), got)


def test_mask_inside_the_pickle_stands_in_for_its_file(own: Path) -> None:
    dataset = BoldMomentsDataset(BoldMomentsSettings(own, subjects="sub-01", files="whole_brain", rois=["V1", "WB"]))
    before = dataset.voxel_mask("sub-01"), dataset.responses("sub-01", "V1").values
    (own / B / "MNI152" / "GLM" / "mask" / "sub-01_mask-nonans_space-MNI152.nii").unlink()
    assert np.array_equal(dataset.voxel_mask("sub-01"), before[0])
    assert np.array_equal(dataset.responses("sub-01", "V1").values, before[1])


def test_grayordinates(root: Path) -> None:
    dataset = BoldMomentsDataset(
        BoldMomentsSettings(root, template="fsLR32k", rois=["left", "right", "subcortex", "WB"])
    )
    whole = _load(_whole_path(root, "test", "fsLR32k"))[0]
    sizes = [dataset.responses("sub-01", roi, "test").n_voxels for roi in ("left", "right", "subcortex")]
    assert tuple(sizes) == N_GRAYORDINATES
    parts = [dataset.responses("sub-01", roi, "test").values for roi in ("left", "right", "subcortex")]
    assert np.array_equal(np.concatenate(parts, axis=2), whole)
    assert np.array_equal(dataset.responses("sub-01", "WB", "test").values, whole)
    assert BoldMomentsDataset(BoldMomentsSettings(root, template="fsLR32k")).rois("sub-01") == ("WB",)


def test_fsaverage(root: Path) -> None:
    dataset = BoldMomentsDataset(BoldMomentsSettings(root, template="fsaverage", rois=["right", "WB"]))
    left, right = (_load(_whole_path(root, "train", "fsaverage", f"_hemi-{side}"))[0] for side in ("left", "right"))
    assert right.shape[2] == N_VERTICES
    assert np.array_equal(dataset.responses("sub-01", "right").values, right)
    assert np.array_equal(dataset.responses("sub-01", "WB").values, np.concatenate([left, right], axis=2))
    assert dataset.submission_track is None
    assert dataset.voxel_indices("sub-01", "WB") is None


@pytest.mark.parametrize(
    ("settings", "folder", "name"),
    [
        ({}, "prepared_allvoxel_pkl/TRavg56789", "V2d_TRavg-56789_allvoxel"),
        ({"tr": 3, "voxels": "reliable"}, "prepared_reliable_pkl/TR3", "V2d_TRavg3_reliable"),
    ],
)
def test_version_a(root: Path, settings: dict[str, Any], folder: str, name: str) -> None:
    dataset = BoldMomentsDataset(BoldMomentsSettings(root, version="A", rois=["V2", "V2d"], **settings))
    path = root / "derivatives" / "versionA" / "MNI152" / "prepared_data" / folder / "sub-02" / f"{name}.pkl"
    assert np.array_equal(dataset.responses("sub-02", "V2d").values, _load(path)["train_data_allvoxel"])
    assert dataset.response_files("sub-02", "V2")[1] == path
    with pytest.raises(OptionError, match="version B in MNI152"):
        dataset.voxel_mask("sub-01")


def test_submissions_can_be_made_of_the_challenges_rois(root: Path) -> None:
    dataset = BoldMomentsDataset(BoldMomentsSettings(root, rois="challenge"))
    assert dataset.submission_track == "mini"
    assert dataset.submission_voxels["sub-02"]["V1"] == 12
    assert dataset.submission_voxels["sub-02"]["EBA"] == 6
    assert BoldMomentsDataset(BoldMomentsSettings(root, rois="WB")).submission_track == "full"
    assert BoldMomentsDataset(BoldMomentsSettings(root)).submission_track is None


def test_metadata(root: Path) -> None:
    metadata = BoldMomentsDataset(BoldMomentsSettings(root, rois="V1")).metadata()
    assert len(metadata) == N_TRAIN + N_TEST
    assert metadata["1001"]["set"] == "test"
    assert metadata["0001"]["bmd_matrixfilename"] == "vid0001"


def _break(root: Path, what: str) -> None:
    roi, whole = _roi_path(root, "rV1d"), _whole_path(root, "test")
    betas, names, mask = _load(whole)
    content = _load(roi)
    if what == "no video":
        (root / "derivatives" / "stimuli_metadata" / "mp4_h264" / "1003.mp4").unlink()
    elif what == "no file":
        roi.unlink()
    elif what == "no key":
        roi.write_bytes(pickle.dumps({"train": 1}))
    elif what == "stimuli":
        roi.write_bytes(pickle.dumps(content | {"train_data_allvoxel": content["train_data_allvoxel"][:-1]}))
    elif what == "infinite":
        roi.write_bytes(pickle.dumps(content | {"train_data_allvoxel": content["train_data_allvoxel"] * np.inf}))
    elif what == "other videos":
        whole.write_bytes(pickle.dumps((betas, [*names[1:], names[0]], mask)))
    elif what == "not a tuple":
        whole.write_bytes(pickle.dumps(betas))
    elif what == "other mask":
        whole.write_bytes(pickle.dumps((betas[..., 1:], names, mask)))
    elif what == "no mask":
        whole.write_bytes(pickle.dumps((betas, names)))
        (root / B / "MNI152" / "GLM" / "mask" / "sub-01_mask-nonans_space-MNI152.nii").unlink()
    elif what == "outside":
        places, *rest = _load(path := root / B / "MNI152" / "GLM" / "sub-01" / "ROIs" / "ROI-lV1v_indices.pkl")
        taken = mask.get_fdata() == 1
        path.write_bytes(pickle.dumps((np.argwhere(~taken)[: len(places)], *rest)))


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("no video", DataError, r"1 of 72 are missing, first 1003\.mp4"),
        ("no file", MissingFileError, "subject sub-01 in ROI V1 not found"),
        ("no key", DataError, "must hold a dict with the key 'train_data_allvoxel'; got 'train'"),
        ("stimuli", ShapeError, r"stimulus=60, repetition=3, voxel\); got \(59, 3, 3\)"),
        ("infinite", DataError, "infinite"),
        ("other videos", AlignmentError, "same ids, other order: at place 0 '1002' against '1001'"),
        ("not a tuple", DataError, "must hold a tuple"),
        ("other mask", DataError, "holds 157 voxels, but its mask 158"),
        ("no mask", DataError, "holds no mask"),
        ("outside", DataError, "3 voxels of sub-01 V1 lie outside the mask"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(own: Path, what: str, error: type[VoxelcastError], words: str) -> None:
    _break(own, what)
    files = "whole_brain" if what in ("other videos", "not a tuple", "other mask", "no mask", "outside") else "roi"
    with pytest.raises(error, match=words) as caught:
        dataset = BoldMomentsDataset(BoldMomentsSettings(own, subjects="sub-01", rois="V1", files=files))  # type: ignore[arg-type]
        dataset.responses("sub-01", "V1", "test" if files == "whole_brain" else "train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"version": "C"}, OptionError, "version must be one of A, B"),
        ({"version": "A", "template": "fsaverage"}, OptionError, "version A has a file per ROI in MNI152 alone"),
        ({"version": "A", "files": "whole_brain"}, OptionError, "version A has a file per ROI"),
        ({"tr": 3}, OptionError, "settings of version A"),
        ({"version": "A", "tr": 10}, OptionError, "tr must be at most 9"),
        ({"template": "fsLR32k", "files": "roi"}, OptionError, "set files: whole_brain"),
        ({"rois": "V1x"}, UnknownNameError, "ROI 'V1x' does not exist in version B, MNI152; did you mean"),
        ({"version": "A", "rois": ["lV1v"]}, UnknownNameError, "did you mean V1v"),
        ({"template": "fsaverage", "rois": "challenge"}, UnknownNameError, "'challenge' does not exist"),
        ({"subjects": ["sub01"]}, UnknownNameError, "did you mean sub-01"),
        ({"rois": []}, OptionError, "rois must be all, a name or a list of names"),
    ],
)
def test_choices_that_do_not_exist(
    root: Path, settings: dict[str, Any], error: type[VoxelcastError], words: str
) -> None:
    with pytest.raises(error, match=words):
        BoldMomentsDataset(BoldMomentsSettings(root, **settings))


@pytest.mark.parametrize(
    "settings", [{}, {"files": "whole_brain"}, {"version": "A", "tr": 1}, {"template": "fsaverage"}]
)
def test_expected_files_are_those_that_are_opened(root: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    expected = BoldMomentsDataset.expected_files(BoldMomentsSettings(root, **settings))
    assert take_inventory(expected).complete
    dataset = BoldMomentsDataset(BoldMomentsSettings(root, **settings))
    opened = {p for s in dataset.subjects for roi in dataset.rois(s) for p in dataset.response_files(s, roi)}
    assert {each.path for each in expected if each.group.startswith("responses")} == opened
    assert not take_inventory(BoldMomentsDataset.expected_files(BoldMomentsSettings(tmp_path, **settings))).complete


def test_videos_may_lie_elsewhere(own: Path) -> None:
    (own / "derivatives" / "stimuli_metadata" / "mp4_h264").rename(own / "mp4_h264")
    assert take_inventory(BoldMomentsDataset.expected_files(BoldMomentsSettings(own, subjects="sub-01"))).complete
    assert (
        BoldMomentsDataset(BoldMomentsSettings(own, subjects="sub-01")).train_stimuli[0].path
        == own / "mp4_h264" / "0001.mp4"
    )
