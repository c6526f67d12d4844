"""ROIs from brain images: masks, labels of an atlas, and CIFTI or GIFTI label files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_file_name
from voxelcast.core.errors import AlignmentError, DataError, ShapeError
from voxelcast.datasets.readers.brain_images import (
    BrainImage,
    JoinedHemispheres,
    hemisphere_files,
    image_files,
    load_image,
)
from voxelcast.store.readers.arrays import open_npy

_LABELLED = re.compile(r"(?P<name>.+)\[(?P<labels>\s*-?\d+(?:\s*,\s*-?\d+)*\s*)\]")


def read_masks(root: Path, masks: Mapping[str, str], image: BrainImage) -> dict[str, IntArray]:
    """Read ROIs from masks on the grid or mesh of the responses.

    Raises MissingFileError, DataError, ShapeError, AlignmentError where a mask is missing, empty, or of another grid or
    mesh than the responses.

    Parameters
    ----------
    masks : mapping of ROI to file name, relative to ``root``
        All voxels of the mask that are not 0; ``"atlas.nii.gz[36]"`` or ``"atlas.nii.gz[17, 18]"``: those that have one
        of these labels. Of surfaces a name with ``{hemi}`` stands for both hemispheres' files.

    Returns
    -------
    rois : dict of str to ndarray of int, shape (n_voxels_in_roi,)
        Indices among the image's voxels, ascending.
    """
    return {check_file_name(roi, "ROI"): _read_mask(root, roi, name, image) for roi, name in masks.items()}


def masks_of(masks: Mapping[str, str] | None, subject: str) -> dict[str, str]:
    """Put a subject's name into the names of masks, for ``{subject}``."""
    return {roi: name.replace("{subject}", subject) for roi, name in (masks or {}).items()}


def mask_files(root: Path, masks: Mapping[str, str]) -> tuple[Path, ...]:
    """Return the files of masks, each once."""
    files: dict[Path, None] = {}
    for name in masks.values():
        files |= dict.fromkeys(image_files(root / _split_name(name)[0]))
    return tuple(files)


def _split_name(name: str) -> tuple[str, list[int] | None]:
    """Take a file's name and the labels in brackets apart."""
    found = _LABELLED.fullmatch(name)
    return (found["name"], [int(text) for text in found["labels"].split(",")]) if found else (name, None)


def _read_mask(root: Path, roi: str, name: str, image: BrainImage) -> IntArray:
    file, labels = _split_name(name)
    values = _mask_values(root / file, image)
    inside = np.isin(values, labels) if labels is not None else np.isfinite(values) & (values != 0)
    if not inside.any():
        what = f"voxel of label {', '.join(map(str, labels))}" if labels is not None else "voxel that is not 0"
        raise DataError(f"mask {file} of ROI {roi} has no {what}; choose another mask or label")
    voxels: IntArray = np.flatnonzero(inside)
    return voxels


def _mask_values(path: Path, image: BrainImage) -> NDArray[Any]:
    if isinstance(image, JoinedHemispheres):
        return np.concatenate(
            [_mask_values(file, side) for file, side in zip(hemisphere_files(path), image.sides, strict=True)]
        )
    if path.suffix == ".npy":
        return _fits(path, open_npy(path, "mask"), image)
    mask = load_image(path, "mask")
    if hasattr(mask, "darrays"):
        values = np.asarray(mask.darrays[0].data)
    else:
        values = np.asarray(mask.dataobj)
        if image.support == "volume":
            _check_grid(path, mask, image)
    return _fits(path, values, image)


def _fits(path: Path, values: NDArray[Any], image: BrainImage) -> NDArray[Any]:
    flat: NDArray[Any] = values.reshape(-1)
    if len(flat) != image.n_voxels:
        raise ShapeError(
            f"mask {path.name} must have the {image.n_voxels} voxels of {image.path.name}; got {len(flat)}; "
            "resample it to the grid of the responses"
        )
    return flat


def _check_grid(path: Path, mask: Any, image: BrainImage) -> None:
    """Compare shape and affine: a mask of another grid would silently select other voxels of the brain."""
    _, shape, affine = image.geometry()
    squeezed = tuple(mask.shape[:3]) if mask.shape[3:] in ((), (1,)) else tuple(mask.shape)
    if squeezed != shape:
        raise ShapeError(
            f"mask {path.name} must have the grid {shape} of {image.path.name}; got {squeezed}; resample it"
        )
    if not np.allclose(np.asarray(mask.affine).ravel(), affine, atol=0.01):
        raise AlignmentError(
            f"mask {path.name} and {image.path.name} must have the same affine; their voxels lie elsewhere; "
            "resample the mask"
        )
