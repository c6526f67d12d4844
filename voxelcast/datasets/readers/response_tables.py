"""Read the responses of one subject from .npy, .npz, .csv, .h5 or .mat, or from the maps of brain images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_option, nfc
from voxelcast.core.errors import AlignmentError, DataError, OptionError, ShapeError
from voxelcast.datasets.readers.brain_images import BrainImage, brain_suffix, open_image
from voxelcast.datasets.readers.geometry import Geometry, check_same_geometry
from voxelcast.datasets.readers.glmsingle import is_glmsingle, open_glmsingle
from voxelcast.datasets.readers.matlab import read_matlab
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.store.readers.arrays import open_npy, read_npz
from voxelcast.store.readers.guard import reading
from voxelcast.store.readers.hdf5 import read_hdf5
from voxelcast.store.readers.tables import as_numbers, table_rows

SUFFIXES = (".npy", ".npz", ".csv", ".h5", ".mat")
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
        return np.asarray(np.ascontiguousarray(self.values[list(stimuli)][:, :, voxels]))


class ImageTable:
    """Responses in a brain image: one map per presentation, read for the voxels asked for.

    ``shown`` is the stimulus id of each map, None where a map is of none; one that comes again is a repetition. Raises
    ShapeError if there is not one id per map.
    """

    voxel_names = None

    def __init__(self, image: BrainImage, shown: Sequence[str | None]) -> None:
        if image.n_maps != len(shown):
            raise ShapeError(
                f"{image.path.name} must have {len(shown)} maps, one per stimulus id; got {image.n_maps}; correct "
                "the ids"
            )
        self.image, self.n_voxels = image, image.n_voxels
        maps: dict[str, list[int]] = {}
        for number, stimulus_id in enumerate(shown):
            if stimulus_id is not None:
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
        ``.npy``: the array. ``.npz``, ``.h5`` or ``.mat``: ``responses``, and ``stimulus_id`` if known.
        ``.csv``: a row per presentation, first column ``stimulus_id``, optionally a column ``repetition``, all others
        voxels.
    axes : sequence of str
        What the array's axes are, a permutation of ``stimulus``, ``voxel`` and, if any, ``repetition``; a CSV says it
        itself.
    """
    check_option("suffix of the responses", path.suffix, SUFFIXES)
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
    if path.suffix == ".npy":
        # A view of the file: a constructor that looks at shapes need not read gigabytes.
        return open_npy(path, "responses", mapped=True), None
    read = {".npz": read_npz, ".h5": read_hdf5, ".mat": read_matlab}[path.suffix]
    found = read(path, "responses", ("responses", "stimulus_id"))
    if not isinstance(found.get("responses"), np.ndarray):
        raise DataError(f"{path.name} must hold an array 'responses'; got {', '.join(found) or 'none of that name'}")
    if "stimulus_id" not in found:
        return found["responses"], None
    return found["responses"], tuple(_id(path, item) for item in np.asarray(found["stimulus_id"]).ravel())


def _id(path: Path, item: Any) -> str:
    with reading(f"stimulus_id in {path}", "text", "save it as text"):
        return nfc(item.decode() if isinstance(item, bytes) else str(item))


def _read_csv(path: Path) -> ResponseTable:
    stream = table_rows(path, "responses")
    _, names = next(stream)
    if names[0] != "stimulus_id":
        raise DataError(f"{path.name} must have the first column stimulus_id; got {names[0]!r}")
    voxel_names = [name for name in names if name not in ("stimulus_id", "repetition")]
    if "" in voxel_names:
        raise DataError(f"{path.name} must name every voxel's column; got none in column {names.index('') + 1}")
    repetition = names.index("repetition") if "repetition" in names else None
    places = [names.index(name) for name in voxel_names]
    # Of each row its stimulus, its repetition (labels of any kind; their sorted order gives the index), and numbers.
    keys: dict[tuple[str, str], FloatArray] = {}
    for line, row in stream:
        key = (row[0], "1" if repetition is None else row[repetition])
        if key in keys:
            remedy = "number them in a column 'repetition'" if repetition is None else "keep one of them"
            raise AlignmentError(f"{path.name} holds {row[0]!r} more than once per repetition; {remedy}")
        keys[key] = as_numbers([row[place] for place in places], voxel_names, path, line)
    if not voxel_names or not keys:
        raise DataError(f"{path.name} must have voxel columns and rows; got {len(voxel_names)} and {len(keys)}")
    ids = sorted({stimulus_id for stimulus_id, _ in keys})
    labels = sorted({label for _, label in keys})
    row_of, place_of = ({name: k for k, name in enumerate(known)} for known in (ids, labels))
    values = np.full((len(ids), len(labels), len(voxel_names)), np.nan)
    for (stimulus_id, label), numbers in keys.items():
        values[row_of[stimulus_id], place_of[label]] = numbers
    return ResponseTable(as_response_values(values, path.name), tuple(ids), tuple(voxel_names))


class JoinedMaps(BrainImage):
    """Images over the same voxels, as one image of all their maps."""

    def __init__(self, images: Sequence[BrainImage]) -> None:
        super().__init__(images[0].path, sum(image.n_maps for image in images), images[0].geometry)
        self._images, self.value_bytes = images, max(image.value_bytes for image in images)

    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read all files, one after the other; values of shape (n_maps, n_voxels_in_roi)."""
        parts = [image.read(*rois) for image in self._images]
        return tuple(np.concatenate(of_roi) for of_roi in zip(*parts, strict=True))


class RowsImage(BrainImage):
    """The rows of a response table without repetitions, each as a map."""

    def __init__(self, path: Path, table: ResponseTable) -> None:
        if table.n_repetitions > 1:
            raise ShapeError(
                f"{path.name} must have a row per presentation, as its rows are named by presentation; got an axis of "
                f"{table.n_repetitions} repetitions; give one stimulus id per stimulus, or an array without it"
            )
        super().__init__(path, len(table.values), Geometry("array", (table.n_voxels,)))
        self._values = table.values

    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read some columns; values of shape (n_maps, n_voxels_in_roi)."""
        return tuple(np.asarray(self._values[:, 0, voxels]) for voxels in rois)


def is_image(path: Path) -> bool:
    """Whether a response file is a brain image, by its name: NIfTI, CIFTI, GIFTI, or an output of GLMsingle."""
    return brain_suffix(path) is not None or is_glmsingle(path)


def open_maps(paths: Sequence[Path]) -> tuple[BrainImage, ...]:
    """Open the brain images of one subject, which must have the same voxels; a NIfTI volume is one map.

    Raises as `voxelcast.datasets.readers.brain_images.open_brain_image`, and AlignmentError or ShapeError where voxels
    differ.
    """
    images = tuple(open_glmsingle(path) if is_glmsingle(path) else open_image(path, single=True) for path in paths)
    return same_voxels(images)


def same_voxels(images: tuple[BrainImage, ...]) -> tuple[BrainImage, ...]:
    """Return images as they are; raises AlignmentError or ShapeError where their voxels differ."""
    for image in images[1:]:
        there = images[0].path, images[0].geometry
        check_same_geometry("responses", image.path, image.geometry, there, "realign them, or leave one out")
    return images
