"""Files of predictions, read again by the programs that will read them: ids, order, places and values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.models.build import Places, build
from voxelcast.api.prediction_files import save_predictions
from voxelcast.core.errors import VoxelcastError
from voxelcast.models.encoder import Predictions, SavedEncoder, load_encoder

IDS = ("second", "a,b", "first")
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, 20], [0, 0, 3, 5], [0, 0, 0, 1]], dtype=np.float32)
VOLUME = {"kind": "volume", "shape": [3, 4, 5], "space": "MNI152NLin2009cAsym", "has_affine": True}
INDICES = {"V1": [(2, 0, 1), (0, 0, 0), (1, 3, 4), (0, 1, 0), (2, 3, 4)], "V2": [(0, 0, 0), (1, 1, 1)]}
IN_VOLUME: Places = {
    roi: (VOLUME, {"indices": np.array(at, np.int32), "affine": AFFINE}) for roi, at in INDICES.items()
}
NOWHERE: Places = {
    roi: (VOLUME | {"has_affine": False}, {"indices": np.array(at, np.int32)}) for roi, at in INDICES.items()
}
_SURFACE = {"kind": "surface", "mesh": "small", "n_vertices": [6, 7], "has_order": True}
ON_SURFACE: Places = {
    "V1": (
        _SURFACE | {"n": [2, 2, 1]},
        {
            "left": np.array([5, 1], np.int32),
            "right": np.array([0, 6], np.int32),
            "elsewhere": np.array([9], np.int32),
            "order": np.array([0, 2, 3, 4], np.int32),  # the second voxel lies elsewhere
        },
    ),
    "V2": (
        _SURFACE | {"n": [1, 1, 0]},
        {
            "left": np.array([0], np.int32),
            "right": np.array([3], np.int32),
            "elsewhere": np.zeros(0, np.int32),
            "order": np.array([1, 0], np.int32),
        },
    ),
}


def predicted(folder: Path, places: Places | None = None) -> tuple[Predictions, SavedEncoder]:
    """Predict three stimuli, whose ids are not in order, by a model whose voxels lie at ``places``."""
    folder.mkdir(exist_ok=True)
    encoder = load_encoder(build(folder / "model", places=places))
    features = np.random.default_rng(3).standard_normal((3, 12)).astype(np.float32)
    np.savez(folder / "ready.npz", stimulus_ids=np.array(IDS), conv=features)
    return encoder.predict(folder / "ready.npz"), encoder


def responses(predictions: Predictions, roi: str) -> Any:
    return predictions.arrays["ann", roi]


def test_arrays_and_tables(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    predictions, encoder = predicted(tmp_path)
    expected = {f"ann_{roi}": responses(predictions, roi) for roi in ("V1", "V2")}

    one = encoder.of("ann", "V2").predict(tmp_path / "ready.npz")
    names = [path.name for path in save_predictions(one, tmp_path / "p.npy", encoder)]
    assert names == ["p.npy", "p_stimuli.csv"]
    np.testing.assert_array_equal(np.load(tmp_path / "p.npy"), expected["ann_V2"])
    assert pd.read_csv(tmp_path / "p_stimuli.csv")["stimulus_id"].tolist() == list(IDS)

    save_predictions(predictions, tmp_path / "p.npz", encoder)
    with np.load(tmp_path / "p.npz") as found:
        assert found["stimulus_ids"].tolist() == list(IDS)
        assert {name: found[name].tolist() for name in expected} == {k: v.tolist() for k, v in expected.items()}

    save_predictions(predictions, tmp_path / "p.h5", encoder)
    with h5py.File(tmp_path / "p.h5") as file:
        assert file["stimulus_ids"].asstr()[:].tolist() == list(IDS)
        assert dict(file["ann_V2"].attrs) == {"subject": "ann", "roi": "V2", "unit": "arbitrary"}
        for name, values in expected.items():
            np.testing.assert_array_equal(file[name], values)

    save_predictions(predictions, tmp_path / "p.csv", encoder)
    table = pd.read_csv(tmp_path / "p.csv")
    of_v1 = table[table["roi"] == "V1"].pivot(index="stimulus_id", columns="voxel", values="response")
    np.testing.assert_array_equal(of_v1.loc[list(IDS)], expected["ann_V1"])


def test_a_volume_for_each_stimulus(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    predictions, encoder = predicted(tmp_path, IN_VOLUME)
    expected = np.full((3, 4, 5, 3), np.nan, dtype=np.float32)
    for roi, at in reversed(INDICES.items()):
        for voxel, place in enumerate(at):
            expected[place] = responses(predictions, roi)[:, voxel]
    shared = np.mean([responses(predictions, "V1")[:, 1], responses(predictions, "V2")[:, 0]], axis=0)
    expected[0, 0, 0] = shared  # a voxel of both ROIs
    for name in ("p.nii", "p.nii.gz"):
        assert save_predictions(predictions, tmp_path / name, encoder) == [tmp_path / name]
        image = nibabel.load(tmp_path / name)
        np.testing.assert_array_equal(image.affine, AFFINE)
        assert int(image.header["sform_code"]) == 4  # MNI
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), expected)

    unplaced, there = predicted(tmp_path / "unplaced", NOWHERE)
    save_predictions(unplaced, tmp_path / "unplaced.nii.gz", there)
    image = nibabel.load(tmp_path / "unplaced.nii.gz")
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)  # it says that it lies nowhere
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32), expected)

    save_predictions(predictions, tmp_path / "p.dscalar.nii", encoder)
    image = nibabel.load(tmp_path / "p.dscalar.nii")
    scalars, grayordinates = (image.header.get_axis(k) for k in (0, 1))
    assert tuple(scalars.name) == IDS
    assert len(grayordinates) == 6
    np.testing.assert_array_equal(grayordinates.affine, AFFINE)
    for column, voxel in enumerate(grayordinates.voxel):
        np.testing.assert_array_equal(image.get_fdata(dtype=np.float32)[:, column], expected[tuple(voxel)])


def test_a_map_of_each_hemisphere(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel")
    predictions, encoder = predicted(tmp_path, ON_SURFACE)
    v1, v2 = (responses(predictions, roi).astype(np.float32) for roi in ("V1", "V2"))
    expected = {"L": np.full((3, 6), np.nan, np.float32), "R": np.full((3, 7), np.nan, np.float32)}
    expected["L"][:, [5, 1, 0]] = np.stack([v1[:, 0], v1[:, 2], v2[:, 1]], axis=1)
    expected["R"][:, [0, 6, 3]] = np.stack([v1[:, 3], v1[:, 4], v2[:, 0]], axis=1)
    names = [path.name for path in save_predictions(predictions, tmp_path / "p.func.gii", encoder)]
    assert names == ["p_hemi-L.func.gii", "p_hemi-R.func.gii"]
    for side, values in expected.items():
        image = nibabel.load(tmp_path / f"p_hemi-{side}.func.gii")
        assert tuple(array.meta["Name"] for array in image.darrays) == IDS
        np.testing.assert_array_equal(np.stack([array.data for array in image.darrays]), values)

    save_predictions(predictions, tmp_path / "p.dscalar.nii", encoder)
    image = nibabel.load(tmp_path / "p.dscalar.nii")
    assert tuple(image.header.get_axis(0).name) == IDS
    found = image.get_fdata(dtype=np.float32)
    models = list(image.header.get_axis(1).iter_structures())
    assert [name for name, _, _ in models] == ["CIFTI_STRUCTURE_CORTEX_LEFT", "CIFTI_STRUCTURE_CORTEX_RIGHT"]
    for (_, columns, axis), values in zip(models, expected.values(), strict=True):
        assert axis.nvertices[axis.name[0]] == values.shape[1]
        np.testing.assert_array_equal(found[:, columns], values[:, axis.vertex])
        assert np.isfinite(found[:, columns]).all()


@pytest.mark.parametrize(
    ("name", "places", "said"),
    [
        ("p.nii.gz", None, r"where the voxels of ann V1 lie is not known .* write \.npz or \.csv"),
        ("p.gii", None, r"no brain image; write \.npz or \.csv"),
        ("p.dscalar.nii", None, r"no brain image; write \.npz or \.csv"),
        ("p.nii", ON_SURFACE, r"lie on a surface; write \.gii or \.dscalar\.nii"),
        ("p.gii", IN_VOLUME, r"lie in a volume; write \.nii\.gz"),
        ("p.npy", None, r"\.npy takes one subject x ROI; got 2; choose one by --subject and --roi, or write \.npz"),
        ("p.dscalar.nii", NOWHERE, r"is not known to the model, and CIFTI cannot say so; write \.nii\.gz"),
        ("p.mat", None, r"must end in one of .*\.csv; got p\.mat"),
        ("npz", None, "must end in one of"),
        ("p.nii.gz", {"V1": IN_VOLUME["V1"]}, "where the voxels of ann V2 lie is not known"),
        (
            "p.nii.gz",
            {"V1": IN_VOLUME["V1"], "V2": ON_SURFACE["V2"]},
            "in different volumes or on different meshes",
        ),
    ],
)
def test_what_cannot_be_written_says_what_can(tmp_path: Path, name: str, places: Places | None, said: str) -> None:
    pytest.importorskip("nibabel")
    predictions, encoder = predicted(tmp_path, places)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VoxelcastError, match=said):
        save_predictions(predictions, tmp_path / name, encoder)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "there", "places"),
    [
        ("p.npy", "p_stimuli.csv", None),
        ("p.npz", "p.npz", None),
        ("p.csv", "p.csv", None),
        ("p.h5", "p.h5", None),
        ("p.nii.gz", "p.nii.gz", IN_VOLUME),
        ("p.dscalar.nii", "p.dscalar.nii", IN_VOLUME),
        ("p.gii", "p_hemi-R.func.gii", ON_SURFACE),
    ],
)
def test_nothing_is_overwritten(tmp_path: Path, name: str, there: str, places: Places | None) -> None:
    """Also where the file of that name would not be there itself, but one beside it."""
    predictions, encoder = predicted(tmp_path, places)
    if name == "p.npy":
        predictions = encoder.of("ann", "V1").predict(tmp_path / "ready.npz")
    (tmp_path / there).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(VoxelcastError, match=f"{there} is there already"):
        save_predictions(predictions, tmp_path / name, encoder)
    assert (tmp_path / there).read_text() == "mine"
    assert sorted(tmp_path.rglob("*")) == before
