"""Read the responses of one subject from .npy, .npz, .csv or .h5: what the user's own data come in."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_option
from voxelcast.core.errors import (
    AlignmentError,
    DataError,
    MissingFileError,
    OptionError,
    ShapeError,
    UnsafeFileError,
    one_line,
)
from voxelcast.datasets.readers.brain_images import BrainImage
from voxelcast.datasets.readers.values import as_response_values, read_table

SUFFIXES = (".npy", ".npz", ".csv", ".h5")
_DIMS = ("stimulus", "repetition", "voxel")


@dataclass(frozen=True)
class ResponseTable:
    """All responses of one subject.

    Parameters
    ----------
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels)
        NaN marks a missing repetition; may be a view of the file.
    stimulus_ids : tuple of str or None
        One per row, where the file holds them.
    voxel_names : tuple of str or None
        One per voxel, where the file holds them (columns of a CSV).
    """

    values: FloatArray
    stimulus_ids: tuple[str, ...] | None
    voxel_names: tuple[str, ...] | None

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(self.values.shape[2])

    @property
    def n_repetitions(self) -> int:
        """Number of repetitions (the most any stimulus has)."""
        return int(self.values.shape[1])

    def read(self, stimuli: Sequence[int], voxels: IntArray) -> FloatArray:
        """Read some stimuli and voxels, ndarray of shape (n_chosen, n_repetitions, n_chosen_voxels)."""
        part: FloatArray = np.ascontiguousarray(self.values[list(stimuli)][:, :, voxels])
        return part


class ImageTable:
    """Responses in a brain image: one map per presentation, read for the voxels asked for.

    ``shown`` is the stimulus id of each map; one that comes again is a repetition. Raises ShapeError if there is not
    one id per map.
    """

    voxel_names = None

    def __init__(self, image: BrainImage, shown: Sequence[str]) -> None:
        if image.n_maps != len(shown):
            raise ShapeError(
                f"{image.path.name} must have {len(shown)} maps, one per stimulus id; got {image.n_maps}; correct "
                "the ids"
            )
        self.image, self.n_voxels = image, image.n_voxels
        maps: dict[str, list[int]] = {}
        for number, stimulus_id in enumerate(shown):
            maps.setdefault(stimulus_id, []).append(number)
        self.stimulus_ids = tuple(maps)
        # (n_stimuli, n_repetitions): which map; -1 where a stimulus was repeated less often than others.
        self._maps = np.full((len(maps), max(map(len, maps.values()))), -1)
        for row, numbers in enumerate(maps.values()):
            self._maps[row, : len(numbers)] = numbers

    @property
    def n_repetitions(self) -> int:
        """Number of repetitions (the most any stimulus has)."""
        return int(self._maps.shape[1])

    def arrange(self, maps: FloatArray, stimuli: Sequence[int]) -> FloatArray:
        """Give the values of all maps (n_maps, n_voxels) by stimulus: (n_chosen, n_repetitions, n_voxels).

        NaN where a repetition is missing.
        """
        chosen = self._maps[list(stimuli)]
        values: FloatArray = maps[chosen]
        values[chosen < 0] = np.nan
        return values


def check_axes(axes: Sequence[str]) -> None:
    """Raise OptionError unless they are ``stimulus``, ``voxel`` and, if repeated, ``repetition``, in any order."""
    for axis in axes:
        check_option("axes", axis, _DIMS)
    if sorted(axes) not in (["stimulus", "voxel"], ["repetition", "stimulus", "voxel"]):
        raise OptionError(
            f"axes must name stimulus and voxel once each, and repetition where there is one; got [{', '.join(axes)}]"
        )


def read_response_table(path: Path, axes: Sequence[str]) -> ResponseTable:
    """Read one subject's responses.

    Raises MissingFileError, DataError, ShapeError, AlignmentError, UnsafeFileError where the file is missing, cannot be
    read, does not fit the axes, or holds Python objects.

    Parameters
    ----------
    path : Path
        ``.npy``: the array. ``.npz`` or ``.h5``: the array under ``responses``, ids under ``stimulus_id`` if known.
        ``.csv``: a row per presentation, first column ``stimulus_id``, optionally a column ``repetition``, all others
        voxels.
    axes : sequence of str
        What the array's axes are, a permutation of ``stimulus``, ``voxel`` and, if any, ``repetition``; a CSV says it
        itself.
    """
    check_option("suffix of the responses", path.suffix, SUFFIXES)
    if not path.is_file():
        raise MissingFileError(f"responses not found: {path} does not exist")
    if path.suffix == ".csv":
        return _read_csv(path)
    array, ids = _read_array(path)
    if array.ndim != len(axes):
        raise ShapeError(
            f"{path.name} must have axes [{', '.join(axes)}]; got shape {array.shape}; "
            "set axes to what the file's axes are, e.g. [stimulus, repetition, voxel]"
        )
    ordered = array if "repetition" in axes else array[np.newaxis]
    order = list(axes) if "repetition" in axes else ["repetition", *axes]
    values = ordered.transpose([order.index(dim) for dim in _DIMS])
    if values.dtype.kind not in "fiu":
        raise DataError(f"{path}: responses must be real numbers; got {values.dtype}")
    return ResponseTable(values, ids, None)


def _read_array(path: Path) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    if path.suffix != ".h5":
        # NumPy takes whatever it does not know for a pickle; the first bytes tell a damaged file from a dangerous one.
        with path.open("rb") as opened:
            known = opened.read(6) == b"\x93NUMPY" if path.suffix == ".npy" else zipfile.is_zipfile(opened)
        if not known:
            raise DataError(f"{path.name} cannot be read as {path.suffix} (it begins otherwise); write it again")
    try:
        if path.suffix == ".npy":
            # A view of the file: a constructor that looks at shapes need not read gigabytes.
            return np.load(path, mmap_mode="r", allow_pickle=False), None
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as file:
                return _pick(path, {name: file[name] for name in file.files if name in ("responses", "stimulus_id")})
        import h5py

        with h5py.File(path, "r") as file:
            return _pick(path, {name: np.asarray(file[name]) for name in ("responses", "stimulus_id") if name in file})
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zipfile.LargeZipFile) as error:
        if isinstance(error, (DataError, UnsafeFileError)):
            raise
        text = one_line(error)
        if "allow_pickle" in text or "Python objects" in text:
            raise UnsafeFileError(
                f"{path.name} holds Python objects; only plain arrays are read; save it so"
            ) from error
        raise DataError(f"{path.name} cannot be read as {path.suffix} ({text}); write it again") from error


def _pick(path: Path, found: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], tuple[str, ...] | None]:
    if "responses" not in found:
        raise DataError(f"{path.name} must hold an array 'responses'; got {', '.join(found) or 'none of that name'}")
    if "stimulus_id" not in found:
        return found["responses"], None
    ids = [item.decode() if isinstance(item, bytes) else str(item) for item in found["stimulus_id"].ravel()]
    return found["responses"], tuple(ids)


def _read_csv(path: Path) -> ResponseTable:
    frame = read_table(path)
    if frame.columns[0] != "stimulus_id":
        raise DataError(f"{path.name} must have the first column stimulus_id; got {frame.columns[0]!r}")
    voxel_names = [name for name in frame.columns if name not in ("stimulus_id", "repetition")]
    if not voxel_names or frame.empty:
        raise DataError(f"{path.name} must have voxel columns and rows; got {len(voxel_names)} and {len(frame)}")
    repeated = "repetition" in frame.columns
    # Labels of any kind; their sorted order gives the index of each repetition.
    labels = frame["repetition"] if repeated else pd.Series(["1"] * len(frame))
    twice = pd.DataFrame({"stimulus_id": frame["stimulus_id"], "repetition": labels}).duplicated()
    if twice.any():
        first = frame["stimulus_id"].to_numpy()[int(twice.to_numpy().argmax())]
        remedy = "keep one of them" if repeated else "number them in a column 'repetition'"
        raise AlignmentError(f"{path.name} holds {first!r} more than once per repetition; {remedy}")
    try:
        numbers = frame[voxel_names].replace("", "nan").to_numpy(dtype=np.float64)
    except ValueError as error:
        raise DataError(f"{path.name}: voxel columns must hold numbers ({one_line(error)})") from error
    ids, rows = np.unique(frame["stimulus_id"].to_numpy(dtype=str), return_inverse=True)
    names, columns = np.unique(labels.to_numpy(dtype=str), return_inverse=True)
    values = np.full((len(ids), len(names), len(voxel_names)), np.nan)
    values[rows, columns] = numbers
    return ResponseTable(as_response_values(values, path.name), tuple(ids.tolist()), tuple(voxel_names))
