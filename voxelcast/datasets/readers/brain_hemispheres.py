"""Surface files come in pairs, one per hemisphere; ``{hemi}`` in a name stands for both."""

from __future__ import annotations

from pathlib import Path

from voxelcast.core.errors import MissingFileError
from voxelcast.datasets.readers.brain_images import BrainImage, JoinedHemispheres, open_brain_image

_NAMES = (("L", "R"), ("lh", "rh"), ("left", "right"))


def hemisphere_files(path: Path) -> tuple[Path, Path]:
    """Find the files of the left and the right hemisphere: ``{hemi}`` is L and R, lh and rh, or left and right.

    Raises MissingFileError where no such pair is there.
    """
    for left, right in _NAMES:
        pair = tuple(Path(str(path).replace("{hemi}", side)) for side in (left, right))
        if pair[0].is_file() and pair[1].is_file():
            return pair[0], pair[1]
    shown = " or ".join(f"{left} and {right}" for left, right in _NAMES)
    raise MissingFileError(f"surface files not found: {path}, with {{hemi}} being {shown}, does not exist")


def open_responses(path: Path) -> BrainImage:
    """Open a brain image, or the pair of files of both hemispheres."""
    if "{hemi}" not in str(path):
        return open_brain_image(path)
    left, right = hemisphere_files(path)
    return JoinedHemispheres(open_brain_image(left), open_brain_image(right))
