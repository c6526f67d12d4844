"""Check a submission before it is uploaded: the server's own messages come late and say little."""

from __future__ import annotations

import tempfile
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from voxelcast.core.checks import check_inside
from voxelcast.core.errors import DataError, MissingFileError, UnsafeFileError
from voxelcast.datasets.algonauts2021 import N_TEST
from voxelcast.datasets.layout2021 import Track
from voxelcast.datasets.pickles import load_pickle
from voxelcast.submission.layout import (
    TRACK_ROIS,
    VoxelTable,
    find_problems,
    raise_first,
    required_voxels,
)

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
    summary : SubmissionSummary

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
    if path.suffix not in (".zip", ".pkl") or path.stem not in _TRACK_OF:
        raise DataError(
            f"a submission must be named {_ALLOWED} with the ending .zip or .pkl; got {path.name!r}; rename it"
        )
    track = _TRACK_OF[path.stem]
    required = required_voxels(track, expected_voxels)
    n_voxels = sum(n for subjects in required.values() for n in subjects.values())
    limit = n_test * n_voxels * _MOST_BYTES_PER_VALUE + _OVERHEAD_BYTES
    if path.suffix == ".zip":
        # The member's name, which the reader's messages use, was compared with the wanted one before.
        with tempfile.TemporaryDirectory() as folder:
            member = Path(folder) / f"{path.stem}.pkl"
            member.write_bytes(_read_member(path, member.name, limit))
            content = load_pickle(member)
    else:
        _check_size(path.name, path.stat().st_size, limit)
        content = load_pickle(path)
    raise_first(find_problems(content, required, n_test), path.name)
    subjects = tuple(dict.fromkeys(subject for roi in required.values() for subject in roi))
    return SubmissionSummary(path, track, subjects, tuple(required), n_test, n_voxels)


def _read_member(path: Path, wanted: str, limit: int) -> bytes:
    """Return the bytes of the one file that the zip must hold at its root."""
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path.name} is not a zip archive; zip {wanted} without a folder around it")
    try:
        with zipfile.ZipFile(path) as archive:
            members = [member for member in archive.infolist() if not member.is_dir()]
            _check_members(path.name, [member.filename for member in members], wanted)
            _check_size(f"{wanted} in {path.name}", members[0].file_size, limit)
            if members[0].flag_bits & 1:
                raise DataError(f"{path.name} is encrypted; the server has no password: zip it without one")
            return archive.read(members[0])
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise DataError(f"{path.name} cannot be read as a zip archive ({error}); make it again") from error


def _check_members(archive: str, names: list[str], wanted: str) -> None:
    for name in names:
        check_inside(name, archive)
    if not names:
        raise DataError(f"{archive} is empty; it must hold {wanted} at its root")
    if len(names) > 1:
        raise DataError(
            f"{archive} must hold {wanted} and nothing else; got {len(names)} files: {', '.join(names[:6])}"
        )
    if PurePosixPath(names[0]).name == wanted and names[0] != wanted:
        raise DataError(
            f"{archive} must hold {wanted} at its root; got it in a sub-folder: {names[0]!r}; zip the file alone"
        )
    if names[0] != wanted:
        raise DataError(f"{archive} must hold {wanted} at its root; got {names[0]!r}; rename it")


def _check_size(name: str, size: int, limit: int) -> None:
    if size > limit:
        raise UnsafeFileError(
            f"{name} must be at most {limit} bytes, more than its arrays take; got {size} bytes; it was not read"
        )
