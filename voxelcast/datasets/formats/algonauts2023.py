"""The Algonauts 2023 challenge: responses of eight subjects to natural scenes (NSD), on the cortical surface."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, MissingFileError, ShapeError
from voxelcast.core.settings import settings
from voxelcast.datasets.base import SPLITS, Dataset, DatasetFacts, ResponseSet, Split, VertexIndices
from voxelcast.datasets.formats import algonauts2023_layout as layout
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.miniature import read_miniature
from voxelcast.datasets.readers.values import as_response_values, open_npy
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.settings import DatasetSettings, Names, select_names
from voxelcast.stimuli.listing import list_stimuli


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
        `voxelcast.datasets.formats.algonauts2023_layout.ROIS`: ``V1v``, ``EBA``, ``lh_EBA``; ``V1`` is V1v and V1d.
    """

    _: KW_ONLY
    kind: Literal["algonauts2023"] = "algonauts2023"
    subject: str = "subj01"

    def folder(self) -> Path:
        """Return the subject's folder; raise UnknownNameError for a subject that the challenge does not have."""
        check_known("subject", self.subject, layout.SUBJECTS, where="in Algonauts 2023")
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
    (n_test, n_repetitions, n_vertices).

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
        subjects=layout.SUBJECTS,
        voxels={
            subject: dict(zip(layout.HEMISPHERES, counts, strict=True)) for subject, counts in layout.N_VERTICES.items()
        },
        how_to_get="agree to the terms of NSD in the challenge's form at algonauts.csail.mit.edu/challenge.html; it "
        "links a folder per subject.",
        n_bytes=sum(
            layout.N_TRAIN[subject] * (4 * sum(layout.N_VERTICES[subject]) + 65_000) for subject in layout.SUBJECTS
        ),
    )

    def __init__(self, settings: Algonauts2023Settings) -> None:
        self._subjects, self.subject_folder = (settings.subject,), settings.folder()
        if not self.subject_folder.is_dir():
            raise MissingFileError(
                f"subject {settings.subject} not found: {self.subject_folder} is not a folder; unpack it there"
            )
        rois: Names = layout.HEMISPHERES if settings.rois == "all" else settings.rois
        chosen = select_names("ROI", rois, layout.ROIS, f"of {settings.subject}")
        self._rois = {settings.subject: chosen}
        self._stimuli = {split: list_stimuli(layout.image_folder(self.subject_folder, split)) for split in SPLITS}
        self._arrays = {
            split: tuple(self._open(side, split) for side in layout.HEMISPHERES)
            for split in SPLITS
            if split == "train" or layout.response_path(self.subject_folder, "lh", split).is_file()
        }
        left, right = (int(array.shape[-1]) for array in self._arrays["train"])
        self._n_vertices = (left, right)
        self._vertices = {roi: layout.vertices_of(self.subject_folder, roi, self._n_vertices) for roi in chosen}

    def _open(self, side: layout.Hemisphere, split: Split) -> NDArray[np.generic]:
        path = layout.response_path(self.subject_folder, side, split)
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
        return tuple(subject for subject in layout.SUBJECTS if (root / subject).is_dir())

    @classmethod
    def expected_files(cls, settings: Algonauts2023Settings) -> tuple[Expected, ...]:
        """List the images, responses, masks and mappings of the subject."""
        folder, subject = settings.folder(), settings.subject
        miniature = read_miniature(settings.root, settings.kind)
        counts = {"train": layout.N_TRAIN[subject], "test": layout.N_TEST[subject]}
        vertices = layout.N_VERTICES[subject]
        if miniature is not None:
            counts = {split: int(miniature[f"n_{split}"]) for split in counts}
            vertices = tuple(miniature["n_vertices"])
        size = 0 if miniature else 65_000
        listed = [
            Expected("images", layout.image_folder(folder, split) / "*.png", counts[split], size * counts[split])
            for split in SPLITS
        ]
        for side, n_vertices in zip(layout.HEMISPHERES, vertices, strict=True):
            n_bytes = 4 * counts["train"] * n_vertices
            listed.append(Expected("responses", layout.response_path(folder, side, "train"), n_bytes=n_bytes))
            names = ("all-vertices", *layout.ROI_CLASSES)
            for mesh, needed in (("challenge", names[1:]), ("fsaverage", names[:1])):
                listed += [Expected("ROI masks", layout.mask_path(folder, side, name, mesh)) for name in needed]
        listed += [Expected("ROI masks", layout.mapping_path(folder, name)) for name in layout.ROI_CLASSES]
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
            array = self._arrays[split][layout.HEMISPHERES.index(side)]
            whole = len(vertices) == array.shape[-1]
            part = np.asarray(array if whole else array[..., vertices])
            where = str(layout.response_path(self.subject_folder, side, split))
            parts.append(as_response_values(part if part.ndim == 3 else part[:, None], where))
        values: FloatArray = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
        return ResponseSet(subject, roi, self.stimulus_ids(split), values, self.facts.unit)

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the responses of the hemispheres that the ROI lies on, and the masks that it is read from."""
        self.check_roi(subject, roi)
        parts = layout.parts_of(roi)
        folder = self.subject_folder
        files = [layout.response_path(folder, side, split) for split in self._arrays for side in parts.sides]
        for roi_class in dict.fromkeys(layout.class_of(area) for area in parts.areas or ()):
            files += [layout.mask_path(folder, side, roi_class) for side in parts.sides]
            files.append(layout.mapping_path(folder, roi_class))
        return tuple(files)

    @property
    def submission_track(self) -> Literal["2023"] | None:
        """The challenge of 2023, where both hemispheres are predicted whole."""
        return "2023" if set(self._vertices) == set(layout.HEMISPHERES) else None

    @property
    def submission_voxels(self) -> Mapping[str, Mapping[str, int]]:
        """Vertices of the two hemispheres."""
        return {self._subjects[0]: dict(zip(layout.HEMISPHERES, self._n_vertices, strict=True))}

    def voxel_indices(self, subject: str, roi: str) -> VertexIndices | None:
        """Find the ROI's vertices on fsaverage, where the masks of all vertices are there."""
        self.check_roi(subject, roi)
        files = [
            layout.mask_path(self.subject_folder, side, "all-vertices", "fsaverage") for side in layout.HEMISPHERES
        ]
        if not all(path.is_file() for path in files):
            return None
        masks = [open_npy(path, "ROI mask") for path in files]
        none = np.zeros(0, dtype=np.int64)
        left, right = (
            np.flatnonzero(mask)[self._vertices[roi].get(side, none)]
            for side, mask in zip(layout.HEMISPHERES, masks, strict=True)
        )
        return VertexIndices("fsaverage", int(masks[0].shape[0]), left, right)
