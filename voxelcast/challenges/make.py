"""Write the predictions of the held-out stimuli as an Algonauts 2021 submission."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from voxelcast.challenges.archive import zipped
from voxelcast.challenges.layout import (
    VoxelTable,
    as_float32,
    check_track,
    find_problems,
    raise_first,
    required_voxels,
)
from voxelcast.challenges.pickling import pickled
from voxelcast.core.arrays import FloatArray
from voxelcast.datasets.formats.algonauts2021 import N_TEST
from voxelcast.store.atomic import write_bytes


def make_submission(
    predictions: Mapping[tuple[str, str], FloatArray],
    track: str,
    folder: Path,
    *,
    n_test: int = N_TEST,
    expected_voxels: VoxelTable | None = None,
) -> Path:
    """Write ``{track}_track.pkl`` and, ready for upload, ``{track}_track.zip``.

    The same predictions give the same bytes. Nothing is written if anything is wrong with them.

    Parameters
    ----------
    predictions : mapping of (subject, roi) to ndarray of shape (n_test, n_voxels)
        Predicted responses to the held-out stimuli in the challenge's order; written as float32.
    track : {"mini", "full"}
        ``"mini"``: nine ROIs; ``"full"``: the ROI ``"WB"``.
    folder : Path
        Made if it does not exist.
    n_test : int
        Number of held-out stimuli.
    expected_voxels : mapping or None
        ``{subject: {ROI: n_voxels}}`` where the data are not the challenge's (simulated ones): these subjects and ROIs
        are then required. None means the challenge's table.

    Returns
    -------
    path : Path
        Of the zip.

    Raises
    ------
    OptionError
        For an unknown track.
    DataError, UnknownNameError, ShapeError
        For a missing or unknown subject or ROI, a wrong shape, NaN or infinity.
    UnwritableError
        If the folder cannot be written to.
    """
    track = check_track(track)
    required = required_voxels(track, expected_voxels)
    in_order = [(subject, roi) for roi, subjects in required.items() for subject in subjects]
    unknown = [key for key in predictions if key not in in_order]
    content: dict[str, dict[str, FloatArray]] = {}
    for subject, roi in [key for key in in_order if key in predictions] + unknown:
        content.setdefault(roi, {})[subject] = as_float32(predictions[subject, roi])
    raise_first(find_problems(content, required, n_test), f"{track} track")

    data = pickled(content)
    write_bytes(folder / f"{track}_track.pkl", data)
    path = folder / f"{track}_track.zip"
    write_bytes(path, zipped({f"{track}_track.pkl": data}))
    return path
