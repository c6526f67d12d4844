"""A user's own data: a folder or zip of stimuli, a file of responses per subject, and tables beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_file_name, check_utf8, home_expanded, nfc
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, OptionError, ShapeError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.base import (
    SPLITS,
    Dataset,
    DatasetFacts,
    Extent,
    ResponseSet,
    Split,
    VertexIndices,
    VoxelIndices,
)
from voxelcast.datasets.readers.brain_images import SUFFIXES as BRAIN_SUFFIXES
from voxelcast.datasets.readers.brain_images import brain_suffix, image_files, open_image
from voxelcast.datasets.readers.brain_masks import mask_files, masks_of, read_masks
from voxelcast.datasets.readers.geometry import check_same_geometry, geometry_note
from voxelcast.datasets.readers.response_tables import (
    SUFFIXES,
    ImageTable,
    ResponseTable,
    check_axes,
    read_response_table,
)
from voxelcast.datasets.readers.shared_reading import SharedReading
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.datasets.readers.voxel_indices import voxel_indices
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.settings import DatasetSettings, FileName, Listed, Names, select_names
from voxelcast.datasets.tables import check_unique, read_ids, read_labels, read_rois, read_split
from voxelcast.stimuli.listing import list_stimuli
from voxelcast.store.readers.tables import read_table

ALL_VOXELS = "all"


@settings
class FolderSettings(DatasetSettings):
    """Settings of `FolderDataset`; all paths are relative to ``root`` unless absolute.

    Parameters
    ----------
    stimuli : str or None
        Folder or .zip; None takes ``stimuli/`` or ``stimuli.zip``.
    responses : dict of subject to file name, or None
        None takes every ``responses/<subject>.npy|npz|csv|h5|mat|nii|nii.gz|dscalar.nii|dtseries.nii``. A brain image
        has a map per presentation: 4-D NIfTI, CIFTI, or GIFTI, where ``{hemi}`` in the name stands for both sides.
    axes : sequence of str
        What the axes of the arrays are: ``stimulus``, ``voxel`` and, if repeated, ``repetition``, in any order.
    stimulus_ids : str or None
        ``"sorted"`` says that rows are in the sorted order of the stimulus files; else a file of ids, one per line.
        None looks inside the response file, then for ``responses/<subject>_stimuli.txt``, then ``stimulus_ids.txt``.
    roi_table, split, groups : str or None
        Tables; None takes ``rois.csv``, ``split.csv``, ``groups.csv`` where they are there. A voxel is given by its
        0-based number, or by its column where responses are a CSV; it may be in several ROIs. A column ``subject`` in
        the ROI table keeps subjects apart.
    masks : dict of ROI to file name, or None
        ROIs of brain images, instead of a table; see `voxelcast.datasets.readers.brain_masks.read_masks`.
        ``{subject}`` in a name stands for the subject.
    unit : str
        Unit of the responses.
    subjects : "all", str or sequence of str
    """

    _: KW_ONLY
    kind: Literal["folder"] = "folder"
    stimuli: FileName = None
    responses: Annotated[dict[str, str] | None, NO_EFFECT] = None
    axes: Listed = ("stimulus", "voxel")
    stimulus_ids: str | None = None
    roi_table: FileName = None
    split: FileName = None
    groups: FileName = None
    masks: dict[str, str] | None = None
    unit: str = "arbitrary"
    subjects: Annotated[Names, NO_EFFECT] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_axes(self.axes)


@register_dataset
class FolderDataset(Dataset):
    """A user's own data.

    A folder needs only this::

        root/
            stimuli/            videos or images, or stimuli.zip; the id is the file's name without its suffix
            responses/
                sub01.csv       one file per subject: .npy, .npz, .csv, .h5, .mat or a brain image
            stimulus_ids.txt    ids of the rows of .npy files, one per line
            rois.csv            voxel,roi           optional; without it, one ROI called "all"
            split.csv           stimulus_id,split   optional; without it, all stimuli are for training
            groups.csv          stimulus_id,group   optional; stimuli of one group never straddle a fold

    Examples
    --------
    >>> FolderDataset(FolderSettings("v4", stimuli="images.zip", responses={"monkey": "responses.npy"},
    ...                              axes=["voxel", "stimulus"], stimulus_ids="sorted"))  # doctest: +SKIP
    """

    Settings = FolderSettings
    facts: ClassVar[DatasetFacts] = DatasetFacts(
        title="A folder of the user's own", unit="arbitrary", licence="the user's", citation="the user's"
    )

    def __init__(self, settings: FolderSettings) -> None:
        self._settings, self._root = settings, settings.root
        if not self._root.is_dir():
            raise MissingFileError(f"dataset not found: {self._root} is not a folder")
        given = settings.stimuli and self._root / home_expanded(Path(settings.stimuli))
        listed = list_stimuli(given or self._default_stimuli())
        self._ids = tuple(stimulus.stimulus_id for stimulus in listed)
        self._split_file = self._table(settings.split, "split.csv")
        self._rois_file = self._table(settings.roi_table, "rois.csv")
        groups_file = self._table(settings.groups, "groups.csv")
        splits = read_split(self._split_file, self._ids) if self._split_file else dict.fromkeys(self._ids, "train")
        self._groups = read_labels(groups_file, "group", self._ids) if groups_file else None
        self._stimuli = {
            split: tuple(stimulus for stimulus in listed if splits[stimulus.stimulus_id] == split) for split in SPLITS
        }
        self._files = self._response_files(settings.responses)
        self._subjects = select_names("subject", settings.subjects, tuple(self._files), f"in {self._root}")
        if settings.masks and self._rois_file is not None:
            raise OptionError(f"ROIs come from masks or from a table; got masks and {self._rois_file.name}; give one")
        self._id_files: dict[str, Path] = {}
        self._tables: dict[str, ResponseTable | ImageTable] = {}
        self._rows: dict[str, dict[str, int]] = {}
        self._rois: dict[str, dict[str, IntArray]] = {}
        for subject in self._subjects:
            self._open_subject(subject)
        self._check_places()
        known = tuple(dict.fromkeys(roi for rois in self._rois.values() for roi in rois))
        chosen = select_names("ROI", settings.rois, known, f"in {self._root}")
        for subject, rois in self._rois.items():
            self._rois[subject] = {roi: voxels for roi, voxels in rois.items() if roi in chosen}
        self._reading = SharedReading(uses=2 if self.has_test_responses else 1)

    def _default_stimuli(self) -> Path:
        for name in ("stimuli", "stimuli.zip"):
            if (self._root / name).exists():
                return self._root / name
        raise MissingFileError(f"stimuli not found: neither stimuli/ nor stimuli.zip in {self._root}; set stimuli")

    def _table(self, name: str | None, default: str) -> Path | None:
        if name is not None:
            return self._root / home_expanded(Path(name))
        return self._root / default if os.path.lexists(self._root / default) else None

    def _response_files(self, responses: Mapping[str, str] | None) -> dict[str, Path]:
        if responses is not None:
            named = {check_file_name(subject, "subject"): Path(name) for subject, name in responses.items()}
            return {subject: self._root / home_expanded(name) for subject, name in named.items()}
        folder = self._root / "responses"
        known = (*SUFFIXES, *(suffix for suffix in BRAIN_SUFFIXES if not suffix.endswith(".gii")))
        found = sorted(path for path in folder.glob("*") if path.name.endswith(known) and not path.name.startswith("."))
        if not found:
            raise MissingFileError(f"responses not found: no {', '.join(known)} file in {folder}; set responses")
        files: dict[str, Path] = {}
        for path in found:
            check_utf8(path.name, "response file")
            subject = nfc(path.name.removesuffix(brain_suffix(path) or path.suffix))
            if subject in files:
                raise AlignmentError(
                    f"each subject must have one file in {folder}; got {files[subject].name}, {path.name}; remove one"
                )
            files[subject] = path
        return files

    def _open_subject(self, subject: str) -> None:
        path = self._files[subject]
        table: ResponseTable | ImageTable
        if brain_suffix(path):
            table = ImageTable(open_image(path), self._row_ids(subject, None))
            ids = table.stimulus_ids
        else:
            table, ids = self._read_table(subject, path)
        known = set(self._ids)
        unknown = [stimulus_id for stimulus_id in ids if stimulus_id not in known]
        if unknown:
            raise AlignmentError(
                f"{path.name} has responses to {len(unknown)} stimuli that are not there, first {unknown[0]!r}; "
                f"ids are file names without suffix, such as {self._ids[0]!r}; correct the ids or add the stimuli"
            )
        self._rows[subject] = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
        without = [s.stimulus_id for s in self._stimuli["train"] if s.stimulus_id not in self._rows[subject]]
        if without:
            raise AlignmentError(
                f"{path.name} has no responses to {len(without)} training stimuli, first {without[0]!r}; "
                "add them, remove the stimuli, or mark those as test in split.csv"
            )
        self._tables[subject] = table
        self._rois[subject] = self._read_rois(subject, table)

    def _check_places(self) -> None:
        """Raise AlignmentError where a table gives voxels by one number for subjects whose voxels lie elsewhere."""
        images = [table.image for table in self._tables.values() if isinstance(table, ImageTable)]
        if images and self._rois_file and "subject" not in read_table(self._rois_file).names:
            for image in images:
                remedy = f"give {self._rois_file.name} a column subject, or take masks"
                there = images[0].path, images[0].geometry
                check_same_geometry("responses", image.path, image.geometry, there, remedy)

    def _read_rois(self, subject: str, table: ResponseTable | ImageTable) -> dict[str, IntArray]:
        if self._settings.masks:
            if isinstance(table, ResponseTable):
                raise OptionError(f"masks are for brain images; got {self._files[subject].name}; give a table of ROIs")
            return read_masks(self._root, masks_of(self._settings.masks, subject), table.image)
        if self._rois_file:
            return read_rois(self._rois_file, subject, table.n_voxels, table.voxel_names)
        return {ALL_VOXELS: np.arange(table.n_voxels)}

    def _read_table(self, subject: str, path: Path) -> tuple[ResponseTable, tuple[str, ...]]:
        table = read_response_table(path, self._settings.axes)
        ids = self._row_ids(subject, table.stimulus_ids)
        if len(ids) != table.values.shape[0]:
            sizes = dict(zip(("stimulus", "repetition", "voxel"), table.values.shape, strict=True))
            got = tuple(sizes[axis] for axis in self._settings.axes)
            raise ShapeError(
                f"{path.name} must have {len(ids)} on its stimulus axis, one per stimulus id; got shape {got} with "
                f"axes [{', '.join(self._settings.axes)}]; set axes to what the file's axes are, or correct the ids"
            )
        check_unique(ids, path.name)
        return table, ids

    def _row_ids(self, subject: str, inside: tuple[str, ...] | None) -> tuple[str, ...]:
        stimulus_ids = self._settings.stimulus_ids
        if stimulus_ids is not None and inside is not None:
            raise AlignmentError(
                f"{self._files[subject].name} holds stimulus ids of its own; got stimulus_ids={stimulus_ids} too; "
                "leave that out"
            )
        if stimulus_ids == "sorted":
            return self._ids
        if stimulus_ids is not None:
            self._id_files[subject] = self._root / home_expanded(Path(stimulus_ids))
        elif inside is not None:
            return inside
        else:
            paths = (self._root / "responses" / f"{subject}_stimuli.txt", self._root / "stimulus_ids.txt")
            found = [path for path in paths if path.is_file()]
            if not found:
                raise AlignmentError(
                    f"which stimulus each row of {self._files[subject].name} belongs to is not known; give "
                    f"stimulus_ids.txt or responses/{subject}_stimuli.txt with one id per line, or 'stimulus_id' in "
                    "an .npz, .h5 or .csv, or say stimulus_ids: sorted if rows are in sorted order of stimulus files"
                )
            self._id_files[subject] = found[0]
        return read_ids(self._id_files[subject])

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Return the responses; values of shape (n_stimuli, n_repetitions, n_voxels)."""
        self.check_roi(subject, roi)
        if split == "test" and not self.has_test_responses:
            raise DataError(
                "test responses must cover every test stimulus of every subject, and here do not; "
                "score with nested cross-validation"
            )
        ids = self.stimulus_ids(split)
        rows = [self._rows[subject][stimulus_id] for stimulus_id in ids]
        table, rois = self._tables[subject], self._rois[subject]
        if isinstance(table, ImageTable):
            part = table.arrange(self._reading.read(subject, table.image, roi, rois), rows)
        else:
            part = table.read(rows, rois[roi])
        return ResponseSet(subject, roi, ids, as_response_values(part, str(self._files[subject])), self._settings.unit)

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the response file and the tables that say which rows and voxels are meant."""
        self.check_roi(subject, roi)
        beside = (self._id_files.get(subject), self._rois_file, self._split_file)
        masks = mask_files(self._root, masks_of(self._settings.masks, subject))
        return (*image_files(self._files[subject]), *masks, *(path for path in beside if path is not None))

    def voxel_indices(self, subject: str, roi: str) -> VoxelIndices | VertexIndices | None:
        """Say where the voxels of an image lie."""
        self.check_roi(subject, roi)
        table = self._tables[subject]
        return voxel_indices(table.image, self._rois[subject][roi]) if isinstance(table, ImageTable) else None

    def extent(self, subject: str) -> Extent:
        """Say how large the subject's responses are, from the headers."""
        table = self._tables[subject]
        voxels = {roi: len(self._rois[subject][roi]) for roi in self.rois(subject)}
        space = table.image.geometry.shown() if isinstance(table, ImageTable) else "plain array"
        return Extent(len(self._rows[subject]), table.n_repetitions, voxels, space)

    def notes(self) -> tuple[str, ...]:
        """Say where subjects whose voxels are chosen by number differ in space."""
        images = {subject: table.image for subject, table in self._tables.items() if isinstance(table, ImageTable)}
        if len(images) < 2 or any("{subject}" in name for name in (self._settings.masks or {}).values()):
            return ()
        return geometry_note({subject: (image.path, image.geometry) for subject, image in images.items()})

    @property
    def reads_together(self) -> bool:
        """Whether reading one ROI costs as much as reading all of a subject."""
        return any(isinstance(table, ImageTable) for table in self._tables.values())

    @property
    def has_test_responses(self) -> bool:
        """Whether every subject has responses to every test stimulus, and there is one."""
        ids = self.stimulus_ids("test")
        return bool(ids) and all(stimulus_id in rows for rows in self._rows.values() for stimulus_id in ids)

    @property
    def groups(self) -> Mapping[str, str] | None:
        """Group of each stimulus id, where there is a table of groups."""
        return self._groups
