"""Brain maps: every value lands where its voxel is, and comes back from the files."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from click.testing import CliRunner

import voxelcast.cli.results as maps_module
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, UnknownNameError
from voxelcast.datasets.base import Dataset, VertexIndices, VoxelIndices
from voxelcast.report.brain_maps import (
    SurfaceMap,
    VolumeMap,
    choose_quantities,
    make_map,
    only_significant,
    place_map,
    read_voxels,
    write_map,
)

nibabel = pytest.importorskip("nibabel", reason="brain maps need the extra neuroimaging")

SHAPE, AFFINE = (4, 5, 6), np.diag([-2.0, 2.0, 2.0, 1.0])
PLACES: dict[str, Any] = {
    "V1": VoxelIndices(SHAPE, np.array([[3, 4, 5], [0, 0, 0], [1, 2, 3]]), AFFINE),
    "V2": VoxelIndices(SHAPE, np.array([[1, 2, 3], [2, 2, 2]]), AFFINE),
    "EBA": VertexIndices("fsaverage5", (10_242, 10_242), np.array([7, 3]), np.array([9])),
    "odd": None,
}


def _dataset(*rois: str) -> Dataset:
    return cast(
        Dataset,
        SimpleNamespace(
            kind="test", subjects=("s1",), rois=lambda subject: rois, voxel_indices=lambda subject, roi: PLACES[roi]
        ),
    )


def test_values_land_on_their_voxels_and_shared_voxels_get_the_mean() -> None:
    made = make_map(_dataset(), "s1", {"V1": np.array([0.1, np.nan, 0.3]), "V2": np.array([0.5, 0.6])})
    assert isinstance(made, VolumeMap)
    expected = np.full(SHAPE, np.nan)
    expected[3, 4, 5], expected[1, 2, 3], expected[2, 2, 2] = 0.1, 0.4, 0.6  # (1, 2, 3) is in both ROIs
    np.testing.assert_allclose(made.values, expected, rtol=1e-6)


def test_volume_files_hold_values_and_affine_and_are_the_same_bytes_again(tmp_path: Path) -> None:
    made = make_map(_dataset(), "s1", {"V1": np.array([0.1, 0.2, 0.3])})
    (path,) = write_map(tmp_path, "s1_pearson_r", made)
    assert path.name == "s1_pearson_r.nii.gz"
    image = nibabel.load(path)
    np.testing.assert_array_equal(image.affine, AFFINE)
    assert [image.get_fdata()[tuple(place)] for place in PLACES["V1"].indices] == pytest.approx([0.1, 0.2, 0.3])
    assert np.isfinite(image.get_fdata()).sum() == 3
    first = path.read_bytes()
    assert write_map(tmp_path, "s1_pearson_r", made)[0].read_bytes() == first
    assert int(image.header["sform_code"]) == 1  # a scanner's: nobody said that it is MNI's
    (said,) = write_map(tmp_path, "mni", place_map(made, None, "MNI"))
    assert int(nibabel.load(said).header["sform_code"]) == 4
    nowhere = VolumeMap(made.values, None)
    placed = place_map(nowhere, said, None)
    assert isinstance(placed, VolumeMap)
    assert placed.in_mni
    np.testing.assert_array_equal(placed.affine, AFFINE)
    assert not place_map(placed, None, "native").in_mni  # type: ignore[union-attr]
    with pytest.raises(AlignmentError, match="must have the grid"):
        place_map(VolumeMap(np.zeros((4, 5, 7)), None), said, None)


def test_only_significant_voxels_are_left() -> None:
    values = {"pearson_r": np.array([0.1, 0.2, 0.3]), "q_value": np.array([0.5, 0.04, 0.05])}
    shown = only_significant({"V1": values}, 0.05)["V1"]
    np.testing.assert_array_equal(shown["pearson_r"], [np.nan, 0.2, 0.3])
    with pytest.raises(DataError, match="V1 has no held_out_q_value"):
        only_significant({"V1": {**values, "held_out_r": np.ones(3)}}, 0.05)


def test_one_scale_for_all_subjects() -> None:
    from voxelcast.report.brain_pictures import colour_scale

    low, high = VolumeMap(np.full(SHAPE, 0.1), None), VolumeMap(np.full(SHAPE, 0.8), None)
    both = colour_scale([low, high], "pearson_r")
    assert (both.low, both.high) == (0.0, pytest.approx(0.8))
    below = VolumeMap(np.full(SHAPE, -0.5), None)
    signed = colour_scale([below, high], "pearson_r")
    assert signed.low == -signed.high == pytest.approx(-0.8)
    assert signed.colours != both.colours


def test_surface_files_are_one_per_hemisphere(tmp_path: Path) -> None:
    made = make_map(_dataset(), "s1", {"EBA": np.array([0.1, 0.2, 0.3])})
    assert isinstance(made, SurfaceMap)
    left, right = write_map(tmp_path, "s1_pearson_r", made)
    assert (left.name, right.name) == ("s1_pearson_r_hemi-L.func.gii", "s1_pearson_r_hemi-R.func.gii")
    values = [nibabel.load(path).darrays[0].data for path in (left, right)]
    assert values[0][[7, 3]] == pytest.approx([0.1, 0.2])
    assert values[1][9] == pytest.approx(0.3)
    assert [int(np.isfinite(side).sum()) for side in values] == [2, 1]


@pytest.mark.parametrize(
    ("values", "error", "message"),
    [
        ({"odd": np.ones(2)}, DataError, "is not known to this test dataset"),
        ({"V1": np.ones(4)}, AlignmentError, "s1 V1 has 4 values and 3 voxels"),
        ({"V1": np.ones(3), "EBA": np.ones(3)}, AlignmentError, "different volumes or on different meshes"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, np.ndarray], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make_map(_dataset(), "s1", values)


def test_quantities_of_an_output(tmp_path: Path) -> None:
    (tmp_path / "voxels").mkdir()
    with pytest.raises(MissingFileError, match="no values of this dataset"):
        read_voxels(tmp_path, _dataset("V1"))
    r, ceiling = np.array([0.2, 0.1, 0.3]), np.array([0.4, 0.0, 0.5])
    arrays = {"noise_ceiling_r": ceiling, "reliability": ceiling**2, "reliability_se": np.full(3, 0.01)}
    np.savez(tmp_path / "voxels" / "s1_V1.npz", pearson_r=r, q_value=np.full(3, np.nan), **arrays)
    voxels = read_voxels(tmp_path, _dataset("V1"))["s1"]
    np.testing.assert_allclose(voxels["V1"]["noise_normalised_r"], [0.5, np.nan, 0.6])
    assert choose_quantities(voxels) == ("pearson_r", "noise_ceiling_r", "noise_normalised_r")
    with pytest.raises(UnknownNameError, match="quantity 'pearson' does not exist"):
        choose_quantities(voxels, ["pearson"])


@pytest.mark.slow
@pytest.mark.parametrize(
    "made",
    [
        VolumeMap(np.where(np.arange(120).reshape(SHAPE) % 7 == 0, 0.3, np.nan), 10 * AFFINE, "MNI152"),
        VolumeMap(np.where(np.arange(120).reshape(SHAPE) % 7 == 0, 0.3, np.nan), 10 * AFFINE, "scanner"),
        VolumeMap(np.where(np.arange(120).reshape(SHAPE) % 7 == 0, 0.3, np.nan), None),
        SurfaceMap("fsaverage5", np.linspace(-1, 1, 10_242), np.full(10_242, np.nan)),
        SurfaceMap("fsaverage5", np.zeros(0), np.linspace(-1, 1, 10_242), n_elsewhere=3),
    ],
    ids=["glass", "native", "slices", "surface", "one side"],
)
def test_pictures_are_drawn_without_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made: Any) -> None:
    pytest.importorskip("nilearn", reason="pictures need the extra neuroimaging")
    from PIL import Image

    from voxelcast.report.brain_pictures import draw_map

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("a picture must not need the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    picture = Image.open(draw_map(tmp_path / "map.png", made, "s1", "pearson_r")).convert("RGB")
    colours = np.unique(np.asarray(picture).reshape(-1, 3), axis=0)
    assert (np.ptp(colours.astype(int), axis=1) > 60).any()  # something of colour is on it


@pytest.mark.slow
def test_a_map_without_values_and_another_mesh_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="pictures need the extra neuroimaging")
    from voxelcast.report.brain_pictures import draw_map

    with pytest.raises(DataError, match="no value to draw"):
        draw_map(tmp_path / "map.png", VolumeMap(np.full(SHAPE, np.nan), None), "s1", "pearson_r")
    with pytest.raises(DataError, match="a picture needs a mesh of fsaverage"):
        draw_map(tmp_path / "map.png", SurfaceMap("fsLR32k", np.ones(32), np.ones(32)), "s1", "pearson_r")


def test_the_command_names_what_is_not_on_the_maps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps_module, "open_dataset", lambda source: _dataset("V1", "V2"))
    (tmp_path / "voxels").mkdir()
    np.savez(tmp_path / "voxels" / "s1_V1.npz", pearson_r=np.array([0.1, 0.2, 0.3]))
    said = CliRunner().invoke(maps_module.maps, [str(tmp_path), "--no-pictures"])
    assert said.exit_code == 0
    assert f"not on the maps, as {tmp_path / 'voxels'} has no values of them: s1 V2\n" in said.stderr
    np.savez(tmp_path / "voxels" / "s1_V2.npz", pearson_r=np.array([0.4, 0.5]))
    assert CliRunner().invoke(maps_module.maps, [str(tmp_path), "--no-pictures"]).stderr == ""


@pytest.mark.slow
def test_a_volume_in_mni_coordinates_can_be_looked_through_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("nilearn", reason="views need the extra neuroimaging")
    from PIL import Image

    from voxelcast.report.brain_pictures import write_viewer
    from voxelcast.report.figures import picture

    monkeypatch.setattr("socket.socket.connect", None)
    values = np.full((12, 14, 12), np.nan, dtype=np.float32)
    values[4:8, 4:8, 4:8] = 0.4
    affine = np.diag([15.0, 15.0, 15.0, 1.0])
    affine[:3, 3] = -90, -126, -72
    path = write_viewer(tmp_path / "a_r.html", VolumeMap(values, affine, "MNI152"), "s1", "pearson_r")
    text = path.read_text()
    assert "s1, pearson_r" in text
    assert not re.search(r"<(?:link|script|img)\s[^>]*(?:href|src)=[\"']?https?:", text)
    with pytest.raises(DataError, match="MNI coordinates"):
        write_viewer(tmp_path / "b.html", VolumeMap(values, affine, "native"), "s1", "pearson_r")
    Image.new("RGB", (4, 4)).save(tmp_path / "a_r.png")
    assert picture(tmp_path / "a_r.png", "a map").viewer == f"{tmp_path.name}/a_r.html"
