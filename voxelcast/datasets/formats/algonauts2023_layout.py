"""The folders, files and ROIs of the Algonauts 2023 challenge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import AlignmentError, DataError
from voxelcast.datasets.base import Split
from voxelcast.datasets.readers.pickles import load_boxed_dict
from voxelcast.datasets.readers.values import open_npy

Hemisphere = Literal["lh", "rh"]
HEMISPHERES: Final[tuple[Hemisphere, ...]] = ("lh", "rh")

SUBJECTS: Final = tuple(f"subj{number:02d}" for number in range(1, 9))
N_TRAIN: Final = dict(zip(SUBJECTS, (9841, 9841, 9082, 8779, 9841, 9082, 9841, 8779), strict=True))
N_TEST: Final = dict(zip(SUBJECTS, (159, 159, 293, 395, 159, 293, 159, 395), strict=True))
N_VERTICES: Final = {
    subject: {"subj06": (18978, 20220), "subj08": (18981, 20530)}.get(subject, (19004, 20544)) for subject in SUBJECTS
}
"""Vertices of the left and the right hemisphere in challenge space."""

ROI_CLASSES: Final = {
    "prf-visualrois": ("V1v", "V1d", "V2v", "V2d", "V3v", "V3d", "hV4"),
    "floc-bodies": ("EBA", "FBA-1", "FBA-2", "mTL-bodies"),
    "floc-faces": ("OFA", "FFA-1", "FFA-2", "mTL-faces", "aTL-faces"),
    "floc-places": ("OPA", "PPA", "RSC"),
    "floc-words": ("OWFA", "VWFA-1", "VWFA-2", "mfs-words", "mTL-words"),
    "streams": ("early", "midventral", "midlateral", "midparietal", "ventral", "lateral", "parietal"),
}
"""ROIs of each class; an ROI of one class may overlap with one of another."""

JOINED: Final = {
    **{area: (f"{area}v", f"{area}d") for area in ("V1", "V2", "V3")},
    "FFA": ("FFA-1", "FFA-2"),
    "FBA": ("FBA-1", "FBA-2"),
    "VWFA": ("VWFA-1", "VWFA-2"),
}
"""ROIs that are the union of others."""

NAMES: Final = (*JOINED, *(roi for rois in ROI_CLASSES.values() for roi in rois))
ROIS: Final = (*HEMISPHERES, *NAMES, *(f"{side}_{roi}" for side in HEMISPHERES for roi in NAMES))
"""``lh`` and ``rh`` are all vertices of a hemisphere; ``V1v`` is on both, ``lh_V1v`` on one."""


def image_folder(folder: Path, split: Split) -> Path:
    """Name the folder of a subject's images."""
    name = "training" if split == "train" else "test"
    return folder / f"{name}_split" / f"{name}_images"


def response_path(folder: Path, side: Hemisphere, split: Split) -> Path:
    """Name the file of a subject's responses in one hemisphere; those to test images are not part of the release."""
    name = "training" if split == "train" else "test"
    return folder / f"{name}_split" / f"{name}_fmri" / f"{side}_{name}_fmri.npy"


def mask_path(folder: Path, side: Hemisphere, name: str, mesh: str = "challenge") -> Path:
    """Name the file that says which vertices belong to which ROI of a class (or to ``all-vertices``)."""
    return folder / "roi_masks" / f"{side}.{name}_{mesh}_space.npy"


def mapping_path(folder: Path, roi_class: str) -> Path:
    """Name the file that says which number stands for which ROI."""
    return folder / "roi_masks" / f"mapping_{roi_class}.npy"


@dataclass(frozen=True)
class RoiParts:
    """What an ROI consists of: hemispheres, and ROIs of the challenge's own (None: all vertices)."""

    sides: tuple[Hemisphere, ...]
    areas: tuple[str, ...] | None


def parts_of(roi: str) -> RoiParts:
    """Say what an ROI consists of; raise UnknownNameError for none of `ROIS`."""
    check_known("ROI", roi, ROIS, where="in Algonauts 2023")
    if roi in HEMISPHERES:
        return RoiParts(tuple(side for side in HEMISPHERES if side == roi), None)
    sides = tuple(side for side in HEMISPHERES if roi.startswith(f"{side}_")) or HEMISPHERES
    area = roi.removeprefix(f"{sides[0]}_") if len(sides) == 1 else roi
    return RoiParts(sides, JOINED.get(area, (area,)))


def class_of(area: str) -> str:
    """Name the class of an area."""
    return next(name for name, areas in ROI_CLASSES.items() if area in areas)


def vertices_of(folder: Path, roi: str, n_vertices: tuple[int, int]) -> dict[Hemisphere, IntArray]:
    """Find the vertices of an ROI in challenge space, by hemisphere.

    Raises MissingFileError, DataError, AlignmentError, UnsafeFileError where masks are missing or do not fit the
    responses, or the subject does not have the ROI.
    """
    parts = parts_of(roi)
    found: dict[Hemisphere, IntArray] = {}
    for side in parts.sides:
        n = n_vertices[HEMISPHERES.index(side)]
        found[side] = np.arange(n) if parts.areas is None else _masked(folder, side, parts.areas, n)
    if not any(len(vertices) for vertices in found.values()):
        raise DataError(f"{folder.name} has no vertex in ROI {roi}; leave this ROI out")
    return found


def _masked(folder: Path, side: Hemisphere, areas: tuple[str, ...], n_vertices: int) -> IntArray:
    inside = np.zeros(n_vertices, dtype=bool)
    for area in areas:
        roi_class = class_of(area)
        mapping = load_boxed_dict(mapping_path(folder, roi_class))
        numbers = [number for number, name in mapping.items() if name == area]
        labels = open_npy(mask_path(folder, side, roi_class), "ROI mask")
        if labels.shape != (n_vertices,):
            raise AlignmentError(
                f"{mask_path(folder, side, roi_class)} must have the {n_vertices} vertices of the responses; "
                f"got shape {labels.shape}; get the subject's folder again"
            )
        inside |= np.isin(labels, numbers)
    return np.flatnonzero(inside)
