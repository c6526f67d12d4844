"""Outputs of GLMsingle: single-trial betas, and which condition of the design each trial was.

GLMsingle (doi:10.7554/eLife.77599) writes ``TYPEB_FITHRF``, ``TYPEC_FITHRF_GLMDENOISE`` and
``TYPED_FITHRF_GLMDENOISE_RR``: as a pickled dict in a .npy file or as .hdf5 from Python, as .mat (version 7.3) from
MATLAB. Betas are in the order in which trials came. ``DESIGNINFO`` beside them says the condition of each.
"""

from __future__ import annotations

import re
from math import prod
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.readers.brain_images import BrainImage
from voxelcast.datasets.readers.geometry import Geometry
from voxelcast.datasets.readers.matlab import read_matlab
from voxelcast.datasets.readers.pickled_arrays import StoredArray
from voxelcast.datasets.readers.pickles import load_boxed_dict, open_boxed_dict
from voxelcast.store.readers.hdf5 import Hdf5Array, dataset_of, opened_hdf5

_NAME = re.compile(r"TYPE[BCD]_FITHRF\w*\.(npy|hdf5|h5|mat)")
_BETAS = ("betasmd", "modelmd")  # in Python and in MATLAB
_SLAB_BYTES = 64 * 2**20


def is_glmsingle(path: Path) -> bool:
    """Whether a file is GLMsingle's betas, by its name.

    Examples
    --------
    >>> is_glmsingle(Path("sub-01_TYPED_FITHRF_GLMDENOISE_RR.npy")), is_glmsingle(Path("TYPEA_ONOFF.npy"))
    (True, False)
    """
    return _NAME.search(path.name) is not None


class GlmSingleImage(BrainImage):
    """Betas of trials; where in the brain their volume lies is not in the file, so masks say it."""

    def __init__(self, path: Path, stored: StoredArray | Hdf5Array) -> None:
        # MATLAB's files have the axes in reverse.
        self._reverse = path.suffix == ".mat"
        shape = stored.shape[::-1] if self._reverse else stored.shape
        if len(shape) not in (2, 4) or not prod(shape) or stored.dtype is None or stored.dtype.kind != "f":
            raise DataError(f"{path}: betas must be numbers (x, y, z, trial) or (voxel, trial); got shape {shape}")
        grid = tuple(size for size in shape[:-1] if size > 1) if 1 in shape[1:-1] else shape[:-1]
        volume = len(grid) == 3
        geometry = Geometry("volume" if volume else "array", grid if volume else (prod(grid),))
        super().__init__(path, shape[-1], geometry)
        self._stored, self.value_bytes = stored, stored.dtype.itemsize

    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read the file once; values of shape (n_maps, n_voxels_in_roi)."""
        if isinstance(self._stored, StoredArray):
            flat = self._stored.flat_first()
            if flat is not None:
                together = np.asarray(flat.read(np.concatenate(rois)))
                return tuple(np.split(together, np.cumsum([len(voxels) for voxels in rois])[:-1], axis=1))
            whole = self._stored.read().reshape(-1, self.n_maps)
            return tuple(np.ascontiguousarray(whole[voxels].T) for voxels in rois)
        values = tuple(np.empty((self.n_maps, len(voxels)), self._stored.dtype) for voxels in rois)
        size = self._stored.shape[0]
        rows = max(1, _SLAB_BYTES // (self.value_bytes * prod(self._stored.shape[1:])))
        with opened_hdf5(self.path, "responses"):
            for start in range(0, size, rows):
                slab = self._stored.read(range(start, min(start + rows, size)))
                self._take(values, rois, slab, start)
        return values

    def _take(self, values: tuple[FloatArray, ...], rois: tuple[IntArray, ...], slab: FloatArray, start: int) -> None:
        """Put what some rows of the file hold where it belongs."""
        n_rows = len(slab)
        if self._reverse:  # (trials, z, y, x)
            shape = self._stored.shape[:0:-1]
            flat = slab.reshape(n_rows, -1)
            for of_roi, voxels in zip(values, rois, strict=True):
                at = np.ravel_multi_index(np.unravel_index(voxels, shape), shape, order="F")
                of_roi[start : start + n_rows] = flat[:, at]
            return
        flat = slab.reshape(-1, self.n_maps)  # (some x, y, z, trials)
        first = start * (flat.shape[0] // n_rows)
        for of_roi, voxels in zip(values, rois, strict=True):
            here = (voxels >= first) & (voxels < first + len(flat))
            of_roi[:, here] = flat[voxels[here] - first].T


def open_glmsingle(path: Path) -> GlmSingleImage:
    """Open an output of GLMsingle.

    Raises MissingFileError, DataError, UnsafeFileError where the file is missing, damaged, or has no betas.
    """
    if path.suffix == ".npy":
        content = open_boxed_dict(path)
        stored = next((content[name] for name in _BETAS if isinstance(content.get(name), StoredArray)), None)
        if stored is None:
            raise _no_betas(path, ", ".join(map(str, content)))
        return GlmSingleImage(path, stored)
    with opened_hdf5(path, "responses") as file:
        name = next((name for name in _BETAS if file.holds(name)), None)
        if name is None:
            raise _no_betas(path, ", ".join(file.names()))
        return GlmSingleImage(path, dataset_of(file, name))


def design_file(path: Path) -> Path | None:
    """Find DESIGNINFO beside a file of betas."""
    beside = (path.with_name(f"DESIGNINFO{end}") for end in (".npy", ".mat"))
    return next((file for file in beside if file.is_file()), None)


def condition_order(path: Path) -> IntArray | None:
    """Read which condition, from 0, each trial of a file of betas was, (n_trials,), from DESIGNINFO beside it.

    None where there is no such file. Raises DataError where it does not say so.
    """
    found = design_file(path)
    if found is None:
        return None
    content = load_boxed_dict(found) if found.suffix == ".npy" else read_matlab(found, "design", ("stimorder",))
    order = np.asarray(content.get("stimorder", ())).ravel()
    first = 0 if found.suffix == ".npy" else 1
    if order.dtype.kind not in "iuf" or not order.size or (order != np.floor(order)).any() or order.min() < first:
        raise DataError(f"{found} must hold stimorder, the number of each trial's condition; got none; get it again")
    return order.astype(np.int64) - first


def trial_conditions(path: Path, names: tuple[str, ...]) -> list[str]:
    """Name the condition of each trial, given the names of the design's columns in order.

    Raises MissingFileError without DESIGNINFO, DataError where the design has another number of conditions.
    """
    order = condition_order(path)
    if order is None:
        raise MissingFileError(
            f"the order of trials not found: conditions need DESIGNINFO.npy or DESIGNINFO.mat in {path.parent}; copy "
            "it there, or name trials by events (stimulus_ids)"
        )
    if order.max() >= len(names):
        raise DataError(
            f"conditions must name every column of GLMsingle's design; got {len(names)} names, and trials of condition "
            f"{order.max() + 1}; complete them"
        )
    return [names[condition] for condition in order]


def _no_betas(path: Path, got: str) -> DataError:
    return DataError(f"{path} must hold GLMsingle's betas, {' or '.join(_BETAS)}; got {got or 'nothing'}")
