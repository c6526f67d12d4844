"""Brain maps as BIDS derivatives: a file per subject, ROI and quantity, with side-cars, that other programs find.

Names follow BIDS and, for the maps, its proposal for statistical maps, which nilearn uses too (suffix ``statmap``);
as the standard does not have it yet, ``.bidsignore`` names them. ROI masks are of the standard.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from voxelcast import __version__
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import AlignmentError, UnwritableError
from voxelcast.datasets.base import Dataset
from voxelcast.datasets.bids import DESCRIPTION, entity
from voxelcast.report.brain_maps import BrainMap, VolumeMap, make_map, place_map, write_map, write_nifti
from voxelcast.store.atomic import write_json, write_text
from voxelcast.store.readers.tables import read_table

BIDS_VERSION: Final = "1.10.0"
_SHORT: Final = {"pearson_r": "r", "q_value": "q", "p_value": "p", "held_out_r": "heldOutR"}
_SAID: Final = {
    "pearson_r": "Correlation of predicted and measured responses, from cross-validation",
    "noise_ceiling_r": "Highest correlation that a model can reach, given the noise of the responses",
    "noise_normalised_r": "Correlation over the noise ceiling; NaN where the ceiling is not clear of 0",
    "q_value": "False discovery rate of the voxel's correlation",
    "p_value": "Permutation p of the voxel's correlation",
    "held_out_r": "Correlation of predicted and measured responses to the held-out stimuli",
}
_MODEL: Final = ("network", "weights", "layer", "encoder", "hyperparameters", "score")
_README: Final = """Brain maps of encoding models, written by voxelcast {version} from the results in {output}.

sub-<label>/<func|anat>/*_label-<ROI>_mask.nii.gz: where the ROI's voxels are
sub-<label>/<func|anat>/*_roi-<ROI>_stat-<quantity>_statmap.nii.gz: a value for each of them, NaN elsewhere

The JSON file beside each map says what the quantity is, and which network, layer and encoding model predicted.
The suffix statmap is not yet part of BIDS, so .bidsignore names these files.
"""


def stat_label(quantity: str) -> str:
    """Return what stands for a quantity after ``stat-``, where BIDS admits letters and digits alone.

    Examples
    --------
    >>> stat_label("pearson_r"), stat_label("noise_ceiling_r")
    ('r', 'noiseCeilingR')
    """
    first, *others = quantity.split("_")
    return _SHORT.get(quantity) or _label(first + "".join(part.capitalize() for part in others))


def write_derivatives(
    folder: Path,
    output: Path,
    dataset: Dataset,
    voxels: Mapping[str, Mapping[str, Mapping[str, FloatArray]]],
    quantities: Sequence[str],
    *,
    image: Path | None = None,
    space: str | None = None,
) -> list[Path]:
    """Write a BIDS derivative dataset, and return its files.

    Parameters
    ----------
    folder : Path
        That does not exist yet.
    output : Path
        Folder of the results.
    dataset : Dataset
        Which says where voxels lie.
    voxels : mapping of subject to mapping of ROI to mapping of quantity to ndarray of shape (n_voxels,)
        See `voxelcast.report.brain_maps.read_voxels`.
    quantities : sequence of str
        Those to write, where an ROI has them.
    image, space
        See `voxelcast.report.brain_maps.place_map`.

    Raises
    ------
    UnwritableError
        If the folder is there.
    AlignmentError
        If two subjects or ROIs would have one name, as BIDS admits letters and digits alone.
    DataError
        If the dataset does not know where its voxels lie.
    """
    if folder.exists() or folder.is_symlink():
        raise UnwritableError(f"{folder} is there already; choose another --bids")
    _check_names("subject", [f"sub-{_subject(subject)}" for subject in voxels], list(voxels))
    models = _models(output)
    written: list[Path] = []
    for subject, rois in voxels.items():
        _check_names("ROI", [_label(roi) for roi in rois], list(rois))
        for roi, values in rois.items():
            about = {"ROI": roi, **models.get((subject, roi), {})}
            there = [quantity for quantity in quantities if quantity in values]
            maps = {one: place_map(make_map(dataset, subject, {roi: values[one]}), image, space) for one in there}
            written += _write_roi(folder, dataset, subject, roi, maps, about)
    root = getattr(getattr(dataset, "_settings", None), "root", None)
    write_json(folder / DESCRIPTION, _description(folder, root))
    write_text(folder / "README", _README.format(version=__version__, output=output.name))
    write_text(folder / ".bidsignore", "*_statmap.*\n")
    return written


def _write_roi(
    folder: Path, dataset: Dataset, subject: str, roi: str, maps: Mapping[str, BrainMap], about: Mapping[str, Any]
) -> list[Path]:
    """Write the maps of one ROI, and its mask where it lies in a volume."""
    files = dataset.extent(subject).files
    task = entity(files[0].name, "task") if files else ""
    place = folder / f"sub-{_subject(subject)}" / ("func" if task else "anat")
    start = f"sub-{_subject(subject)}" + (f"_task-{task}" if task else "")
    written: list[Path] = []
    for quantity, brain_map in maps.items():
        volume = isinstance(brain_map, VolumeMap)
        space = _label(brain_map.space if isinstance(brain_map, VolumeMap) else brain_map.mesh)
        middle = f"_space-{space}" if space else ""
        side: dict[str, Any] = {"Description": _SAID.get(quantity, quantity), "Quantity": quantity, **about}
        if files:
            side["Sources"] = [_uri(file, dataset) for file in files]
        side["SpatialReference"] = "orig" if space in ("", "T1w", "native") else space
        if isinstance(brain_map, VolumeMap) and brain_map.mask is not None and not written:
            mask = place / f"{start}{middle}_label-{_label(roi)}_mask.nii.gz"
            write_nifti(mask, brain_map.mask, brain_map, np.uint8)
            kept = {key: value for key, value in side.items() if key in ("Sources", "SpatialReference")}
            write_json(_side_car(mask), {"Type": "ROI", "Description": f"Voxels of {roi} that were analysed"} | kept)
            written.append(mask)
        stem = f"{middle}_roi-{_label(roi)}_stat-{stat_label(quantity)}_statmap"
        made = write_map(place, f"{start}{stem}", brain_map)
        for path in made:
            if not volume:  # the hemisphere comes before the space
                side_name = "L" if "_hemi-L" in path.name else "R"
                path = path.rename(place / f"{start}_hemi-{side_name}{stem}.func.gii")
            write_json(_side_car(path), side)
            written.append(path)
    return written


def _side_car(path: Path) -> Path:
    return path.with_name(path.name.partition(".")[0] + ".json")


def _description(folder: Path, root: Path | None) -> dict[str, Any]:
    about: dict[str, Any] = {
        "Name": f"Encoding models: {folder.name}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [{"Name": "voxelcast", "Version": __version__}],
    }
    if root is not None:
        about["DatasetLinks"] = {"source": Path(os.path.relpath(root, folder)).as_posix()}
    return about


def _uri(path: Path, dataset: Dataset) -> str:
    """Say where a response file lies in the source dataset, as a BIDS URI."""
    root = getattr(getattr(dataset, "_settings", None), "root", path.parent)
    return f"bids:source:{Path(os.path.relpath(path, root)).as_posix()}"


def _models(output: Path) -> dict[tuple[str, str], dict[str, str]]:
    """Read which model predicted each subject x ROI, as far as the output says it."""
    path = output / "scores.csv"
    if not path.is_file():
        return {}
    table = read_table(path, ("subject", "roi"))
    names = [name for name in _MODEL if name in table.names]
    return {
        (row["subject"], row["roi"]): {name.capitalize(): row[name] for name in names}
        for row in (dict(zip(table.names, cells, strict=True)) for cells in table.rows)
    }


def _subject(name: str) -> str:
    """Return a subject's label, without ``sub-``."""
    return _label(re.sub(r"^sub[-_]?", "", name)) or _label(name)


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)


def _check_names(what: str, labels: Sequence[str], names: Sequence[str]) -> None:
    for place, label in enumerate(labels):
        if labels.index(label) != place or not _label(label):
            raise AlignmentError(
                f"{what}s must have names of their own in letters and digits; {names[labels.index(label)]} and "
                f"{names[place]} both give {label!r}; rename one"
            )
