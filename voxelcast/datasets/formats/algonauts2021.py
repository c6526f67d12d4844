"""The Algonauts 2021 challenge: 1102 three-second videos, ten subjects, nine ROIs or the whole brain.

The test responses are not public; predictions for the last 102 videos are handed in as a submission.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
from annotated_types import Ge

from voxelcast.core.arrays import BoolArray, FloatArray
from voxelcast.core.checks import check_known, check_shape
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.base import Dataset, DatasetFacts, ResponseSet, Split, VoxelIndices
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.miniature import read_miniature
from voxelcast.datasets.readers.pickled_arrays import StoredArray
from voxelcast.datasets.readers.pickles import open_entry
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.settings import DatasetSettings, Names, select_names
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.readers.arrays import open_npy

Track = Literal["mini", "full"]

VIDEO_FOLDER = "AlgonautsVideos268_All_30fpsmax"
RESPONSE_FOLDER = "participants_data_v2021"
WHOLE_BRAIN = "WB"
MASK_SHAPE = (78, 93, 71)

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
    subject: {roi: counts[number] for roi, counts in _VOXELS_BY_ROI.items()} for number, subject in enumerate(SUBJECTS)
}
"""Number of voxels of each subject in each ROI, ``WB`` among them, in the challenge's files."""


@settings
class Algonauts2021Settings(DatasetSettings):
    """Settings of `Algonauts2021Dataset`.

    Parameters
    ----------
    root : Path or str
        Folder that holds ``AlgonautsVideos268_All_30fpsmax`` and ``participants_data_v2021``, up to two levels down.
    track : {"mini", "full"}
        Nine ROIs, or the whole brain (ROI ``WB``).
    subjects : "all", str or sequence of str
        Of ``sub01`` to ``sub10``.
    rois : "all", str or sequence of str
        Of `MINI_ROIS`; on the full track ``WB``, which is all there, and those of the mini track beside it.
    n_train, n_test : int or None
        Number of videos. None: 1000 and 102, or those of a miniature; others only for parts of the data.
    """

    _: KW_ONLY
    kind: Literal["algonauts2021"] = "algonauts2021"
    track: Track = "mini"
    n_train: Annotated[int, Ge(1)] | None = None
    n_test: Annotated[int, Ge(0)] | None = None
    subjects: Annotated[Names, NO_EFFECT] = "all"


@dataclass(frozen=True)
class _Chosen:
    """The subjects, ROIs and numbers of videos that settings stand for, in the challenge or a miniature of it."""

    subjects: tuple[str, ...]
    rois: tuple[str, ...]
    n_train: int
    n_test: int
    voxels: Mapping[str, Mapping[str, int]]
    is_miniature: bool


@register_dataset
class Algonauts2021Dataset(Dataset):
    """The challenge's data as they are unpacked.

    References
    ----------
    .. [1] Cichy, R. M. et al. (2021). The Algonauts Project 2021 Challenge: How the Human Brain Makes Sense of a World
       in Motion. doi:10.48550/arXiv.2104.13714
    """

    Settings = Algonauts2021Settings
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

    def __init__(self, settings: Algonauts2021Settings) -> None:
        self._settings, self._root, self._chosen = settings, settings.root, _choose(settings)
        self._subjects, self._rois = self._chosen.subjects, dict.fromkeys(self._chosen.subjects, self._chosen.rois)
        self._stimuli = list_videos(self._root, self._chosen.n_train, self._chosen.n_test)
        self._folder = find_folder(self._root, RESPONSE_FOLDER, "responses")
        check_response_files(self)

    @classmethod
    def expected_files(cls, settings: Algonauts2021Settings) -> tuple[Expected, ...]:
        """List the videos and the response files of the subjects and ROIs chosen."""
        chosen = _choose(settings)
        videos = find_or_expect(settings.root, VIDEO_FOLDER) / "*.mp4"
        folder = find_or_expect(settings.root, RESPONSE_FOLDER)
        files = [
            Expected(
                f"responses of {subject}",
                response_path(folder, subject, roi),
                n_bytes=chosen.voxels[subject][roi] * chosen.n_train * N_REPETITIONS * 8,  # if float64
                problem=partial(_problem, subject, roi, chosen.n_train, chosen.voxels[subject][roi]),
            )
            for subject in chosen.subjects
            for roi in chosen.rois
        ]
        return Expected("videos", videos, count=chosen.n_train + chosen.n_test), *files

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read the training responses: values of shape (1000, 3, n_voxels); of a miniature also the test responses."""
        path, *truth = self.response_files(subject, roi)
        if split == "train":
            values = read_train_responses(path, subject, roi, self._chosen.n_train, N_REPETITIONS)
        elif truth:
            values = open_npy(truth[0], "test responses")
        else:
            raise DataError(
                "Algonauts 2021 has no public test responses; make a submission, score with nested cross-validation, "
                "or use dataset kind bold_moments"
            )
        return ResponseSet(subject, roi, self.stimulus_ids(split), values, self.facts.unit)

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the pickle of the subject and ROI; of a miniature also its test responses."""
        self.check_roi(subject, roi)
        path = response_path(self._folder, subject, roi)
        return (path, true_test_path(self._root, subject, roi)) if self.has_test_responses else (path,)

    @property
    def has_test_responses(self) -> bool:
        """Whether it is a miniature: the challenge's own are not public."""
        return self._chosen.is_miniature

    def voxel_mask(self, subject: str) -> BoolArray:
        """Read where the subject's whole-brain voxels lie in the volume, in C order; shape (78, 93, 71)."""
        check_known("subject", subject, self._subjects, where="in this dataset")
        path = response_path(self._folder, subject, WHOLE_BRAIN)
        check_response_file(path, subject, WHOLE_BRAIN)
        mask = open_entry(path, "voxel_mask").read()
        check_shape(f"'voxel_mask' of {subject} ({path})", mask, ("x", "y", "z"), MASK_SHAPE)
        return np.asarray(mask == 1)

    def voxel_indices(self, subject: str, roi: str) -> VoxelIndices | None:
        """Read where the voxels of the whole brain lie; None on the mini track, which does not say.

        The files do not state the affine either.
        """
        self.check_roi(subject, roi)
        if roi != WHOLE_BRAIN:
            return None
        mask = self.voxel_mask(subject)
        return VoxelIndices(mask.shape, np.argwhere(mask))

    @property
    def submission_voxels(self) -> Mapping[str, Mapping[str, int]] | None:
        """Voxels per subject and ROI of a miniature; None: those of the challenge."""
        return self._chosen.voxels if self._chosen.is_miniature else None

    @property
    def submission_track(self) -> Literal["mini", "full"] | None:
        """Track of the submission."""
        return self._settings.track


def _choose(settings: Algonauts2021Settings) -> _Chosen:
    miniature = read_miniature(settings.root, settings.kind)
    sizes = miniature or {"n_train": N_TRAIN, "n_test": N_TEST, "voxels": EXPECTED_VOXELS}
    track = settings.track
    if track == "full" and settings.rois == "all":
        settings = replace(settings, rois=(WHOLE_BRAIN,))
    known_rois = MINI_ROIS if track == "mini" else (*MINI_ROIS, WHOLE_BRAIN)
    return _Chosen(
        select_names("subject", settings.subjects, tuple(sizes["voxels"]), "in Algonauts 2021"),
        select_names("ROI", settings.rois, known_rois, f"on the {track} track of Algonauts 2021"),
        int(sizes["n_train"]) if settings.n_train is None else settings.n_train,
        int(sizes["n_test"]) if settings.n_test is None else settings.n_test,
        sizes["voxels"],
        miniature is not None,
    )


def _problem(subject: str, roi: str, n_train: int, n_voxels: int, path: Path) -> str | None:
    got = open_train_responses(path, subject, roi, n_train, N_REPETITIONS).shape[2]
    return None if got == n_voxels else f"holds {got} voxels; published: {n_voxels}"


def find_folder(root: Path, name: str, what: str) -> Path:
    """Find a folder of the challenge: ``root`` itself or up to two folders below it.

    Raises MissingFileError where it is not there.
    """
    if root.name == name and root.is_dir():
        return root
    for pattern in (name, f"*/{name}", f"*/*/{name}"):
        found = sorted(path for path in root.glob(pattern) if path.is_dir())
        if found:
            return found[0]
    raise MissingFileError(f"{what} not found: no folder {name} in {root} or two levels below; unpack the data there")


def find_or_expect(root: Path, name: str) -> Path:
    """Find a folder of the challenge, or say where it should be."""
    try:
        return find_folder(root, name, name)
    except MissingFileError:
        return root / name


def list_videos(
    root: Path,
    n_train: int,
    n_test: int,
    remedy: str = "unpack the whole archive, or set dataset.n_train and dataset.n_test",
) -> dict[Split, tuple[Stimulus, ...]]:
    """List the challenge's videos in sorted order: first ``n_train`` for training, then ``n_test`` for test.

    ``remedy`` is for messages. Raises MissingFileError, DataError where the folder of videos is not there, or holds
    another number of them.
    """
    folder = find_folder(root, VIDEO_FOLDER, "videos")
    n_found = sum(1 for _ in folder.glob("*.mp4"))
    if n_found != n_train + n_test:
        raise DataError(
            f"{folder} must hold {n_train + n_test} videos ({n_train} train + {n_test} test); got {n_found} .mp4; "
            f"{remedy}"
        )
    videos = tuple(stimulus for stimulus in list_stimuli(folder) if stimulus.path.suffix == ".mp4")
    return {"train": videos[:n_train], "test": videos[n_train:]}


def response_path(folder: Path, subject: str, roi: str) -> Path:
    """Return where the responses of one subject in one ROI are kept."""
    return folder / f"{'full' if roi == WHOLE_BRAIN else 'mini'}_track" / subject / f"{roi}.pkl"


def true_test_path(root: Path, subject: str, roi: str) -> Path:
    """Return where simulations keep the test responses of one subject in one ROI, which the challenge does not give."""
    return root / "truth" / f"{subject}_{roi}_test.npy"


def read_train_responses(path: Path, subject: str, roi: str, n_stimuli: int, n_repetitions: int) -> FloatArray:
    """Read the training responses of one subject in one ROI; (n_stimuli, n_repetitions, n_voxels), maybe read-only.

    Raises as `open_pickle`, and ShapeError for another shape.
    """
    stored = open_train_responses(path, subject, roi, n_stimuli, n_repetitions)
    if stored.shape[2] == 0:
        raise DataError(f"{path}: responses of {subject} {roi} hold no voxel; leave this ROI out")
    return as_response_values(stored.read(), str(path))


def open_train_responses(path: Path, subject: str, roi: str, n_stimuli: int, n_repetitions: int) -> StoredArray:
    """Find the training responses of one subject in one ROI and check their shape, without reading them.

    Raises as `open_pickle`, and ShapeError for another shape.
    """
    stored = open_entry(path, "train")
    dims = ("stimulus", "repetition", "voxel")
    stored.check_shape(f"'train' of {subject} {roi} ({path})", dims, (n_stimuli, n_repetitions, None))
    return stored


def check_response_files(dataset: Dataset) -> None:
    """Raise MissingFileError unless the files of all subjects and ROIs are there."""
    for subject in dataset.subjects:
        for roi in dataset.rois(subject):
            for path in dataset.response_files(subject, roi):
                check_response_file(path, subject, roi)


def check_response_file(path: Path, subject: str, roi: str) -> None:
    """Raise MissingFileError unless the file of one subject and ROI is there."""
    if not path.is_file():
        raise MissingFileError(
            f"responses of subject {subject} in ROI {roi} not found: expected {path}; unpack the data there, "
            "or choose other subjects or rois"
        )
