"""The pickles of BOLD Moments, opened without reading more of them than is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_same_stimuli, check_shape
from voxelcast.core.errors import DataError
from voxelcast.datasets.formats.bold_moments_layout import REPETITIONS, Part
from voxelcast.datasets.readers.brain_images import load_image
from voxelcast.datasets.readers.pickled_arrays import StoredArray, StoredImage
from voxelcast.datasets.readers.pickles import open_pickle


@dataclass(frozen=True)
class Gathered:
    """Responses in a file, of shape (n_stimuli, n_repetitions, all voxels), and the voxels to read (None: all)."""

    stored: StoredArray
    voxels: IntArray | None = None

    @property
    def n_voxels(self) -> int:
        """Number of voxels to read."""
        return self.stored.shape[2] if self.voxels is None else len(self.voxels)

    def only(self, voxels: IntArray) -> Gathered:
        """Choose these voxels alone."""
        return replace(self, voxels=voxels)

    def read(self) -> NDArray[Any]:
        """Read the responses of the voxels chosen."""
        return self.stored.read(self.voxels)


def open_roi_file(path: Path, part: Part, n_stimuli: int) -> Gathered:
    """Open the prepared responses of one ROI.

    Raises as `open_pickle`, and ShapeError for another shape.
    """
    content = open_pickle(path, str(path))
    key = f"{part}_data_allvoxel"
    if not isinstance(content, dict) or key not in content:
        got = ", ".join(map(repr, content)) if isinstance(content, dict) else f"a {type(content).__name__}"
        raise DataError(f"{path} must hold a dict with the key {key!r}; got {got}; get the file again")
    return _responses(content[key], path, part, n_stimuli)


def open_whole_brain(path: Path, part: Part, stimulus_ids: Sequence[str]) -> Gathered:
    """Open the betas of all voxels: a tuple of betas, names of their rows (``vid0001``), and in MNI152 a mask.

    Raises as `open_pickle`, and ShapeError for another shape.
    AlignmentError
        Where its rows are of other videos.
    """
    betas, names, *_ = _organized(path)
    rows = [str(name).removeprefix("vid") for name in names]
    check_same_stimuli(f"rows of {path}", rows, f"the {part} videos", stimulus_ids)
    return _responses(betas, path, part, len(stimulus_ids))


def read_mask(whole_brain: Path, mask: Path) -> tuple[BoolArray, FloatArray | None]:
    """Read where the voxels of a subject lie in MNI152, and the volume's affine.

    Taken from the mask's NIfTI file, or from the image inside the betas of the whole brain.

    Raises
    ------
    MissingPackageError
        Where the NIfTI file has to be read and nibabel is not installed.
    MissingFileError, DataError
        Where neither file is there, or has a mask.
    """
    if not mask.is_file() and whole_brain.is_file():
        _, _, *images = _organized(whole_brain)
        image = images[0] if images else None
        inside = image.mask() if isinstance(image, StoredImage) else None
        if inside is None or not isinstance(image, StoredImage):
            raise DataError(f"{whole_brain} holds no mask; get {mask.name} from the same dataset")
        return inside, image.affine
    volume = load_image(mask, "mask")
    return np.asarray(volume.dataobj) == 1, np.asarray(volume.affine, dtype=np.float64)


def read_indices(path: Path) -> IntArray:
    """Read where the voxels of an ROI lie: the first of a tuple of arrays, of shape (n_voxels, 3).

    Raises as `open_pickle`, and ShapeError for another shape.
    """
    content = open_pickle(path, str(path))
    if not isinstance(content, (tuple, list)) or not content or not isinstance(content[0], StoredArray):
        raise DataError(f"{path} must hold a tuple that begins with an array of voxel numbers; get the file again")
    indices = content[0].read()
    check_shape(f"voxel numbers in {path}", indices, ("voxel", "axis"), (None, 3))
    return indices.astype(np.int64)


def _organized(path: Path) -> tuple[Any, ...]:
    content = open_pickle(path, str(path))
    if not isinstance(content, (tuple, list)) or len(content) < 2 or not isinstance(content[1], (list, tuple)):
        raise DataError(f"{path} must hold a tuple of betas and the names of their rows; get the file again")
    return tuple(content)


def _responses(stored: object, path: Path, part: Part, n_stimuli: int) -> Gathered:
    if not isinstance(stored, StoredArray):
        raise DataError(f"{path}: the {part} responses must be an array; got a {type(stored).__name__}")
    dims = ("stimulus", "repetition", "voxel")
    stored.check_shape(f"{part} responses of {path}", dims, (n_stimuli, REPETITIONS[part], None))
    return Gathered(stored)
