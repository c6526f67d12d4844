"""One pass over a file for all ROIs of a subject."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.datasets.readers.brain_images import BrainImage

MOST_KEPT = 2 * 2**30
"""Bytes of values that are kept for ROIs to come; where a subject's take more, its files are read more than once."""


class SharedReading:
    """Reads images for all ROIs of a subject when one is asked for, and keeps the others' values until they are too.

    Parameters
    ----------
    uses : int
        How often the values of each ROI are asked for before they are let go.
    """

    def __init__(self, uses: int = 1) -> None:
        self._uses, self._subject = uses, ""
        self._kept: dict[tuple[Path, str], tuple[FloatArray, int]] = {}

    def read(
        self, subject: str, image: BrainImage, roi: str, rois: Mapping[str, IntArray], n_images: int = 1
    ) -> FloatArray:
        """Read all maps of one of the subject's ROIs; values of shape (n_maps, n_voxels).

        ``rois`` are all of the subject's, ``n_images`` is how many images it has. Raises as `BrainImage.read`.
        """
        if subject != self._subject:
            self._subject, self._kept = subject, {}
        key = image.path, roi
        if key not in self._kept:
            together = _fitting(image, roi, rois, MOST_KEPT // n_images)
            self._kept = {kept: values for kept, values in self._kept.items() if kept[0] != image.path}
            values = image.read(*(rois[name] for name in together))
            self._kept |= {(image.path, name): (one, self._uses) for name, one in zip(together, values, strict=True)}
        found, left = self._kept.pop(key)
        if left > 1:
            self._kept[key] = found, left - 1
        return found


def _fitting(image: BrainImage, roi: str, rois: Mapping[str, IntArray], most: int) -> tuple[str, ...]:
    """Choose the ROIs to read with one: those after it, then those before, as long as all fit into ``most`` bytes."""
    names = list(rois)
    first = names.index(roi)
    chosen, used = [roi], image.n_maps * image.value_bytes * len(rois[roi])
    for name in (*names[first + 1 :], *names[:first]):
        used += image.n_maps * image.value_bytes * len(rois[name])
        if used > most:
            break
        chosen.append(name)
    return tuple(chosen)
