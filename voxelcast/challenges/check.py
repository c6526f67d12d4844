"""Check a submission before it is uploaded: the server's own messages come late and say little."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voxelcast.challenges.archive import check_size, read_members
from voxelcast.challenges.layout import (
    TRACK_ROIS,
    VoxelTable,
    checked_content,
    required_voxels,
)
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.formats.algonauts2021 import N_TEST
from voxelcast.datasets.formats.algonauts2021_layout import Track
from voxelcast.datasets.readers.pickles import load_pickle

_TRACK_OF: Final[Mapping[str, Track]] = {f"{track}_track": track for track in TRACK_ROIS}
_ALLOWED: Final = " or ".join(_TRACK_OF)

# A value takes 8 bytes as float64 and up to twice that where protocol 2 wrote it as text; more is no submission.
_MOST_BYTES_PER_VALUE: Final = 16
_OVERHEAD_BYTES: Final = 1 << 20


@dataclass(frozen=True)
class SubmissionSummary:
    """What a submission that was found in order holds.

    Parameters
    ----------
    path : Path
    track : {"mini", "full"}
    subjects, rois : tuple of str
    n_test : int
        Number of held-out stimuli.
    n_voxels : int
        Sum over subjects and ROIs.
    """

    path: Path
    track: Track
    subjects: tuple[str, ...]
    rois: tuple[str, ...]
    n_test: int
    n_voxels: int

    def __str__(self) -> str:
        """Say it in one line."""
        return (
            f"{self.path.name}: {self.track} track in order: {len(self.subjects)} subjects x {len(self.rois)} ROIs, "
            f"{self.n_test} stimuli, {self.n_voxels} voxels in all"
        )


def check_submission(
    path: Path, *, n_test: int = N_TEST, expected_voxels: VoxelTable | None = None
) -> SubmissionSummary:
    """Read a submission and compare it with what the challenge asks for.

    Parameters and errors are those of :func:`read_submission`.

    Returns
    -------
    summary : SubmissionSummary
    """
    content = read_submission(path, n_test=n_test, expected_voxels=expected_voxels)
    rois, subjects = dict.fromkeys(roi for _, roi in content), dict.fromkeys(subject for subject, _ in content)
    n_voxels = sum(array.shape[1] for array in content.values())
    return SubmissionSummary(Path(path), track_of(path), tuple(subjects), tuple(rois), n_test, n_voxels)


def track_of(path: Path) -> Track:
    """Tell the track from a submission's file name; raise DataError where it is not the challenge's."""
    if path.suffix not in (".zip", ".pkl") or path.stem not in _TRACK_OF:
        raise DataError(
            f"a submission must be named {_ALLOWED} with the ending .zip or .pkl; got {path.name!r}; rename it"
        )
    return _TRACK_OF[path.stem]


def read_submission(
    path: Path, *, n_test: int = N_TEST, expected_voxels: VoxelTable | None = None
) -> dict[tuple[str, str], FloatArray]:
    """Read the predictions of a submission that is in order.

    Parameters
    ----------
    path : Path
        ``mini_track.zip``, ``full_track.zip`` or the ``.pkl`` of the same stem.
    n_test : int
        Number of held-out stimuli.
    expected_voxels : mapping or None
        ``{subject: {ROI: n_voxels}}`` for data other than the challenge's; None means the challenge's table.

    Returns
    -------
    predictions : dict of (subject, ROI) to ndarray of shape (n_test, n_voxels)

    Raises
    ------
    MissingFileError
        If there is no such file.
    UnsafeFileError
        For a pickle that holds more than arrays and plain containers, or an archive whose names lead outside it.
    DataError, UnknownNameError, ShapeError
        For the first problem found; the message says how many others there are.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"{path} does not exist or is no file; give a {_ALLOWED} .zip or .pkl")
    required = required_voxels(track_of(path), expected_voxels)
    n_voxels = sum(n for subjects in required.values() for n in subjects.values())
    limit = n_test * n_voxels * _MOST_BYTES_PER_VALUE + _OVERHEAD_BYTES
    if path.suffix == ".zip":
        # The member's name, which the reader's messages use, was compared with the wanted one before.
        with tempfile.TemporaryDirectory() as folder:
            member = Path(folder) / f"{path.stem}.pkl"
            member.write_bytes(read_members(path, {member.name: limit})[member.name])
            content = load_pickle(member)
    else:
        check_size(path.name, path.stat().st_size, limit)
        content = load_pickle(path)
    return checked_content(content, required, n_test, path.name)
