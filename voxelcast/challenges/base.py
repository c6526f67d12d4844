"""What a challenge is: what a submission must hold, how it is written, read and checked, and its official score.

Every challenge subclasses :class:`Challenge`, is registered (:mod:`voxelcast.challenges.registry`) and passes the
conformance tests of :mod:`voxelcast.testing.challenges`. Writing and reading share the rules of this file, so that what
is written is always accepted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar, cast

import numpy as np

from voxelcast.challenges.archive import member_files, zipped
from voxelcast.challenges.scores import ChallengeScore, Part
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError, ShapeError, UnknownNameError, VoxelcastError
from voxelcast.datasets.base import Dataset
from voxelcast.store.atomic import write_bytes

Shape = tuple[int, int]
"""Number of held-out stimuli, and of voxels."""

# A value takes 8 bytes as float64 and up to twice that where a pickle of protocol 2 wrote it as text; more is no
# submission.
_MOST_BYTES_PER_VALUE: Final = 16
_OVERHEAD_BYTES: Final = 1 << 20

T = TypeVar("T")


class Challenge(ABC):
    """The submission and the score of one challenge.

    A submission holds an array of each part, a pair of subject and, say, ROI. Its files are nested by ``levels``. It
    is written as files, and as a zip of them that is ready for upload.
    """

    name: ClassVar[str]
    """In the registry, and what a dataset of the challenge has as `Dataset.challenge`."""
    title: ClassVar[str]
    rule: ClassVar[str]
    """What ``voxelcast score --rule`` calls the official score."""
    tracks: ClassVar[tuple[str, ...]]
    """What a dataset may have as `Dataset.submission_track`."""
    levels: ClassVar[tuple[str, str]]
    """What the outer and the inner names of a submission are, e.g. ``("subject", "run")``; one is ``"subject"``."""
    files: ClassVar[Mapping[str, tuple[str, ...]]]
    """Patterns, below the folder of a submission, of what `write` leaves there for each track."""
    ending: ClassVar[str] = ".npy"
    """Of the file in the zip, where there is one."""
    one_dataset_per_subject: ClassVar[bool] = False
    """Whether a submission is made of several datasets, one of each subject."""

    @abstractmethod
    def shapes(self, datasets: Sequence[Dataset], track: str) -> dict[Part, Shape]:
        """List the arrays that a submission must hold, in its order.

        Parameters
        ----------
        datasets : sequence of Dataset
            None stands for the real challenge.
        track : str
            One of ``tracks``.

        Raises
        ------
        OptionError, DataError
            If the datasets have nothing of the track, or what is asked for cannot be known without them.
        """

    @abstractmethod
    def stem(self, shapes: Mapping[Part, Shape]) -> str:
        """Name the submission of these arrays: its file without the ending."""

    def shown(self, shapes: Mapping[Part, Shape]) -> str:
        """Name the submission of these arrays in messages."""
        return self.stem(shapes)

    def members(self, shapes: Mapping[Part, Shape]) -> dict[str, int]:
        """Name the files of the submission below its folder, with the number of values that each holds: one, of all."""
        return {f"{self.stem(shapes)}{self.ending}": sum(n * m for n, m in shapes.values())}

    @abstractmethod
    def encode(self, content: Mapping[str, Mapping[str, FloatArray]], shapes: Mapping[Part, Shape]) -> dict[str, bytes]:
        """Return the bytes of each file of a submission, by name; ``content`` is nested by ``levels``, float32."""

    @abstractmethod
    def decode(self, files: Mapping[str, Path]) -> object:
        """Read the files of a submission, by name; what they hold should be nested by ``levels``."""

    @abstractmethod
    def score(self, measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray]) -> ChallengeScore:
        """Score as the challenge did.

        Parameters
        ----------
        measured : mapping of (subject, part) to ndarray of shape (n_stimuli, n_repetitions, n_voxels)
            NaN marks a missing repetition.
        predicted : mapping of (subject, part) to ndarray of shape (n_stimuli, n_voxels)
            The same parts.

        Raises
        ------
        AlignmentError, ShapeError, DataError
            If the two do not fit one another.
        """

    def score_on(
        self, measured: Mapping[Part, FloatArray], predicted: Mapping[Part, FloatArray], datasets: Sequence[Dataset]
    ) -> ChallengeScore:
        """Score as `score`, with what else the datasets hold that the rule counts with: nothing, unless overridden."""
        return self.score(measured, predicted)

    def split(self, values: Mapping[Part, FloatArray], datasets: Sequence[Dataset]) -> dict[Part, FloatArray]:
        """Divide arrays by (subject, ROI), (n_test, ...), into the parts of a submission: they are, unless overridden.

        Raises
        ------
        DataError
            If these datasets do not have such parts.
        """
        return dict(values)

    def track_of_file(self, path: Path) -> str | None:
        """Tell the track from a submission's name; None where the name does not say."""
        return None

    def rois_of(self, path: Path, dataset: Dataset) -> list[Part]:
        """List the (subject, ROI) of a dataset that a submission, by its name, should hold."""
        return [(subject, roi) for subject in dataset.subjects for roi in dataset.rois(subject)]

    def summary(self, shapes: Mapping[Part, Shape]) -> str:
        """Say what a submission that was found in order holds."""
        subjects = dict.fromkeys(subject for subject, _ in shapes)
        n_values = sum(n * m for n, m in shapes.values())
        return f"{self.title} in order: {', '.join(subjects)}; {len(shapes)} arrays, {n_values} values"

    def track(self, datasets: Sequence[Dataset]) -> str:
        """Tell which track's submission is made of these datasets.

        Raises
        ------
        DataError
            If there is none, or they are of several.
        """
        tracks = {dataset.submission_track for dataset in datasets}
        track = next(iter(tracks))
        if len(tracks) > 1 or (len(datasets) > 1 and not self.one_dataset_per_subject and track is not None):
            raise mixed(datasets)
        if track is None:
            raise DataError(
                f"this {datasets[0].kind} dataset, with these subjects and ROIs, is no challenge's, so there is no "
                "submission; choose the subjects and ROIs that the challenge asks for"
            )
        return track

    def write(self, predictions: Mapping[Part, FloatArray], datasets: Sequence[Dataset], folder: Path) -> Path:
        """Write the submission of predictions.

        Parameters
        ----------
        predictions : mapping of (subject, ROI) to ndarray of shape (n_test, n_voxels)
            As the datasets name their subjects and ROIs.
        datasets : sequence of Dataset
            One, or one of each subject where ``one_dataset_per_subject``.
        folder : Path
            Made if it does not exist.

        Returns
        -------
        path : Path
            Of the zip.

        Raises
        ------
        DataError
            If a dataset is no challenge's.
        VoxelcastError
            For whatever the challenge would refuse; nothing is written.
        """
        shapes = self.shapes(datasets, self.track(datasets))
        return self.write_arrays(self.split(predictions, datasets), shapes, folder)

    def write_arrays(self, arrays: Mapping[Part, FloatArray], shapes: Mapping[Part, Shape], folder: Path) -> Path:
        """Write the arrays of a submission, as float32; the same arrays give the same bytes.

        Raises
        ------
        DataError, UnknownNameError, ShapeError
            For a missing or unknown part, a wrong shape, NaN or infinity; nothing is written.
        UnwritableError
            If the folder cannot be written to.
        """
        stem, shown = self.stem(shapes), self.shown(shapes)
        content = {part: _as_float32(values) for part, values in arrays.items()}
        _raise_first(find_problems(self._nested(content), self._nested(shapes), self.levels), shown)
        members = self.encode(self._nested({part: content[part] for part in shapes}), shapes)
        for name, data in (*members.items(), (f"{stem}.zip", zipped(members))):
            write_bytes(folder / name, data)
        return folder / f"{stem}.zip"

    def read(self, path: Path, shapes: Mapping[Part, Shape]) -> dict[Part, FloatArray]:
        """Read a submission that is in order.

        Parameters
        ----------
        path : Path
            The zip, the folder that holds its files, or the file that it holds where there is only one.
        shapes : mapping of (subject, part) to tuple

        Raises
        ------
        MissingFileError
            If there is no such file.
        UnsafeFileError
            For a file that holds more than arrays and plain containers or is too large, or an archive whose names lead
            outside it; nothing of it was run.
        DataError, UnknownNameError, ShapeError
            For the first problem found; the message says how many others there are.
        """
        members = self.members(shapes)
        limits = {name: n * _MOST_BYTES_PER_VALUE + _OVERHEAD_BYTES for name, n in members.items()}
        with member_files(path, limits) as files:
            content = self.decode(files)
        _raise_first(find_problems(content, self._nested(shapes), self.levels), path.name)
        arrays = cast(Mapping[str, Mapping[str, FloatArray]], content)  # as was just checked
        return {part: arrays[outer][inner] for part in shapes for outer, inner in [self._keys(part)]}

    def check(self, path: Path, datasets: Sequence[Dataset] = ()) -> str:
        """Check a submission and say in one line what it holds: the server's own messages come late and say little.

        Parameters
        ----------
        path : Path
        datasets : sequence of Dataset
            What it is for; none stands for the real challenge.

        Raises
        ------
        VoxelcastError
            As `read`.
        """
        if not path.exists():
            raise MissingFileError(f"{path} does not exist; give the .zip of a submission, or the files in it")
        track = self.track(datasets) if datasets else self.tracks[0]
        shapes = self.shapes(datasets, self.track_of_file(path) or track)
        self.read(path, shapes)
        return f"{path.name}: {self.summary(shapes)}"

    def remove(self, folder: Path, track: str) -> None:
        """Remove what `write` left in a folder; files of other names stay."""
        for pattern in self.files[track]:
            for path in folder.glob(pattern):
                path.unlink()

    def _keys(self, part: Part) -> tuple[str, str]:
        return part if self.levels[0] == "subject" else (part[1], part[0])

    def _nested(self, parts: Mapping[Part, T]) -> dict[str, dict[str, T]]:
        nested: dict[str, dict[str, T]] = {}
        for part, value in parts.items():
            outer, inner = self._keys(part)
            nested.setdefault(outer, {})[inner] = value
        return nested


def mixed(datasets: Sequence[Dataset]) -> DataError:
    """Return the error for datasets that do not make one submission."""
    return DataError(
        f"a submission is made of one dataset, or of one for each subject (2023); got {len(datasets)} of "
        f"{', '.join(sorted({dataset.kind for dataset in datasets}))}"
    )


def find_problems(
    content: object, required: Mapping[str, Mapping[str, Shape]], levels: tuple[str, str]
) -> list[VoxelcastError]:
    """Compare what a submission holds with the shapes required, both nested by ``levels``; raise nothing."""
    outer, inner = levels
    if not isinstance(content, Mapping):
        got = type(content).__name__
        return [DataError(f"the submission must be a dict {{{outer}: {{{inner}: array}}}}; got {got}")]
    problems = _name_problems(outer, content, required, "the submission")
    for key, shapes in required.items():
        members: Any = content.get(key, {})
        if not isinstance(members, Mapping):
            got = type(members).__name__
            problems.append(DataError(f"{outer} {key!r} must hold a dict {{{inner}: array}}; got {got}"))
        elif key in content:
            problems += _name_problems(inner, members, shapes, f"{outer} {key!r}")
            for name, shape in shapes.items():
                part = f"{key} {name}" if outer == "subject" else f"{name} {key}"
                problems += _array_problems(part, members[name], shape) if name in members else []
    return problems


def _name_problems(
    what: str, got: Iterable[object], required: Mapping[str, object], where: str
) -> list[VoxelcastError]:
    names = list(got)
    problems: list[VoxelcastError] = []
    missing = [name for name in required if name not in names]
    unknown = [name for name in names if name not in required]
    if missing:
        problems.append(
            DataError(f"{where} must hold every {what}; missing: {', '.join(missing)}; add predictions for them")
        )
    if unknown:
        listed = ", ".join(repr(name) for name in unknown)
        allowed = ", ".join(required)
        problems.append(
            UnknownNameError(f"{where} holds an unknown {what}: {listed}; allowed: {allowed}; remove or rename it")
        )
    return problems


def _as_float32(array: FloatArray) -> FloatArray:
    """Return predictions as a submission holds them; what is beyond float32 becomes infinite, which is refused."""
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype=np.float32)


def _array_problems(name: str, array: object, shape: Shape) -> list[VoxelcastError]:
    if not isinstance(array, np.ndarray):
        return [DataError(f"predictions of {name} must be a NumPy array; got {type(array).__name__}")]
    if array.dtype.kind != "f":
        return [DataError(f"predictions of {name} must be floating-point numbers; got dtype {array.dtype}")]
    if array.shape != shape:
        wanted = f"(n_test={shape[0]}, n_voxels={shape[1]})"
        return [ShapeError(f"predictions of {name} must have shape {wanted}; got {array.shape}")]
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        got = f"got {bad} of {array.size} values that are NaN or infinite"
        why = "the server would refuse the file or score it NaN"
        return [DataError(f"predictions of {name} must be finite; {got}; {why}")]
    return []


def _raise_first(problems: list[VoxelcastError], source: str) -> None:
    """Raise the first problem, if any, naming ``source`` and saying how many others there are."""
    if problems:
        first, *others = problems
        tail = f" (and {len(others)} other problem{'s' if len(others) > 1 else ''})" if others else ""
        raise type(first)(f"{source}: {first}{tail}")
