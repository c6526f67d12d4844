"""A user's own data: a folder or zip of stimuli, files of responses per subject, and tables beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_file_name, check_utf8, home_expanded, nfc
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, OptionError, ShapeError
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
from voxelcast.datasets.folder_settings import FolderSettings, Patterns, as_patterns
from voxelcast.datasets.patterns import STIMULUS, SUBJECT, RunFile, find_matches, is_pattern
from voxelcast.datasets.readers.brain_images import SUFFIXES as BRAIN_SUFFIXES
from voxelcast.datasets.readers.brain_images import BrainImage, brain_suffix, image_files
from voxelcast.datasets.readers.brain_masks import mask_files, masks_of, read_masks
from voxelcast.datasets.readers.geometry import check_same_geometry, geometry_note
from voxelcast.datasets.readers.response_tables import (
    SUFFIXES,
    ImageTable,
    JoinedMaps,
    ResponseTable,
    RowsImage,
    is_image,
    open_maps,
    read_response_table,
    same_voxels,
)
from voxelcast.datasets.readers.shared_reading import SharedReading
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.datasets.readers.voxel_indices import voxel_indices
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.row_names import RowNaming
from voxelcast.datasets.settings import select_names
from voxelcast.datasets.tables import check_unique, read_ids, read_labels, read_rois, read_split
from voxelcast.stimuli.listing import list_stimuli, listed_stimuli
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.readers.tables import read_table

ALL_VOXELS = "all"
_NAMED = 8  # subjects in a message


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
        listed = self._listed_stimuli()
        self._ids = tuple(stimulus.stimulus_id for stimulus in listed)
        self._split_file = self._table(settings.split, "split.csv")
        self._rois_file = self._table(settings.roi_table, "rois.csv")
        groups_file = self._table(settings.groups, "groups.csv")
        splits = read_split(self._split_file, self._ids) if self._split_file else dict.fromkeys(self._ids, "train")
        self._groups = read_labels(groups_file, "group", self._ids) if groups_file else None
        self._stimuli = {
            split: tuple(stimulus for stimulus in listed if splits[stimulus.stimulus_id] == split) for split in SPLITS
        }
        self._files = self._response_files()
        self._subjects = select_names("subject", settings.subjects, tuple(self._files), f"in {self._root}")
        if settings.masks and self._rois_file is not None:
            raise OptionError(f"ROIs come from masks or from a table; got masks and {self._rois_file.name}; give one")
        self._id_files: dict[str, tuple[Path, ...]] = {}
        self._masks: dict[str, dict[str, tuple[str, ...]]] = {}
        self._tables: dict[str, ResponseTable | ImageTable] = {}
        self._rows: dict[str, dict[str, int]] = {}
        self._rois: dict[str, dict[str, IntArray]] = {}
        for subject in self._subjects:
            self._open_subject(subject)
        self._left_out = ""
        self._check_complete()
        self._check_places()
        known = tuple(dict.fromkeys(roi for rois in self._rois.values() for roi in rois))
        chosen = select_names("ROI", settings.rois, known, f"in {self._root}")
        for subject, rois in self._rois.items():
            self._rois[subject] = {roi: voxels for roi, voxels in rois.items() if roi in chosen}
        self._reading = SharedReading(uses=2 if self.has_test_responses else 1)

    def _listed_stimuli(self) -> tuple[Stimulus, ...]:
        given = self._settings.stimuli
        if given is None:
            return list_stimuli(self._default_stimuli())
        if isinstance(given, str) and not is_pattern(given):
            return list_stimuli(self._root / home_expanded(Path(given)))
        return listed_stimuli([match.path for match in find_matches(self._root, "stimuli", as_patterns(given))])

    def _default_stimuli(self) -> Path:
        for name in ("stimuli", "stimuli.zip"):
            if (self._root / name).exists():
                return self._root / name
        raise MissingFileError(f"stimuli not found: neither stimuli/ nor stimuli.zip in {self._root}; set stimuli")

    def _table(self, name: str | None, default: str) -> Path | None:
        if name is not None:
            return self._root / home_expanded(Path(name))
        return self._root / default if os.path.lexists(self._root / default) else None

    def _response_files(self) -> dict[str, tuple[RunFile, ...]]:
        """Find the files of each subject, in order."""
        responses = self._settings.responses
        if isinstance(responses, Mapping):
            return {
                check_file_name(subject, "subject"): self._matching(subject, patterns)
                for subject, patterns in responses.items()
            }
        if responses is not None:
            files: dict[str, tuple[RunFile, ...]] = {}
            for match in find_matches(self._root, "responses", as_patterns(responses)):
                subject = check_file_name(match.fields.get(SUBJECT, SUBJECT), "subject")
                files[subject] = (*files.get(subject, ()), match)
            return dict(sorted(files.items()))
        return {subject: (RunFile(path, {SUBJECT: subject}),) for subject, path in self._default_files().items()}

    def _matching(self, subject: str, patterns: Patterns) -> tuple[RunFile, ...]:
        """Find the files that a subject's patterns fit; names without a pattern stay as they are."""
        fixed = {SUBJECT: subject}
        names = [str(home_expanded(Path(name))) for name in as_patterns(patterns)]
        if not any(map(is_pattern, names)):
            return tuple(RunFile(self._root / name, fixed) for name in names)
        return find_matches(self._root, "responses", names, fixed)

    def _default_files(self) -> dict[str, Path]:
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

    def _shown(self, subject: str) -> str:
        """Name a subject's files for messages."""
        first, *others = self._files[subject]
        return first.path.name + (f" and {len(others)} more files" if others else "")

    def _open_subject(self, subject: str) -> None:
        files = self._files[subject]
        paths = [file.path for file in files]
        kinds = {is_image(path) for path in paths}
        if len(kinds) > 1:
            raise DataError(f"the responses of {subject} must be brain images, or tables; got both; choose one kind")
        table: ResponseTable | ImageTable
        if kinds == {True}:
            table = self._open_images(subject, open_maps(paths), None)
        else:
            tables = [read_response_table(path, self._settings.axes) for path in paths]
            if len(files) > 1 or (self._row_naming().patterns and not self._lists_ids()):
                inside = [name for one in tables for name in one.stimulus_ids or ()]
                images = same_voxels(tuple(map(RowsImage, paths, tables)))
                table = self._open_images(subject, images, inside or None)
            else:
                table = self._check_table(subject, tables[0])
        ids = table.stimulus_ids
        assert ids is not None
        known = set(self._ids)
        unknown = [stimulus_id for stimulus_id in ids if stimulus_id not in known]
        if unknown:
            raise AlignmentError(
                f"{self._shown(subject)} has responses to {len(unknown)} stimuli that are not there, first "
                f"{unknown[0]!r}; ids are file names without suffix, such as {self._ids[0]!r}; correct the ids or add "
                "the stimuli"
            )
        self._rows[subject] = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
        self._tables[subject] = table
        self._rois[subject] = self._read_rois(subject, table)

    def _check_complete(self) -> None:
        """Keep the stimuli that all subjects have responses to, where that is asked for; else none may be missing."""
        rows, all_have = self._rows, set(self._ids).intersection(*self._rows.values())
        if self._settings.shared_stimuli:
            shared = {
                split: tuple(one for one in asked if one.stimulus_id in all_have)
                for split, asked in self._stimuli.items()
            }
            test = self._stimuli["test"]
            measured = any(one.stimulus_id in of_subject for of_subject in rows.values() for one in test)
            self._stimuli = shared if measured else shared | {"test": test}
            if not self._stimuli["train"]:
                raise AlignmentError(f"no training stimulus has responses of all subjects; {self._one_by_one()}")
            self._left_out = self._only_of_some(all_have)
        for subject, of_subject in rows.items():
            train = [stimulus.stimulus_id for stimulus in self._stimuli["train"]]
            without = [stimulus_id for stimulus_id in train if stimulus_id not in of_subject]
            if without:
                only_some = self._only_of_some(all_have)
                lost = f", which leaves out {only_some}; {self._one_by_one()}" if only_some else ""
                raise AlignmentError(
                    f"{self._shown(subject)} has no responses to {len(without)} of {len(train)} training stimuli, "
                    f"first {without[0]!r}; add them, remove the stimuli, mark those as test in split.csv, or set "
                    f"shared_stimuli: true to take those that all chosen subjects have{lost}"
                )

    def _only_of_some(self, all_have: set[str]) -> str:
        """Say how many of each subject's stimuli other subjects have no responses to; empty where there are none."""
        counts = {subject: len(rows.keys() - all_have) for subject, rows in self._rows.items()}
        said = [f"{n} of {subject}'s {len(self._rows[subject])} stimuli" for subject, n in counts.items() if n]
        return ", ".join([*said[:_NAMED], *([f"and of {len(said) - _NAMED} more subjects"] if said[_NAMED:] else [])])

    def _one_by_one(self) -> str:
        """Say how to use all stimuli of each subject."""
        names = ",".join([*self._subjects[:_NAMED], *(["..."] if self._subjects[_NAMED:] else [])])
        return (
            "to use all stimuli of each, run each subject by itself: voxelcast sweep EXPERIMENT "
            f"dataset.shared_stimuli=true 'dataset.subjects=[{names}]'"
        )

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
                raise OptionError(f"masks are for brain images; got {self._shown(subject)}; give a table of ROIs")
            self._masks[subject] = masks_of(self._root, self._settings.masks, subject)
            return read_masks(self._root, self._masks[subject], table.image)
        if self._rois_file:
            return read_rois(self._rois_file, subject, table.n_voxels, table.voxel_names)
        return {ALL_VOXELS: np.arange(table.n_voxels)}

    def _row_naming(self) -> RowNaming:
        """Say what the settings name rows by."""
        given = self._settings
        patterns = () if given.stimulus_ids in (None, "sorted") else as_patterns(given.stimulus_ids or ())
        return RowNaming(self._root, patterns, given.id_column, given.trial_types, given.conditions)

    def _lists_ids(self) -> bool:
        """Whether rows are named by lists of ids, in which one that comes again is an error, not a repetition."""
        return all(name.endswith(".txt") or "." not in name for name in self._row_naming().patterns)

    def _open_images(self, subject: str, images: tuple[BrainImage, ...], inside: Sequence[str] | None) -> ImageTable:
        """Name the maps of one subject's images; ``inside`` are the names that files of arrays hold."""
        files, naming = self._files[subject], self._row_naming()
        sizes = [image.n_maps for image in images]
        names: list[str | None]
        if any(STIMULUS in file.fields for file in files):
            names = [nfc(file.fields[STIMULUS]) for file, size in zip(files, sizes, strict=True) for _ in range(size)]
        elif inside is None and (naming.patterns or naming.conditions):
            names, self._id_files[subject] = naming.read(files, sizes)
        else:
            names = list(self._row_ids(subject, None if inside is None else tuple(inside)))
        image = images[0] if len(images) == 1 else JoinedMaps(images)
        return ImageTable(image, names)

    def _check_table(self, subject: str, table: ResponseTable) -> ResponseTable:
        """Name the rows of one array or table."""
        ids = self._row_ids(subject, table.stimulus_ids)
        if len(ids) != table.values.shape[0]:
            sizes = dict(zip(("stimulus", "repetition", "voxel"), table.values.shape, strict=True))
            got = tuple(sizes[axis] for axis in self._settings.axes)
            raise ShapeError(
                f"{self._shown(subject)} must have {len(ids)} on its stimulus axis, one per stimulus id; got shape "
                f"{got} with axes [{', '.join(self._settings.axes)}]; set axes to what the file's axes are, or correct "
                "the ids"
            )
        check_unique(ids, self._shown(subject))
        return ResponseTable(table.values, ids, table.voxel_names)

    def _row_ids(self, subject: str, inside: tuple[str, ...] | None) -> tuple[str, ...]:
        """Give the ids of rows that one list names, or the files themselves."""
        stimulus_ids = self._settings.stimulus_ids
        if stimulus_ids is not None and inside is not None:
            raise AlignmentError(
                f"{self._shown(subject)} holds stimulus ids of its own; got stimulus_ids={stimulus_ids} too; "
                "leave that out"
            )
        if stimulus_ids == "sorted":
            return self._ids
        if stimulus_ids is not None:
            found = self._matching(subject, stimulus_ids)
            self._id_files[subject] = tuple(match.path for match in found)
        elif inside is not None:
            return inside
        else:
            paths = (self._root / "responses" / f"{subject}_stimuli.txt", self._root / "stimulus_ids.txt")
            there = [path for path in paths if path.is_file()]
            if not there:
                raise AlignmentError(
                    f"which stimulus each row of {self._shown(subject)} belongs to is not known; give "
                    f"stimulus_ids.txt or responses/{subject}_stimuli.txt with one id per line, or 'stimulus_id' in "
                    "an .npz, .h5 or .csv, or say stimulus_ids: sorted if rows are in sorted order of stimulus files, "
                    "or which tables of events name them"
                )
            self._id_files[subject] = (there[0],)
        return tuple(name for path in self._id_files[subject] for name in read_ids(path))

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
        return ResponseSet(
            subject, roi, ids, as_response_values(part, str(self._files[subject][0].path)), self._settings.unit
        )

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the response file and the tables that say which rows and voxels are meant."""
        self.check_roi(subject, roi)
        beside = (*self._id_files.get(subject, ()), self._rois_file, self._split_file)
        files = [path for file in self._files[subject] for path in image_files(file.path)]
        masks = mask_files(self._root, self._masks.get(subject, {}))
        return (*files, *masks, *(path for path in beside if path is not None))

    def voxel_indices(self, subject: str, roi: str) -> VoxelIndices | VertexIndices | None:
        """Say where the voxels of an image lie."""
        self.check_roi(subject, roi)
        table = self._tables[subject]
        return voxel_indices(table.image, self._rois[subject][roi]) if isinstance(table, ImageTable) else None

    def extent(self, subject: str) -> Extent:
        """Say how large the subject's responses are, from the headers, and what files they are."""
        table = self._tables[subject]
        voxels = {roi: len(self._rois[subject][roi]) for roi in self.rois(subject)}
        space = table.image.geometry.shown() if isinstance(table, ImageTable) else "plain array"
        files = tuple(file.path for file in self._files[subject])
        return Extent(len(self._rows[subject]), table.n_repetitions, voxels, space, files)

    def notes(self) -> tuple[str, ...]:
        """Say what shared stimuli leave out, and where subjects whose voxels are chosen by number differ in space."""
        left_out = (f"shared_stimuli leaves out {self._left_out}; {self._one_by_one()}",) if self._left_out else ()
        images = {subject: table.image for subject, table in self._tables.items() if isinstance(table, ImageTable)}
        if len(images) < 2 or "{subject}" in str(self._settings.masks):
            return left_out
        return left_out + geometry_note({subject: (image.path, image.geometry) for subject, image in images.items()})

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
