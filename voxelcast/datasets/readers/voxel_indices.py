"""Where the voxels of a brain image lie, in its volume or on the meshes of its hemispheres."""

from __future__ import annotations

from typing import Final

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.errors import DataError
from voxelcast.datasets.base import VertexIndices, VoxelIndices
from voxelcast.datasets.readers.brain_images import BrainImage, CiftiImage
from voxelcast.datasets.readers.geometry import LEFT, RIGHT

_MESHES: Final = {163_842: "fsaverage", 40_962: "fsaverage6", 10_242: "fsaverage5", 32_492: "fsLR32k"}
_CORTEX: Final = {LEFT: "CIFTI_STRUCTURE_CORTEX_LEFT", RIGHT: "CIFTI_STRUCTURE_CORTEX_RIGHT"}


def voxel_indices(image: BrainImage, voxels: IntArray) -> VoxelIndices | VertexIndices | None:
    """Say where voxels lie, given by their numbers in the image, of shape (n_voxels,); None for arrays and parcels.

    Raises DataError for a single surface of which neither the file nor its name says the hemisphere.
    """
    geometry = image.geometry
    if geometry.support == "volume":
        named, said = geometry.spaces
        indices = np.stack(np.unravel_index(voxels, geometry.sizes), axis=1)
        return VoxelIndices(geometry.sizes, indices, geometry.affine, named or said)
    # By side: the size of its mesh, and each voxel's vertex, -1 where it is not on this side.
    sizes, vertices = dict.fromkeys((LEFT, RIGHT), 0), {side: np.full(len(voxels), -1) for side in (LEFT, RIGHT)}
    if geometry.support == "surface":
        if "" in geometry.sides:
            raise DataError(
                f"{image.path} must say which hemisphere it is of; got neither hemi-L nor hemi-R in its name, nor "
                "CortexLeft or CortexRight inside; rename it"
            )
        first = 0
        for side, size in zip(geometry.sides, geometry.sizes, strict=True):
            here = (voxels >= first) & (voxels < first + size)
            sizes[side], vertices[side] = size, np.where(here, voxels - first, -1)
            first += size
    elif isinstance(image, CiftiImage) and hasattr(image.columns, "vertex"):
        for side, structure in _CORTEX.items():
            sizes[side] = int(image.columns.nvertices.get(structure, 0))
            here = image.columns.name[voxels] == structure
            vertices[side] = np.where(here, image.columns.vertex[voxels], -1)
    else:
        return None
    left, right = (np.flatnonzero(vertices[side] >= 0) for side in (LEFT, RIGHT))
    elsewhere = voxels[(vertices[LEFT] < 0) & (vertices[RIGHT] < 0)]
    return VertexIndices(
        _mesh(image, (sizes[LEFT], sizes[RIGHT])),
        (sizes[LEFT], sizes[RIGHT]),
        vertices[LEFT][left],
        vertices[RIGHT][right],
        np.concatenate([left, right]),
        elsewhere,
    )


def _mesh(image: BrainImage, sizes: tuple[int, int]) -> str:
    """Name the mesh by its number of vertices, unless the file's name says another space.

    That of 164k vertices is fsaverage or fs_LR, and a subject's own may have as many as a template.
    """
    there = sorted({size for size in sizes if size})
    count = " and ".join(map(str, there)) or "0"
    usual = _MESHES.get(there[0]) if len(there) == 1 else None
    said = image.geometry.spaces[0] or ("fsLR" if "fs_lr" in image.path.name.lower() else "")
    if usual and usual.lower().startswith(said.lower()):
        return usual
    return f"{said or 'surface'} of {count} vertices"
