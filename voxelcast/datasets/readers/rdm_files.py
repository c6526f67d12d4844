"""Measured dissimilarity matrices in files: .npy, .npz, or MATLAB files as the RSA toolbox writes them."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray
from scipy.io.matlab import MatReadError
from scipy.spatial.distance import squareform

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_same_stimuli
from voxelcast.core.errors import DataError, MissingFileError, ShapeError, one_line

SUFFIXES = (".npy", ".npz", ".mat")


def read_rdms(path: Path, stimulus_ids: Sequence[str]) -> FloatArray:
    """Read the dissimilarity matrices of several subjects; shape (n_subjects, n_pairs), see `voxelcast.scoring.rdm`.

    ``.npy``: (n_subjects, n_stimuli, n_stimuli), rows in the sorted order of the stimuli. ``.npz``: the same as
    ``rdms``, with the ids of its rows as ``stimulus_id``, which are put in order. ``.mat``: a struct array of
    (1, n_subjects) or (1, n_subjects, n_sessions) with a field ``RDM``, as in the RSA toolbox; sessions are averaged,
    rows are in the order of the stimuli.

    Raises MissingFileError, DataError, ShapeError, AlignmentError if the file is missing, holds something else, or is
    not of these stimuli.
    """
    if not path.is_file():
        raise MissingFileError(f"RDM file not found: {path} does not exist")
    if path.suffix not in SUFFIXES:
        raise DataError(f"RDMs must be in a file ending in {', '.join(SUFFIXES)}; got {path.name}")
    squares, ids = (_from_structs(path), None) if path.suffix == ".mat" else _from_arrays(path)
    n = len(stimulus_ids)
    if squares.ndim != 3 or squares.shape[1:] != (n, n):
        raise ShapeError(f"{path.name} must hold RDMs of shape (n_subjects, {n}, {n}); got {squares.shape}")
    if ids is not None:
        check_same_stimuli(f"rows of {path.name}", sorted(ids), "the stimuli", sorted(stimulus_ids))
        order = [ids.index(stimulus_id) for stimulus_id in stimulus_ids]
        squares = squares[:, order][:, :, order]
    check_finite(f"RDMs of {path.name}", squares)
    uneven = float(np.abs(squares - squares.transpose(0, 2, 1)).max())
    if uneven > 1e-5 * max(1.0, float(np.abs(squares).max())):
        raise DataError(f"the RDMs of {path.name} must be symmetric; [i, j] and [j, i] differ by up to {uneven:.3g}")
    return np.stack([squareform((square + square.T) / 2, checks=False) for square in squares])


def _from_arrays(path: Path) -> tuple[FloatArray, tuple[str, ...] | None]:
    try:
        found = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            return np.asarray(found, dtype=np.float64), None
        with found:
            if "rdms" not in found or "stimulus_id" not in found:
                raise DataError(
                    f"{path.name} must hold 'rdms' and 'stimulus_id'; got {', '.join(found.files) or 'none'}"
                )
            return np.asarray(found["rdms"], dtype=np.float64), tuple(str(name) for name in found["stimulus_id"])
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{path.name} cannot be read as {path.suffix} ({one_line(error)})") from error


def _from_structs(path: Path) -> FloatArray:
    structs = _struct_array(path, "RDM")
    if structs.ndim not in (2, 3) or structs.shape[0] != 1:
        raise ShapeError(
            f"the struct array of {path.name} must have shape (1, n_subjects) or (1, n_subjects, n_sessions); "
            f"got {structs.shape}"
        )
    by_subject = structs[0] if structs.ndim == 3 else structs[0][:, None]
    squares = [[np.asarray(session["RDM"], dtype=np.float64) for session in subject] for subject in by_subject]
    shapes = {square.shape for subject in squares for square in subject}
    if len(shapes) != 1:
        raise ShapeError(f"the RDMs of {path.name} must have one shape; got {', '.join(map(str, sorted(shapes)))}")
    return np.asarray(np.mean(squares, axis=1))


def unpack_images(path: Path, folder: Path) -> int:
    """Write the pictures of a MATLAB file (a struct array with a field ``image``) as 000.png, 001.png, ... and count.

    Raises MissingFileError, DataError if the file is missing or holds no pictures (n, n, 3) of bytes.
    """
    from PIL import Image

    if not path.is_file():
        raise MissingFileError(f"stimuli not found: {path} does not exist")
    pictures = [np.asarray(struct["image"]) for struct in _struct_array(path, "image").ravel()]
    for number, picture in enumerate(pictures):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise DataError(
                f"picture {number} of {path.name} must be of shape (height, width, 3) and type uint8; "
                f"got {picture.shape} and {picture.dtype}"
            )
        target = folder / f"{number:03d}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        encoded = Image.fromarray(picture)
        encoded.save(target.with_suffix(".part"), format="png")
        target.with_suffix(".part").replace(target)
    return len(pictures)


def _struct_array(path: Path, field: str) -> NDArray[Any]:
    """Return the first struct array of a MATLAB file that has the field."""
    with path.open("rb") as file:
        known = file.read(6) == b"MATLAB"
    if not known:
        raise DataError(f"{path.name} is no MATLAB file of version 5 to 7.2 (it begins otherwise); save it so")
    try:
        found = scipy.io.loadmat(path)
    except (ValueError, TypeError, IndexError, OSError, NotImplementedError, MatReadError) as error:
        text = one_line(error)
        raise DataError(
            f"{path.name} cannot be read as a MATLAB file of version 5 to 7.2 ({text}); save it so"
        ) from error
    for values in found.values():
        if isinstance(values, np.ndarray) and field in (values.dtype.names or ()):
            return values
    names = ", ".join(name for name in found if not name.startswith("_"))
    raise DataError(f"{path.name} must hold a struct array with a field {field!r}; got {names or 'nothing'}")
