"""Brain maps: the values of an experiment's voxels, put where the voxels are, as NIfTI and GIFTI files.

NaN stands where there is no value, so that a score of 0 is not taken for the background.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError
from voxelcast.datasets.base import Dataset, VertexIndices, VoxelIndices
from voxelcast.datasets.readers.brain_images import import_nibabel, load_image
from voxelcast.datasets.readers.geometry import volume_geometry
from voxelcast.results.read import read_arrays
from voxelcast.results.schema import Pair, pair_name
from voxelcast.results.write import PARTITION_FILE, VOXEL_FILE, pair_file
from voxelcast.scoring.ceiling import noise_normalised_r
from voxelcast.store.atomic import write_bytes

FOLDER: Final = "brain_maps"

DEFAULT_QUANTITIES: Final = ("pearson_r", "noise_ceiling_r", "noise_normalised_r", "q_value")
"""Mapped where nothing else is said, as far as there are values; with ``held_out_`` too."""

_SUFFIXES: Final = (".nii.gz", "_hemi-L.func.gii", "_hemi-R.func.gii", ".png", ".html")
"""Of the maps and their pictures, after ``<subject>_<quantity>``."""


@dataclass(frozen=True)
class VolumeMap:
    """Values in a volume, (x, y, z), float32."""

    values: FloatArray
    affine: FloatArray | None
    """(4, 4); None where the dataset does not say where in the brain the volume lies."""
    space: str = ""
    """Coordinate system; empty where it is not known, or the subject's own."""
    mask: BoolArray | None = None
    """Where there are voxels, (x, y, z), whether they have a value or not."""

    @property
    def in_mni(self) -> bool:
        """Whether it may be laid over a template in MNI coordinates."""
        return self.affine is not None and "MNI" in self.space.upper()


@dataclass(frozen=True)
class SurfaceMap:
    """Values on a surface mesh, ``left`` and ``right`` of shape (n_vertices,), float32; (0,) where there is no data."""

    mesh: str
    left: FloatArray
    right: FloatArray
    n_elsewhere: int = 0
    """Voxels that are left out, as they lie on neither hemisphere."""


BrainMap = VolumeMap | SurfaceMap


def read_voxels(output: Path, dataset: Dataset) -> dict[str, dict[str, dict[str, FloatArray]]]:
    """Read the per-voxel values of an output folder, of ``voxelcast run`` or ``voxelcast score``.

    Arrays have the shape (n_voxels,), by subject, ROI and quantity, with ``noise_normalised_r`` added
    (:func:`voxelcast.scoring.ceiling.noise_normalised_r`). Raises MissingFileError if there are none of the dataset's
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
        if f"{prefix}reliability" in values and score in values:
            reliability = values[f"{prefix}reliability"], values[f"{prefix}reliability_se"]
            normalised[f"{prefix}noise_normalised_r"] = noise_normalised_r(values[score], *reliability)
    return normalised


def only_significant(voxels: Mapping[str, Mapping[str, FloatArray]], q: float) -> dict[str, dict[str, FloatArray]]:
    """Replace by NaN what voxels have whose q-value is above ``q``, of all quantities by ROI.

    Held-out quantities go by the held-out q-value. Raises DataError where voxels were not tested.
    """
    shown: dict[str, dict[str, FloatArray]] = {}
    for roi, values in voxels.items():
        shown[roi] = {}
        for name, array in values.items():
            tested = "held_out_q_value" if name.startswith("held_out_") else "q_value"
            if tested not in values:
                raise DataError(
                    f"{roi} has no {tested}, so significant voxels are not known; set significance.permutations and "
                    "run again"
                )
            keep = values[tested] <= q
            shown[roi][name] = np.where(keep, array, np.nan) if array.shape == keep.shape else array
    return shown


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
    voxels lie, or none lies on a surface, AlignmentError if their number is another, or ROIs lie in different volumes.
    """
    found: dict[str, VoxelIndices | VertexIndices] = {}
    for roi in values:
        indices = dataset.voxel_indices(subject, roi)
        if indices is None:
            raise DataError(
                f"where the voxels of {subject} {roi} lie is not known to this {dataset.kind} dataset, so there is no "
                "brain map; docs/brain_maps.md says of which datasets it is known"
            )
        found[roi] = indices
    return place_values(subject, found, values)


def place_values(
    subject: str, places: Mapping[str, VoxelIndices | VertexIndices], values: Mapping[str, FloatArray]
) -> BrainMap:
    """Put the values of a subject's ROIs where their voxels are, as `make_map`, which raises the same."""
    volumes, surfaces = [], []
    for roi, indices in places.items():
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
        mask = np.zeros(first.shape, dtype=bool)
        for each, _ in volumes:
            mask[tuple(each.indices.T)] = True
        return VolumeMap(_mean_at(mask.size, at).reshape(first.shape), first.affine, first.space, mask)
    elsewhere = len(np.unique(np.concatenate([each.elsewhere for each, _ in surfaces])))
    if not any(len(each.left) + len(each.right) for each, _ in surfaces):
        raise DataError(
            f"none of the {elsewhere} voxels of {subject} lies on the surface of a hemisphere, so there is no map; "
            "give them as a NIfTI volume"
        )
    mesh, (n_left, n_right) = surfaces[0][0].mesh, surfaces[0][0].n_vertices
    placed = [(each, there if each.order is None else there[each.order]) for each, there in surfaces]
    left = _mean_at(n_left, [(each.left, there[: len(each.left)]) for each, there in placed])
    right = _mean_at(n_right, [(each.right, there[len(each.left) :]) for each, there in placed])
    return SurfaceMap(mesh, left, right, elsewhere)


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


def place_map(brain_map: BrainMap, image: Path | None, space: str | None) -> BrainMap:
    """Put a volume where a NIfTI image of the same grid says, and in the coordinate system that is named.

    ``image``, e.g. ``example.nii`` of the 2021 development kit, and ``space``, ``"MNI"`` or ``"native"``, go before
    what the dataset says; None leaves that. Raises MissingFileError, DataError or AlignmentError if the image is not
    there, cannot be read, or has another grid.
    """
    if not isinstance(brain_map, VolumeMap):
        return brain_map
    if image is not None:
        there = load_image(image, "image")
        if tuple(there.shape[:3]) != tuple(brain_map.values.shape):
            raise AlignmentError(
                f"{image.name} must have the grid {brain_map.values.shape} of the dataset; got {there.shape[:3]}"
            )
        geometry = volume_geometry(image, there.shape[:3], there)
        brain_map = replace(brain_map, affine=geometry.affine, space=geometry.spaces[0] or geometry.spaces[1])
    return brain_map if space is None else replace(brain_map, space="" if space == "native" else space)


def write_map(folder: Path, name: str, brain_map: BrainMap) -> list[Path]:
    """Write ``<name>.nii.gz``, or ``<name>_hemi-L.func.gii`` and ``<name>_hemi-R.func.gii``, or one side of them.

    A volume whose position in the brain is not known is written with the identity as affine and without a form code;
    one whose coordinate system is not known to be MNI's or Talairach's, with the code of a scanner's.
    """
    nibabel = import_nibabel()
    if isinstance(brain_map, VolumeMap):
        path = folder / f"{name}.nii.gz"
        write_nifti(path, brain_map.values, brain_map)
        return [path]
    paths = []
    for side, structure, values in (("L", "CortexLeft", brain_map.left), ("R", "CortexRight", brain_map.right)):
        path = folder / f"{name}_hemi-{side}.func.gii"
        if not len(values):
            path.unlink(missing_ok=True)  # of an earlier map
            continue
        array = nibabel.gifti.GiftiDataArray(
            np.asarray(values, dtype=np.float32), intent="NIFTI_INTENT_NONE", datatype="NIFTI_TYPE_FLOAT32"
        )
        meta = nibabel.gifti.GiftiMetaData(AnatomicalStructurePrimary=structure)
        image = nibabel.gifti.GiftiImage(darrays=[array], meta=meta)
        write_bytes(path, image.to_bytes())
        paths.append(path)
    return paths


def write_nifti(path: Path, values: NDArray[Any], like: VolumeMap, dtype: type[np.generic] = np.float32) -> None:
    """Write values, (x, y, z) or (x, y, z, n), that lie where a map does; see `write_map`. ``.gz`` is compressed."""
    affine = np.eye(4) if like.affine is None else like.affine
    image = import_nibabel().Nifti1Image(np.asarray(values, dtype=dtype), like.affine)  # None: no code is invented
    image.header.set_xyzt_units("mm")
    for set_form in (image.header.set_sform, image.header.set_qform):
        set_form(affine, code=_form_code(like))
    written = image.to_bytes()
    write_bytes(path, gzip.compress(written, mtime=0) if path.suffix == ".gz" else written)  # same map, same bytes


def _form_code(brain_map: VolumeMap) -> int:
    """Return NIfTI's code of a coordinate system: 4 MNI, 3 Talairach, 1 the scanner's; 0 where nothing is known."""
    if brain_map.affine is None:
        return 0
    return 4 if brain_map.in_mni else 3 if "talairach" in brain_map.space.lower() else 1


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
