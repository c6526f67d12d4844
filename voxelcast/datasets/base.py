"""What a dataset is: stimuli with ids, a split, and the responses of subjects in ROIs.

Every dataset subclasses :class:`Dataset`, is registered (`voxelcast.datasets.registry.register_dataset`) and passes the
tests of `voxelcast.testing.datasets`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.settings import DatasetSettings
from voxelcast.stimuli.stimulus import Stimulus

if TYPE_CHECKING:
    import xarray as xr

Split = Literal["train", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "test")


@dataclass(frozen=True)
class ResponseSet:
    """The measured responses of one subject in one ROI to some stimuli.

    Parameters
    ----------
    subject, roi : str
    stimulus_ids : tuple of str
        One per row of ``values``.
    values : ndarray of shape (n_stimuli, n_repetitions, n_voxels), float32 or float64
        Responses in ``unit``; NaN marks a missing repetition.
    unit : str
        E.g. ``"beta"`` or ``"spike count"``.
    faults : mapping of int to str
        Why voxels, by their index, cannot be analysed, as far as the dataset knows it; their values are NaN.
    """

    subject: str
    roi: str
    stimulus_ids: tuple[str, ...]
    values: FloatArray
    unit: str = "arbitrary"
    faults: Mapping[int, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.shape[0] != len(self.stimulus_ids):
            raise ShapeError(
                f"responses of {self.subject} {self.roi} must have shape "
                f"(n_stimuli={len(self.stimulus_ids)}, n_repetitions, n_voxels); got {self.values.shape}"
            )

    @property
    def n_repetitions(self) -> int:
        """Number of repetitions (the most any stimulus has)."""
        return int(self.values.shape[1])

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return int(self.values.shape[2])

    def labelled(self) -> xr.DataArray:
        """Return the responses as a DataArray (stimulus, repetition, voxel) with subject, ROI and stimulus ids."""
        import xarray as xr

        return xr.DataArray(
            self.values,
            dims=("stimulus", "repetition", "voxel"),
            coords={"stimulus": list(self.stimulus_ids), "subject": self.subject, "roi": self.roi},
            name="response",
            attrs={"unit": self.unit},
        )

    def mean(self) -> FloatArray:
        """Average over the repetitions that are there.

        Returns
        -------
        mean : ndarray of shape (n_stimuli, n_voxels), float64
            NaN where a stimulus has no repetition at all in a voxel.
        """
        there = np.isfinite(self.values)
        count = there.sum(axis=1)
        total = np.where(there, self.values, 0.0).sum(axis=1, dtype=np.float64)
        return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0))


@dataclass(frozen=True)
class Extent:
    """How large a subject's responses are and where their voxels lie, as far as it is known before they are read.

    Parameters
    ----------
    n_stimuli : int
        Of both splits.
    n_repetitions : int or None
        The most that any stimulus has.
    voxels : mapping of ROI to int
        Number of voxels.
    space : str
        E.g. ``"volume 91 x 109 x 91 of 2 x 2 x 2 mm, MNI"``.
    files : tuple of Path
        Of the responses, in order.
    """

    n_stimuli: int
    n_repetitions: int | None = None
    voxels: Mapping[str, int] = field(default_factory=dict)
    space: str = ""
    files: tuple[Path, ...] = ()

    def shown(self) -> str:
        """Say it in a line."""
        n = self.n_repetitions
        repetitions = "" if n is None else f", {n} repetition{'' if n == 1 else 's'}"
        named = [f"{roi} {size}" for roi, size in self.voxels.items()]
        more = f" and {len(named) - 6} more ROIs" if len(named) > 6 else ""
        voxels = f", voxels: {', '.join(named[:6])}{more}" if named else ""
        n_files = len(self.files)
        files = f"; {n_files} files, first {self.files[0].name}" if n_files > 1 else ""
        return f"{self.n_stimuli} stimuli{repetitions}{voxels}{f'; {self.space}' if self.space else ''}{files}"


@dataclass(frozen=True)
class DatasetFacts:
    """What is known of a dataset before its files are opened.

    Parameters
    ----------
    title, unit, licence, citation : str
        ``unit`` is that of the responses.
    subjects : tuple of str
        Empty where it is the user's data that say.
    n_train, n_test : int or None
        Number of stimuli in each split; None where it differs between subjects or is not fixed.
    voxels : mapping of subject to mapping of ROI to int
        Number of voxels, as far as published.
    tr_seconds : float or None
        Time between volumes of the recording, in seconds; None where the responses are not from volumes.
    how_to_get : str
        One sentence: where the files are, and how to ask for them.
    n_bytes : int or None
        About how large the download is.
    """

    title: str
    unit: str
    licence: str
    citation: str
    subjects: tuple[str, ...] = ()
    n_train: int | None = None
    n_test: int | None = None
    voxels: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    tr_seconds: float | None = None
    how_to_get: str = ""
    n_bytes: int | None = None


@dataclass(frozen=True)
class VoxelIndices:
    """Where the voxels of an ROI lie in a volume, in the order of the responses.

    Parameters
    ----------
    shape : tuple of int
        Of the volume, (x, y, z).
    indices : ndarray of shape (n_voxels, 3), int64
        From 0.
    affine : ndarray of shape (4, 4) or None
        From indices to millimetres; None where the dataset does not say.
    space : str
        Coordinate system, e.g. ``"MNI152NLin2009cAsym"``; empty where the dataset does not say, or it is the subject's.
    """

    shape: tuple[int, ...]
    indices: IntArray
    affine: FloatArray | None = None
    space: str = ""

    @property
    def n_voxels(self) -> int:
        """Number of voxels."""
        return len(self.indices)


@dataclass(frozen=True)
class VertexIndices:
    """Where the vertices of an ROI lie on the two hemispheres of a surface mesh.

    Parameters
    ----------
    mesh : str
        E.g. ``"fsaverage"``, whose hemispheres have 163,842 vertices.
    n_vertices : tuple of int
        Of the left and of the right hemisphere's mesh; 0 for a hemisphere that the responses are not of.
    left, right : ndarray of shape (n,), int64
        Vertex numbers from 0.
    order : ndarray of shape (n_left + n_right,), int64, or None
        Which of the responses belong to the left, then to the right ones; None: all, in this order.
    elsewhere : ndarray of shape (n,), int64
        Columns of the response file that lie on neither hemisphere, such as subcortical voxels.
    """

    mesh: str
    n_vertices: tuple[int, int]
    left: IntArray
    right: IntArray
    order: IntArray | None = None
    elsewhere: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    @property
    def n_voxels(self) -> int:
        """Number of vertices on both hemispheres, and of voxels elsewhere."""
        return len(self.left) + len(self.right) + len(self.elsewhere)


class Dataset(ABC):
    """Stimuli, their split, and responses.

    Construction looks at the files' names and headers and raises one-line errors for what is missing or does not fit
    (MissingFileError, DataError, ShapeError, AlignmentError, UnsafeFileError), and for choices that the dataset does
    not have (UnknownNameError, OptionError); responses are read when asked for. It sets ``_subjects``, ``_stimuli`` and
    ``_rois``; or the class replaces the properties and the method that give them.

    Parameters
    ----------
    settings : DatasetSettings
        Of the class ``Settings`` of the dataset, whose ``kind`` is the dataset's.
    """

    Settings: ClassVar[type[DatasetSettings]]
    kind: ClassVar[str]
    facts: ClassVar[DatasetFacts]
    _subjects: tuple[str, ...]
    _stimuli: Mapping[Split, tuple[Stimulus, ...]]
    _rois: Mapping[str, Iterable[str]]
    """Names of the ROIs chosen, by subject."""
    challenge: ClassVar[str] = "algonauts2021"
    """Name of the challenge whose submission can be made, and by whose rule predictions are scored."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "Settings" in cls.__dict__:
            cls.kind = cls.Settings.kind

    @abstractmethod
    def __init__(self, settings: Any) -> None: ...

    @classmethod
    def expected_files(cls, settings: Any) -> tuple[Expected, ...]:
        """List the files that the dataset with these settings should have.

        Nothing is opened, and nothing need be there, so that what is missing can be listed. Kinds without a fixed
        layout expect nothing: constructing them is their check.
        """
        return ()

    @classmethod
    def separate_subjects(cls, root: Path) -> tuple[str, ...]:
        """List the subjects under ``root`` if each is a dataset of its own (setting ``subject``); else none."""
        return ()

    @property
    def train_stimuli(self) -> tuple[Stimulus, ...]:
        """Stimuli whose responses models are fitted to."""
        return self._stimuli["train"]

    @property
    def test_stimuli(self) -> tuple[Stimulus, ...]:
        """Held-out stimuli, to be predicted; may be empty."""
        return self._stimuli["test"]

    @property
    def subjects(self) -> tuple[str, ...]:
        """Names of the subjects chosen."""
        return self._subjects

    def rois(self, subject: str) -> tuple[str, ...]:
        """Names of the ROIs of a subject, of those chosen; raises UnknownNameError for an unknown subject."""
        check_known("subject", subject, self.subjects, where="in this dataset")
        return tuple(self._rois[subject])

    @abstractmethod
    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read the responses; rows follow ``train_stimuli`` or ``test_stimuli``.

        Raises
        ------
        UnknownNameError
            For an unknown subject or ROI.
        DataError
            For ``split="test"`` where the test responses are not public (see ``has_test_responses``).
        """

    def published_ceiling_r2(self, subject: str, roi: str) -> FloatArray | None:
        """Noise ceiling of the mean responses to held-out stimuli that comes with the dataset, (n_voxels,).

        The signal's share of their variance, from 0 to 1; NaN where unknown; None where there is none.
        """
        return None

    @abstractmethod
    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Files whose bytes determine ``responses(subject, roi, ...)``: their hash goes into step keys."""

    def voxel_indices(self, subject: str, roi: str) -> VoxelIndices | VertexIndices | None:
        """Say where the voxels lie in the volume or on the surface, for brain maps; None where that is not known.

        Raises DataError for a surface file that does not say which hemisphere it is of.
        """
        return None

    def extent(self, subject: str) -> Extent:
        """Say how large a subject's responses are, without reading them; by default the number of stimuli alone."""
        check_known("subject", subject, self.subjects, where="in this dataset")
        return Extent(len(self.train_stimuli) + len(self.test_stimuli))

    def notes(self) -> tuple[str, ...]:
        """Say what is odd about the files and yet may be right, a line each, such as a TR that a header contradicts."""
        return ()

    @property
    def reads_together(self) -> bool:
        """Whether reading one ROI costs as much as reading all of a subject, so that one process should read them."""
        return False

    def check_roi(self, subject: str, roi: str) -> None:
        """Raise UnknownNameError for a subject or ROI that was not chosen."""
        check_known("ROI", roi, self.rois(subject), where=f"of {subject}")

    def stimulus_ids(self, split: Split) -> tuple[str, ...]:
        """Return the ids of the stimuli of a split, in order."""
        stimuli = self.train_stimuli if split == "train" else self.test_stimuli
        return tuple(stimulus.stimulus_id for stimulus in stimuli)

    def metadata(self) -> Mapping[str, Mapping[str, object]]:
        """Read what else is known of the stimuli, by their id; empty where nothing is."""
        return {}

    @property
    def has_test_responses(self) -> bool:
        """Whether ``responses(..., split="test")`` is available."""
        return False

    @property
    def groups(self) -> Mapping[str, str] | None:
        """Group of each stimulus id (e.g. its movie); stimuli of one group never straddle a fold. None: no groups."""
        return None

    @property
    def series(self) -> Mapping[str, tuple[str, int]] | None:
        """Run and volume in it of each stimulus id, where stimuli are volumes of unbroken recordings; else None."""
        return None

    @property
    def context_stimuli(self) -> tuple[Stimulus, ...]:
        """Stimuli that are neither fitted nor predicted, but came before some that are: delays reach into them."""
        return ()

    @property
    def can_be_shown(self) -> bool:
        """Whether the stimuli are pictures or videos, that a network can look at."""
        return True

    @property
    def feature_tables(self) -> tuple[str, ...]:
        """Names of features that come with the dataset, beside those of networks."""
        return ()

    def features(self, table: str) -> FloatArray:
        """Give the features of one table: a row for each training, then held-out, then context stimulus.

        Returns
        -------
        features : ndarray of shape (n_stimuli, n_features)

        Raises
        ------
        UnknownNameError
            For an unknown table.
        """
        check_known("feature table", table, self.feature_tables, where=f"in a dataset of kind {self.kind}")
        raise DataError(f"datasets of kind {self.kind} must give the features of their table {table}; they do not")

    @property
    def submission_track(self) -> str | None:
        """Which track's submission to its challenge this dataset, with its subjects and ROIs, can make, if any."""
        return None

    @property
    def submission_voxels(self) -> Mapping[str, Mapping[str, int]] | None:
        """Voxels per subject and ROI that its submission must have; None: those of the real challenge."""
        return None

    @property
    def held_out_runs(self) -> Mapping[str, Mapping[str, range]]:
        """Rows of the held-out stimuli that are each subject's, by run, where they are volumes of runs; else empty."""
        return {}
