"""Names, folders and sizes of the BOLD Moments dataset (OpenNeuro ds005165).

Numbers of voxels follow from the sizes of the files on OpenNeuro: a prepared file of version B takes 32,184 bytes for
each voxel, one of version A 32,176 (32,168 for the whole brain), which divides what remains beside the masks exactly.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from voxelcast.datasets.base import Split

Version = Literal["A", "B"]
Template = Literal["MNI152", "fsLR32k", "fsaverage"]
Files = Literal["roi", "whole_brain"]
Voxels = Literal["allvoxel", "reliable"]

N_TRAIN, N_TEST = 1000, 102
REPETITIONS: dict[Split, int] = {"train": 3, "test": 10}
FIRST_TEST_NUMBER = 1001
"""Videos 0001 to 1000 are for training, 1001 to 1102 for test."""

SUBJECTS = tuple(f"sub-{number:02d}" for number in range(1, 11))
WHOLE_BRAIN, GENERAL, CHALLENGE = "WB", "BMDgeneral", "challenge"
VIDEO_FOLDER = "mp4_h264"
HEMISPHERES = ("left", "right")
N_GRAYORDINATES = (29_696, 29_716, 31_870)
"""Of fsLR32k, in the order of the file: left cortex, right cortex, subcortex."""
N_VERTICES = 163_842
"""Of one hemisphere of fsaverage."""

_JOINED = {"V1": ("V1v", "V1d"), "V2": ("V2v", "V2d"), "V3": ("V3v", "V3d"), "V4": ("hV4",)}
_OTHERS = ("LOC", "EBA", "FFA", "STS", "PPA", "OFA", "RSC", "TOS", "V3ab", "IPS0", "IPS1-2-3", "7AL", "BA2",
           "PFt", "PFop")  # fmt: skip

_VOXELS_A = {
    "V1v": (320, 324, 272, 140, 280, 242, 234, 271, 220, 288),
    "V1d": (291, 321, 291, 200, 277, 245, 283, 308, 267, 302),
    "V2v": (293, 289, 283, 110, 224, 198, 202, 210, 151, 260),
    "V2d": (284, 297, 280, 208, 237, 251, 282, 278, 273, 286),
    "V3v": (234, 231, 226, 138, 182, 204, 190, 209, 183, 216),
    "V3d": (231, 229, 232, 192, 202, 212, 229, 209, 227, 207),
    "hV4": (149, 151, 149, 151, 146, 145, 129, 142, 132, 135),
    "EBA": (536, 456, 689, 597, 554, 466, 201, 266, 526, 450),
    "FFA": (116, 275, 131, 368, 122, 194, 172, 414, 115, 177),
    "OFA": (125, 19, 12, 97, 12, 45, 31, 349, 100, 63),
    "STS": (748, 887, 852, 896, 610, 692, 401, 815, 836, 527),
    "LOC": (868, 861, 829, 880, 779, 788, 903, 926, 726, 752),
    "PPA": (955, 491, 961, 834, 802, 633, 84, 543, 797, 741),
    "RSC": (959, 959, 697, 834, 901, 713, 0, 662, 926, 636),
    "TOS": (90, 98, 65, 68, 166, 0, 0, 177, 31, 251),
    "V3ab": (393, 386, 385, 382, 384, 393, 387, 387, 392, 388),
    "IPS0": (230, 229, 230, 230, 230, 230, 230, 230, 230, 230),
    "IPS1-2-3": (200, 198, 200, 200, 200, 200, 200, 200, 200, 200),
    "7AL": (164, 156, 164, 164, 163, 164, 164, 164, 164, 164),
    "BA2": (487, 487, 487, 487, 487, 487, 487, 486, 487, 487),
    "PFt": (142, 142, 142, 142, 142, 142, 142, 142, 142, 142),
    "PFop": (222, 222, 222, 220, 220, 222, 222, 221, 217, 221),
    "WB": (98273, 101462, 104329, 105590, 99479, 103447, 103263, 94852, 101433, 100666),
}
# Left and right hemisphere, the same for all subjects.
_VOXELS_B = {
    "V1v": (200, 170), "V1d": (184, 173), "V2v": (169, 169), "V2d": (148, 170), "V3v": (115, 130), "V3d": (123, 106),
    "hV4": (67, 92), "EBA": (208, 116), "FFA": (130, 243), "OFA": (28, 88), "STS": (204, 557), "LOC": (851, 762),
    "PPA": (164, 124), "RSC": (244, 421), "TOS": (12, 37), "V3ab": (149, 233), "IPS0": (121, 111),
    "IPS1-2-3": (104, 112), "7AL": (121, 117), "BA2": (253, 269), "PFt": (122, 120), "PFop": (105, 98), "MT": (38, 57),
}  # fmt: skip
_WHOLE_BRAIN_B = (108219, 108603, 108366, 108283, 108201, 108449, 108126, 108407, 108250, 107987)
_N_GENERAL_B = 14_672

_FOLDER = {"A": Path("versionA") / "MNI152" / "prepared_data", "B": Path("versionB")}


def published_voxels(version: Version) -> dict[str, dict[str, int]]:
    """List the voxels of each subject in each file of a version (of ``allvoxel`` in version A), in MNI152.

    0 where the ROI could not be found in the subject: TOS of sub-06, TOS and RSC of sub-07, in version A.
    """
    if version == "A":
        return {subject: {roi: counts[i] for roi, counts in _VOXELS_A.items()} for i, subject in enumerate(SUBJECTS)}
    areas = {f"{'lr'[side]}{area}": counts[side] for area, counts in _VOXELS_B.items() for side in (0, 1)}
    return {
        subject: areas | {GENERAL: _N_GENERAL_B, WHOLE_BRAIN: _WHOLE_BRAIN_B[i]} for i, subject in enumerate(SUBJECTS)
    }


def main_rois(version: Version, template: Template) -> tuple[str, ...]:
    """List what ``rois: all`` stands for: every area once, both hemispheres joined; on surfaces the whole brain."""
    if template != "MNI152":
        return (WHOLE_BRAIN,)
    return (*_JOINED, *_OTHERS, *(("MT",) if version == "B" else ()))


def roi_parts(version: Version, template: Template) -> dict[str, tuple[str, ...]]:
    """Say of which files, or parts of the whole brain, each ROI is made; the main ROIs come first.

    ``V1`` is V1v and V1d, ``V4`` is hV4, and in version B each is the left and the right hemisphere; the files' own
    names (``lV1v``, ``rV1v``) stand for themselves.
    """
    if template == "fsLR32k":
        return {name: (name,) for name in (WHOLE_BRAIN, *HEMISPHERES, "subcortex")}
    if template == "fsaverage":
        return {WHOLE_BRAIN: HEMISPHERES} | {name: (name,) for name in HEMISPHERES}
    areas = {name: _JOINED.get(name, (name,)) for name in main_rois(version, template)}
    areas |= {area: (area,) for joined in _JOINED.values() for area in joined}
    if version == "A":
        return areas | {WHOLE_BRAIN: (WHOLE_BRAIN,)}
    both = {name: tuple(side + area for area in joined for side in "lr") for name, joined in areas.items()}
    single = dict.fromkeys(part for joined in both.values() for part in joined)
    return both | {name: (name,) for name in (*single, GENERAL, WHOLE_BRAIN)}


def roi_file(version: Version, subject: str, name: str, voxels: Voxels = "allvoxel", tr: int | None = None) -> Path:
    """Return the prepared file of one native ROI, relative to ``derivatives``; ``tr`` None: the mean of 5 to 9."""
    if version == "B":
        folder = _FOLDER["B"] / "MNI152" / "prepared_allvoxel_pkl" / subject
        return folder / f"{subject}_roi-{name}_betas_normalized.pkl"
    times, label = ("TRavg56789", "TRavg-56789") if tr is None else (f"TR{tr}", f"TRavg{tr}")
    return _FOLDER["A"] / f"prepared_{voxels}_pkl" / times / subject / f"{name}_{label}_{voxels}.pkl"


def whole_brain_file(template: Template, subject: str, split: Split, hemisphere: str = "") -> Path:
    """Return the file of all betas of version B, relative to ``derivatives``; ``hemisphere`` in fsaverage only."""
    side = f"_hemi-{hemisphere}" if hemisphere else ""
    name = f"{subject}_organized_betas_task-{split}{side}_normalized.pkl"
    return _FOLDER["B"] / template / "GLM" / subject / "prepared_betas" / name


def roi_index_file(subject: str, name: str) -> Path:
    """Return the file that says where an ROI of version B lies in MNI152, relative to ``derivatives``."""
    return _FOLDER["B"] / "MNI152" / "GLM" / subject / "ROIs" / f"ROI-{name}_indices.pkl"


def mask_file(subject: str) -> Path:
    """Return the NIfTI file of the voxels of a subject in version B, relative to ``derivatives``."""
    return _FOLDER["B"] / "MNI152" / "GLM" / "mask" / f"{subject}_mask-nonans_space-MNI152.nii"


def roi_file_bytes(version: Version, name: str, n_voxels: int) -> int:
    """Say how large a prepared file is on OpenNeuro."""
    if version == "A":
        return n_voxels * 32_168 + 8_241_076 if name == WHOLE_BRAIN else n_voxels * 32_176 + 384
    return n_voxels * 32_184 + 4_662_349


def whole_brain_bytes(n_voxels: int, split: Split) -> int:
    """Say how large a file of all betas is, but for a mask of 2.3 MB: 8 bytes for each response."""
    return n_voxels * 8 * REPETITIONS[split] * (N_TRAIN if split == "train" else N_TEST)
