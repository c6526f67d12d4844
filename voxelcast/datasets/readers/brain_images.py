"""Responses in brain images: 4-D NIfTI, CIFTI (dscalar, dtseries) and GIFTI, read for the voxels asked for.

Surface files come in pairs, one per hemisphere; ``{hemi}`` in a name stands for both.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, MissingPackageError, one_line
from voxelcast.datasets.base import VoxelIndices
from voxelcast.store.readers.arrays import open_npy

SUFFIXES = (".dscalar.nii", ".dtseries.nii", ".func.gii", ".shape.gii", ".nii.gz", ".nii")

_BLOCK_BYTES = 64 * 2**20
_HEMISPHERES = (("L", "R"), ("lh", "rh"), ("left", "right"))


def brain_suffix(path: Path) -> str | None:
    """Return the suffix of a brain image, None for any other file."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


class BrainImage(ABC):
    """Maps over the same voxels: volumes of a run, or one map of betas per stimulus."""

    support: ClassVar[str]
    """What the voxels are part of."""

    def __init__(self, path: Path, n_maps: int, n_voxels: int) -> None:
        self.path, self.n_maps, self.n_voxels = path, n_maps, n_voxels

    @abstractmethod
    def read(self, voxels: IntArray) -> FloatArray:
        """Read all maps for some voxels, given by their indices (n_chosen,).

        Values of shape (n_maps, n_chosen), float32, or float64 where the file holds more digits.
        """

    def geometry(self) -> tuple[Any, ...]:
        """Say where the voxels lie: images of one geometry have the same voxels in the same order."""
        return self.support, self.n_voxels


class NiftiImage(BrainImage):
    """A 4-D NIfTI volume: voxels in C order of the grid, maps along the last axis.

    One volume at a time is in memory (of a compressed file too, which is read from its beginning).
    """

    support = "volume"

    def __init__(self, path: Path, image: Any) -> None:
        if len(image.shape) != 4 or 0 in image.shape:
            raise DataError(f"{path.name} must be a 4-D image (x, y, z, map); got shape {tuple(image.shape)}")
        super().__init__(path, int(image.shape[3]), math.prod(image.shape[:3]))
        self._image = image

    def read(self, voxels: IntArray) -> FloatArray:
        """Read volume by volume; values of shape (n_maps, n_chosen)."""
        indices = np.unravel_index(voxels, self._image.shape[:3])
        values = np.empty((self.n_maps, len(voxels)), dtype=_exact(self._image.get_data_dtype()))
        for number in range(self.n_maps):
            values[number] = np.asarray(self._image.dataobj[..., number])[indices]
        return values

    def geometry(self) -> tuple[Any, ...]:
        """Grid and affine, to a thousandth of a millimetre."""
        return "volume", tuple(self._image.shape[:3]), tuple(np.round(self._image.affine, 3).ravel().tolist())


class CiftiImage(BrainImage):
    """A CIFTI file of scalars or of a time series: one row per map, one column per grayordinate or parcel."""

    support = "grayordinates"

    def __init__(self, path: Path, image: Any) -> None:
        super().__init__(path, int(image.shape[0]), int(image.shape[1]))
        self._image = image

    def read(self, voxels: IntArray) -> FloatArray:
        """Read blocks of rows; values of shape (n_maps, n_chosen)."""
        values = np.empty((self.n_maps, len(voxels)), dtype=_exact(self._image.get_data_dtype()))
        block = max(1, _BLOCK_BYTES // (8 * self.n_voxels))
        for start in range(0, self.n_maps, block):
            values[start : start + block] = np.asarray(self._image.dataobj[start : start + block])[:, voxels]
        return values


class GiftiImage(BrainImage):
    """Surface maps of one hemisphere. The format is text, so that a whole file is read at once."""

    support = "surface"

    def __init__(self, path: Path, image: Any) -> None:
        sizes = {np.asarray(array.data).shape for array in image.darrays}
        if len(sizes) != 1 or len(next(iter(sizes))) != 1:
            shown = ", ".join(map(str, sorted(sizes))) or "no map"
            raise DataError(f"{path.name} must hold maps of one shape (n_vertices,); got {shown}")
        super().__init__(path, len(image.darrays), next(iter(sizes))[0])

    def read(self, voxels: IntArray) -> FloatArray:
        """Read the file; values of shape (n_maps, n_chosen)."""
        image = load_image(self.path, "responses")
        first = np.asarray(image.darrays[0].data)
        values = np.empty((self.n_maps, len(voxels)), dtype=_exact(first.dtype))
        for number, array in enumerate(image.darrays):
            values[number] = np.asarray(array.data)[voxels]
        return values


class JoinedHemispheres(BrainImage):
    """Two surfaces of the same maps as one image: the vertices of the left hemisphere, then those of the right."""

    support = "surface"

    def __init__(self, left: BrainImage, right: BrainImage) -> None:
        if left.n_maps != right.n_maps:
            raise AlignmentError(
                f"{left.path.name} and {right.path.name} must hold the same maps; got {left.n_maps} and {right.n_maps}"
            )
        super().__init__(left.path, left.n_maps, left.n_voxels + right.n_voxels)
        self.sides = (left, right)

    def read(self, voxels: IntArray) -> FloatArray:
        """Read both files; values of shape (n_maps, n_chosen)."""
        left, right = self.sides
        on_left = voxels < left.n_voxels
        first, second = left.read(voxels[on_left]), right.read(voxels[~on_left] - left.n_voxels)
        values = np.empty((self.n_maps, len(voxels)), dtype=np.result_type(first, second))
        values[:, on_left], values[:, ~on_left] = first, second
        return values

    def geometry(self) -> tuple[Any, ...]:
        """Vertices of both hemispheres."""
        return "surface", *(side.n_voxels for side in self.sides)


class ArrayImage(BrainImage):
    """A plain array (n_maps, n_voxels) in a .npy file, mapped into memory."""

    support = "array"

    def __init__(self, path: Path) -> None:
        self._values = open_npy(path, "responses", mapped=True)
        if self._values.ndim != 2 or self._values.dtype.kind not in "fiu":
            got = f"{self._values.dtype} of shape {self._values.shape}"
            raise DataError(f"{path.name} must hold numbers of shape (n_volumes, n_voxels); got {got}")
        super().__init__(path, *self._values.shape)

    def read(self, voxels: IntArray) -> FloatArray:
        """Read some columns; values of shape (n_maps, n_chosen)."""
        return np.asarray(self._values[:, voxels], dtype=_exact(self._values.dtype))


def indices_in_volume(image: BrainImage, voxels: IntArray) -> VoxelIndices | None:
    """Say where voxels of a volume lie; None for surfaces and plain arrays."""
    if not isinstance(image, NiftiImage):
        return None
    _, shape, affine = image.geometry()
    indices = np.stack(np.unravel_index(voxels, shape), axis=1)
    return VoxelIndices(shape, indices, np.reshape(affine, (4, 4)))


def open_brain_image(path: Path) -> BrainImage:
    """Open a brain image or a .npy array; only its header is read, except of a GIFTI file.

    Raises MissingFileError, DataError, MissingPackageError if the file is missing, is none that can be read, or nibabel
    is not installed.
    """
    if path.suffix == ".npy":
        return ArrayImage(path)
    image = load_image(path, "responses")
    nibabel = import_nibabel()
    if isinstance(image, nibabel.cifti2.Cifti2Image):
        return CiftiImage(path, image)
    if isinstance(image, nibabel.gifti.GiftiImage):
        return GiftiImage(path, image)
    return NiftiImage(path, image)


def hemisphere_files(path: Path) -> tuple[Path, Path]:
    """Find the files of the left and the right hemisphere: ``{hemi}`` is L and R, lh and rh, or left and right.

    Raises MissingFileError where no such pair is there.
    """
    for left, right in _HEMISPHERES:
        pair = Path(str(path).replace("{hemi}", left)), Path(str(path).replace("{hemi}", right))
        if all(file.is_file() for file in pair):
            return pair
    shown = " or ".join(f"{left} and {right}" for left, right in _HEMISPHERES)
    raise MissingFileError(f"surface files not found: {path}, with {{hemi}} being {shown}, does not exist")


def image_files(path: Path) -> tuple[Path, ...]:
    """Return the file of a brain image, or of both hemispheres."""
    return hemisphere_files(path) if "{hemi}" in str(path) else (path,)


def open_responses(path: Path) -> BrainImage:
    """Open a brain image, or the pair of files of both hemispheres."""
    images = [open_brain_image(file) for file in image_files(path)]
    return images[0] if len(images) == 1 else JoinedHemispheres(*images)


def import_nibabel() -> ModuleType:
    """Import nibabel, or say how to install it."""
    try:
        import nibabel
    except ImportError as error:
        raise MissingPackageError(
            f"brain images need nibabel ({error}); install it: pip install 'voxelcast[neuroimaging]'"
        ) from error
    module: ModuleType = nibabel
    return module


def load_image(path: Path, what: str) -> Any:
    """Open a NIfTI, CIFTI or GIFTI file.

    Raises MissingFileError, DataError, MissingPackageError if it is missing, is none of these, or nibabel is not
    installed.
    """
    nibabel = import_nibabel()
    if not path.is_file():
        raise MissingFileError(f"{what} not found: {path} does not exist")
    try:
        image = nibabel.load(path)
    except (nibabel.filebasedimages.ImageFileError, OSError, ValueError, EOFError) as error:
        raise DataError(
            f"{path.name} cannot be read as a brain image ({one_line(error)}); get or write it again"
        ) from error
    known = (nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.cifti2.Cifti2Image, nibabel.gifti.GiftiImage)
    if not isinstance(image, known):
        raise DataError(f"{path.name} must be NIfTI, CIFTI or GIFTI; got {type(image).__name__}; convert it")
    return image


def _exact(dtype: NDArray[Any] | Any) -> type[np.float32] | type[np.float64]:
    """Return the float type that holds what the file holds; whole numbers of a scanner fit into float32."""
    return np.float64 if np.dtype(dtype) in (np.dtype(np.float64), np.dtype(np.int64)) else np.float32
