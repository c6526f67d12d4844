"""The one way in for every challenge: make, check and read the file that a dataset's challenge asks for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import Dataset
from voxelcast.submission.check import check_submission
from voxelcast.submission.make import make_submission
from voxelcast.submission.predictions import Part


def make_file(predictions: Mapping[Part, FloatArray], dataset: Dataset, folder: Path) -> Path:
    """Write the submission of the dataset's challenge.

    Parameters
    ----------
    predictions : mapping of (subject, ROI) to ndarray of shape (n_test, n_voxels)
        As the dataset names its ROIs.
    dataset : Dataset
    folder : Path
        Made if it does not exist.

    Returns
    -------
    path : Path
        Of the zip.

    Raises
    ------
    DataError
        If the dataset is no challenge's.
    VoxelcastError
        For whatever the challenge would refuse.
    """
    track = _track(dataset)
    return make_submission(
        predictions,
        track,
        folder,
        n_test=len(dataset.test_stimuli),
        expected_voxels=dataset.submission_voxels,
    )


def check_file(path: Path, dataset: Dataset | None) -> str:
    """Check a submission and say in one line what it holds; None stands for the real challenge of 2021."""
    if dataset is None:
        return str(check_submission(path))
    _track(dataset)
    voxels = dataset.submission_voxels
    return str(check_submission(path, n_test=len(dataset.test_stimuli), expected_voxels=voxels))


def _track(dataset: Dataset) -> str:
    track = dataset.submission_track
    if track is None:
        raise DataError(
            f"this {dataset.kind} dataset, with these subjects and ROIs, is no challenge's, so there is no submission; "
            "choose the subjects and ROIs that the challenge asks for"
        )
    return track
