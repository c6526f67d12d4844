"""ROIs from brain images: masks, labels of an atlas, and CIFTI or GIFTI label files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_file_name
from voxelcast.core.errors import DataError
from voxelcast.datasets.readers.brain_images import BrainImage, image_files, open_image
from voxelcast.datasets.readers.geometry import check_same_geometry

_LABELLED = re.compile(r"(?P<name>.+)\[(?P<labels>\s*-?\d+(?:\s*,\s*-?\d+)*\s*)\]")


def read_masks(root: Path, masks: Mapping[str, str], image: BrainImage) -> dict[str, IntArray]:
    """Read ROIs from masks on the grid or mesh of the responses.

    Raises MissingFileError, DataError, ShapeError, AlignmentError where a mask is missing, damaged or empty, or its
    voxels are not those of the responses (`voxelcast.datasets.readers.geometry.Geometry.difference`).

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
    mask = open_image(root / file, "mask")
    there = image.path, image.geometry
    check_same_geometry("mask", mask.path, mask.geometry, there, "resample the mask, or choose the one that fits")
    values = mask.read(np.arange(mask.n_voxels))[0][0]
    inside = np.isin(values, labels) if labels is not None else np.isfinite(values) & (values != 0)
    if not inside.any():
        what = f"voxel of label {', '.join(map(str, labels))}" if labels is not None else "voxel that is not 0"
        raise DataError(f"mask {file} of ROI {roi} has no {what}; choose another mask or label")
    voxels: IntArray = np.flatnonzero(inside)
    return voxels
