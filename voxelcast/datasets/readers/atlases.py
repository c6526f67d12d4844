"""Atlases by name, through nilearn, where their files are on this machine; nothing is downloaded.

``nilearn:NAME(OPTIONS)[LABELS]`` names an atlas as nilearn's ``fetch_atlas_NAME`` does, and labels by name (with ``*``)
or number, with ``;`` between them::

    nilearn:juelich(atlas_name=maxprob-thr25-2mm)[GM Visual cortex V1 BA17*]
    nilearn:schaefer_2018(n_rois=400, resolution_mm=2)[7Networks_LH_Vis_*; 7Networks_RH_Vis_*]

Atlases lie in MNI coordinates: each voxel of the responses gets the label at its centre (nearest neighbour).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import numpy as np

from voxelcast.core.arrays import BoolArray
from voxelcast.core.checks import check_known, optional_package
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, OptionError
from voxelcast.datasets.readers.brain_images import BrainImage, import_nibabel

_PREFIX: Final = "nilearn:"
_NAME = re.compile(r"nilearn:(?P<name>\w+)(?:\((?P<options>[^)]*)\))?\[(?P<labels>.+)\]")
_FSL: Final = "fsl/data/atlases"
_SCHAEFER: Final = "schaefer_2018/Schaefer2018_{n_rois}Parcels_{yeo_networks}Networks_order"
_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "harvard_oxford": {"atlas_name": "cort-maxprob-thr25-2mm"},
    "juelich": {"atlas_name": "maxprob-thr25-2mm"},
    "schaefer_2018": {"n_rois": 400, "yeo_networks": 7, "resolution_mm": 1},
}


def is_atlas(name: str) -> bool:
    """Whether a mask is named as one of nilearn's atlases."""
    return name.startswith(_PREFIX)


def atlas_files(name: str) -> tuple[Path, ...]:
    """Find the files of an atlas: the labels' image, and their names.

    Raises OptionError, UnknownNameError where the name is none, MissingPackageError without nilearn, and
    MissingFileError, which gives the command that fetches the atlas, where it is not on this machine.
    """
    atlas, options, _ = _parsed(name)
    there = [Path(folder) for folder in _nilearn().get_data_dirs()]
    wanted = _wanted(atlas, options)
    for folder in there:
        if all((folder / file).is_file() for file in wanted):
            return tuple(folder / file for file in wanted)
    given = ", ".join(f"{key}={value!r}" for key, value in options.items())
    raise MissingFileError(
        f"atlas {atlas} not found in {', '.join(map(str, there))}; nothing is downloaded unasked: fetch it with "
        f'python -c "from nilearn.datasets import fetch_atlas_{atlas} as fetch; fetch({given})"'
    )


def read_atlas(name: str, roi: str, image: BrainImage) -> BoolArray:
    """Say which of an image's voxels have one of the labels of an atlas, (n_voxels,).

    Raises as `atlas_files`; AlignmentError where the image is no volume in MNI coordinates; DataError where a label
    does not exist or the ROI has no voxel.
    """
    files = atlas_files(name)
    geometry = image.geometry
    if geometry.support != "volume" or geometry.affine is None or not any("MNI" in one for one in geometry.spaces):
        raise AlignmentError(
            f"{name} of ROI {roi} lies in MNI coordinates; got responses in {geometry.shown()} ({image.path}); name "
            "their space in the file (space-MNI152NLin2009cAsym), or give masks in the space of the responses"
        )
    atlas, options, labels = _parsed(name)
    fetched = getattr(_nilearn(), f"fetch_atlas_{atlas}")(
        data_dir=str(_data_folder(files, atlas, options)), **options, verbose=0
    )
    numbers = _numbers(name, labels, {int(row["index"]): str(row["name"]) for _, row in fetched.lut.iterrows()})
    maps = import_nibabel().load(fetched.maps) if isinstance(fetched.maps, str | Path) else fetched.maps
    values = np.rint(np.asarray(maps.dataobj)).astype(np.int64)
    to_atlas = np.linalg.inv(maps.affine) @ geometry.affine
    places = np.stack(np.unravel_index(np.arange(image.n_voxels), geometry.sizes))
    at = np.rint(to_atlas[:3, :3] @ places + to_atlas[:3, 3:]).astype(np.int64)
    within = ((at >= 0) & (at < np.array(values.shape)[:, None])).all(axis=0)
    inside = np.zeros(image.n_voxels, dtype=bool)
    inside[within] = np.isin(values[tuple(at[:, within])], numbers)
    if not inside.any():
        raise DataError(f"{name} of ROI {roi} has no voxel in {image.path}; choose other labels")
    return inside


def _parsed(name: str) -> tuple[str, dict[str, Any], list[str]]:
    """Take an atlas's name, options and labels apart."""
    found = _NAME.fullmatch(name)
    if found is None:
        raise OptionError(
            f"an atlas must be written nilearn:NAME(OPTIONS)[LABELS], e.g. "
            f"nilearn:juelich(atlas_name=maxprob-thr25-2mm)[GM Visual cortex V1 BA17*]; got {name}"
        )
    check_known("atlas", found["name"], tuple(_OPTIONS), where="of nilearn")
    options = dict(_OPTIONS[found["name"]])
    for part in filter(None, map(str.strip, (found["options"] or "").split(","))):
        key, _, value = (text.strip() for text in part.partition("="))
        check_known("option", key, tuple(options), where=f"of atlas {found['name']}")
        options[key] = int(value) if value.isdecimal() else value
    return found["name"], options, [label.strip() for label in found["labels"].split(";")]


def _wanted(atlas: str, options: Mapping[str, Any]) -> tuple[str, str]:
    """Name the files that nilearn keeps of an atlas: image and names, below its data folder."""
    if atlas == "schaefer_2018":
        table = _SCHAEFER.format(**options)
        return f"{table}_FSLMNI152_{options['resolution_mm']}mm.nii.gz", f"{table}.txt"
    kind, source = options["atlas_name"], "Juelich" if atlas == "juelich" else "HarvardOxford"
    part = {"sub": "-Subcortical", "cortl": "-Cortical-Lateralized", "cort": "-Cortical"}
    ending = "" if source == "Juelich" else part.get(kind.partition("-")[0], "-Cortical")
    return f"{_FSL}/{source}/{source}-{kind}.nii.gz", f"{_FSL}/{source}{ending}.xml"


def _data_folder(files: tuple[Path, ...], atlas: str, options: Mapping[str, Any]) -> Path:
    """Return the folder of nilearn in which the files were found, so that it looks nowhere else."""
    return files[0].parents[_wanted(atlas, options)[0].count("/")]


def _numbers(name: str, labels: list[str], known: Mapping[int, str]) -> list[int]:
    """Return the numbers of labels that are given by number, or by name with ``*``."""
    numbers: list[int] = []
    for label in labels:
        matching = [number for number, text in known.items() if fnmatchcase(text, label) or str(number) == label]
        if not matching:
            shown = ", ".join(list(known.values())[:5])
            raise DataError(f"{name}: the atlas has no label {label!r}; its {len(known)} labels are {shown}, ...")
        numbers += matching
    return numbers


def _nilearn() -> Any:
    needs = "atlases by name need nilearn ({error}); install it: pip install 'voxelcast[neuroimaging]'"
    return optional_package("nilearn.datasets", needs)
