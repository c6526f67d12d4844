"""Where the voxels of a brain file lie: grid, affine, hemisphere, brain models, space, and how two files differ."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import AlignmentError, ShapeError

Support = Literal["volume", "surface", "grayordinates", "array"]

LEFT, RIGHT = "CortexLeft", "CortexRight"
_SIDES = dict.fromkeys(("L", "lh", "LH", "left", "Left"), LEFT) | dict.fromkeys(
    ("R", "rh", "RH", "right", "Right"), RIGHT
)
_TEMPLATES = {3: "Talairach", 4: "MNI"}  # codes of a NIfTI header's form; 1 and 2 are the subject's own


@dataclass(frozen=True)
class Geometry:
    """Where the voxels of a file lie, as far as the file says it.

    Parameters
    ----------
    support : {"volume", "surface", "grayordinates", "array"}
    sizes : tuple of int
        The grid of a volume, the vertices of each mesh, or the number of columns.
    affine : ndarray of shape (4, 4) or None
        From indices to millimetres.
    sides : tuple of {"CortexLeft", "CortexRight", ""}
        Hemisphere of each mesh; empty text where it is not said.
    models : tuple of str
        Brain models of grayordinates in their order, with their sizes.
    order : str
        Hash of the vertex or voxel that each column is.
    spaces : tuple of str
        Coordinate system by the file's name (BIDS ``space-``) and by its header; empty text where it is not said.
    """

    support: Support
    sizes: tuple[int, ...]
    affine: FloatArray | None = None
    sides: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    order: str = ""
    spaces: tuple[str, str] = ("", "")

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return prod(self.sizes) if self.support == "volume" else sum(self.sizes)

    def shown(self) -> str:
        """Say it in a few words, e.g. ``volume 91 x 109 x 91 of 2 x 2 x 2 mm, MNI``."""
        space = "".join(f", {name}" for name in dict.fromkeys(self.spaces) if name)
        if self.support == "volume":
            edges = "" if self.affine is None else f" of {_times(np.round(_edges(self.affine), 2))} mm"
            return f"volume {_times(self.sizes)}{edges}{space}"
        if self.support == "surface":
            meshes = zip(self.sides, self.sizes, strict=True)
            parts = (f"{side or 'hemisphere not said'} {size}" for side, size in meshes)
            return f"surface: {', '.join(parts)} vertices{space}"
        if self.support == "grayordinates":
            return f"grayordinates: {_listed(self.models) or self.n_voxels}{space}"
        return "plain array"

    def difference(self, other: Geometry) -> str | None:
        """Say how another geometry differs, None where nothing that both say does."""
        if "array" in (self.support, other.support):
            same = self.n_voxels == other.n_voxels
            return None if same else f"{self.n_voxels} against {other.n_voxels} voxels"
        if self.support != other.support:
            return f"{self.support} against {other.support}"
        if self.sizes != other.sizes:
            what = {"volume": "grid", "surface": "vertices", "grayordinates": "columns"}[self.support]
            return f"{what} {_times(self.sizes)} against {_times(other.sizes)}"
        for mine, theirs in zip(self.sides, other.sides, strict=True):
            if mine and theirs and mine != theirs:
                return f"hemisphere {mine} against {theirs}"
        if self.models != other.models:
            return f"brain models {_listed(self.models)} against {_listed(other.models)}"
        if self.order and other.order and self.order != other.order:
            return "the same brain models with other vertices, voxels or parcels"
        if self.affine is not None and other.affine is not None:
            away = _displacement(self.sizes, self.affine, other.affine)
            if away > 0.1 * _edges(self.affine).min():
                return f"the affine differs, by which voxels lie up to {away:.2g} mm elsewhere"
        for mine, theirs in zip(self.spaces, other.spaces, strict=True):
            if mine and theirs and mine.lower() != theirs.lower():
                return f"space {mine} against {theirs}"
        return None


def check_same_geometry(what: str, path: Path, here: Geometry, there: tuple[Path, Geometry], remedy: str) -> None:
    """Raise ShapeError or AlignmentError where a file's voxels are not those of another file.

    ``what`` the file is, e.g. ``"mask"``; ``there`` the file that it is compared with; ``remedy`` what to do.
    """
    difference = here.difference(there[1])
    if difference:
        kind = AlignmentError if here.sizes == there[1].sizes and here.support == there[1].support else ShapeError
        raise kind(
            f"{what} {path} must have the voxels of {there[0]}, in the same order and place; got {difference}; {remedy}"
        )


def geometry_note(subjects: Mapping[str, tuple[Path, Geometry]], *, volumes: bool = True) -> tuple[str, ...]:
    """Say in a line which subject has as many voxels as the first one, but in other places; nothing if there is none.

    ``volumes``: whether it is said of volumes too.
    """
    (first, (_, expected)), *others = subjects.items()
    for subject, (path, geometry) in others:
        difference = expected.difference(geometry) if volumes or geometry.support != "volume" else None
        if difference and expected.n_voxels == geometry.n_voxels:
            return (
                f"{first} and {subject} have as many voxels, but in other places ({difference}, in {path}): voxels of "
                "one number are not the same place of the brain",
            )
    return ()


def volume_geometry(path: Path, shape: tuple[int, ...], image: Any) -> Geometry:
    """Return the geometry of a NIfTI image of nibabel; raise AlignmentError where its affine has no sense."""
    affine = np.asarray(image.affine, dtype=np.float64)
    if not np.isfinite(affine).all() or not np.linalg.det(affine[:3, :3]):
        raise AlignmentError(
            f"{path}: the affine must be finite and invertible; got {affine.tolist()}; mend the header"
        )
    form = int(image.header["sform_code"]) or int(image.header["qform_code"])
    return Geometry("volume", shape, affine, spaces=(_named_space(path), _TEMPLATES.get(form, "")))


def surface_geometry(path: Path, n_vertices: int, image: Any) -> Geometry:
    """Return the geometry of a GIFTI image of nibabel; raise AlignmentError where it contradicts itself or its name."""
    metas = (image.meta, *(array.meta for array in image.darrays))
    structures = {str(meta["AnatomicalStructurePrimary"]) for meta in metas if "AnatomicalStructurePrimary" in meta}
    said = {side for name in structures for side in (LEFT, RIGHT) if side.removeprefix("Cortex") in name}
    named = side_in_name(path.name)
    if len(said) > 1 and len(structures) > 1:
        raise AlignmentError(f"{path}: all maps must be of one hemisphere; got {', '.join(sorted(structures))}")
    side = said.pop() if len(said) == 1 else ""
    if side and named and side != named:
        raise AlignmentError(
            f"{path} must be of the hemisphere that its name says; got {named} in the name and "
            f"{', '.join(structures)} inside; rename or replace it"
        )
    return Geometry("surface", (n_vertices,), sides=(side or named,), spaces=(_named_space(path), ""))


def grayordinates_geometry(path: Path, axis: Any) -> Geometry:
    """Return the geometry of a CIFTI axis of brain models or parcels."""
    spaces = _named_space(path), ""
    if hasattr(axis, "iter_structures"):
        found = [(name, part) for name, _, part in axis.iter_structures()]
        models = tuple(f"{_plain(name)} {len(part)}" for name, part in found)
        meshes = repr(sorted(axis.nvertices.items())) + repr(axis.volume_shape)
        order = _hash(meshes, axis.vertex, axis.voxel)
        return Geometry("grayordinates", (len(axis),), axis.affine, (), models, order, spaces)
    parcels = (repr(sorted((name, vertices.tolist()) for name, vertices in each.items())) for each in axis.vertices)
    order = _hash("\n".join((*map(str, axis.name), *parcels)), *axis.voxels)
    return Geometry("grayordinates", (len(axis),), axis.affine, (), (f"parcels {len(axis)}",), order, spaces)


def side_in_name(name: str) -> str:
    """Read the hemisphere in a file's name, ``CortexLeft`` or ``CortexRight``; empty where it says none, or both.

    Examples
    --------
    >>> side_in_name("sub-01_hemi-L_bold.func.gii"), side_in_name("rh.V1.label.gii"), side_in_name("sub01.func.gii")
    ('CortexLeft', 'CortexRight', '')
    """
    entity = re.search(r"(?:^|_)hemi-([A-Za-z]+)", name)
    parts = [entity[1]] if entity else re.split(r"[._-]", re.sub(r"(?:^|_)sub-[^_]*", "", name))
    sides = {_SIDES[part] for part in parts if part in _SIDES}
    return sides.pop() if len(sides) == 1 else ""


def _named_space(path: Path) -> str:
    found = re.search(r"(?:^|_)space-([A-Za-z0-9]+)", path.name)
    return found[1] if found else ""


def _plain(structure: str) -> str:
    return structure.removeprefix("CIFTI_STRUCTURE_").replace("_", " ").lower()


def _hash(text: str, *arrays: Any) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return digest.hexdigest()


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


def _times(sizes: Any) -> str:
    return " x ".join(f"{size:g}" for size in sizes)


def _edges(affine: FloatArray) -> FloatArray:
    """Return the lengths of a voxel's edges, shape (3,)."""
    return np.asarray(np.sqrt(np.square(affine[:3, :3]).sum(axis=0)))


def _displacement(sizes: tuple[int, ...], one: FloatArray, other: FloatArray) -> float:
    """Return how far apart two affines put a corner of the grid at most, in mm; of grayordinates the origin's voxel."""
    grid = sizes if len(sizes) == 3 else (2, 2, 2)
    corners = np.array([[*corner, 1.0] for corner in product(*((0, size - 1) for size in grid))])
    return float(np.linalg.norm(corners @ (one - other).T, axis=1).max())
