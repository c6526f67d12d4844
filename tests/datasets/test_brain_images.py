"""NIfTI, CIFTI and GIFTI against nibabel's own reading, and a folder of betas in each."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.datasets.miniatures import write_images
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, OptionError, ShapeError
from voxelcast.datasets.base import VertexIndices, VoxelIndices
from voxelcast.datasets.folder import FolderDataset
from voxelcast.datasets.folder_settings import FolderSettings
from voxelcast.datasets.readers.brain_images import open_image

IDS = ("c", "a", "d", "b", "a")
SHAPE = (4, 3, 2)
AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, 5], [0, 0, 3, 1], [0, 0, 0, 1]])
RNG = np.random.default_rng(0)
VOLUMES = RNG.standard_normal((*SHAPE, len(IDS))).astype(np.float32)
ROWS = VOLUMES.reshape(-1, len(IDS)).T  # (n_maps, n_voxels)
ATLAS = np.arange(24).reshape(SHAPE) % 4


def _axis(n: int) -> nib.cifti2.BrainModelAxis:
    return nib.cifti2.BrainModelAxis.from_mask(np.ones(n, dtype=bool), name="cortex_left")


def _gifti(path: Path, maps: np.ndarray) -> None:
    arrays = [nib.gifti.GiftiDataArray(row.astype(np.float32)) for row in np.atleast_2d(maps)]
    nib.save(nib.gifti.GiftiImage(darrays=arrays), path)


def _write(folder: Path, kind: str) -> tuple[str, dict[str, str]]:
    """Write the responses in one format with masks; return their names."""
    flat = ATLAS.ravel()
    if kind in ("nii", "nii.gz"):
        image = nib.Nifti1Image(VOLUMES, AFFINE)
        nib.save(image, folder / f"betas.{kind}")
        nib.save(nib.Nifti1Image(ATLAS.astype(np.int16), AFFINE), folder / "atlas.nii.gz")
        nib.save(nib.Nifti1Image((ATLAS == 2).astype(np.float32), AFFINE), folder / "mask.nii")
        return f"betas.{kind}", {"two": "mask.nii", "odd": "atlas.nii.gz[1, 3]"}
    if kind == "dscalar.nii":
        scalars = nib.cifti2.ScalarAxis([f"beta {k}" for k in range(len(IDS))])
        nib.save(nib.Cifti2Image(ROWS, (scalars, _axis(24))), folder / "betas.dscalar.nii")
        one = nib.cifti2.ScalarAxis(["atlas"])
        nib.save(nib.Cifti2Image(flat[None].astype(np.float32), (one, _axis(24))), folder / "atlas.dscalar.nii")
        return "betas.dscalar.nii", {"two": "atlas.dscalar.nii[2]", "odd": "atlas.dscalar.nii[1,3]"}
    for side, part in (("lh", slice(0, 10)), ("rh", slice(10, 24))):
        _gifti(folder / f"{side}.betas.func.gii", ROWS[:, part])
        _gifti(folder / f"{side}.atlas.shape.gii", flat[part])
    return "{hemi}.betas.func.gii", {"two": "{hemi}.atlas.shape.gii[2]", "odd": "{hemi}.atlas.shape.gii[1,3]"}


@pytest.mark.parametrize("kind", ["nii", "nii.gz", "dscalar.nii", "func.gii"])
def test_a_folder_of_betas_gives_the_voxels_of_the_masks(tmp_path: Path, kind: str) -> None:
    write_images(tmp_path / "stimuli", sorted(set(IDS)))
    (tmp_path / "stimulus_ids.txt").write_text("\n".join(IDS))
    name, masks = _write(tmp_path, kind)
    dataset = FolderDataset(FolderSettings(tmp_path, responses={"ann": name}, masks=masks))
    assert dataset.rois("ann") == ("two", "odd")
    for roi, labels in (("two", [2]), ("odd", [1, 3])):
        got = dataset.responses("ann", roi)
        assert got.stimulus_ids == ("a", "b", "c", "d")
        inside = np.isin(ATLAS.ravel(), labels)
        assert (got.values[:, 0] == ROWS[[1, 3, 0, 2]][:, inside]).all()
        assert (got.values[0, 1] == ROWS[4, inside]).all()  # the second presentation of a
        assert np.isnan(got.values[1:, 1]).all()
        files = dataset.response_files("ann", roi)
        assert all(path.is_file() for path in files)
        assert len(files) == {"nii": 4, "nii.gz": 4, "dscalar.nii": 3, "func.gii": 5}[kind]
    places = dataset.voxel_indices("ann", "two")
    if kind.startswith("nii"):
        assert isinstance(places, VoxelIndices)
        assert (places.indices == np.argwhere(ATLAS == 2)).all()
        assert np.allclose(places.affine, AFFINE)  # type: ignore[arg-type]
    else:
        assert isinstance(places, VertexIndices)
        assert places.n_voxels == (ATLAS == 2).sum()


def test_scaled_integers_are_unscaled_and_found_without_being_named(tmp_path: Path) -> None:
    write_images(tmp_path / "stimuli", sorted(set(IDS)))
    (tmp_path / "stimulus_ids.txt").write_text("\n".join(IDS))
    (tmp_path / "responses").mkdir()
    image = nib.Nifti1Image((VOLUMES * 1000).astype(np.int16), AFFINE)
    image.header.set_slope_inter(0.001, 2.0)
    nib.save(image, tmp_path / "responses" / "bob.nii.gz")
    dataset = FolderDataset(FolderSettings(tmp_path))
    assert dataset.subjects == ("bob",)
    expected = nib.load(tmp_path / "responses" / "bob.nii.gz").get_fdata().reshape(-1, len(IDS)).T
    np.testing.assert_allclose(dataset.responses("bob", "all").values[2, 0], expected[0], rtol=1e-6)


def test_time_series_of_surfaces_and_grayordinates_are_read(tmp_path: Path) -> None:
    series = nib.cifti2.SeriesAxis(0, 1.5, len(IDS))
    nib.save(nib.Cifti2Image(ROWS, (series, _axis(24))), tmp_path / "run1.dtseries.nii")
    image = open_image(tmp_path / "run1.dtseries.nii")
    assert (image.n_maps, image.n_voxels) == (5, 24)
    assert (image.read(np.array([3, 0, 23])) == ROWS[:, [3, 0, 23]]).all()
    _write(tmp_path, "func.gii")
    both = open_image(tmp_path / "{hemi}.betas.func.gii")
    assert (both.read(np.array([11, 2, 9, 23])) == ROWS[:, [11, 2, 9, 23]]).all()


def test_refuses_what_does_not_fit(tmp_path: Path) -> None:
    write_images(tmp_path / "stimuli", sorted(set(IDS)))
    (tmp_path / "stimulus_ids.txt").write_text("\n".join(IDS[:4]))
    name, masks = _write(tmp_path, "nii")
    with pytest.raises(ShapeError, match="must have 4 maps, one per stimulus id; got 5"):
        FolderDataset(FolderSettings(tmp_path, responses={"ann": name}, masks=masks))
    (tmp_path / "stimulus_ids.txt").write_text("\n".join(IDS))
    (tmp_path / "rois.csv").write_text("voxel,roi\n0,V1\n")
    with pytest.raises(OptionError, match="ROIs come from masks or from a table"):
        FolderDataset(FolderSettings(tmp_path, responses={"ann": name}, masks=masks))
    assert FolderDataset(FolderSettings(tmp_path, responses={"ann": name})).rois("ann") == ("V1",)
    (tmp_path / "rois.csv").unlink()
    with pytest.raises(MissingFileError, match="surface files not found"):
        FolderDataset(FolderSettings(tmp_path, responses={"ann": "{hemi}.other.func.gii"}))
    nib.save(nib.Nifti1Image(VOLUMES[..., 0], AFFINE), tmp_path / "three.nii")
    with pytest.raises(DataError, match=r"must be a 4-D image .*; got shape \(4, 3, 2\)"):
        open_image(tmp_path / "three.nii")
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as a brain image"):
        open_image(tmp_path / "broken.nii")
    _gifti(tmp_path / "lh.few.func.gii", ROWS[:2])
    _gifti(tmp_path / "rh.few.func.gii", ROWS[:3])
    with pytest.raises(AlignmentError, match="must hold the same maps; got 2 and 3"):
        open_image(tmp_path / "{hemi}.few.func.gii")
