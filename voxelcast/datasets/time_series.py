"""A user's own time series: BOLD runs with events or movies, slow drifts and nuisance taken out run by run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from math import inf
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import numpy as np
import pandas as pd
from annotated_types import Ge, Gt, Lt

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_file_name, check_known
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, OptionError, ShapeError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets import patterns
from voxelcast.datasets.base import DatasetFacts, Extent, ResponseSet, Split, VertexIndices, VoxelIndices
from voxelcast.datasets.design import (
    CONDITION,
    conditions_per_volume,
    drift_columns,
    parse_drift,
    read_events,
    read_nuisance,
    remove_nuisance,
)
from voxelcast.datasets.folder_settings import Files
from voxelcast.datasets.readers.brain_images import BrainImage, image_files, open_image
from voxelcast.datasets.readers.brain_masks import mask_files, masks_of, read_masks
from voxelcast.datasets.readers.geometry import check_same_geometry, geometry_note
from voxelcast.datasets.readers.shared_reading import SharedReading
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.datasets.readers.voxel_indices import voxel_indices
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.series import SeriesDataset, SeriesRun
from voxelcast.datasets.settings import DatasetSettings, Listed, Names, select_names

ALL_VOXELS = "all"
CONDITIONS, ONOFF = "conditions", "onoff"
GROUP = "group"
_PATTERNS = ("bold", "events", "movies", "nuisance")
_TR_TOLERANCE = 1e-3
"""Share by which the TR of a header may differ: more would put the last volumes of a run elsewhere."""


@settings
class TimeSeriesSettings(DatasetSettings):
    """Settings of `TimeSeriesDataset`.

    File names are patterns relative to ``root``: ``{subject}``, ``{session}`` and ``{run}`` stand for part of a name,
    ``*`` for any part. Which subjects and runs there are follows from the files that fit ``bold``; a run's id is its
    session and run, e.g. ``ses-01_run-1``.

    Parameters
    ----------
    bold : str
        4-D NIfTI, CIFTI time series, GIFTI (``{hemi}`` for both hemispheres), or .npy, .txt, .csv, .tsv (n_volumes,
        n_voxels). Without ``{run}`` there is one run, ``run``.
    tr : float or None
        Seconds from one volume to the next.
    hz : float or None
        Rows of the recording in a second, instead of ``tr`` where there is none; what is said of volumes is then of
        rows.
    events : str or None
        Tables with ``onset``, ``duration`` (s) and ``trial_type``. They give the feature tables ``conditions`` (how
        much of each volume's time each trial type was on) and ``onoff`` (any of them).
    movies : str or None
        Videos that began with the first volume; networks see what was shown during each volume.
    masks : dict of ROI to str or sequence of str, str with ``{roi}``, or None
        See `voxelcast.datasets.readers.brain_masks.read_masks`; may have ``{subject}``. None: one ROI ``all``.
    columns : str or sequence of str
        Names of the columns of tables and arrays, each an ROI, instead of masks.
    group_mean : bool
        Whether the subjects become one, ``group``: responses are the mean of theirs, and noise ceilings say how well
        another such group would predict it. A subject that is constant in a voxel is named and left out.
    nuisance : str or None
        What is taken out, such as motion; see `voxelcast.datasets.design.read_nuisance`.
    nuisance_columns : str, sequence of str or None
    drift : str
        ``none``, ``cosine(SECONDS)`` or ``polynomial(DEGREE)``: taken out together with the nuisance, run by run.
    standardise : bool
        Whether each voxel gets mean 0 and variance 1 in each run.
    drop_first, drop_last : int
        Volumes at the ends of each run that are neither fitted nor predicted.
    runs : "all", str or sequence of str
    test_runs : str or sequence of str
        Held out.
    unit : str
    subjects : "all", str or sequence of str
    """

    _: KW_ONLY
    kind: Literal["time_series"] = "time_series"
    bold: str
    tr: Annotated[float, Gt(0), Lt(inf)] | None = None
    hz: Annotated[float, Gt(0), Lt(inf)] | None = None
    events: str | None = None
    movies: str | None = None
    masks: Files = None
    columns: Listed = ()
    group_mean: bool = False
    nuisance: str | None = None
    nuisance_columns: Listed | None = None
    drift: str = "cosine(128)"
    standardise: bool = True
    drop_first: Annotated[int, Ge(0)] = 0
    drop_last: Annotated[int, Ge(0)] = 0
    runs: Names = "all"
    test_runs: Listed = ()
    unit: str = "BOLD"
    subjects: Annotated[Names, NO_EFFECT] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        parse_drift(self.drift)
        if (self.tr is None) == (self.hz is None):
            raise OptionError(
                f"a series needs tr, in seconds, or hz; got tr {self.tr} and hz {self.hz}; give one of them"
            )
        if self.columns and self.masks:
            raise OptionError("ROIs come from masks or from columns; got both; give one")
        patterns.check_patterns({name: pattern for name in _PATTERNS if (pattern := getattr(self, name))})
        if self.nuisance_columns == ():
            raise OptionError("nuisance_columns must name at least one column; leave it out for all")


@register_dataset
class TimeSeriesDataset(SeriesDataset):
    """BOLD runs of one or several subjects, with the events or movies that they are responses to."""

    Settings = TimeSeriesSettings
    facts: ClassVar[DatasetFacts] = DatasetFacts(
        title="Time series of the user's own", unit="BOLD", licence="the user's", citation="the user's"
    )

    def __init__(self, settings: TimeSeriesSettings) -> None:
        self._settings, self._root = settings, settings.root
        self.tr = settings.tr or 1 / (settings.hz or inf)
        if not self._root.is_dir():
            raise MissingFileError(f"dataset not found: {self._root} is not a folder")
        found = patterns.find_runs(self._root, settings.bold)
        self._subjects = select_names("subject", settings.subjects, tuple(found), f"in {self._root}")
        found = {check_file_name(subject, "subject"): found[subject] for subject in self._subjects}
        first = tuple(found[self._subjects[0]])
        chosen = patterns.same_runs(found, select_names("run", settings.runs, first, f"of {self._subjects[0]}"))
        for run in settings.test_runs:
            check_known("run", run, chosen, where="among the runs chosen (test_runs)")
        self._runs = {subject: {run: found[subject][run] for run in chosen} for subject in self._subjects}
        self._files = {name: self._find(name) for name in _PATTERNS[1:] if getattr(settings, name)}
        self._images: dict[str, dict[str, BrainImage]] = {}
        self._rois: dict[str, dict[str, IntArray]] = {}
        self._mask_files: dict[str, tuple[Path, ...]] = {}
        for subject in self._subjects:
            self._open_subject(subject)
        self._reading = SharedReading()
        lengths = self._lengths(chosen)
        self._members = self._subjects
        if settings.group_mean:
            self._make_group()
        self._events = self._read_events(lengths) if settings.events else {}
        bold = {run: file.path for run, file in self._runs[self._members[0]].items()}
        shown = next(
            (self._files[name][self._members[0]] for name in ("movies", "events") if name in self._files), bold
        )
        self._set_runs(
            [
                SeriesRun(run, lengths[run], shown[run], "test" if run in settings.test_runs else "train")
                for run in chosen
            ],
            drop_first=settings.drop_first,
            drop_last=settings.drop_last,
        )

    def _find(self, name: str) -> dict[str, dict[str, Path]]:
        """Find the files of one setting, by subject and run; all must be there."""
        pattern = getattr(self._settings, name)
        found = {
            subject: {run: patterns.find_file(self._root, name, pattern, file) for run, file in runs.items()}
            for subject, runs in self._runs.items()
        }
        patterns.check_found(name, (path for runs in found.values() for path in runs.values()))
        return found

    def _open_subject(self, subject: str) -> None:
        images = {run: open_image(file.path) for run, file in self._runs[subject].items()}
        first = next(iter(images.values()))
        for image in images.values():
            there = first.path, first.geometry
            check_same_geometry("run", image.path, image.geometry, there, "realign the runs, or leave one out")
        for run, path in self._files.get("nuisance", {}).get(subject, {}).items():
            # So that a wrong table, and what is filled in, is said at once.
            read_nuisance(path, images[run].n_maps, self._settings.nuisance_columns)
        named, columns = masks_of(self._root, self._settings.masks, subject), self._settings.columns
        if columns and len(columns) != first.n_voxels:
            raise ShapeError(f"columns must name the {first.n_voxels} columns of {first.path}; got {len(columns)}")
        found = {name: np.array([place]) for place, name in enumerate(columns)}
        if not found:
            found = read_masks(self._root, named, first) if named else {ALL_VOXELS: np.arange(first.n_voxels)}
        chosen = select_names("ROI", self._settings.rois, tuple(found), f"in {self._root}")
        self._images[subject] = images
        self._rois[subject] = {roi: found[roi] for roi in chosen}
        self._mask_files[subject] = mask_files(self._root, named)

    def _make_group(self) -> None:
        """Make the subjects one, whose voxels must be theirs."""
        first = self._members[0]
        for subject in self._members:
            sizes = {roi: len(voxels) for roi, voxels in self._rois[subject].items()}
            if sizes != {roi: len(voxels) for roi, voxels in self._rois[first].items()}:
                raise ShapeError(f"group_mean needs the same voxels in all subjects; {subject} and {first} differ")
        self._subjects, self._rois[GROUP] = (GROUP,), self._rois[first]

    def _lengths(self, runs: Sequence[str]) -> dict[str, int]:
        lengths = {}
        for run in runs:
            of_subject = {subject: images[run].n_maps for subject, images in self._images.items()}
            if len(set(of_subject.values())) > 1:
                shown = ", ".join(f"{subject}: {length}" for subject, length in of_subject.items())
                raise AlignmentError(f"run {run} must have the same number of volumes in every subject; got {shown}")
            lengths[run] = next(iter(of_subject.values()))
        return lengths

    def _read_events(self, lengths: Mapping[str, int]) -> dict[str, pd.DataFrame]:
        """Read the events of each run, which must be those of every subject: features are shared by subjects."""
        events: dict[str, pd.DataFrame] = {}
        for run, length in lengths.items():
            for path in dict.fromkeys(files[run] for files in self._files["events"].values()):
                table = read_events(path, length * self.tr)
                if not events.setdefault(run, table).equals(table):
                    raise AlignmentError(
                        f"events of run {run} must be the same for all subjects, as features are; got others in {path} "
                        f"than in {self._files['events'][self._members[0]][run]}; choose dataset.subjects one by one"
                    )
        return events

    def notes(self) -> tuple[str, ...]:
        """Say where the TR or a movie's length does not fit, and where subjects differ in space."""
        first = {subject: next(iter(images.values())) for subject, images in self._images.items()}
        own = {subject: (image.path, image.geometry) for subject, image in first.items()}
        left_out = self._left_out() if self._settings.group_mean else ()
        # Volumes of the subjects' own, with masks of their own, may well differ.
        apart = "{subject}" in str(self._settings.masks)
        return (*left_out, *self._tr_notes(), *super().notes(), *geometry_note(own, volumes=not apart))

    def _left_out(self) -> tuple[str, ...]:
        """Name the subjects that are constant somewhere, and so no part of the group's mean there."""
        splits: tuple[Split, ...] = ("train", "test") if self.has_test_responses else ("train",)
        constant = [
            subject
            for subject in self._members
            if any(self._responses(subject, roi, split).faults for roi in self.rois(GROUP) for split in splits)
        ]
        if not constant:
            return ()
        shown = ", ".join(constant)
        return (f"of {len(self._members)} subjects, {shown} left out of the group's mean where constant",)

    def _tr_notes(self) -> tuple[str, ...]:
        """Compare the TR with what headers and sidecars say; a header that says 0 says nothing."""
        images = [image for runs in self._images.values() for image in runs.values()]
        said = [(image.path, image.tr) for image in images if image.tr]
        for runs in self._runs.values():
            for path in (file for run in runs.values() for file in image_files(run.path)):
                found = patterns.sidecar_tr(path, self._root)
                said += [] if found is None else [(found[1], (found[0],))]
        wrong = {path: tr for path, tr in said if all(abs(one - self.tr) > _TR_TOLERANCE * self.tr for one in tr)}
        if not wrong:
            return ()
        path, tr = next(iter(wrong.items()))
        of = len({path for path, _ in said})
        return (
            f"tr is {self.tr:g} s in the settings and {tr[0]:g} s in {path} ({len(wrong)} of {of} headers and sidecars "
            "differ); with a wrong tr, events and movies fall into wrong volumes: check it",
        )

    @property
    def has_test_responses(self) -> bool:
        """Whether runs are held out."""
        return bool(self.runs_of("test"))

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read, clean and standardise the signal; values of shape (n_volumes, 1, n_voxels), float64."""
        self.check_roi(subject, roi)
        if split == "test" and not self.has_test_responses:
            raise DataError("there are no test responses: no run is held out; name some in dataset.test_runs")
        if not self._settings.group_mean:
            return self._responses(subject, roi, split)
        members = [self._responses(member, roi, split) for member in self._members]
        values = np.concatenate([one.values for one in members], axis=1)
        empty = np.isnan(values).all(axis=(0, 2))
        kept = values if empty.all() else values[:, ~empty]
        faults = {int(voxel): "constant in every subject" for voxel in np.flatnonzero(np.isnan(kept).all(axis=(0, 1)))}
        return ResponseSet(subject, roi, self.stimulus_ids(split), kept, members[0].unit, faults)

    def _responses(self, subject: str, roi: str, split: Split) -> ResponseSet:
        """Read the responses of one subject of those chosen."""
        runs = self.runs_of(split)
        parts = [self._clean(subject, run, roi) for run in runs]
        unit = f"{self._settings.unit}, z per run" if self._settings.standardise else self._settings.unit
        values = np.concatenate([kept for kept, _ in parts])[:, None]
        constant = np.array([flat for _, flat in parts])
        faults = {
            voxel: f"constant in {constant[:, voxel].sum()} of {len(runs)} runs, first {runs[int(first)].name}"
            for voxel, first in enumerate(constant.argmax(axis=0))
            if constant[first, voxel]
        }
        return ResponseSet(subject, roi, self.stimulus_ids(split), values, unit, faults)

    def _clean(self, subject: str, run: SeriesRun, roi: str) -> tuple[FloatArray, BoolArray]:
        """Read and clean one run, and say which voxels are constant in it: they are NaN, not 0, so that it is noticed.

        Shapes are (n_volumes, n_voxels) and (n_voxels,).
        """
        images = self._images[subject]
        image = images[run.name]
        columns = [drift_columns(self._settings.drift, run.n_volumes, self.tr)]
        if "nuisance" in self._files:
            path = self._files["nuisance"][subject][run.name]
            columns.append(read_nuisance(path, run.n_volumes, self._settings.nuisance_columns))
        values = self._reading.read(subject, image, roi, self._rois[subject], len(images))
        signal = as_response_values(values, str(image.path))
        used = slice(self.kept_volumes(run).start, self.kept_volumes(run).stop)
        kept = remove_nuisance(signal, np.concatenate(columns, axis=1))[used]
        size = kept.std(axis=0)
        constant = (size == 0) | (signal[used] == signal[used][0]).all(axis=0)
        if self._settings.standardise:
            kept = np.divide(kept - kept.mean(axis=0), size, out=np.full_like(kept, np.nan), where=size > 0)
        return np.where(constant, np.nan, kept), constant

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the subject's runs, masks and nuisance."""
        self.check_roi(subject, roi)
        found: list[Path] = []
        for member in self._members if self._settings.group_mean else (subject,):
            nuisance = self._files.get("nuisance", {}).get(member, {})
            found += [path for run in self._runs[member].values() for path in image_files(run.path)]
            found += [*nuisance.values(), *self._mask_files[member]]
        return tuple(found)

    def extent(self, subject: str) -> Extent:
        """Say how large the subject's responses are, from the headers."""
        voxels = {roi: len(self._rois[subject][roi]) for roi in self.rois(subject)}
        image = next(iter(self._images[self._member(subject)].values()))
        n_members = len(self._members) if self._settings.group_mean else 1
        return Extent(len(self.train_stimuli) + len(self.test_stimuli), n_members, voxels, image.geometry.shown())

    @property
    def reads_together(self) -> bool:
        """Whether reading one ROI costs as much as reading all of a subject."""
        return not self._settings.bold.endswith(".npy")

    def voxel_indices(self, subject: str, roi: str) -> VoxelIndices | VertexIndices | None:
        """Say where the voxels of brain images lie."""
        self.check_roi(subject, roi)
        return voxel_indices(next(iter(self._images[self._member(subject)].values())), self._rois[subject][roi])

    def _member(self, subject: str) -> str:
        """Return a subject whose files say where voxels lie: the first of a group."""
        return self._members[0] if self._settings.group_mean else subject

    @property
    def can_be_shown(self) -> bool:
        """Whether there are movies."""
        return self._settings.movies is not None

    @property
    def feature_tables(self) -> tuple[str, ...]:
        """``conditions`` and ``onoff``, where there are events."""
        return (CONDITIONS, ONOFF) if self._events else ()

    def features(self, table: str) -> FloatArray:
        """Give ``conditions`` (n_volumes, n_conditions; in the order of their names) or ``onoff`` (n_volumes, 1)."""
        check_known("feature table", table, self.feature_tables, where="in this dataset")
        names = sorted({name for events in self._events.values() for name in events[CONDITION]})
        parts: dict[str, list[FloatArray]] = {"train": [], "test": [], "context": []}
        for run in self.series_runs:
            design = conditions_per_volume(self._events[run.name], names, run.n_volumes, self.tr)
            if table == ONOFF:
                design = np.minimum(design.sum(axis=1, keepdims=True), 1.0)
            kept = np.isin(np.arange(run.n_volumes), self.kept_volumes(run))
            parts[run.split].append(design[kept])
            parts["context"].append(design[~kept])
        return np.concatenate([*parts["train"], *parts["test"], *parts["context"]])
