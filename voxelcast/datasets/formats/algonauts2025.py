"""The Algonauts 2025 challenge: parcel time series of four subjects who watched Friends and four movies (CNeuroMod)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

import numpy as np
from annotated_types import Ge

from voxelcast.core.arrays import IntArray
from voxelcast.core.errors import AlignmentError, DataError, MissingFileError, ShapeError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.base import DatasetFacts, ResponseSet, Split
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.miniature import read_miniature
from voxelcast.datasets.readers.pickles import load_boxed_dict
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.datasets.registry import register_dataset
from voxelcast.datasets.series import SeriesDataset, SeriesRun
from voxelcast.datasets.settings import DatasetSettings, FileName, Names, select_names
from voxelcast.datasets.tables import read_rois
from voxelcast.store.readers.hdf5 import Hdf5File, dataset_of, opened_hdf5

SUBJECTS: Final = ("sub-01", "sub-02", "sub-03", "sub-05")
TR_SECONDS: Final = 1.49
N_PARCELS: Final = 1000

FRIENDS: Final = ("s1", "s2", "s3", "s4", "s5", "s6")
MOVIE10: Final = ("bourne", "figures", "life", "wolf")
CHUNKS: Final = (*FRIENDS, *MOVIE10)
"""What training runs can be chosen by: seasons of Friends, and four movies."""

MISSING: Final = {"sub-02": ("s05e20a",), "sub-05": ("s04e01a", "s04e01b", "s04e13b")}
"""Runs that were not recorded, by subject."""

HeldOut = Literal["friends-s7", "ood", "none"]

_SPACE: Final = "space-MNI152NLin2009cAsym_atlas-Schaefer18_parcel-1000Par7Net"
_KEY: Final = re.compile(r"ses-\d+_task-(?P<run>s\d\de\d\d[a-z]|[a-z]+\d+)(?:_run-\d+)?")

PARCELS = "parcels"
_MOST_SURPLUS = 10
"""Volumes by which recordings of one movie may differ: the scanner was stopped by hand."""


@settings
class Algonauts2025Settings(DatasetSettings):
    """Settings of `Algonauts2025Dataset`.

    Parameters
    ----------
    root : Path or str
        Folder that holds ``fmri`` and ``stimuli``.
    movies : "all", str or sequence of str
        Training runs: seasons of Friends ``s1`` to ``s6``, ``bourne``, ``figures``, ``life``, ``wolf``.
    held_out : {"friends-s7", "ood", "none"}
        Runs to be predicted.
    drop_first, drop_last : int
        Volumes at the ends of training runs that are not used. Held-out runs are predicted whole.
    roi_table : str or None
        CSV ``voxel,roi``, relative to ``root``, with parcels numbered 1 to 1000 as in the atlas; None: one ROI
        ``parcels``.
    subjects : "all", str or sequence of str
    """

    _: KW_ONLY
    kind: Literal["algonauts2025"] = "algonauts2025"
    movies: Names = "all"
    held_out: HeldOut = "friends-s7"
    drop_first: Annotated[int, Ge(0)] = 5
    drop_last: Annotated[int, Ge(0)] = 5
    roi_table: FileName = None
    subjects: Annotated[Names, NO_EFFECT] = "all"

    def chunks(self) -> tuple[str, ...]:
        """Return the seasons and movies of the training runs."""
        return select_names("season or movie", self.movies, CHUNKS, "in Algonauts 2025")

    def known_subjects(self) -> tuple[str, ...]:
        """Return the subjects chosen, of the challenge or of a miniature."""
        miniature = read_miniature(self.root, self.kind)
        known = SUBJECTS if miniature is None else tuple(miniature["subjects"])
        return select_names("subject", self.subjects, known, "in Algonauts 2025")


class _Recording(NamedTuple):
    """One subject's recordings of a run: datasets of an HDF5 file, one per repetition, and the shortest's length."""

    path: Path
    keys: tuple[str, ...]
    n_volumes: int


@register_dataset
class Algonauts2025Dataset(SeriesDataset):
    """Training runs, and the runs to be predicted, of some subjects.

    Only the runs that all the subjects chosen have are used: see `MISSING`.
    Recordings of one movie differ by some volumes between subjects and repetitions; training runs are cut to the
    shortest. Runs are read from the HDF5 files one by one when they are asked for.

    References
    ----------
    .. [1] Gifford, A. T. et al. (2025). The Algonauts Project 2025 Challenge: How the Human Brain Makes Sense of
       Multimodal Movies. doi:10.48550/arXiv.2501.00504
    """

    Settings = Algonauts2025Settings
    challenge: ClassVar[str] = "algonauts2025"
    tr = TR_SECONDS
    facts: ClassVar[DatasetFacts] = DatasetFacts(
        title="Algonauts 2025 challenge: parcel time series of people who watched Friends and movies (CNeuroMod)",
        unit="BOLD, mean of a parcel",
        licence="terms of CNeuroMod, in the README of the release",
        citation="Gifford et al. (2025), doi:10.48550/arXiv.2501.00504",
        subjects=SUBJECTS,
        voxels={subject: {PARCELS: N_PARCELS} for subject in SUBJECTS},
        tr_seconds=TR_SECONDS,
        how_to_get="with DataLad from github.com/courtois-neuromod/algonauts_2025.competitors (see its README).",
        n_bytes=4 * 607_000_000,
    )

    def __init__(self, settings: Algonauts2025Settings) -> None:
        self._root, self._held_out = settings.root, settings.held_out
        self._subjects, chunks = settings.known_subjects(), settings.chunks()
        self._recordings: dict[str, dict[str, _Recording]] = {}
        for subject in self._subjects:
            self._find_runs(subject, chunks, settings.movies == "all")
        train = self._common_runs(chunks)
        lengths = {run: self._shortest(run) for run in train}
        self.samples = (
            {subject: read_samples(self._root, subject, settings.held_out) for subject in self._subjects}
            if settings.held_out != "none"
            else {}
        )
        for samples in self.samples.values():
            for run, length in samples.items():
                if run in train:
                    raise AlignmentError(f"run {run} is both a training run and held out; choose other movies")
                # The longest of all subjects; submissions cut each to its own.
                lengths[run] = max(lengths.get(run, 0), length)
        self._set_runs(
            [
                SeriesRun(run, length, self._movie(run), "train" if run in train else "test")
                for run, length in lengths.items()
            ],
            drop_first=settings.drop_first,
            drop_last=settings.drop_last,
        )
        self._roi_table = None if settings.roi_table is None else self._root / settings.roi_table
        self._rois: dict[str, dict[str, IntArray]] = {
            subject: self._read_rois(subject, settings.rois) for subject in self._subjects
        }

    def _find_runs(self, subject: str, chunks: Sequence[str], every: bool) -> None:
        """Look into the files of a subject: which runs they have and how long those are."""
        self._recordings[subject] = {}
        parts = {"friends": set(chunks) & set(FRIENDS), "movie10": set(chunks) & set(MOVIE10)}
        files = [response_path(self._root, subject, what) for what, names in parts.items() if names]
        if self.has_held_out_file(subject):
            files.append(response_path(self._root, subject, self._held_out))
        for path in files:
            with _open(path) as file:
                is_held_out = path == response_path(self._root, subject, self._held_out)
                for run, keys in group_keys(file.names()).items():
                    if not is_held_out and chunk_of(run) not in chunks:
                        continue
                    shapes = [dataset_of(file, key).shape for key in keys]
                    for key, shape in zip(keys, shapes, strict=True):
                        if len(shape) != 2 or shape[1] != N_PARCELS:
                            raise ShapeError(f"{key} of {path.name} must have shape (n_volumes, 1000); got {shape}")
                    self._recordings[subject][run] = _Recording(path, keys, min(shape[0] for shape in shapes))
        there = {chunk_of(run) for run in self._recordings[subject]}
        missing = [chunk for chunk in chunks if chunk not in there]
        if missing and not (every and there):
            raise DataError(
                f"{subject} has no run of {', '.join(missing)}; choose other movies, or get the files again"
            )

    def has_held_out_file(self, subject: str) -> bool:
        """Whether measured responses to the held-out movies lie beside the others; the challenge keeps them."""
        return self._held_out != "none" and response_path(self._root, subject, self._held_out).is_file()

    def _common_runs(self, chunks: Sequence[str]) -> tuple[str, ...]:
        """Return the training runs that all subjects have; only what is known to be missing may be."""
        of_subject = {
            subject: {run for run in recordings if chunk_of(run) in chunks}
            for subject, recordings in self._recordings.items()
        }
        every = sorted(set().union(*of_subject.values()))
        for subject, runs in of_subject.items():
            lost = [run for run in every if run not in runs and run not in MISSING.get(subject, ())]
            if lost:
                raise DataError(
                    f"{subject} lacks {len(lost)} runs that others have, first {lost[0]}; get its files again, or "
                    "choose the subjects one by one"
                )
        # Friends first, then movies: in the order of their names.
        return tuple(run for chunk in chunks for run in every if chunk_of(run) == chunk
                     and all(run in runs for runs in of_subject.values()))  # fmt: skip

    def _shortest(self, run: str) -> int:
        lengths = {subject: recordings[run].n_volumes for subject, recordings in self._recordings.items()}
        shortest = min(lengths.values())
        for subject, length in lengths.items():
            if length - shortest > _MOST_SURPLUS:
                raise AlignmentError(
                    f"run {run} must be about as long in all subjects; {subject} has {length - shortest} volumes more "
                    "than another; get the files again"
                )
        return shortest

    def _movie(self, run: str) -> Path:
        path = movie_path(self._root, run)
        if not path.is_file():
            raise MissingFileError(f"movie of run {run} not found: {path} does not exist; get it with the stimuli")
        return path

    def _read_rois(self, subject: str, rois: Names) -> dict[str, IntArray]:
        found: dict[str, IntArray] = {PARCELS: np.arange(N_PARCELS)}
        if self._roi_table is not None:
            numbers = [str(number) for number in range(1, N_PARCELS + 1)]
            found = read_rois(self._roi_table, subject, N_PARCELS, numbers)
        return {roi: found[roi] for roi in select_names("ROI", rois, tuple(found), f"of {subject}")}

    @classmethod
    def expected_files(cls, settings: Algonauts2025Settings) -> tuple[Expected, ...]:
        """List the subjects' files; which movies are needed follows from what is in those."""
        root, chunks = settings.root, settings.chunks()
        miniature = read_miniature(root, settings.kind) is not None
        listed = []
        for subject in settings.known_subjects():
            for what, names, n_bytes in (("friends", FRIENDS, 515), ("movie10", MOVIE10, 92)):
                if set(names) & set(chunks):
                    path = response_path(root, subject, what)
                    size = None if miniature else n_bytes * 1_000_000
                    listed.append(Expected(f"responses of {subject}", path, n_bytes=size, problem=_problem))
            if settings.held_out != "none":
                path = samples_path(root, subject, settings.held_out)
                listed.append(Expected(f"held-out volumes of {subject}", path))
        return tuple(listed)

    def kept_volumes(self, run: SeriesRun) -> range:
        """Volumes of a run that are fitted or predicted: held-out runs whole."""
        return super().kept_volumes(run) if run.split == "train" else range(run.n_volumes)

    @property
    def has_test_responses(self) -> bool:
        """Whether every subject's responses to the held-out movies lie beside the others."""
        return bool(self.samples) and all(self.has_held_out_file(subject) for subject in self._subjects)

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read the parcels of an ROI; values of shape (n_volumes, n_repetitions, n_parcels), NaN where not repeated."""
        self.check_roi(subject, roi)
        if split == "test" and not self.has_test_responses:
            raise DataError("Algonauts 2025 has no public test responses; make a submission, or score training runs")
        runs = self.runs_of(split)
        for run in runs:
            self._check_length(subject, run)
        recordings = self._recordings[subject]
        n_repetitions = max(len(recordings[run.name].keys) for run in runs)
        ids = self.stimulus_ids(split)
        parcels = self._rois[subject][roi]
        values = np.full((len(ids), n_repetitions, len(parcels)), np.nan, dtype=np.float32)
        row = 0
        for run in runs:
            kept = self.kept_volumes(run)
            recording = recordings[run.name]
            with _open(recording.path) as file:
                for repetition, key in enumerate(recording.keys):
                    where = f"{recording.path.name} {key}"
                    part = as_response_values(dataset_of(file, key).read(kept), where)
                    values[row : row + len(kept), repetition] = part[:, parcels]
            row += len(kept)
        return ResponseSet(subject, roi, ids, values, self.facts.unit)

    @property
    def submission_track(self) -> Literal["2025"] | None:
        """The challenge of 2025, where there are runs to be predicted and no parcel was left out."""
        return "2025" if self.samples and all(set(rois) == {PARCELS} for rois in self._rois.values()) else None

    @property
    def held_out_runs(self) -> Mapping[str, Mapping[str, range]]:
        """Rows of the held-out stimuli that are each subject's, by run: every volume that the subject has of it."""
        starts, start = {}, 0
        for run in self.runs_of("test"):
            starts[run.name] = start
            start += run.n_volumes
        return {
            subject: {run: range(starts[run], starts[run] + length) for run, length in runs.items()}
            for subject, runs in self.samples.items()
        }

    def _check_length(self, subject: str, run: SeriesRun) -> None:
        """Raise AlignmentError where a held-out run is shorter in this subject than in another."""
        recording = self._recordings[subject].get(run.name)
        length = 0 if recording is None else recording.n_volumes
        if length < run.n_volumes:
            raise AlignmentError(
                f"responses of {subject} to {run.name} must have {run.n_volumes} volumes; got {length}; choose the "
                "subjects one by one"
            )

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the subject's files, and the table of ROIs."""
        self.check_roi(subject, roi)
        files = dict.fromkeys(recording.path for recording in self._recordings[subject].values())
        return (*files, *(() if self._roi_table is None else (self._roi_table,)))


def _open(path: Path) -> AbstractContextManager[Hdf5File]:
    return opened_hdf5(path, "responses", "get it with datalad get")


def _problem(path: Path) -> str | None:
    with _open(path) as file:
        return None if group_keys(file.names()) else "holds no run"


def response_path(root: Path, subject: str, what: str) -> Path:
    """Name the file of one subject's parcels: of ``friends``, ``movie10``, or the held-out ``friends-s7`` or ``ood``.

    Those of held-out movies are not part of the release.
    """
    task, _, season = what.partition("-")
    described = {"friends": "_desc-s7" if season else "_desc-s123456"}.get(task, "")
    return root / "fmri" / subject / "func" / f"{subject}_task-{task}_{_SPACE}{described}_bold.h5"


def samples_path(root: Path, subject: str, held_out: str) -> Path:
    """Name the file that says how many volumes of each held-out run are to be predicted."""
    return root / "fmri" / subject / "target_sample_number" / f"{subject}_{held_out}_fmri_samples.npy"


def movie_path(root: Path, run: str) -> Path:
    """Name the video of a run."""
    movies = root / "stimuli" / "movies"
    episode = re.fullmatch(r"s(\d\d)e\d\d[a-z]", run)
    if episode:
        return movies / "friends" / f"s{int(episode[1])}" / f"friends_{run}.mkv"
    movie = run.rstrip("0123456789")
    if movie in MOVIE10:
        return movies / "movie10" / movie / f"{run}.mkv"
    return movies / "ood" / movie / f"task-{run}_video.mkv"


def chunk_of(run: str) -> str:
    """Say which season or movie a training run belongs to; of others, its movie."""
    episode = re.fullmatch(r"s(\d\d)e\d\d[a-z]", run)
    return f"s{int(episode[1])}" if episode else run.rstrip("0123456789")


def group_keys(keys: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Find the runs of a file: the names of their datasets, one per repetition; other datasets are passed over."""
    runs: dict[str, list[str]] = {}
    for key in sorted(keys):
        found = _KEY.fullmatch(key)
        if found:
            runs.setdefault(found["run"], []).append(key)
    return {run: tuple(names) for run, names in sorted(runs.items())}


def read_samples(root: Path, subject: str, held_out: str) -> dict[str, int]:
    """Read how many volumes of each held-out run are to be predicted.

    Raises MissingFileError, DataError, UnsafeFileError where the file is missing, or holds anything but whole numbers
    by run.
    """
    path = samples_path(root, subject, held_out)
    if not path.is_file():
        raise MissingFileError(
            f"number of held-out volumes of {subject} not found: {path} does not exist; get it with the challenge's "
            "fMRI data, or set held_out=none"
        )
    samples = {}
    for run, number in load_boxed_dict(path).items():
        if not isinstance(run, str) or not re.fullmatch(r"[a-z0-9]+", run) or int(number) != number or number < 1:
            raise DataError(f"{path.name} must hold a number of volumes for each run; got {run!r}: {number!r}")
        samples[run] = int(number)
    return dict(sorted(samples.items()))
