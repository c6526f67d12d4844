"""Files whose voxels are as many and lie elsewhere: hemispheres, brain models, affines, spaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from tests.datasets.miniatures import write_images
from voxelcast.core.errors import AlignmentError, OptionError, ShapeError, VoxelcastWarning
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.readers.brain_images import open_image
from voxelcast.datasets.readers.brain_masks import read_masks
from voxelcast.datasets.readers.geometry import side_in_name
from voxelcast.datasets.registry import open_dataset

N = 12
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
IDS = ("a", "b", "c")


def _gifti(path: Path, structure: str | None, n: int = N, n_maps: int = 3) -> None:
    meta = {} if structure is None else {"AnatomicalStructurePrimary": structure}
    arrays = [nib.gifti.GiftiDataArray(np.arange(n, dtype=np.float32) + k) for k in range(n_maps)]
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.gifti.GiftiImage(darrays=arrays, meta=nib.gifti.GiftiMetaData(meta)), path)


def _nifti(path: Path, affine: np.ndarray = AFFINE, code: int = 1, n_maps: int = 3, shape: Any = (3, 2, 2)) -> None:
    values = np.arange(np.prod(shape) * n_maps, dtype=np.float32).reshape(*shape, n_maps) + 1
    image = nib.Nifti1Image(values if n_maps > 1 else values[..., 0], None)
    image.set_sform(affine, code)
    path.parent.mkdir(exist_ok=True)
    nib.save(image, path)


def _cifti(path: Path, *models: nib.cifti2.BrainModelAxis, n_maps: int = 3) -> None:
    axis = models[0]
    for model in models[1:]:
        axis = axis + model
    names = nib.cifti2.ScalarAxis([f"m{k}" for k in range(n_maps)])
    values = np.ones((n_maps, len(axis)), np.float32) + np.arange(n_maps)[:, None]
    nib.save(nib.Cifti2Image(values, (names, axis)), path)


def _cortex(side: str, vertices: range, n: int = 20) -> nib.cifti2.BrainModelAxis:
    return nib.cifti2.BrainModelAxis.from_surface(list(vertices), n, name=f"cortex_{side}")


def _refused(error: type[Exception], match: str, responses: Path, mask: str) -> None:
    with pytest.raises(error, match=match):
        read_masks(responses.parent, {"ROI": mask}, open_image(responses))


def test_a_hemisphere_is_not_the_other(tmp_path: Path) -> None:
    _gifti(tmp_path / "left.func.gii", "CortexLeft")
    _gifti(tmp_path / "mask_a.shape.gii", "CortexRight", n_maps=1)
    _gifti(tmp_path / "mask_R.shape.gii", None, n_maps=1)
    _gifti(tmp_path / "mask.shape.gii", None, n_maps=1)
    _gifti(tmp_path / "mask_hemi-L.shape.gii", None, n_maps=1)
    for mask in ("mask_a.shape.gii", "mask_R.shape.gii"):
        _refused(AlignmentError, "got hemisphere CortexRight against CortexLeft", tmp_path / "left.func.gii", mask)
    for mask in ("mask.shape.gii", "mask_hemi-L.shape.gii"):
        assert len(read_masks(tmp_path, {"ROI": mask}, open_image(tmp_path / "left.func.gii"))["ROI"]) == N - 1


def test_names_and_contents_of_hemispheres_agree(tmp_path: Path) -> None:
    _gifti(tmp_path / "sub01_L.func.gii", "CortexRight")
    _gifti(tmp_path / "sub01_R.func.gii", "CortexLeft")
    for name in ("sub01_L.func.gii", "sub01_{hemi}.func.gii"):
        with pytest.raises(AlignmentError, match="CortexLeft in the name and CortexRight inside"):
            open_image(tmp_path / name)
    _gifti(tmp_path / "left" / "bold.func.gii", "CortexRight")
    _gifti(tmp_path / "right" / "bold.func.gii", "CortexLeft")
    with pytest.raises(AlignmentError, match="left and the right hemisphere; got CortexRight and CortexLeft"):
        open_image(tmp_path / "{hemi}" / "bold.func.gii")
    _gifti(tmp_path / "lh.func.gii", "CortexLeft", 5)
    _gifti(tmp_path / "rh.func.gii", "CortexRight", 7)
    both = open_image(tmp_path / "{hemi}.func.gii")
    assert both.geometry.shown() == "surface: CortexLeft 5, CortexRight 7 vertices"
    image = nib.load(tmp_path / "lh.func.gii")
    image.darrays[1].meta["AnatomicalStructurePrimary"] = "CortexRight"
    nib.save(image, tmp_path / "both.func.gii")
    with pytest.raises(AlignmentError, match="all maps must be of one hemisphere; got CortexLeft, CortexRight"):
        open_image(tmp_path / "both.func.gii")


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("lh.V1.label.gii", "CortexLeft"),
        ("sub-01_hemi-R_bold.func.gii", "CortexRight"),
        ("sub-R_hemi-L_bold.func.gii", "CortexLeft"),
        ("S01.R.midthickness.func.gii", "CortexRight"),
        ("sub-R01_bold.func.gii", ""),
        ("sub01.func.gii", ""),
        ("L_R_mean.func.gii", ""),
        ("Lights_bold.func.gii", ""),
    ],
)
def test_the_side_in_a_name(name: str, side: str) -> None:
    assert side_in_name(name) == side


def test_brain_models_have_an_order(tmp_path: Path) -> None:
    left, right = _cortex("left", range(6)), _cortex("right", range(6))
    _cifti(tmp_path / "bold.dscalar.nii", left, right)
    bold = tmp_path / "bold.dscalar.nii"
    _cifti(tmp_path / "same.dscalar.nii", left, right, n_maps=1)
    _cifti(tmp_path / "swapped.dscalar.nii", right, left, n_maps=1)
    _cifti(tmp_path / "moved.dscalar.nii", left, _cortex("right", range(3, 9)), n_maps=1)
    _cifti(tmp_path / "finer.dscalar.nii", left, _cortex("right", range(6), 40), n_maps=1)
    _cifti(tmp_path / "fewer.dscalar.nii", left, n_maps=1)
    assert len(read_masks(tmp_path, {"ROI": "same.dscalar.nii"}, open_image(bold))["ROI"]) == 12
    _refused(
        AlignmentError, "brain models cortex right 6, cortex left 6 against cortex left", bold, "swapped.dscalar.nii"
    )
    for mask in ("moved.dscalar.nii", "finer.dscalar.nii"):
        _refused(AlignmentError, "same brain models with other vertices", bold, mask)
    _refused(ShapeError, "columns 6 against 12", bold, "fewer.dscalar.nii")
    _gifti(tmp_path / "mask.shape.gii", None, 12, n_maps=1)
    _refused(ShapeError, "surface against grayordinates", bold, "mask.shape.gii")
    np.save(tmp_path / "mask.npy", np.arange(12) == 5)
    assert read_masks(tmp_path, {"ROI": "mask.npy"}, open_image(bold))["ROI"].tolist() == [5]


def test_a_volume_has_a_grid_an_affine_and_a_space(tmp_path: Path) -> None:
    bold = tmp_path / "sub-1_space-MNI152NLin6Asym_bold.nii.gz"
    _nifti(bold, code=4)
    shifted, nearly, mirrored = AFFINE.copy(), AFFINE.copy(), AFFINE.copy()
    shifted[0, 3], nearly[0, 3], mirrored[0, 0] = 1.0, 0.01, -2.0
    _nifti(tmp_path / "same.nii.gz", nearly, n_maps=1)
    _nifti(tmp_path / "moved.nii.gz", shifted, n_maps=1)
    _nifti(tmp_path / "mirrored.nii.gz", mirrored, n_maps=1)
    _nifti(tmp_path / "grid.nii.gz", n_maps=1, shape=(2, 3, 2))
    _nifti(tmp_path / "talairach.nii.gz", code=3, n_maps=1)
    _nifti(tmp_path / "mask_space-T1w.nii.gz", n_maps=1)
    assert len(read_masks(tmp_path, {"ROI": "same.nii.gz"}, open_image(bold))["ROI"]) == 12
    _refused(AlignmentError, "affine differs, by which voxels lie up to 1 mm elsewhere", bold, "moved.nii.gz")
    _refused(AlignmentError, "affine differs, by which voxels lie up to 8 mm elsewhere", bold, "mirrored.nii.gz")
    _refused(ShapeError, "grid 2 x 3 x 2 against 3 x 2 x 2", bold, "grid.nii.gz")
    _refused(AlignmentError, "space Talairach against MNI", bold, "talairach.nii.gz")
    _refused(AlignmentError, "space T1w against MNI152NLin6Asym", bold, "mask_space-T1w.nii.gz")
    assert open_image(bold).geometry.shown() == "volume 3 x 2 x 2 of 2 x 2 x 2 mm, MNI152NLin6Asym, MNI"


def _folder(tmp_path: Path, suffix: str, **settings: Any) -> Dataset:
    write_images(tmp_path / "stimuli", list(IDS))
    (tmp_path / "stimulus_ids.txt").write_text("\n".join(IDS))
    named = {subject: f"responses/{subject}{suffix}" for subject in ("ann", "bob")}
    return open_dataset("folder", tmp_path, responses=named, **settings)


def test_subjects_with_as_many_voxels_elsewhere_are_named(tmp_path: Path) -> None:
    _gifti(tmp_path / "responses" / "ann.func.gii", "CortexLeft")
    _gifti(tmp_path / "responses" / "bob.func.gii", "CortexRight")
    with pytest.warns(VoxelcastWarning, match=r"ann and bob .* other places \(hemisphere CortexLeft against"):
        dataset = _folder(tmp_path, ".func.gii")
    assert dataset.extent("bob").shown() == "3 stimuli, 1 repetition, voxels: all 12; surface: CortexRight 12 vertices"


def test_voxel_numbers_of_one_table_mean_one_place(tmp_path: Path) -> None:
    shifted = AFFINE.copy()
    shifted[:3, 3] = 30
    _nifti(tmp_path / "responses" / "ann.nii.gz")
    _nifti(tmp_path / "responses" / "bob.nii.gz", shifted)
    (tmp_path / "rois.csv").write_text("voxel,roi\n3,V1\n")
    with pytest.raises(AlignmentError, match=r"bob.nii.gz must have the voxels of .*ann.nii.gz.*up to 52 mm elsewhere"):
        _folder(tmp_path, ".nii.gz")
    (tmp_path / "rois.csv").write_text("subject,voxel,roi\nann,3,V1\nbob,4,V1\n")
    assert _folder(tmp_path, ".nii.gz").rois("bob") == ("V1",)


def test_swapped_axes_are_seen(tmp_path: Path) -> None:
    write_images(tmp_path / "stimuli", list(IDS))
    (tmp_path / "stimulus_ids.txt").write_text("\n".join(IDS))
    (tmp_path / "responses").mkdir()
    np.save(tmp_path / "responses" / "ann.npy", np.ones((3, 40, 2)))
    swapped = open_dataset("folder", tmp_path, axes=["stimulus", "repetition", "voxel"])
    assert swapped.extent("ann").shown() == "3 stimuli, 40 repetitions, voxels: all 2; plain array"
    right = open_dataset("folder", tmp_path, axes=["stimulus", "voxel", "repetition"])
    assert right.extent("ann").shown() == "3 stimuli, 2 repetitions, voxels: all 40; plain array"
    with pytest.raises(OptionError, match="masks are for brain images"):
        open_dataset("folder", tmp_path, axes=["stimulus", "voxel", "repetition"], masks={"V1": "x.nii"})
