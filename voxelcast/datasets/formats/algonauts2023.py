"""The Algonauts 2023 challenge: responses of eight subjects to natural scenes (NSD), on the cortical surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY
from pathlib import Path
from typing import ClassVar, Final, Literal

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, ShapeError
from voxelcast.core.settings import settings
from voxelcast.datasets.base import SPLITS, Dataset, DatasetFacts, ResponseSet, Split, VertexIndices
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.miniature import read_miniature
from voxelcast.datasets.readers.pickles import load_boxed_dict
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.settings import DatasetSettings, Names, select_names
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.store.readers.arrays import open_npy

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
CLASS_OF: Final = {area: name for name, areas in ROI_CLASSES.items() for area in areas}

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


def ceiling_path(folder: Path, side: Hemisphere) -> Path:
    """Name the file of the organisers' noise ceilings in one hemisphere."""
    return folder / "test_split" / "noise_ceiling" / f"{side}_noise_ceiling.npy"


def mask_path(folder: Path, side: Hemisphere, name: str, mesh: str = "challenge") -> Path:
    """Name the file that says which vertices belong to which ROI of a class (or to ``all-vertices``)."""
    return folder / "roi_masks" / f"{side}.{name}_{mesh}_space.npy"


def mapping_path(folder: Path, roi_class: str) -> Path:
    """Name the file that says which number stands for which ROI."""
    return folder / "roi_masks" / f"mapping_{roi_class}.npy"


def parts_of(roi: str) -> tuple[tuple[Hemisphere, ...], tuple[str, ...] | None]:
    """Say what an ROI consists of: hemispheres, and ROIs of the challenge's own (None: all vertices).

    Raises UnknownNameError for none of `ROIS`.
    """
    check_known("ROI", roi, ROIS, where="in Algonauts 2023")
    if roi in HEMISPHERES:
        return tuple(side for side in HEMISPHERES if side == roi), None
    sides = tuple(side for side in HEMISPHERES if roi.startswith(f"{side}_")) or HEMISPHERES
    area = roi.removeprefix(f"{sides[0]}_") if len(sides) == 1 else roi
    return sides, JOINED.get(area, (area,))


def vertices_of(folder: Path, roi: str, n_vertices: tuple[int, int]) -> dict[Hemisphere, IntArray]:
    """Find the vertices of an ROI in challenge space, by hemisphere.

    Raises MissingFileError, DataError, AlignmentError, UnsafeFileError where masks are missing or do not fit the
    responses, or the subject does not have the ROI.
    """
    sides, areas = parts_of(roi)
    found: dict[Hemisphere, IntArray] = {}
    for side in sides:
        n = n_vertices[HEMISPHERES.index(side)]
        found[side] = np.arange(n) if areas is None else _masked(folder, side, areas, n)
    if not any(len(vertices) for vertices in found.values()):
        raise DataError(f"{folder.name} has no vertex in ROI {roi}; leave this ROI out")
    return found


def _masked(folder: Path, side: Hemisphere, areas: tuple[str, ...], n_vertices: int) -> IntArray:
    inside = np.zeros(n_vertices, dtype=bool)
    for area in areas:
        roi_class = CLASS_OF[area]
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


@settings
class Algonauts2023Settings(DatasetSettings):
    """Settings of `Algonauts2023Dataset`.

    Parameters
    ----------
    root : Path or str
        Folder that holds ``subj01`` and so on.
    subject : str
        Of ``subj01`` to ``subj08``.
    rois : "all", str or sequence of str
        ``all``: the two hemispheres, ``lh`` and ``rh``, whole, as the challenge scores them. Else names of
        `ROIS`: ``V1v``, ``EBA``, ``lh_EBA``; ``V1`` is V1v and V1d.
    """

    _: KW_ONLY
    kind: Literal["algonauts2023"] = "algonauts2023"
    subject: str = "subj01"

    def folder(self) -> Path:
        """Return the subject's folder; raise UnknownNameError for a subject that the challenge does not have."""
        check_known("subject", self.subject, SUBJECTS, where="in Algonauts 2023")
        return self.root / self.subject


@register_dataset
class Algonauts2023Dataset(Dataset):
    """One subject of the challenge, as unpacked; every subject saw images of its own.

    Rows of the responses are the images in the order of their names. The arrays are mapped into memory: what is read
    are the vertices asked for.

    Notes
    -----
    Responses to the test images are not part of the release. Where they were made from NSD, put them beside the test
    images, as ``test_split/test_fmri/lh_test_fmri.npy`` (n_test, n_vertices) or, for noise ceilings,
    (n_test, n_repetitions, n_vertices). The organisers' noise ceilings, ``test_split/noise_ceiling/
    lh_noise_ceiling.npy`` (n_vertices,), are read where they are there.

    References
    ----------
    .. [1] Gifford, A. T. et al. (2023). The Algonauts Project 2023 Challenge: How the Human Brain Makes Sense of
       Natural Scenes. doi:10.48550/arXiv.2301.03198
    """

    Settings = Algonauts2023Settings
    challenge: ClassVar[str] = "algonauts2023"
    facts: ClassVar[DatasetFacts] = DatasetFacts(
        title="Algonauts 2023 challenge: responses to natural scenes (NSD) on the cortical surface",
        unit="beta, z-scored",
        licence="terms of the Natural Scenes Dataset; access on request",
        citation="Gifford et al. (2023), doi:10.48550/arXiv.2301.03198",
        subjects=SUBJECTS,
        voxels={subject: dict(zip(HEMISPHERES, counts, strict=True)) for subject, counts in N_VERTICES.items()},
        how_to_get="agree to the terms of NSD in the challenge's form at algonauts.csail.mit.edu/challenge.html; it "
        "links a folder per subject.",
        n_bytes=sum(N_TRAIN[subject] * (4 * sum(N_VERTICES[subject]) + 65_000) for subject in SUBJECTS),
    )

    def __init__(self, settings: Algonauts2023Settings) -> None:
        self._subjects, self.subject_folder = (settings.subject,), settings.folder()
        if not self.subject_folder.is_dir():
            raise MissingFileError(
                f"subject {settings.subject} not found: {self.subject_folder} is not a folder; unpack it there"
            )
        rois: Names = HEMISPHERES if settings.rois == "all" else settings.rois
        chosen = select_names("ROI", rois, ROIS, f"of {settings.subject}")
        self._rois = {settings.subject: chosen}
        self._stimuli = {split: list_stimuli(image_folder(self.subject_folder, split)) for split in SPLITS}
        self._arrays = {
            split: tuple(self._open(side, split) for side in HEMISPHERES)
            for split in SPLITS
            if split == "train" or response_path(self.subject_folder, "lh", split).is_file()
        }
        left, right = (int(array.shape[-1]) for array in self._arrays["train"])
        self._n_vertices = (left, right)
        self._vertices = {roi: vertices_of(self.subject_folder, roi, self._n_vertices) for roi in chosen}

    def _open(self, side: Hemisphere, split: Split) -> NDArray[np.generic]:
        path = response_path(self.subject_folder, side, split)
        array = open_npy(path, "responses", mapped=True)
        n_images = len(self._stimuli[split])
        if array.ndim not in (2, 3) or array.shape[0] != n_images or (split == "train" and array.ndim != 2):
            middle = "" if split == "train" else " or (n_images, n_repetitions, n_vertices)"
            raise ShapeError(
                f"{path} must have shape (n_images={n_images}, n_vertices){middle}; got {array.shape}; unpack the "
                "subject's images and responses again"
            )
        return array

    @classmethod
    def separate_subjects(cls, root: Path) -> tuple[str, ...]:
        """List the subjects that have a folder."""
        return tuple(subject for subject in SUBJECTS if (root / subject).is_dir())

    @classmethod
    def expected_files(cls, settings: Algonauts2023Settings) -> tuple[Expected, ...]:
        """List the images, responses, masks and mappings of the subject."""
        folder, subject = settings.folder(), settings.subject
        miniature = read_miniature(settings.root, settings.kind)
        counts = {"train": N_TRAIN[subject], "test": N_TEST[subject]}
        vertices = N_VERTICES[subject]
        if miniature is not None:
            counts = {split: int(miniature[f"n_{split}"]) for split in counts}
            vertices = tuple(miniature["n_vertices"])
        size = 0 if miniature else 65_000
        listed = [
            Expected("images", image_folder(folder, split) / "*.png", counts[split], size * counts[split])
            for split in SPLITS
        ]
        for side, n_vertices in zip(HEMISPHERES, vertices, strict=True):
            n_bytes = 4 * counts["train"] * n_vertices
            listed.append(Expected("responses", response_path(folder, side, "train"), n_bytes=n_bytes))
            names = ("all-vertices", *ROI_CLASSES)
            for mesh, needed in (("challenge", names[1:]), ("fsaverage", names[:1])):
                listed += [Expected("ROI masks", mask_path(folder, side, name, mesh)) for name in needed]
        listed += [Expected("ROI masks", mapping_path(folder, name)) for name in ROI_CLASSES]
        return tuple(listed)

    @property
    def has_test_responses(self) -> bool:
        """Whether responses to the test images were put beside them."""
        return "test" in self._arrays

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read the vertices of an ROI, left hemisphere first; values of shape (n_images, n_repetitions, n_vertices)."""
        self.check_roi(subject, roi)
        if split not in self._arrays:
            raise DataError(
                "Algonauts 2023 has no public test responses; make a submission, score with nested cross-validation, "
                "or put responses made from NSD into test_split/test_fmri"
            )
        parts = []
        for side, vertices in self._vertices[roi].items():
            array = self._arrays[split][HEMISPHERES.index(side)]
            whole = len(vertices) == array.shape[-1]
            part = np.asarray(array if whole else array[..., vertices])
            where = str(response_path(self.subject_folder, side, split))
            parts.append(as_response_values(part if part.ndim == 3 else part[:, None], where))
        values: FloatArray = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return ResponseSet(subject, roi, self.stimulus_ids(split), values, self.facts.unit)

    def published_ceiling_r2(self, subject: str, roi: str) -> FloatArray | None:
        """Read the organisers' noise ceilings of an ROI, left hemisphere first; None where they are not there."""
        self.check_roi(subject, roi)
        if not self._has_ceilings:
            return None
        parts = []
        for side, vertices in self._vertices[roi].items():
            path, n = ceiling_path(self.subject_folder, side), self._n_vertices[HEMISPHERES.index(side)]
            ceiling = open_npy(path, "noise ceiling")
            if ceiling.shape != (n,):
                raise ShapeError(f"{path} must have shape (n_vertices={n},); got {ceiling.shape}; get it again")
            ceiling = as_response_values(ceiling, str(path))
            if (ceiling < 0).any() or (ceiling > 1).any():
                low, high = np.nanmin(ceiling), np.nanmax(ceiling)
                raise DataError(
                    f"{path} must hold shares of variance from 0 to 1; got {low:g} to {high:g}; divide percent by 100, "
                    "and square ceilings in units of r"
                )
            parts.append(ceiling[vertices])
        return np.concatenate(parts)

    @property
    def _has_ceilings(self) -> bool:
        return any(ceiling_path(self.subject_folder, side).is_file() for side in HEMISPHERES)

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the responses of the hemispheres that the ROI lies on, and the masks that it is read from."""
        self.check_roi(subject, roi)
        sides, areas = parts_of(roi)
        folder = self.subject_folder
        files = [response_path(folder, side, split) for split in self._arrays for side in sides]
        if self.has_test_responses and self._has_ceilings:
            files += [ceiling_path(folder, side) for side in sides]
        for roi_class in dict.fromkeys(CLASS_OF[area] for area in areas or ()):
            files += [mask_path(folder, side, roi_class) for side in sides]
            files.append(mapping_path(folder, roi_class))
        return tuple(files)

    @property
    def submission_track(self) -> Literal["2023"] | None:
        """The challenge of 2023, where both hemispheres are predicted whole."""
        return "2023" if set(self._vertices) == set(HEMISPHERES) else None

    @property
    def submission_voxels(self) -> Mapping[str, Mapping[str, int]]:
        """Vertices of the two hemispheres."""
        return {self._subjects[0]: dict(zip(HEMISPHERES, self._n_vertices, strict=True))}

    def voxel_indices(self, subject: str, roi: str) -> VertexIndices | None:
        """Find the ROI's vertices on fsaverage, where the masks of all vertices are there."""
        self.check_roi(subject, roi)
        files = [mask_path(self.subject_folder, side, "all-vertices", "fsaverage") for side in HEMISPHERES]
        if not all(path.is_file() for path in files):
            return None
        masks = [open_npy(path, "ROI mask") for path in files]
        none = np.zeros(0, dtype=np.int64)
        left, right = (
            np.flatnonzero(mask)[self._vertices[roi].get(side, none)]
            for side, mask in zip(HEMISPHERES, masks, strict=True)
        )
        return VertexIndices("fsaverage", (masks[0].size, masks[1].size), left, right)
