"""The Algonauts 2021 challenge: 1102 three-second videos, ten subjects, nine ROIs or the whole brain.

The test responses are not public; predictions for the last 102 videos are handed in as a submission.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from voxelcast.core.arrays import BoolArray
from voxelcast.core.checks import check_known, check_option
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import DatasetFacts, ResponseSet, Split, VoxelPlaces
from voxelcast.datasets.formats.algonauts2021_layout import (
    RESPONSE_FOLDER,
    VIDEO_FOLDER,
    WHOLE_BRAIN,
    Track,
    VideoOrderDataset,
    check_response_file,
    find_folder,
    find_or_expect,
    list_videos,
    open_train_responses,
    read_train_responses,
    read_voxel_mask,
    response_path,
    select_names,
    true_test_path,
)
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.miniature import read_miniature

N_TRAIN, N_TEST, N_REPETITIONS = 1000, 102, 3

SUBJECTS = tuple(f"sub{number:02d}" for number in range(1, 11))

MINI_ROIS = ("LOC", "FFA", "STS", "EBA", "PPA", "V1", "V2", "V3", "V4")
"""ROIs of the mini track, in the order of the submission."""

_VOXELS_BY_ROI = {
    "LOC": (1843, 1348, 1237, 1153, 1397, 1356, 1117, 1244, 1515, 1034),
    "FFA": (68, 157, 80, 210, 69, 119, 89, 163, 76, 69),
    "STS": (341, 421, 278, 398, 219, 173, 80, 306, 346, 120),
    "EBA": (351, 183, 376, 368, 309, 308, 101, 55, 191, 162),
    "PPA": (425, 153, 368, 225, 210, 216, 33, 150, 262, 165),
    "V1": (232, 285, 164, 176, 326, 286, 195, 300, 271, 238),
    "V2": (231, 231, 271, 209, 196, 281, 189, 238, 265, 249),
    "V3": (261, 270, 270, 212, 176, 229, 174, 223, 245, 188),
    "V4": (107, 95, 111, 117, 73, 108, 55, 85, 94, 60),
    "WB": (18222, 21573, 15225, 19445, 13340, 19818, 10836, 12347, 17570, 12950),
}

EXPECTED_VOXELS: dict[str, dict[str, int]] = {
    subject: {roi: counts[place] for roi, counts in _VOXELS_BY_ROI.items()} for place, subject in enumerate(SUBJECTS)
}
"""Number of voxels of each subject in each ROI, ``WB`` among them, in the challenge's files."""


class Algonauts2021Dataset(VideoOrderDataset):
    """The challenge's data as they are unpacked.

    Parameters
    ----------
    root : Path or str
        Folder that holds ``AlgonautsVideos268_All_30fpsmax`` and ``participants_data_v2021``, up to two levels down.
    track : {"mini", "full"}
        Nine ROIs, or the whole brain (ROI ``WB``).
    subjects : "all" or list of str
        Of ``sub01`` to ``sub10``.
    rois : "all" or list of str
        Of :data:`MINI_ROIS`; ``WB`` on the full track.
    n_train, n_test : int or None
        Number of videos. None: 1000 and 102, or those of a miniature; others only for parts of the data.

    Raises
    ------
    MissingFileError
        For a missing folder or response file; the message names subject, ROI and path.
    DataError
        For another number of videos.
    UnknownNameError
        For a subject or ROI that the challenge does not have.

    References
    ----------
    .. [1] Cichy, R. M. et al. (2021). The Algonauts Project 2021 Challenge: How the Human Brain Makes Sense of a World
       in Motion. doi:10.48550/arXiv.2104.13714
    """

    kind: ClassVar[str] = "algonauts2021"
    facts: ClassVar[DatasetFacts] = DatasetFacts(
        title="Algonauts 2021 challenge: responses to 1102 three-second videos",
        unit="beta",
        licence="terms of the challenge; files are not redistributed",
        citation="Cichy et al. (2021), doi:10.48550/arXiv.2104.13714",
        subjects=SUBJECTS,
        n_train=N_TRAIN,
        n_test=N_TEST,
        voxels=EXPECTED_VOXELS,
        tr_seconds=1.75,
        how_to_get=(
            "the challenge's form and links no longer work; ask the organisers (algonauts.csail.mit.edu), or use "
            "dataset kind bold_moments, which holds the same subjects and videos with test responses."
        ),
    )

    def __init__(
        self,
        root: Path | str,
        track: Track = "mini",
        subjects: Literal["all"] | Sequence[str] = "all",
        rois: Literal["all"] | Sequence[str] = "all",
        n_train: int | None = None,
        n_test: int | None = None,
    ) -> None:
        self._root, self._track = Path(root), track
        self._sizes = _sizes(self._root)
        self._subjects, self._rois = _selected(self._sizes, track, subjects, rois)
        self._n_train = int(self._sizes["n_train"]) if n_train is None else n_train
        self._videos = list_videos(self._root, self._n_train, int(self._sizes["n_test"]) if n_test is None else n_test)
        self._folder = find_folder(self._root, RESPONSE_FOLDER, "responses")
        for subject in self._subjects:
            for roi in self._rois:
                check_response_file(response_path(self._folder, track, subject, roi), subject, roi)

    @classmethod
    def expected_files(
        cls,
        root: Path | str,
        track: Track = "mini",
        subjects: Literal["all"] | Sequence[str] = "all",
        rois: Literal["all"] | Sequence[str] = "all",
    ) -> tuple[Expected, ...]:
        """List the videos and the response files of the subjects and ROIs chosen."""
        sizes = _sizes(Path(root))
        chosen, named = _selected(sizes, track, subjects, rois)
        videos = find_or_expect(Path(root), VIDEO_FOLDER) / "*.mp4"
        folder = find_or_expect(Path(root), RESPONSE_FOLDER)
        files = [
            Expected(
                f"responses of {subject}",
                response_path(folder, track, subject, roi),
                n_bytes=sizes["voxels"][subject][roi] * int(sizes["n_train"]) * N_REPETITIONS * 8,  # if float64
                problem=partial(_problem, subject, roi, int(sizes["n_train"]), sizes["voxels"][subject][roi]),
            )
            for subject in chosen
            for roi in named
        ]
        return Expected("videos", videos, count=int(sizes["n_train"]) + int(sizes["n_test"])), *files

    def rois(self, subject: str) -> tuple[str, ...]:
        """ROIs chosen; the same for every subject."""
        check_known("subject", subject, self._subjects, where="in this dataset")
        return self._rois

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read the training responses: values of shape (1000, 3, n_voxels); of a miniature also the test responses."""
        path, *truth = self.response_files(subject, roi)
        if split == "train":
            values = read_train_responses(path, subject, roi, self._n_train, N_REPETITIONS)
            ids = tuple(stimulus.stimulus_id for stimulus in self.train_stimuli)
        elif truth:
            values = np.load(truth[0], allow_pickle=False)
            ids = tuple(stimulus.stimulus_id for stimulus in self.test_stimuli)
        else:
            raise DataError(
                "Algonauts 2021 has no public test responses; make a submission, score with nested cross-validation, "
                "or use dataset kind bold_moments"
            )
        return ResponseSet(subject, roi, ids, values, self.facts.unit)

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the pickle of the subject and ROI; of a miniature also its test responses."""
        check_known("ROI", roi, self.rois(subject), where=f"of {subject}")
        path = response_path(self._folder, self._track, subject, roi)
        return (path, true_test_path(self._root, subject, roi)) if self.has_test_responses else (path,)

    @property
    def has_test_responses(self) -> bool:
        """Whether it is a miniature: the challenge's own are not public."""
        return bool(self._sizes["miniature"])

    def voxel_mask(self, subject: str) -> BoolArray:
        """Read where the subject's whole-brain voxels lie in the volume.

        Returns
        -------
        mask : ndarray of shape (78, 93, 71), bool
        """
        check_known("subject", subject, self._subjects, where="in this dataset")
        return read_voxel_mask(response_path(self._folder, "full", subject, WHOLE_BRAIN), subject)

    def voxel_places(self, subject: str, roi: str) -> VoxelPlaces | None:
        """Read where the voxels of the whole brain lie; None on the mini track, which does not say.

        The files do not state the affine either.
        """
        check_known("ROI", roi, self.rois(subject), where=f"of {subject}")
        if roi != WHOLE_BRAIN:
            return None
        mask = self.voxel_mask(subject)
        return VoxelPlaces(mask.shape, np.argwhere(mask))

    @property
    def submission_voxels(self) -> Mapping[str, Mapping[str, int]] | None:
        """Voxels per subject and ROI of a miniature; None: those of the challenge."""
        table: Mapping[str, Mapping[str, int]] = self._sizes["voxels"]
        return table if self._sizes["miniature"] else None

    @property
    def submission_track(self) -> Literal["mini", "full"] | None:
        """Track of the submission."""
        return self._track


def _sizes(root: Path) -> dict[str, Any]:
    """Return the sizes of the miniature in ``root``, else those of the challenge."""
    miniature = read_miniature(root, "algonauts2021")
    if miniature is not None:
        return {**miniature.sizes, "miniature": True}
    return {"n_train": N_TRAIN, "n_test": N_TEST, "voxels": EXPECTED_VOXELS, "miniature": False}


def _selected(
    sizes: Mapping[str, Any], track: Track, subjects: str | Sequence[str], rois: str | Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    check_option("track", track, ("mini", "full"))
    known_rois = MINI_ROIS if track == "mini" else (WHOLE_BRAIN,)
    return (
        select_names("subject", subjects, tuple(sizes["voxels"]), "in Algonauts 2021"),
        select_names("ROI", rois, known_rois, f"on the {track} track of Algonauts 2021"),
    )


def _problem(subject: str, roi: str, n_train: int, n_voxels: int, path: Path) -> str | None:
    got = open_train_responses(path, subject, roi, n_train, N_REPETITIONS).shape[2]
    return None if got == n_voxels else f"holds {got} voxels; published: {n_voxels}"
