"""Submissions to the Algonauts challenge of 2023: a folder per subject with an array per hemisphere, in a zip.

``subj0X/lh_pred_test.npy`` and ``subj0X/rh_pred_test.npy``, float32, (n_test, n_vertices). Whether the server wanted
the subjects' folders at the root of the zip could not be found, nor what it called the zip.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from voxelcast.challenges.archive import check_size, read_members, zipped
from voxelcast.challenges.layout import Part, Shape, array_problems, as_float32, part_problems, raise_first
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.formats.algonauts2023_layout import HEMISPHERES, N_TEST, N_VERTICES, SUBJECTS
from voxelcast.store.atomic import write_bytes

NAME: Final = "algonauts2023"

_MOST_BYTES_PER_VALUE: Final = 8
_OVERHEAD_BYTES: Final = 1 << 12


def challenge_shapes_2023() -> dict[Part, Shape]:
    """List the arrays of the real challenge: (subject, hemisphere) and (n_test, n_vertices)."""
    return {
        (subject, side): (N_TEST[subject], n_vertices)
        for subject in SUBJECTS
        for side, n_vertices in zip(HEMISPHERES, N_VERTICES[subject], strict=True)
    }


def make_2023(predictions: Mapping[Part, FloatArray], folder: Path, shapes: Mapping[Part, Shape]) -> Path:
    """Write ``subj0X/{lh,rh}_pred_test.npy`` and, ready for upload, ``algonauts2023.zip``.

    Parameters
    ----------
    predictions : mapping of (subject, hemisphere) to ndarray of shape (n_test, n_vertices)
        Images in the order of their names; written as float32.
    folder : Path
        Made if it does not exist.
    shapes : mapping of (subject, hemisphere) to tuple
        What is required.

    Returns
    -------
    path : Path
        Of the zip; the same predictions give the same bytes.

    Raises
    ------
    DataError, UnknownNameError, ShapeError
        For a missing or unknown part, a wrong shape, NaN or infinity; nothing is written.
    """
    arrays = {part: as_float32(values) for part, values in predictions.items()}
    problems = part_problems(arrays, shapes, "hemisphere")
    raise_first(problems, NAME)
    members = {_member(part): _npy(arrays[part]) for part in shapes}
    for name, data in members.items():
        write_bytes(folder / name, data)
    write_bytes(folder / f"{NAME}.zip", zipped(members))
    return folder / f"{NAME}.zip"


def read_2023(path: Path, shapes: Mapping[Part, Shape]) -> dict[Part, FloatArray]:
    """Read a submission that is in order: the zip, or the folder that holds ``subj0X``.

    Raises
    ------
    MissingFileError, DataError, ShapeError, UnsafeFileError
        For a missing file, one too many or too large, a wrong shape, NaN or infinity.
    """
    limits = {part: n * m * _MOST_BYTES_PER_VALUE + _OVERHEAD_BYTES for part, (n, m) in shapes.items()}
    if path.is_dir():
        members = {}
        for part, limit in limits.items():
            file = path / _member(part)
            if not file.is_file():
                raise MissingFileError(f"{file} does not exist; the submission must hold predictions for {part[0]}")
            check_size(str(file), file.stat().st_size, limit)
            members[_member(part)] = file.read_bytes()
    elif path.is_file():
        members = read_members(path, {_member(part): limit for part, limit in limits.items()})
    else:
        raise MissingFileError(f"{path} does not exist; give the .zip of a submission, or the folder that holds subj0X")
    arrays = {part: _array(members[_member(part)], _member(part)) for part in shapes}
    raise_first(
        [problem for part, shape in shapes.items() for problem in array_problems(" ".join(part), arrays[part], shape)],
        path.name,
    )
    return arrays


def _member(part: Part) -> str:
    subject, side = part
    return f"{subject}/{side}_pred_test.npy"


def _npy(array: FloatArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _array(data: bytes, name: str) -> FloatArray:
    try:
        array: FloatArray = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise DataError(f"{name} is no plain .npy file ({' '.join(str(error).split())}); write it again") from error
    return array
