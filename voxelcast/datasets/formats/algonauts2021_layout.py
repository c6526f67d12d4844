"""The folders and files of the Algonauts 2021 challenge, read by the real data set and by simulations of it."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.base import Dataset, Split
from voxelcast.datasets.readers.pickled_arrays import StoredArray
from voxelcast.datasets.readers.pickles import open_entry
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.stimuli.stimulus import Stimulus

Track = Literal["mini", "full"]

VIDEO_FOLDER = "AlgonautsVideos268_All_30fpsmax"
RESPONSE_FOLDER = "participants_data_v2021"
WHOLE_BRAIN = "WB"
MASK_SHAPE = (78, 93, 71)


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


def list_videos(root: Path, n_train: int, n_test: int) -> dict[Split, tuple[Stimulus, ...]]:
    """List the challenge's videos in sorted order: first ``n_train`` for training, then ``n_test`` for test.

    Raises MissingFileError, DataError where the folder of videos is not there, or holds another number of them.
    """
    folder = find_folder(root, VIDEO_FOLDER, "videos")
    n_found = sum(1 for _ in folder.glob("*.mp4"))
    if n_found != n_train + n_test:
        raise DataError(
            f"{folder} must hold {n_train + n_test} videos ({n_train} train + {n_test} test); got {n_found} .mp4; "
            "unpack the whole archive, or set n_train and n_test"
        )
    videos = tuple(stimulus for stimulus in list_stimuli(folder) if stimulus.path.suffix == ".mp4")
    return {"train": videos[:n_train], "test": videos[n_train:]}


def response_path(folder: Path, track: Track, subject: str, roi: str) -> Path:
    """Return where the responses of one subject in one ROI are kept."""
    return folder / f"{track}_track" / subject / f"{roi}.pkl"


def true_test_path(root: Path, subject: str, roi: str) -> Path:
    """Return where simulations keep the test responses of one subject in one ROI, which the challenge does not give."""
    return root / "truth" / f"{subject}_{roi}_test.npy"


def read_train_responses(path: Path, subject: str, roi: str, n_stimuli: int, n_repetitions: int) -> FloatArray:
    """Read the training responses of one subject in one ROI.

    Returns
    -------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels), float32 or float64
        May be read-only.

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
