"""Beta series: the maps of one subject's presentations, in one file or in many."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import ShapeError
from voxelcast.datasets.readers.brain_images import BrainImage, brain_suffix, open_image
from voxelcast.datasets.readers.geometry import Geometry, check_same_geometry
from voxelcast.datasets.readers.glmsingle import is_glmsingle, open_glmsingle
from voxelcast.datasets.readers.response_tables import ResponseTable


class JoinedMaps(BrainImage):
    """Images over the same voxels, as one image of all their maps."""

    def __init__(self, images: Sequence[BrainImage]) -> None:
        super().__init__(images[0].path, sum(image.n_maps for image in images), images[0].geometry)
        self._images = images

    @property
    def value_bytes(self) -> int:
        """Bytes of one value as `read` gives it."""
        return max(image.value_bytes for image in self._images)

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
