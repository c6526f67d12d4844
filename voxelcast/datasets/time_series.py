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

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_file_name, check_known
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, OptionError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.base import DatasetFacts, ResponseSet, Split, VoxelIndices
from voxelcast.datasets.design import (
    CONDITION,
    conditions_per_volume,
    drift_columns,
    parse_drift,
    read_events,
    read_nuisance,
    remove_nuisance,
)
from voxelcast.datasets.readers.brain_images import BrainImage, image_files, indices_in_volume, open_responses
from voxelcast.datasets.readers.brain_masks import mask_files, masks_of, read_masks
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.series import SeriesDataset, SeriesRun
from voxelcast.datasets.settings import DatasetSettings, Listed, Names, select_names
from voxelcast.datasets.time_series_files import check_pattern, filled, find_runs, same_runs

ALL_VOXELS = "all"
CONDITIONS, ONOFF = "conditions", "onoff"


@settings
class TimeSeriesSettings(DatasetSettings):
    """Settings of `TimeSeriesDataset`.

    File names are patterns relative to ``root``: ``{subject}`` and ``{run}`` stand for part of a name. Which subjects
    and runs there are follows from the files that fit ``bold``.

    Parameters
    ----------
    bold : str
        4-D NIfTI, CIFTI time series, GIFTI (``{hemi}`` for both hemispheres), or .npy (n_volumes, n_voxels).
    tr : float
        Seconds from one volume to the next.
    events : str or None
        Tables with ``onset``, ``duration`` (s) and ``trial_type``. They give the feature tables ``conditions`` (how
        much of each volume's time each trial type was on) and ``onoff`` (any of them).
    movies : str or None
        Videos that began with the first volume; networks see what was shown during each volume.
    masks : dict of ROI to file name, or None
        See `voxelcast.datasets.readers.brain_masks.read_masks`; may have ``{subject}``. None: one ROI ``all``.
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
    tr: Annotated[float, Gt(0), Lt(inf)]
    events: str | None = None
    movies: str | None = None
    masks: dict[str, str] | None = None
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
        for name in ("bold", "events", "movies", "nuisance"):
            if pattern := getattr(self, name):
                check_pattern(name, pattern)
        if self.nuisance_columns == ():
            raise OptionError("nuisance_columns must name at least one column; leave it out for all")
        if self.events is None and self.movies is None:
            raise OptionError("a time series needs events or movies to be predicted from; got neither; set one of them")


@register_dataset
class TimeSeriesDataset(SeriesDataset):
    """BOLD runs of one or several subjects, with the events or movies that they are responses to."""

    Settings = TimeSeriesSettings
    facts: ClassVar[DatasetFacts] = DatasetFacts(
        title="Time series of the user's own", unit="BOLD", licence="the user's", citation="the user's"
    )

    def __init__(self, settings: TimeSeriesSettings) -> None:
        self._settings, self._root, self.tr = settings, settings.root, settings.tr
        if not self._root.is_dir():
            raise MissingFileError(f"dataset not found: {self._root} is not a folder")
        found = find_runs(self._root, settings.bold)
        self._subjects = select_names("subject", settings.subjects, tuple(found), f"in {self._root}")
        found = {check_file_name(subject, "subject"): found[subject] for subject in self._subjects}
        first = found[self._subjects[0]]
        chosen = same_runs(found, select_names("run", settings.runs, first, f"of {self._subjects[0]}"))
        for run in settings.test_runs:
            check_known("run", run, chosen, where="among the runs chosen (test_runs)")
        self._images: dict[str, dict[str, BrainImage]] = {}
        self._rois: dict[str, dict[str, IntArray]] = {}
        self._mask_files: dict[str, tuple[Path, ...]] = {}
        for subject in self._subjects:
            self._open_subject(subject, chosen)
        lengths = self._lengths(chosen)
        self._events = self._read_events(lengths) if settings.events else {}
        self._set_runs(
            [
                SeriesRun(run, lengths[run], self._shown(run), "test" if run in settings.test_runs else "train")
                for run in chosen
            ],
            drop_first=settings.drop_first,
            drop_last=settings.drop_last,
        )

    def _file(self, name: Literal["bold", "events", "movies", "nuisance"], subject: str, run: str) -> Path | None:
        """Name the file of one subject and run; None where the setting is left out."""
        pattern: str | None = getattr(self._settings, name)
        return filled(self._root, pattern, subject, run) if pattern else None

    def _open_subject(self, subject: str, runs: Sequence[str]) -> None:
        images = {run: open_responses(filled(self._root, self._settings.bold, subject, run)) for run in runs}
        first = images[runs[0]]
        for run, image in images.items():
            if image.geometry() != first.geometry():
                raise AlignmentError(
                    f"{image.path} and {first.path} must have the same voxels (grid and affine, or number); "
                    "realign the runs"
                )
            nuisance = self._file("nuisance", subject, run)
            if nuisance is not None:  # so that a wrong table, and what is filled in, is said at once
                read_nuisance(nuisance, image.n_maps, self._settings.nuisance_columns)
        named = masks_of(self._settings.masks, subject)
        found = read_masks(self._root, named, first) if named else {ALL_VOXELS: np.arange(first.n_voxels)}
        chosen = select_names("ROI", self._settings.rois, tuple(found), f"in {self._root}")
        self._images[subject] = images
        self._rois[subject] = {roi: found[roi] for roi in chosen}
        self._mask_files[subject] = mask_files(self._root, named)

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
        pattern = self._settings.events or ""
        events: dict[str, pd.DataFrame] = {}
        for run, length in lengths.items():
            for subject in self._subjects if "{subject}" in pattern else self._subjects[:1]:
                table = read_events(filled(self._root, pattern, subject, run), length * self.tr)
                if not events.setdefault(run, table).equals(table):
                    raise AlignmentError(
                        f"events of run {run} differ between {self._subjects[0]} and {subject}, and features are the "
                        "same for all subjects of an experiment; choose dataset.subjects one by one"
                    )
        return events

    def _shown(self, run: str) -> Path:
        pattern = self._settings.movies or self._settings.events or ""
        path = filled(self._root, pattern, self._subjects[0], run)
        if not path.is_file():
            raise MissingFileError(f"movie not found: {path} does not exist")
        return path

    @property
    def has_test_responses(self) -> bool:
        """Whether runs are held out."""
        return bool(self.runs_of("test"))

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read, clean and standardise the signal; values of shape (n_volumes, 1, n_voxels), float64."""
        self.check_roi(subject, roi)
        if split == "test" and not self.has_test_responses:
            raise DataError("there are no test responses: no run is held out; name some in dataset.test_runs")
        parts = [self._clean(subject, run, self._rois[subject][roi]) for run in self.runs_of(split)]
        unit = f"{self._settings.unit}, z per run" if self._settings.standardise else self._settings.unit
        return ResponseSet(subject, roi, self.stimulus_ids(split), np.concatenate(parts)[:, None], unit)

    def _clean(self, subject: str, run: SeriesRun, voxels: IntArray) -> FloatArray:
        image = self._images[subject][run.name]
        columns = [drift_columns(self._settings.drift, run.n_volumes, self.tr)]
        nuisance = self._file("nuisance", subject, run.name)
        if nuisance is not None:
            columns.append(read_nuisance(nuisance, run.n_volumes, self._settings.nuisance_columns))
        signal = as_response_values(image.read(voxels), str(image.path))
        cleaned = remove_nuisance(signal, np.concatenate(columns, axis=1))
        kept = cleaned[self.kept_volumes(run).start : self.kept_volumes(run).stop]
        if self._settings.standardise:
            size = kept.std(axis=0)
            kept = np.divide(kept - kept.mean(axis=0), size, out=np.zeros_like(kept), where=size > 0)
        return kept

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the subject's runs, masks and nuisance."""
        self.check_roi(subject, roi)
        files: list[Path] = []
        for run in self.series_runs:
            files += image_files(filled(self._root, self._settings.bold, subject, run.name))
            nuisance = self._file("nuisance", subject, run.name)
            files += () if nuisance is None else (nuisance,)
        return (*files, *self._mask_files[subject])

    def voxel_indices(self, subject: str, roi: str) -> VoxelIndices | None:
        """Say where the voxels lie in the volume, of NIfTI runs."""
        self.check_roi(subject, roi)
        return indices_in_volume(next(iter(self._images[subject].values())), self._rois[subject][roi])

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
