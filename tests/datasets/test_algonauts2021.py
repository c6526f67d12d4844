from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from tests.datasets.miniatures import N_TEST, N_TRAIN, write_challenge
from voxelcast.core.errors import (
    DataError,
    MissingFileError,
    OptionError,
    ShapeError,
    UnknownNameError,
    UnsafeFileError,
    VoxelcastError,
)
from voxelcast.datasets.formats.algonauts2021 import (
    EXPECTED_VOXELS,
    MINI_ROIS,
    SUBJECTS,
    Algonauts2021Dataset,
    Algonauts2021Settings,
)
from voxelcast.datasets.inventory import take_inventory

SIZES = {"n_train": N_TRAIN, "n_test": N_TEST}


def test_table_of_voxels_adds_up_to_the_published_totals() -> None:
    assert tuple(EXPECTED_VOXELS) == SUBJECTS
    assert sum(EXPECTED_VOXELS[subject][roi] for subject in SUBJECTS for roi in MINI_ROIS) == 29_623
    assert sum(EXPECTED_VOXELS[subject]["WB"] for subject in SUBJECTS) == 161_326
    assert EXPECTED_VOXELS["sub04"]["EBA"] == 368
    assert MINI_ROIS == ("LOC", "FFA", "STS", "EBA", "PPA", "V1", "V2", "V3", "V4")


@pytest.mark.parametrize("deep", ["", "data", "unpacked/data"])
def test_mini_track(tmp_path: Path, deep: str) -> None:
    written = write_challenge(tmp_path, deep=deep)
    dataset = Algonauts2021Dataset(
        Algonauts2021Settings(tmp_path, subjects=["sub03", "sub01"], rois=["V1", "LOC"], **SIZES)
    )
    assert dataset.subjects == ("sub01", "sub03")
    assert dataset.rois("sub01") == ("LOC", "V1")
    ids = [s.stimulus_id[:4] for s in (*dataset.train_stimuli, *dataset.test_stimuli)]
    assert ids == [f"{number:04d}" for number in range(1, 10)]
    assert len(dataset.test_stimuli) == N_TEST
    assert np.array_equal(dataset.responses("sub03", "V1").values, written["sub03", "V1"])
    assert dataset.submission_track == "mini"
    assert not dataset.has_test_responses


def test_full_track_and_voxel_mask(tmp_path: Path) -> None:
    written = write_challenge(tmp_path)
    dataset = Algonauts2021Dataset(Algonauts2021Settings(tmp_path, track="full", **SIZES))
    assert dataset.rois("sub10") == ("WB",)
    values = dataset.responses("sub10", "WB").values
    assert np.array_equal(values, written["sub10", "WB"])
    mask = dataset.voxel_mask("sub10")
    assert mask.shape == (78, 93, 71)
    assert mask.dtype == bool
    assert mask.sum() == values.shape[2]
    assert dataset.submission_track == "full"


def _responses(root: Path) -> Path:
    return root / "participants_data_v2021" / "mini_track" / "sub02" / "V3.pkl"


def _videos(root: Path) -> Path:
    return root / "AlgonautsVideos268_All_30fpsmax"


def _break(root: Path, what: str) -> None:
    if what == "no videos":
        _videos(root).rename(root / "other")
    elif what == "one video less":
        next(_videos(root).iterdir()).unlink()
    elif what == "no responses":
        (root / "participants_data_v2021").rename(root / "else")
    elif what == "no file":
        _responses(root).unlink()
    else:
        content: dict[str, object] = {
            "key": {"test": np.zeros((N_TRAIN, 3, 2))},
            "list": [1, 2],
            "no array": {"train": 3},
            "stimuli": {"train": np.zeros((N_TRAIN - 1, 3, 2))},
            "repetitions": {"train": np.zeros((N_TRAIN, 2))},
            "text": {"train": np.full((N_TRAIN, 3, 2), "x")},
            "infinite": {"train": np.full((N_TRAIN, 3, 2), np.inf)},
            "no voxel": {"train": np.zeros((N_TRAIN, 3, 0))},
            "objects": {"train": np.full((N_TRAIN, 3, 2), None)},
        }
        _responses(root).write_bytes(pickle.dumps(content[what]))


@pytest.mark.parametrize(
    ("what", "error", "words"),
    [
        ("no videos", MissingFileError, "no folder AlgonautsVideos268_All_30fpsmax"),
        ("one video less", DataError, r"must hold 9 videos \(6 train \+ 3 test\); got 8"),
        ("no responses", MissingFileError, "no folder participants_data_v2021"),
        ("no file", MissingFileError, r"subject sub02 in ROI V3 not found: expected .*sub02/V3\.pkl"),
        ("key", DataError, "must hold a dict with the key 'train'; got 'test'"),
        ("list", DataError, "must hold a dict"),
        ("no array", DataError, "'train' must be an array"),
        ("stimuli", ShapeError, r"sub02 V3 .*stimulus=6, repetition=3, voxel\); got \(5, 3, 2\)"),
        ("repetitions", ShapeError, r"got \(6, 2\)"),
        ("text", DataError, "real numbers"),
        ("infinite", DataError, "36 infinite"),
        ("no voxel", DataError, "no voxel"),
        ("objects", UnsafeFileError, "Python objects"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    tmp_path: Path, what: str, error: type[VoxelcastError], words: str
) -> None:
    write_challenge(tmp_path, full=False)
    _break(tmp_path, what)
    with pytest.raises(error, match=words) as caught:
        Algonauts2021Dataset(Algonauts2021Settings(tmp_path, **SIZES)).responses("sub02", "V3")
    assert "\n" not in str(caught.value)


def test_unknown_choices(tmp_path: Path) -> None:
    write_challenge(tmp_path)
    with pytest.raises(UnknownNameError, match="did you mean sub"):
        Algonauts2021Dataset(Algonauts2021Settings(tmp_path, subjects=["sub00"], **SIZES))
    with pytest.raises(UnknownNameError, match="ROI 'WB' does not exist on the mini track"):
        Algonauts2021Dataset(Algonauts2021Settings(tmp_path, rois=["WB"], **SIZES))
    with pytest.raises(OptionError, match="track must be one of mini, full"):
        Algonauts2021Dataset(Algonauts2021Settings(tmp_path, track="maxi", **SIZES))  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError):
        Algonauts2021Dataset(Algonauts2021Settings(tmp_path, subjects=["sub01"], **SIZES)).voxel_mask("sub02")


@pytest.mark.parametrize(("track", "roi"), [("mini", "EBA"), ("full", "WB")])
def test_a_miniature_is_read_like_the_challenge(
    miniature: Callable[[str], Path], track: Literal["mini", "full"], roi: str
) -> None:
    dataset = Algonauts2021Dataset(Algonauts2021Settings(miniature("algonauts2021"), track=track))
    assert dataset.subjects == ("sub01", "sub02")
    assert (len(dataset.train_stimuli), len(dataset.test_stimuli)) == (60, 12)
    table = dataset.submission_voxels
    assert table is not None
    train, test = (dataset.responses("sub02", roi, split) for split in ("train", "test"))
    assert train.values.shape == (60, 3, table["sub02"][roi])
    assert test.values.shape == (12, 10, table["sub02"][roi])
    assert test.stimulus_ids == tuple(stimulus.stimulus_id for stimulus in dataset.test_stimuli)
    # Half of a presentation's variance is signal: what two presentations have in common.
    presentations = test.values - test.values.mean(axis=0)
    shared = presentations[:, 0] * presentations[:, 1]
    assert 0.2 < (shared.mean() / presentations.var()) < 0.8


def test_places_of_the_whole_brain(tmp_path: Path) -> None:
    write_challenge(tmp_path)
    dataset = Algonauts2021Dataset(Algonauts2021Settings(tmp_path, track="full", **SIZES))
    places = dataset.voxel_indices("sub03", "WB")
    assert places is not None
    assert places.shape == (78, 93, 71)
    assert places.affine is None
    assert dataset.voxel_mask("sub03")[tuple(places.indices.T)].all()
    assert len(places.indices) == dataset.responses("sub03", "WB").n_voxels
    assert Algonauts2021Dataset(Algonauts2021Settings(tmp_path, **SIZES)).voxel_indices("sub03", "V1") is None


def test_expected_files_are_those_that_are_opened(miniature: Callable[[str], Path], tmp_path: Path) -> None:
    root = miniature("algonauts2021")
    expected = Algonauts2021Dataset.expected_files(Algonauts2021Settings(root, rois=["V1", "FFA"], subjects="sub02"))
    assert take_inventory(expected).complete
    dataset = Algonauts2021Dataset(Algonauts2021Settings(root, rois=["V1", "FFA"], subjects="sub02"))
    opened = {dataset.response_files("sub02", roi)[0] for roi in ("V1", "FFA")}
    assert {each.path for each in expected if each.group != "videos"} == opened
    nothing = take_inventory(Algonauts2021Dataset.expected_files(Algonauts2021Settings(tmp_path / "absent")))
    assert [finding.state for finding in nothing.findings] == ["missing"] * (1 + 90)
    # 29,623 voxels x 1000 videos x 3 repetitions x 8 bytes.
    assert nothing.missing_bytes == 29_623 * 24_000
