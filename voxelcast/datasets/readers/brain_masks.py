"""ROIs from brain images: masks, labels of an atlas, CIFTI or GIFTI label files, and atlases that nilearn knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import BoolArray, IntArray
from voxelcast.core.checks import check_file_name
from voxelcast.core.errors import DataError
from voxelcast.datasets.patterns import ROI, SUBJECT, find_matches, is_pattern
from voxelcast.datasets.readers.atlases import atlas_files, is_atlas, read_atlas
from voxelcast.datasets.readers.brain_images import BrainImage, image_files, open_image
from voxelcast.datasets.readers.geometry import check_same_geometry

_LABELLED = re.compile(r"(?P<name>.+)\[(?P<labels>\s*-?\d+(?:\s*,\s*-?\d+)*\s*)\]")

MaskNames = str | tuple[str, ...] | Mapping[str, str | tuple[str, ...]]
"""Files of each ROI, or patterns with ``{roi}``."""


def read_masks(root: Path, masks: Mapping[str, str | Sequence[str]], image: BrainImage) -> dict[str, IntArray]:
    """Read ROIs from masks on the grid or mesh of the responses.

    An image that does not say where it lies (of GLMsingle) gets its place from the first mask.

    Raises MissingFileError, DataError, ShapeError, AlignmentError where a mask is missing, damaged or empty, or its
    voxels are not those of the responses (`voxelcast.datasets.readers.geometry.Geometry.difference`).

    Parameters
    ----------
    masks : mapping of ROI to one or several file names, relative to ``root``
        All voxels of the mask that are not 0; ``"atlas.nii.gz[36]"`` or ``"atlas.nii.gz[17, 18]"``: those that have one
        of these labels. Of surfaces a name with ``{hemi}`` stands for both hemispheres' files. Several files count
        together. ``"nilearn:..."``: see `voxelcast.datasets.readers.atlases`.

    Returns
    -------
    rois : dict of str to ndarray of int, shape (n_voxels_in_roi,)
        Indices among the image's voxels, ascending.
    """
    found: dict[str, IntArray] = {}
    for roi, names in masks.items():
        parts = [_read_mask(root, roi, name, image) for name in ((names,) if isinstance(names, str) else names)]
        found[check_file_name(roi, "ROI")] = np.flatnonzero(np.any(parts, axis=0))
    return found


def masks_of(root: Path, masks: MaskNames | None, subject: str) -> dict[str, tuple[str, ...]]:
    """Find the masks of a subject: file names by ROI, for ``{subject}``, ``{roi}`` and ``*`` in a pattern.

    Raises MissingFileError where no file fits one.
    """
    fixed = {SUBJECT: subject}
    if isinstance(masks, str | tuple):
        found: dict[str, tuple[str, ...]] = {}
        for match in find_matches(root, "masks", (masks,) if isinstance(masks, str) else masks, fixed):
            roi = match.fields.get(ROI, "roi")
            found[roi] = (*found.get(roi, ()), _relative(root, match.path))
        return found
    return {
        roi: tuple(
            file
            for name in ((names,) if isinstance(names, str) else names)
            for file in _files(root, name, {**fixed, ROI: roi})
        )
        for roi, names in (masks or {}).items()
    }


def _files(root: Path, name: str, fixed: Mapping[str, str]) -> tuple[str, ...]:
    """Put a subject and ROI into the name of a mask, and find what fits a pattern."""
    if is_atlas(name):
        return (name,)
    file, labels = _split_name(name)
    for field, text in fixed.items():
        file = file.replace(f"{{{field}}}", text)
    ending = "" if labels is None else f"[{', '.join(map(str, labels))}]"
    found = find_matches(root, "masks", [file]) if is_pattern(file) else ()
    return tuple(_relative(root, match.path) + ending for match in found) or (file + ending,)


def _relative(root: Path, path: Path) -> str:
    return str(path.relative_to(root) if path.is_relative_to(root) else path)


def mask_files(root: Path, masks: Mapping[str, Sequence[str]]) -> tuple[Path, ...]:
    """Return the files of masks, each once."""
    files: dict[Path, None] = {}
    for name in (name for names in masks.values() for name in names):
        files |= dict.fromkeys(atlas_files(name) if is_atlas(name) else image_files(root / _split_name(name)[0]))
    return tuple(files)


def _split_name(name: str) -> tuple[str, list[int] | None]:
    """Take a file's name and the labels in brackets apart."""
    found = _LABELLED.fullmatch(name)
    return (found["name"], [int(text) for text in found["labels"].split(",")]) if found else (name, None)


def _read_mask(root: Path, roi: str, name: str, image: BrainImage) -> BoolArray:
    """Say which of the image's voxels one mask holds, (n_voxels,)."""
    if is_atlas(name):
        return read_atlas(name, roi, image)
    file, labels = _split_name(name)
    mask = open_image(root / file, "mask")
    there = image.path, image.geometry
    check_same_geometry("mask", mask.path, mask.geometry, there, "resample the mask, or choose the one that fits")
    if image.geometry.support == mask.geometry.support == "volume" and image.geometry.affine is None:
        image.geometry = replace(image.geometry, affine=mask.geometry.affine, spaces=mask.geometry.spaces)
    values = mask.read(np.arange(mask.n_voxels))[0][0]
    inside: BoolArray = np.isin(values, labels) if labels is not None else np.isfinite(values) & (values != 0)
    if not inside.any():
        what = f"voxel of label {', '.join(map(str, labels))}" if labels is not None else "voxel that is not 0"
        raise DataError(f"mask {file} of ROI {roi} has no {what}; choose another mask or label")
    return inside
