"""Responses and masks in brain files: NIfTI, CIFTI (dscalar, dtseries) and GIFTI, read for the voxels asked for.

A compressed file is read once, from its beginning to its end, where its checksum is; nothing of it counts before.
Surface files come in pairs, one per hemisphere; ``{hemi}`` in a name stands for both.
"""

from __future__ import annotations

import gzip
import logging
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import optional_package
from voxelcast.core.errors import (
    AlignmentError,
    DataError,
    MissingFileError,
    ShapeError,
)
from voxelcast.datasets.readers.geometry import (
    LEFT,
    RIGHT,
    Geometry,
    grayordinates_geometry,
    surface_geometry,
    volume_geometry,
)
from voxelcast.store.readers.arrays import open_npy
from voxelcast.store.readers.guard import check_file, reading
from voxelcast.store.readers.tables import read_numbers, read_table

_CIFTI = (".dscalar.nii", ".dtseries.nii")
SUFFIXES = (*(f"{suffix}.gz" for suffix in _CIFTI), *_CIFTI, ".func.gii", ".shape.gii", ".nii.gz", ".nii")

TABLES = (".txt", ".csv", ".tsv")
_KIND = "a brain image"
_BLOCK_BYTES = 4 * 2**20
_MOST_INFLATED = 1032  # times the size of a file: deflate shrinks no further
_HEMISPHERES = (("L", "R"), ("lh", "rh"), ("left", "right"))
_SECONDS = {"sec": (1.0,), "msec": (1e-3,), "usec": (1e-6,), "unknown": (1.0, 1e-3)}


def brain_suffix(path: Path) -> str | None:
    """Return the suffix of a brain image, None for any other file."""
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


class BrainImage(ABC):
    """Maps over the same voxels: volumes of a run, one map of betas per stimulus, or the one map of a mask.

    ``tr`` holds the seconds between volumes by the header: none where it does not say, several where its unit is open.
    """

    tr: tuple[float, ...] = ()
    value_bytes: int = 4
    """Bytes of one value as `read` gives it."""

    def __init__(self, path: Path, n_maps: int, geometry: Geometry) -> None:
        self.path, self.n_maps, self.geometry = path, n_maps, geometry

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return self.geometry.n_voxels

    @abstractmethod
    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read all maps of some ROIs in one pass, each given by its voxels' indices (n_voxels_in_roi,).

        Values of shape (n_maps, n_voxels_in_roi), float32, or float64 where the file holds more digits. Raises
        DataError where the file is damaged.
        """


@dataclass(frozen=True)
class _Stored:
    """Numbers in a file after ``offset`` bytes: ``n_blocks`` blocks of ``n_items``, one after the other.

    What lies behind them must be shorter than ``n_after`` numbers: more of them contradicts the header.
    """

    path: Path
    what: str
    dtype: np.dtype[Any]
    offset: int
    slope: float
    inter: float
    n_blocks: int
    n_items: int
    n_after: int

    @classmethod
    def behind(cls, path: Path, what: str, dataobj: Any, sizes: tuple[int, int, int]) -> _Stored:
        """Find the numbers that nibabel's proxy points to; ``sizes`` are the three last fields.

        Raises DataError where they are not real, or more than the file can hold.
        """
        dtype = np.dtype(dataobj.dtype)
        if dtype.kind not in "fiu":
            kind = "complex numbers" if dtype.kind == "c" else f"values of type {dtype}, such as colours"
            raise DataError(f"{what} {path} must hold real numbers; got {kind}; save e.g. their magnitude")
        found = cls(path, what, dtype, int(dataobj.offset), float(dataobj.slope), float(dataobj.inter), *sizes)
        claimed, there = found.offset + dtype.itemsize * found.n_blocks * found.n_items, path.stat().st_size
        if claimed > there * (_MOST_INFLATED if _is_compressed(path) else 1):
            raise DataError(
                f"{what} {path} must hold the {claimed} bytes that its header claims; got a file of {there} bytes; get "
                "or write it again"
            )
        return found

    def blocks(self) -> Iterator[tuple[int, NDArray[Any]]]:
        """Read all blocks in order, some at a time: the first one's number and an array (n_at_once, n_items).

        The array is overwritten by the next. The file is read to its end; raises DataError where it is damaged.
        """
        block_bytes = self.dtype.itemsize * self.n_items
        buffer = np.empty((min(self.n_blocks, max(1, _BLOCK_BYTES // block_bytes)), self.n_items), self.dtype)
        with reading(f"{self.what} {self.path}", _KIND), _opened(self.path) as stream:
            stream.seek(self.offset)
            for start in range(0, self.n_blocks, len(buffer)):
                part = buffer[: self.n_blocks - start]
                self._fill(stream, part.data.cast("B"))
                yield start, part
            left = self.dtype.itemsize * self.n_after
            while more := stream.read(_BLOCK_BYTES):
                left -= len(more)
                if left <= 0:
                    raise DataError(
                        f"{self.what} {self.path} must hold no more numbers than its header claims; got more behind "
                        "them; get or write it again"
                    )

    def _fill(self, stream: BinaryIO, view: memoryview) -> None:
        done = 0
        while done < len(view):
            n_read = stream.readinto(view[done:])  # type: ignore[attr-defined]
            if not n_read:
                raise DataError(
                    f"{self.what} {self.path} ends before the last number that its header claims; get or write it again"
                )
            done += n_read

    def scaled(self, values: NDArray[Any]) -> NDArray[Any]:
        """Apply the header's slope and intercept to numbers as they are stored."""
        if (self.slope, self.inter) == (1.0, 0.0):
            return values
        return cast(NDArray[Any], import_nibabel().volumeutils.apply_read_scaling(values, self.slope, self.inter))


class NiftiImage(BrainImage):
    """A NIfTI volume: voxels in C order of the grid, maps along the last axis; a mask has one map.

    ``single``: responses may be a volume without that axis, which is one map.
    """

    def __init__(self, path: Path, image: Any, what: str, single: bool = False) -> None:
        shape = tuple(int(size) for size in image.shape)
        shape = (*shape, 1) if single and len(shape) == 3 else shape
        grid = shape[:3] if what == "responses" or set(shape[3:]) <= {1} else shape
        if what == "responses" and (len(shape) != 4 or min(shape) < 1):
            raise DataError(f"{path} must be a 4-D image (x, y, z, map); got shape {shape}")
        if len(grid) != 3 or min(grid) < 1:
            raise ShapeError(f"{what} {path} must be one volume (x, y, z); got shape {shape}; choose one map of it")
        super().__init__(path, shape[3] if what == "responses" else 1, volume_geometry(path, grid, image))
        n = self.n_voxels
        self._stored = _Stored.behind(path, what, image.dataobj, (self.n_maps, n, n))
        self.value_bytes = np.dtype(_exact(self._stored.dtype)).itemsize
        zooms = image.header.get_zooms()
        tr = float(zooms[3]) if len(zooms) > 3 else 0.0
        if 0 < tr < math.inf:
            self.tr = tuple(unit * tr for unit in _SECONDS.get(image.header.get_xyzt_units()[1], ()))

    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read some volumes at a time; values of shape (n_maps, n_voxels_in_roi)."""
        shape = self.geometry.sizes
        # The file has the first axis fastest.
        places = [np.ravel_multi_index(np.unravel_index(voxels, shape), shape, order="F") for voxels in rois]
        values = tuple(np.empty((self.n_maps, len(voxels)), _exact(self._stored.dtype)) for voxels in rois)
        for start, volumes in self._stored.blocks():
            for of_roi, at in zip(values, places, strict=True):
                of_roi[start : start + len(volumes)] = self._stored.scaled(np.take(volumes, at, axis=1))
        return values


class CiftiImage(BrainImage):
    """A CIFTI file of scalars or of a time series: one row per map, one column per grayordinate or parcel."""

    def __init__(self, path: Path, image: Any, what: str) -> None:
        axes: list[Any] = [image.header.get_axis(k) for k in range(image.ndim)]
        maps, columns = axes[0], axes[-1]
        if len(axes) != 2 or not (hasattr(columns, "voxels") or hasattr(columns, "iter_structures")):
            got = [type(axis).__name__ for axis in axes]
            raise DataError(
                f"{what} {path} must have maps in rows and brain models or parcels in columns; got {' x '.join(got)}"
            )
        shape = len(maps), len(columns)
        if tuple(image.dataobj.shape) != shape or min(shape) < 1:
            raise DataError(
                f"{what} {path} must hold the {shape[0]} x {shape[1]} numbers that its header describes; got "
                f"{tuple(image.dataobj.shape)}; write it again"
            )
        super().__init__(path, shape[0], grayordinates_geometry(path, columns))
        # The file has the values of one column next to each other.
        self._what = what
        self._stored = _Stored.behind(path, what, image.dataobj, (self.n_voxels, self.n_maps, self.n_voxels))
        self.value_bytes = np.dtype(_exact(self._stored.dtype)).itemsize
        if getattr(maps, "unit", "") == "SECOND" and 0 < maps.step < math.inf:
            self.tr = (float(maps.step),)

    @cached_property
    def columns(self) -> Any:
        """The axis of brain models or parcels, of nibabel; read again where it is asked for, as runs are many."""
        with reading(f"{self._what} {self.path}", _KIND):
            axis = load_image(self.path, self._what).header.get_axis(1)
        if grayordinates_geometry(self.path, axis).difference(self.geometry):
            raise DataError(f"{self._what} {self.path} has changed since it was opened; run the same command again")
        return axis

    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read some columns at a time; values of shape (n_maps, n_voxels_in_roi)."""
        orders = [np.argsort(voxels, kind="stable") for voxels in rois]
        values = tuple(np.empty((self.n_maps, len(voxels)), _exact(self._stored.dtype)) for voxels in rois)
        for start, columns in self._stored.blocks():
            for of_roi, voxels, order in zip(values, rois, orders, strict=True):
                first, last = np.searchsorted(voxels, (start, start + len(columns)), sorter=order)
                here = order[first:last]
                of_roi[:, here] = self._stored.scaled(columns[voxels[here] - start]).T
        return values


class GiftiImage(BrainImage):
    """Surface maps of one hemisphere. The format is text, so that a whole file is read at once."""

    def __init__(self, path: Path, image: Any, what: str) -> None:
        self._what = what
        maps = self._maps(path, image)
        if what != "responses" and len(maps) != 1:
            raise ShapeError(f"{what} {path} must hold one map; got {len(maps)}; choose one of them")
        super().__init__(path, len(maps), surface_geometry(path, len(maps[0]), image))

    def _maps(self, path: Path, image: Any) -> list[NDArray[Any]]:
        if any(array.ext_fname for array in image.darrays):
            raise DataError(
                f"{self._what} {path} must hold its numbers itself; got links to other files; write it again"
            )
        maps = [np.asarray(array.data) for array in image.darrays]
        if len({values.shape for values in maps}) != 1 or maps[0].ndim != 1 or not len(maps[0]):
            shown = ", ".join(map(str, sorted({values.shape for values in maps}))) or "no map"
            raise DataError(f"{self._what} {path} must hold maps of one shape (n_vertices,); got {shown}")
        if any(values.dtype.kind not in "fiu" for values in maps):
            raise DataError(
                f"{self._what} {path} must hold real numbers; got {maps[0].dtype}; save e.g. their magnitude"
            )
        return maps

    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read the file; values of shape (n_maps, n_voxels_in_roi)."""
        maps = self._maps(self.path, load_image(self.path, self._what))
        if (len(maps), len(maps[0])) != (self.n_maps, self.n_voxels):
            raise DataError(f"{self._what} {self.path} has changed since it was opened; run the same command again")
        exact = np.result_type(*(_exact(values.dtype) for values in maps))
        return tuple(np.array([values[voxels] for values in maps], exact) for voxels in rois)


class JoinedHemispheres(BrainImage):
    """Two surfaces of the same maps as one image: the vertices of the left hemisphere, then those of the right."""

    def __init__(self, left: BrainImage, right: BrainImage) -> None:
        if left.n_maps != right.n_maps:
            raise AlignmentError(
                f"{left.path} and {right.path} must hold the same maps; got {left.n_maps} and {right.n_maps}"
            )
        if (left.geometry.support, right.geometry.support) != ("surface", "surface"):
            raise DataError(f"{left.path} and {right.path} must be surfaces, as {{hemi}} is for GIFTI files alone")
        sides = left.geometry.sides + right.geometry.sides
        if RIGHT in sides[:1] or LEFT in sides[1:]:
            raise AlignmentError(
                f"{left.path} and {right.path} must be of the left and the right hemisphere; got {' and '.join(sides)}"
            )
        sizes = left.geometry.sizes + right.geometry.sizes
        geometry = Geometry("surface", sizes, sides=(LEFT, RIGHT), spaces=left.geometry.spaces)
        super().__init__(left.path, left.n_maps, geometry)
        self._left, self._right = left, right

    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read both files; values of shape (n_maps, n_voxels_in_roi)."""
        n_left = self._left.n_voxels
        on_left = [voxels < n_left for voxels in rois]
        lefts = self._left.read(*(voxels[on] for voxels, on in zip(rois, on_left, strict=True)))
        rights = self._right.read(*(voxels[~on] - n_left for voxels, on in zip(rois, on_left, strict=True)))
        joined = []
        for left, right, on in zip(lefts, rights, on_left, strict=True):
            values = np.empty((self.n_maps, len(on)), dtype=np.result_type(left, right))
            values[:, on], values[:, ~on] = left, right
            joined.append(values)
        return tuple(joined)


class ArrayImage(BrainImage):
    """A plain array (n_maps, n_voxels) in a .npy file, mapped into memory, or a table; a mask may have any shape."""

    def __init__(self, path: Path, what: str) -> None:
        values: NDArray[Any]
        if path.suffix in TABLES:
            table = None if path.suffix == ".txt" else read_table(path, (), what)
            values = read_numbers(path) if table is None else table.numbers(table.names)
        else:
            values = open_npy(path, what, mapped=True)
        if what == "mask":
            values = values.reshape(1, -1)
        if values.ndim != 2 or values.dtype.kind not in ("biuf" if what == "mask" else "iuf") or not values.size:
            got = f"{values.dtype} of shape {values.shape}"
            raise DataError(f"{what} {path} must hold numbers of shape (n_volumes, n_voxels); got {got}")
        super().__init__(path, len(values), Geometry("array", values.shape[1:]))
        self._values, self.value_bytes = values, np.dtype(_exact(values.dtype)).itemsize

    def read(self, *rois: IntArray) -> tuple[FloatArray, ...]:
        """Read some columns; values of shape (n_maps, n_voxels_in_roi)."""
        return tuple(np.asarray(self._values[:, voxels], dtype=_exact(self._values.dtype)) for voxels in rois)


def open_brain_image(path: Path, what: str = "responses", single: bool = False) -> BrainImage:
    """Open a brain image, a .npy array, or of responses a table; only its header is read, except of a GIFTI file.

    ``what`` it is: ``"responses"``, or ``"mask"`` or another word for an image of one map. ``single``: responses may be
    one volume. Raises MissingFileError, DataError, ShapeError, AlignmentError, MissingPackageError if the file is
    missing, cannot be read, has another shape or contradicts itself, or nibabel is not installed.
    """
    if path.suffix == ".npy" or (what == "responses" and path.suffix in TABLES):
        return ArrayImage(path, what)
    image = load_image(path, what)
    nibabel = import_nibabel()
    with reading(f"{what} {path}", _KIND):
        if isinstance(image, nibabel.cifti2.Cifti2Image):
            return CiftiImage(path, image, what)
        if isinstance(image, nibabel.gifti.GiftiImage):
            return GiftiImage(path, image, what)
        return NiftiImage(path, image, what, single)


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


def open_image(path: Path, what: str = "responses", single: bool = False) -> BrainImage:
    """Open a brain image, or the pair of files of both hemispheres; see `open_brain_image`."""
    images = [open_brain_image(file, what, single) for file in image_files(path)]
    return images[0] if len(images) == 1 else JoinedHemispheres(*images)


def import_nibabel() -> Any:
    """Import nibabel, or say how to install it."""
    needs = "brain images need nibabel ({error}); install it: pip install 'voxelcast[neuroimaging]'"
    return optional_package("nibabel", needs)


@contextmanager
def _quiet(logger: logging.Logger) -> Iterator[None]:
    """Say nothing of what nibabel logs and warns of: it is in the error, or was mended."""
    before, logger.disabled = logger.disabled, True
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logger.disabled = before


def load_image(path: Path, what: str) -> Any:
    """Open a NIfTI, CIFTI or GIFTI file with nibabel.

    Raises MissingFileError, DataError, MissingPackageError if it is missing, is none of these, or nibabel is not
    installed.
    """
    nibabel = import_nibabel()
    check_file(path, what)
    with reading(f"{what} {path}", _KIND), _quiet(nibabel.imageglobals.logger):
        try:
            image = nibabel.load(path)
        except nibabel.filebasedimages.ImageFileError:
            if _is_compressed(path):  # a damaged file is not one of another type
                with _opened(path) as stream:
                    while stream.read(_BLOCK_BYTES):
                        pass
            raise
        if isinstance(image, nibabel.Nifti2Image):
            extensions = image.header.extensions
            if any(isinstance(one, nibabel.cifti2.parse_cifti2.Cifti2Extension) for one in extensions):
                # A name that ends in .gz does not tell nibabel.
                file_map = {"image": nibabel.FileHolder(filename=str(path))}
                image = nibabel.cifti2.Cifti2Image.from_file_map(file_map)
        if isinstance(image, (nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.cifti2.Cifti2Image)):
            _check_scale(path, what, image)
        elif not isinstance(image, nibabel.gifti.GiftiImage):
            raise DataError(f"{what} {path} must be NIfTI, CIFTI or GIFTI; got {type(image).__name__}; convert it")
    return image


def _check_scale(path: Path, what: str, image: Any) -> None:
    """Raise DataError where the header scales by what is no number: programs take that for different things."""
    kind = type(getattr(image, "nifti_header", image.header))
    with _opened(path) as stream:
        stored = kind(stream.read(kind.template_dtype.itemsize), check=False)
    scale = float(stored["scl_slope"]), float(stored["scl_inter"])
    if not all(map(math.isfinite, scale)):
        raise DataError(
            f"{what} {path} must have finite scl_slope and scl_inter in its header; got {scale[0]} and {scale[1]}; set "
            "them to 1 and 0, or to what the values were scaled by"
        )


def _is_compressed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read from its beginning; reading a compressed one to its end compares its checksums."""
    if path.name.lower().endswith((".bz2", ".zst")):
        raise DataError(f"brain image {path} must be plain or compressed by gzip; got {path.suffix}; convert it")
    with path.open("rb") as file:
        if not _is_compressed(path):
            yield file
            return
        with gzip.GzipFile(fileobj=file, mode="rb") as inflated:
            yield cast(BinaryIO, inflated)


def _exact(dtype: Any) -> type[np.float32] | type[np.float64]:
    """Return the float type that holds what the file holds."""
    dtype = np.dtype(dtype)
    return np.float64 if dtype.itemsize > (2 if dtype.kind in "iu" else 4) else np.float32
