"""Measured dissimilarity matrices in files: .npy, .npz, or MATLAB files as the RSA toolbox writes them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.distance import squareform

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_finite, check_same_stimuli, nfc
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.datasets.readers.matlab import read_matlab
from voxelcast.datasets.tables import check_unique
from voxelcast.store.readers.arrays import open_npy, read_npz

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
    squares = _without_diagonal(squares, path)
    check_finite(f"RDMs of {path.name}", squares)
    uneven = float(np.abs(squares - squares.transpose(0, 2, 1)).max())
    if uneven > 1e-5 * max(1.0, float(np.abs(squares).max())):
        raise DataError(f"the RDMs of {path.name} must be symmetric; [i, j] and [j, i] differ by up to {uneven:.3g}")
    return np.stack([squareform((square + square.T) / 2, checks=False) for square in squares])


def _without_diagonal(squares: FloatArray, path: Path) -> FloatArray:
    """Return RDMs whose diagonal is 0; raise DataError for one that is neither 0 nor NaN, which some programs write."""
    inside = np.arange(squares.shape[1])
    diagonal = squares[:, inside, inside]
    size = np.nanmax(np.abs(squares), initial=0.0)
    if np.nanmax(np.abs(diagonal), initial=0.0) > 1e-5 * max(size, np.finfo(float).tiny):
        first = diagonal[np.isfinite(diagonal) & (diagonal != 0)]
        raise DataError(
            f"the RDMs of {path.name} must be 0 on the diagonal (or NaN); got {first[0]:g}, which looks like "
            "similarities; give dissimilarities, such as 1 - r"
        )
    squares = squares.copy()
    squares[:, inside, inside] = 0.0
    return squares


def _from_arrays(path: Path) -> tuple[FloatArray, tuple[str, ...] | None]:
    if path.suffix == ".npy":
        return _as_numbers(path, open_npy(path, "RDM file")), None
    found = read_npz(path, "RDM file")
    if "rdms" not in found or "stimulus_id" not in found:
        raise DataError(f"{path.name} must hold 'rdms' and 'stimulus_id'; got {', '.join(found) or 'none'}")
    ids = tuple(nfc(str(name)) for name in found["stimulus_id"].ravel())
    check_unique(ids, path.name)
    return _as_numbers(path, found["rdms"]), ids


def _as_numbers(path: Path, values: NDArray[Any]) -> FloatArray:
    if values.dtype.kind not in "fiu":
        raise DataError(f"RDMs of {path.name} must be real numbers; got {values.dtype}")
    return values.astype(np.float64)


def _from_structs(path: Path) -> FloatArray:
    structs = _struct_array(path, "RDM", "RDM file")
    if structs.ndim not in (2, 3) or structs.shape[0] != 1:
        raise ShapeError(
            f"the struct array of {path.name} must have shape (1, n_subjects) or (1, n_subjects, n_sessions); "
            f"got {structs.shape}"
        )
    by_subject = structs[0] if structs.ndim == 3 else structs[0][:, None]
    squares = [[_as_numbers(path, np.asarray(one["RDM"])) for one in subject] for subject in by_subject]
    shapes = {square.shape for subject in squares for square in subject}
    if len(shapes) != 1:
        raise ShapeError(f"the RDMs of {path.name} must have one shape; got {', '.join(map(str, sorted(shapes)))}")
    return np.asarray(np.mean(squares, axis=1))


def unpack_images(path: Path, folder: Path) -> int:
    """Write the pictures of a MATLAB file (a struct array with a field ``image``) as 000.png, 001.png, ... and count.

    Raises MissingFileError, DataError if the file is missing or holds no pictures (n, n, 3) of bytes.
    """
    from PIL import Image

    pictures = [np.asarray(struct["image"]) for struct in _struct_array(path, "image", "stimuli").ravel()]
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


def _struct_array(path: Path, field: str, what: str) -> NDArray[Any]:
    """Return the first struct array of a MATLAB file that has the field."""
    found = read_matlab(path, what)
    for values in found.values():
        if isinstance(values, np.ndarray) and field in (values.dtype.names or ()):
            return values
    raise DataError(f"{path.name} must hold a struct array with a field {field!r}; got {', '.join(found) or 'nothing'}")
