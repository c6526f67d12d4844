"""The one way in for every challenge: make, check and read the file that datasets' challenge asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from voxelcast.challenges.algonauts2023 import challenge_shapes_2023, make_2023, read_2023
from voxelcast.challenges.algonauts2025 import make_2025, read_2025
from voxelcast.challenges.check import check_submission, read_submission
from voxelcast.challenges.layout import Part, Shape
from voxelcast.challenges.make import make_submission
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import Dataset, SubmissionTrack
from voxelcast.datasets.formats.algonauts2025 import Algonauts2025Dataset
from voxelcast.datasets.formats.algonauts2025_layout import N_PARCELS

_FILES: Final[Mapping[SubmissionTrack, tuple[str, ...]]] = {
    "mini": ("mini_track.pkl", "mini_track.zip"),
    "full": ("full_track.pkl", "full_track.zip"),
    "2023": ("algonauts2023.zip", "subj0?/?h_pred_test.npy"),
    "2025": ("fmri_predictions_*.npy", "fmri_predictions_*.zip"),
}
"""What `make_file` writes, as patterns below its folder."""


def make_file(predictions: Mapping[Part, FloatArray], datasets: Sequence[Dataset], folder: Path) -> Path:
    """Write the submission of the datasets' challenge.

    Parameters
    ----------
    predictions : mapping of (subject, ROI) to ndarray of shape (n_test, n_voxels)
        As the datasets name their subjects and ROIs.
    datasets : sequence of Dataset
        One, or, where a dataset is of one subject (2023), one for each subject.
    folder : Path
        Made if it does not exist.

    Returns
    -------
    path : Path
        Of the zip.

    Raises
    ------
    DataError
        If a dataset is no challenge's.
    VoxelcastError
        For whatever the challenge would refuse.
    """
    track = track_of(datasets)
    if track == "2023":
        return make_2023(predictions, folder, shapes_2023(datasets))
    if track == "2025":
        return make_2025(split_runs(predictions, datasets), folder, shapes_2025(datasets))
    (dataset,) = datasets
    n_test, voxels = len(dataset.test_stimuli), dataset.submission_voxels
    return make_submission(predictions, track, folder, n_test=n_test, expected_voxels=voxels)


def remove_files(track: SubmissionTrack, folder: Path) -> None:
    """Remove what `make_file` wrote for a challenge into a folder; files of other names stay."""
    for pattern in _FILES[track]:
        for path in folder.glob(pattern):
            path.unlink()


def check_file(path: Path, datasets: Sequence[Dataset] = ()) -> str:
    """Check a submission and say in one line what it holds.

    Parameters
    ----------
    path : Path
    datasets : sequence of Dataset
        What it is for; none stands for the real challenge: of 2023 if the file is named ``algonauts2023``, else of
        2021.
    """
    if not datasets:
        if path.stem != "algonauts2023":
            return str(check_submission(path))
        shapes = challenge_shapes_2023()
        read_2023(path, shapes)
        return _line(path, "2023", shapes)
    track = track_of(datasets)
    if track == "2023":
        shapes = shapes_2023(datasets)
        read_2023(path, shapes)
    elif track == "2025":
        shapes = shapes_2025(datasets)
        read_2025(path, shapes)
    else:
        (dataset,) = datasets
        n_test, voxels = len(dataset.test_stimuli), dataset.submission_voxels
        return str(check_submission(path, n_test=n_test, expected_voxels=voxels))
    return _line(path, track, shapes)


def read_file(path: Path, datasets: Sequence[Dataset], measured: Mapping[Part, FloatArray]) -> dict[Part, FloatArray]:
    """Read the predictions of a submission whose shapes must be those of the measured responses.

    Parameters
    ----------
    path : Path
    datasets : sequence of Dataset
    measured : mapping of (subject, ROI or hemisphere or run) to ndarray of shape (n_test, ..., n_voxels)
    """
    kind = datasets[0].kind
    shapes = {part: (values.shape[0], values.shape[-1]) for part, values in measured.items()}
    if kind == "algonauts2023":
        return read_2023(path, shapes)
    if kind == "algonauts2025":
        return read_2025(path, shapes)
    voxels: dict[str, dict[str, int]] = {}
    for (subject, roi), (_, n_voxels) in shapes.items():
        voxels.setdefault(subject, {})[roi] = n_voxels
    return read_submission(path, n_test=len(datasets[0].test_stimuli), expected_voxels=voxels)


def track_of(datasets: Sequence[Dataset]) -> SubmissionTrack:
    """Tell which submission is made of these data.

    Raises
    ------
    DataError
        If there is none, or they are of several challenges.
    """
    tracks = {dataset.submission_track for dataset in datasets}
    track = next(iter(tracks))
    if len(tracks) > 1 or (len(datasets) > 1 and track != "2023"):
        raise DataError(
            f"a submission is made of one dataset, or of one for each subject (2023); got {len(datasets)} of "
            f"{', '.join(sorted({dataset.kind for dataset in datasets}))}"
        )
    if track is None:
        raise DataError(
            f"this {datasets[0].kind} dataset, with these subjects and ROIs, is no challenge's, so there is no "
            "submission; choose the subjects and ROIs that the challenge asks for"
        )
    return track


def shapes_2023(datasets: Sequence[Dataset]) -> dict[Part, Shape]:
    """List the arrays that these subjects' submission must hold."""
    return {
        (subject, side): (len(dataset.test_stimuli), n_vertices)
        for dataset in datasets
        for subject, sides in (dataset.submission_voxels or {}).items()
        for side, n_vertices in sides.items()
    }


def shapes_2025(datasets: Sequence[Dataset]) -> dict[Part, Shape]:
    """List the time series that the submission must hold: every volume that each subject has of each held-out run."""
    return {
        (subject, run): (n_volumes, N_PARCELS)
        for dataset in datasets
        if isinstance(dataset, Algonauts2025Dataset)
        for subject, runs in dataset.samples.items()
        for run, n_volumes in runs.items()
    }


def split_runs(values: Mapping[Part, FloatArray], datasets: Sequence[Dataset]) -> dict[Part, FloatArray]:
    """Divide (n_test, n_parcels) of each subject into runs, each cut to the volumes that the subject has of it.

    Parameters
    ----------
    values : mapping of (subject, ROI) to ndarray of shape (n_test, n_parcels)
        One ROI for each subject.
    datasets : sequence of Dataset

    Returns
    -------
    parts : dict of (subject, run) to ndarray of shape (n_volumes, n_parcels)

    Raises
    ------
    DataError
        If a dataset is not of the challenge of 2025, or a subject has several ROIs.
    """
    parts: dict[Part, FloatArray] = {}
    for dataset in datasets:
        if not isinstance(dataset, Algonauts2025Dataset):
            raise DataError(f"runs of the challenge of 2025 need its dataset; got {dataset.kind}; choose another rule")
        for subject, runs in dataset.samples.items():
            rois = [roi for of, roi in values if of == subject]
            if len(rois) != 1:
                raise DataError(
                    f"{subject} must have one ROI of all parcels; got {len(rois)}; leave rois and roi_table out"
                )
            start = 0
            for run in dataset.runs_of("test"):
                if run.name in runs:
                    parts[subject, run.name] = values[subject, rois[0]][start : start + runs[run.name]]
                start += run.n_volumes
    return parts


def _line(path: Path, track: SubmissionTrack, shapes: Mapping[Part, Shape]) -> str:
    subjects = dict.fromkeys(subject for subject, _ in shapes)
    n_values = sum(n * m for n, m in shapes.values())
    return f"{path.name}: Algonauts {track} in order: {', '.join(subjects)}; {len(shapes)} arrays, {n_values} values"
