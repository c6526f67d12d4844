"""Brain maps: the values of an experiment's voxels, put where the voxels are, as NIfTI and GIFTI files.

NaN stands where there is no value, so that a score of 0 is not taken for the background.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError
from voxelcast.datasets.base import Dataset, VoxelIndices
from voxelcast.datasets.readers.brain_images import import_nibabel, load_image
from voxelcast.results.read import read_arrays
from voxelcast.results.schema import Pair, pair_name
from voxelcast.results.write import PARTITION_FILE, VOXEL_FILE, pair_file
from voxelcast.store.atomic import write_bytes

FOLDER: Final = "brain_maps"

DEFAULT_QUANTITIES: Final = ("pearson_r", "noise_ceiling_r", "noise_normalised_r", "q_value")
"""Mapped where nothing else is said, as far as there are values; with ``held_out_`` too."""

_SUFFIXES: Final = (".nii.gz", "_hemi-L.func.gii", "_hemi-R.func.gii", ".png")
"""Of the maps and their pictures, after ``<subject>_<quantity>``."""


@dataclass(frozen=True)
class VolumeMap:
    """Values in a volume, (x, y, z), float32."""

    values: FloatArray
    affine: FloatArray | None
    """(4, 4); None where the dataset does not say where in the brain the volume lies."""


@dataclass(frozen=True)
class SurfaceMap:
    """Values on a surface mesh, ``left`` and ``right`` of shape (n_vertices,), float32."""

    mesh: str
    left: FloatArray
    right: FloatArray


BrainMap = VolumeMap | SurfaceMap


def read_voxels(output: Path, dataset: Dataset) -> dict[str, dict[str, dict[str, FloatArray]]]:
    """Read the per-voxel values of an output folder, of ``voxelcast run`` or ``voxelcast score``.

    Arrays have the shape (n_voxels,), by subject, ROI and quantity, with ``noise_normalised_r`` = r / noise_ceiling_r,
    NaN where the ceiling is 0, added. Raises MissingFileError if there are none of the dataset's
    subjects and ROIs.
    """
    found: dict[str, dict[str, dict[str, FloatArray]]] = {}
    for subject in dataset.subjects:
        for roi in dataset.rois(subject):
            values = _read_pair(output, (subject, roi))
            if values:
                found.setdefault(subject, {})[roi] = values
    if not found:
        raise MissingFileError(
            f"{output / 'voxels'} has no values of this dataset's subjects and ROIs; give the output folder of a "
            "finished run on it"
        )
    return found


def _read_pair(output: Path, pair: Pair) -> dict[str, FloatArray]:
    values = read_arrays(pair_file(output, VOXEL_FILE, pair))
    return values and values | read_arrays(pair_file(output, PARTITION_FILE, pair)) | _normalised(values)


def _normalised(values: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    normalised = {}
    for prefix, score in (("", "pearson_r"), ("held_out_", "held_out_r")):
        ceiling = values.get(f"{prefix}noise_ceiling_r")
        if ceiling is not None and score in values:
            out = np.full(ceiling.shape, np.nan)
            normalised[f"{prefix}noise_normalised_r"] = np.divide(values[score], ceiling, out=out, where=ceiling > 0)
    return normalised


def choose_quantities(voxels: Mapping[str, Mapping[str, FloatArray]], asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the quantities to map: those asked for (UnknownNameError for one that no ROI has), or the default ones."""
    known = dict.fromkeys(name for values in voxels.values() for name in values)
    for name in asked:
        check_known("quantity", name, tuple(known), where="in voxels/")
    if asked:
        return tuple(asked)
    wanted = [*DEFAULT_QUANTITIES, "held_out_r", *(f"held_out_{name}" for name in DEFAULT_QUANTITIES)]
    return tuple(
        name for name in wanted if any(np.isfinite(values[name]).any() for values in voxels.values() if name in values)
    )


def make_map(dataset: Dataset, subject: str, values: Mapping[str, FloatArray]) -> BrainMap:
    """Put the values of a subject's ROIs where their voxels are; a voxel in several ROIs gets the mean of its values.

    ``values`` maps each ROI to an ndarray of shape (n_voxels,). Raises DataError if the dataset does not know where its
    voxels lie, AlignmentError if their number is another, or ROIs lie in different volumes.
    """
    found = {roi: dataset.voxel_indices(subject, roi) for roi in values}
    volumes, surfaces = [], []
    for roi, indices in found.items():
        if indices is None:
            raise DataError(
                f"where the voxels of {subject} {roi} lie is not known to this {dataset.kind} dataset, so there is no "
                "brain map; docs/brain_maps.md says of which datasets it is known"
            )
        if indices.n_voxels != len(values[roi]):
            raise AlignmentError(
                f"{subject} {roi} has {len(values[roi])} values and {indices.n_voxels} voxels; were they made from "
                "these data?"
            )
        if isinstance(indices, VoxelIndices):
            volumes.append((indices, values[roi]))
        else:
            surfaces.append((indices, values[roi]))
    grids = {each.shape for each, _ in volumes} | {(each.mesh, each.n_vertices) for each, _ in surfaces}
    if len(grids) != 1:
        raise AlignmentError(
            f"the ROIs of {subject} lie in different volumes or on different meshes; map those of one at a time"
        )
    if volumes:
        first = volumes[0][0]
        at = [(np.ravel_multi_index(tuple(each.indices.T), each.shape), there) for each, there in volumes]
        return VolumeMap(_mean_at(int(np.prod(first.shape)), at).reshape(first.shape), first.affine)
    mesh, n_vertices = surfaces[0][0].mesh, surfaces[0][0].n_vertices
    left = _mean_at(n_vertices, [(each.left, there[: len(each.left)]) for each, there in surfaces])
    right = _mean_at(n_vertices, [(each.right, there[len(each.left) :]) for each, there in surfaces])
    return SurfaceMap(mesh, left, right)


def _mean_at(size: int, parts: Sequence[tuple[IntArray, FloatArray]]) -> FloatArray:
    """Average at each index the values that are defined there; NaN where none is."""
    total, count = np.zeros(size), np.zeros(size)
    for at, values in parts:
        there = np.isfinite(values)
        np.add.at(total, at[there], values[there])
        np.add.at(count, at[there], 1.0)
    mean = np.full(size, np.nan)
    np.divide(total, count, out=mean, where=count > 0)
    return np.asarray(mean, dtype=np.float32)


def read_affine(path: Path, shape: tuple[int, ...]) -> FloatArray:
    """Read the affine, (4, 4), of a NIfTI image of the same grid, e.g. ``example.nii`` of the 2021 development kit.

    Raises MissingFileError, DataError or AlignmentError if it is not there, cannot be read, or has another grid.
    """
    image = load_image(path, "image")
    if tuple(image.shape[:3]) != tuple(shape):
        raise AlignmentError(f"{path.name} must have the grid {shape} of the dataset; got {image.shape[:3]}")
    return np.asarray(image.affine, dtype=np.float64)


def write_map(folder: Path, name: str, brain_map: BrainMap) -> list[Path]:
    """Write ``<name>.nii.gz``, or ``<name>_hemi-L.func.gii`` and ``<name>_hemi-R.func.gii``.

    A volume whose position in the brain is not known is written with the identity as affine and without a form code.
    """
    nibabel = import_nibabel()
    if isinstance(brain_map, VolumeMap):
        affine = np.eye(4) if brain_map.affine is None else brain_map.affine
        image = nibabel.Nifti1Image(np.asarray(brain_map.values, dtype=np.float32), affine)
        for set_form in (image.header.set_sform, image.header.set_qform):
            set_form(affine, code=0 if brain_map.affine is None else "mni")
        path = folder / f"{name}.nii.gz"
        write_bytes(path, gzip.compress(image.to_bytes(), mtime=0))  # no time in it: same map, same bytes
        return [path]
    paths = []
    for side, structure, values in (("L", "CortexLeft", brain_map.left), ("R", "CortexRight", brain_map.right)):
        array = nibabel.gifti.GiftiDataArray(
            np.asarray(values, dtype=np.float32), intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32"
        )
        meta = nibabel.gifti.GiftiMetaData(AnatomicalStructurePrimary=structure)
        image = nibabel.gifti.GiftiImage(darrays=[array], meta=meta)
        paths.append(folder / f"{name}_hemi-{side}.func.gii")
        write_bytes(paths[-1], image.to_bytes())
    return paths


def remove_maps(output: Path, dataset: Dataset) -> bool:
    """Remove the maps and pictures of an output's values, not files of other names; return whether there was any."""
    folder, removed = output / FOLDER, False
    if not folder.is_dir():
        return removed
    quantities = {f"{prefix}{name}" for name in (*DEFAULT_QUANTITIES, "r") for prefix in ("", "held_out_")}
    for subject in dataset.subjects:
        for roi in dataset.rois(subject):
            with suppress(DataError):  # damaged: the others' values have the same names
                quantities |= _read_pair(output, (subject, roi)).keys()
    for subject in dataset.subjects:
        for quantity in quantities:
            for path in (folder / f"{pair_name(subject, quantity)}{suffix}" for suffix in _SUFFIXES):
                removed |= path.is_file()
                path.unlink(missing_ok=True)
    return removed
