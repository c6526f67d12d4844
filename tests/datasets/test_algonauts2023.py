"""Algonauts 2023: the miniature's files, read by hand and by the dataset."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxelcast.challenges.algonauts2023 import Algonauts2023
from voxelcast.core.errors import (
    AlignmentError,
    DataError,
    MissingFileError,
    ShapeError,
    UnknownNameError,
    UnsafeFileError,
)
from voxelcast.datasets.base import VertexIndices
from voxelcast.datasets.formats.algonauts2023 import Algonauts2023Dataset, Algonauts2023Settings
from voxelcast.datasets.inventory import take_inventory
from voxelcast.datasets.readers.pickles import load_boxed_dict
from voxelcast.testing.miniatures.algonauts2023 import N_TEST, N_TRAIN, N_VERTICES


@pytest.fixture(scope="module")
def root(miniature: Callable[[str], Path]) -> Path:
    return miniature("algonauts2023")


def test_hemispheres_are_whole_and_rows_follow_the_images(root: Path) -> None:
    dataset = Algonauts2023Dataset(Algonauts2023Settings(root, subject="subj01"))
    assert dataset.rois("subj01") == ("lh", "rh")
    names = sorted(os.listdir(root / "subj01/training_split/training_images"))
    assert [s.stimulus_id + ".png" for s in dataset.train_stimuli] == names
    assert names[0].startswith("train-0001_nsd-")
    assert len(names) == N_TRAIN
    for side, n_vertices in zip(("lh", "rh"), N_VERTICES, strict=True):
        written = np.load(root / f"subj01/training_split/training_fmri/{side}_training_fmri.npy")
        assert written.shape == (N_TRAIN, n_vertices)
        assert (dataset.responses("subj01", side).values[:, 0] == written).all()
    assert dataset.responses("subj01", "rh", "test").values.shape == (N_TEST, 3, N_VERTICES[1])


@pytest.mark.parametrize(
    ("roi", "roi_class", "areas", "sides"),
    [
        ("V1v", "prf-visualrois", ["V1v"], ["lh", "rh"]),
        ("V1", "prf-visualrois", ["V1v", "V1d"], ["lh", "rh"]),
        ("rh_V1", "prf-visualrois", ["V1v", "V1d"], ["rh"]),
        ("lh_FFA-1", "floc-faces", ["FFA-1"], ["lh"]),
        ("early", "streams", ["early"], ["lh", "rh"]),
    ],
)
def test_rois_are_those_of_the_masks(root: Path, roi: str, roi_class: str, areas: list[str], sides: list[str]) -> None:
    dataset = Algonauts2023Dataset(Algonauts2023Settings(root, subject="subj02", rois=[roi]))
    masks = root / "subj02/roi_masks"
    # NumPy's own reading of the mapping, which the dataset does not trust.
    mapping = np.load(masks / f"mapping_{roi_class}.npy", allow_pickle=True).item()
    parts, on_mesh = [], []
    for side in ("lh", "rh"):
        inside = np.zeros(N_VERTICES[side == "rh"], dtype=bool)
        whole = np.load(masks / f"{side}.{roi_class}_fsaverage_space.npy")
        for number, name in mapping.items():
            if name in areas and side in sides:
                inside |= np.load(masks / f"{side}.{roi_class}_challenge_space.npy") == number
        on_mesh.append(np.flatnonzero(np.isin(whole, [n for n, a in mapping.items() if a in areas])))
        parts.append(np.load(root / f"subj02/training_split/training_fmri/{side}_training_fmri.npy")[:, inside])
    expected = np.concatenate(parts, axis=1)
    assert expected.shape[1] > 0
    assert (dataset.responses("subj02", roi).values[:, 0] == expected).all()
    places = dataset.voxel_indices("subj02", roi)
    assert isinstance(places, VertexIndices)
    for side, got, there in zip(("lh", "rh"), (places.left, places.right), on_mesh, strict=True):
        assert (got == there).all() if side in sides else len(got) == 0


def test_every_expected_file_is_there_and_what_is_missing_is_named(root: Path, tmp_path: Path) -> None:
    inventory = take_inventory(Algonauts2023Dataset.expected_files(Algonauts2023Settings(root, subject="subj02")))
    assert inventory.complete
    assert set(inventory.groups()) == {"images", "responses", "ROI masks"}
    real = Algonauts2023Dataset.expected_files(Algonauts2023Settings(tmp_path, subject="subj08"))
    assert sum(e.count for e in real if e.group == "images") == 8779 + 395
    assert sum(e.n_bytes or 0 for e in real if e.group == "responses") == 4 * 8779 * (18981 + 20530)


def test_refuses_what_does_not_fit(root: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(root, tmp_path / "copy"))
    with pytest.raises(UnknownNameError, match="subject 'subj09' does not exist"):
        Algonauts2023Dataset(Algonauts2023Settings(copy, subject="subj09"))
    with pytest.raises(MissingFileError, match="subject subj05 not found"):
        Algonauts2023Dataset(Algonauts2023Settings(copy, subject="subj05"))
    with pytest.raises(UnknownNameError, match="ROI 'V1x' does not exist"):
        Algonauts2023Dataset(Algonauts2023Settings(copy, subject="subj01", rois=["V1x"]))
    with pytest.raises(DataError, match="subj01 has no vertex in ROI RSC"):
        Algonauts2023Dataset(Algonauts2023Settings(copy, subject="subj01", rois=["RSC"]))
    shutil.rmtree(copy / "subj01/test_split/test_fmri")
    with pytest.raises(DataError, match="no public test responses"):
        Algonauts2023Dataset(Algonauts2023Settings(copy, subject="subj01")).responses("subj01", "lh", "test")
    np.save(copy / "subj01/roi_masks/lh.streams_challenge_space.npy", np.ones(7))
    with pytest.raises(AlignmentError, match="must have the 36 vertices of the responses"):
        Algonauts2023Dataset(Algonauts2023Settings(copy, subject="subj01", rois=["early"]))
    next((copy / "subj01/training_split/training_images").iterdir()).unlink()
    with pytest.raises(ShapeError, match=r"n_images=39"):
        Algonauts2023Dataset(Algonauts2023Settings(copy, subject="subj01"))


def test_the_organisers_ceilings_are_read(root: Path, tmp_path: Path) -> None:
    copy = tmp_path / "root"
    shutil.copytree(root, copy)
    settings = Algonauts2023Settings(copy, subject="subj01", rois=["lh", "rh", "V1v"])
    files = Algonauts2023Dataset(settings).response_files("subj01", "lh")
    assert Algonauts2023Dataset(settings).published_ceiling_r2("subj01", "lh") is None
    folder = copy / "subj01/test_split/noise_ceiling"
    folder.mkdir()
    left, right = (np.random.default_rng(n).random(n) for n in N_VERTICES)
    np.save(folder / "lh_noise_ceiling.npy", left)
    dataset = Algonauts2023Dataset(settings)
    with pytest.raises(MissingFileError, match=r"rh_noise_ceiling\.npy does not exist"):
        dataset.published_ceiling_r2("subj01", "rh")
    np.save(folder / "rh_noise_ceiling.npy", right)
    np.testing.assert_array_equal(dataset.published_ceiling_r2("subj01", "rh"), right)
    of_sides = [side[np.load(copy / f"subj01/roi_masks/{name}.prf-visualrois_challenge_space.npy") == 1]
                for name, side in (("lh", left), ("rh", right))]  # fmt: skip
    np.testing.assert_array_equal(dataset.published_ceiling_r2("subj01", "V1v"), np.concatenate(of_sides))
    assert set(dataset.response_files("subj01", "lh")) - set(files) == {folder / "lh_noise_ceiling.npy"}
    predicted = {("subj01", side): dataset.responses("subj01", side, "test").mean() for side in ("lh", "rh")}
    measured = {part: values[:, None] for part, values in predicted.items()}  # averaged, as the release would have them
    score = Algonauts2023().score_on(measured, predicted, [dataset])
    np.testing.assert_array_equal(score.voxels["subj01", "lh"]["noise_ceiling_r2"], left)
    with pytest.raises(DataError, match="subj01 lh has no noise ceiling"):
        Algonauts2023().score(measured, predicted)
    for wrong, error, message in (
        (left * 100, DataError, "from 0 to 1; got .* divide percent by 100"),
        (left - 1, DataError, "from 0 to 1"),
        (left[:-1], ShapeError, r"must have shape \(n_vertices=36,\); got \(35,\)"),
    ):
        np.save(folder / "lh_noise_ceiling.npy", wrong)
        with pytest.raises(error, match=message):
            dataset.published_ceiling_r2("subj01", "lh")


class _Hostile:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch /tmp/voxelcast-was-here",)


@pytest.mark.parametrize(
    ("content", "error", "match"),
    [
        ({"a": _Hostile()}, UnsafeFileError, "not an array or a plain"),
        (_Hostile(), UnsafeFileError, "not an array or a plain"),
        ({"a": np.array([{}, 1], dtype=object)}, UnsafeFileError, "array of Python objects"),
        ([1, 2], DataError, "must hold one dict"),
        (5, DataError, "must hold one dict"),
    ],
)
def test_boxed_dicts_are_read_without_running_anything(
    tmp_path: Path, content: object, error: type[Exception], match: str
) -> None:
    box = np.empty((), dtype=object)
    box[()] = content
    np.save(tmp_path / "box.npy", box, allow_pickle=True)
    with pytest.raises(error, match=match):
        load_boxed_dict(tmp_path / "box.npy")


def test_boxed_dicts_hold_plain_values_and_arrays(tmp_path: Path) -> None:
    path = tmp_path / "box.npy"
    content = {"s07e01a": np.int64(460), 3: {"x": np.arange(6.0).reshape(2, 3).astype(np.float32)}}
    np.save(path, content, allow_pickle=True)  # type: ignore[arg-type]
    got = load_boxed_dict(path)
    assert got["s07e01a"] == 460
    assert got[3]["x"].dtype == np.float32
    assert (got[3]["x"] == content[3]["x"]).all()  # type: ignore[index]
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="whole pickle"):
        load_boxed_dict(path)
    np.save(path, np.arange(3))
    with pytest.raises(DataError, match="must hold one dict"):
        load_boxed_dict(path)
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"cannot be read as \.npy"):
        load_boxed_dict(path)
