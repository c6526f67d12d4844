"""Settings of BOLD Moments, and which subjects, ROIs and files they stand for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Le

from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.formats import bold_moments_layout as layout
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS
from voxelcast.datasets.formats.algonauts2021_layout import find_or_expect
from voxelcast.datasets.formats.bold_moments_files import open_roi_file, open_whole_brain, read_indices
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.miniature import read_miniature
from voxelcast.datasets.settings import DatasetSettings, Names, select_names


@dataclass(frozen=True)
class Source:
    """One file that responses come from, relative to ``derivatives``: its size and what could be wrong with it."""

    path: Path
    n_bytes: int
    problem: Callable[[Path], str | None]


@settings
class BoldMomentsSettings(DatasetSettings):
    """Settings of `BoldMomentsDataset`.

    Parameters
    ----------
    root : Path or str
        Folder that holds ``derivatives``; the videos in a folder ``mp4_h264`` of it or below.
    version : {"B", "A"}
        B: GLMsingle, z-scored within each session (recommended); A: finite impulse responses, as in the paper.
    template : {"MNI152", "fsLR32k", "fsaverage"}
        Version A has MNI152 alone.
    files : {"roi", "whole_brain"} or None
        Where responses are read from: a prepared file per ROI, or the whole brain's betas (version B). None: ``roi`` in
        MNI152, ``whole_brain`` elsewhere.
    voxels : {"allvoxel", "reliable"}
        Of version A: all voxels of an ROI, or those with reliable responses.
    tr : int or None
        Of version A: the volume after onset, 1 to 9; None: the mean of 5 to 9.
    subjects : "all", str or sequence of str
        Of ``sub-01`` to ``sub-10``.
    rois : "all", str or sequence of str
        ``all``: each area once, hemispheres joined, in MNI152; the whole brain elsewhere. ``challenge`` stands for the
        nine ROIs of the Algonauts 2021 challenge; see :func:`bold_moments_layout.roi_parts` for other names.
    """

    _: KW_ONLY
    kind: Literal["bold_moments"] = "bold_moments"
    version: layout.Version = "B"
    template: layout.Template = "MNI152"
    files: layout.Files | None = None
    voxels: layout.Voxels = "allvoxel"
    tr: Annotated[int, Ge(1), Le(9)] | None = None
    subjects: Annotated[Names, NO_EFFECT] = "all"

    def __post_init__(self) -> None:
        super().__post_init__()
        template, files, voxels, tr = self.template, self.files, self.voxels, self.tr
        if self.version == "A" and (template != "MNI152" or files == "whole_brain"):
            raise OptionError(f"version A has a file per ROI in MNI152 alone; got template {template}, files {files}")
        if self.version == "B" and (voxels != "allvoxel" or tr is not None):
            raise OptionError(f"voxels and tr are settings of version A; got voxels {voxels}, tr {tr} with version B")
        if template != "MNI152" and files == "roi":
            raise OptionError(f"template {template} has no files per ROI; set files: whole_brain")


class Selection:
    """Subjects, ROIs, videos and files that the settings stand for, in the dataset or a miniature of it."""

    def __init__(self, settings: BoldMomentsSettings) -> None:
        self.settings, self.version, self.template = settings, settings.version, settings.template
        self.files = settings.files or ("roi" if settings.template == "MNI152" else "whole_brain")
        miniature = read_miniature(settings.root, settings.kind)
        sizes = {} if miniature is None else miniature.sizes
        self.is_miniature = miniature is not None
        self.n_train: int = sizes.get("n_train", layout.N_TRAIN)
        self.n_test: int = sizes.get("n_test", layout.N_TEST)
        self.n_grayordinates: tuple[int, ...] = tuple(sizes.get("grayordinates", layout.N_GRAYORDINATES))
        known = tuple(sizes.get("subjects", layout.SUBJECTS))
        self.subjects = select_names("subject", settings.subjects, known, "in this BOLD Moments dataset")
        self._parts = layout.roi_parts(settings.version, settings.template)
        self.rois = self._selected(("all",) if settings.rois == "all" else settings.rois)

    def _selected(self, asked: Sequence[str]) -> tuple[str, ...]:
        groups = {"all": layout.main_rois(self.version, self.template)}
        if self.template == "MNI152":
            groups[layout.CHALLENGE] = MINI_ROIS
        names = tuple(name for each in asked for name in groups.get(each, (each,)))
        return select_names("ROI", names, tuple(self._parts), f"in version {self.version}, {self.template}")

    @property
    def numbers(self) -> dict[layout.Part, tuple[str, ...]]:
        """Ids of the videos of each split."""
        first: dict[layout.Part, tuple[int, int]] = {
            "train": (1, self.n_train),
            "test": (layout.FIRST_TEST_NUMBER, self.n_test),
        }
        return {part: tuple(f"{start + k:04d}" for k in range(n)) for part, (start, n) in first.items()}

    def parts(self, roi: str) -> tuple[str, ...]:
        """Return the native parts of an ROI."""
        return self._parts[roi]

    def rois_of(self, subject: str) -> tuple[str, ...]:
        """Return the ROIs chosen, but those that could not be found in the subject."""
        if self.template != "MNI152":
            return self.rois
        published = layout.published_voxels(self.version)[subject]
        return tuple(roi for roi in self.rois if any(published[part] for part in self.parts(roi)))

    def sources(self, subject: str, roi: str) -> tuple[Source, ...]:
        """List the files from which the responses of an ROI come; both splits."""
        if self.files == "roi":
            return tuple(self._roi_source(subject, part) for part in self.parts(roi))
        sides = self.parts(roi) if self.template == "fsaverage" else ("",)
        whole = [self._whole_source(subject, part, side) for part in layout.REPETITIONS for side in sides]
        if self.template == "MNI152" and roi != layout.WHOLE_BRAIN:
            whole += [
                Source(path, 4_670_000, partial(_problem, read_indices)) for path in self.index_files(subject, roi)
            ]
        return tuple(whole)

    def roi_file(self, subject: str, part: str) -> Path:
        """Return the prepared file of one native ROI."""
        return layout.roi_file(self.version, subject, part, self.settings.voxels, self.settings.tr)

    def index_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the files that say where the parts of an ROI lie in MNI152."""
        return tuple(layout.roi_index_file(subject, part) for part in self.parts(roi))

    def _roi_source(self, subject: str, part: str) -> Source:
        published = layout.published_voxels(self.version)[subject][part]
        n_voxels = None if self.is_miniature or self.settings.voxels == "reliable" else published
        size = 0 if self.is_miniature else layout.roi_file_bytes(self.version, part, published)
        return Source(self.roi_file(subject, part), size, partial(_roi_problem, n_voxels, self.numbers))

    def _whole_source(self, subject: str, part: layout.Part, side: str) -> Source:
        n_voxels = {"fsLR32k": sum(layout.N_GRAYORDINATES), "fsaverage": layout.N_VERTICES}.get(
            self.template, layout.published_voxels("B")[subject][layout.WHOLE_BRAIN]
        )
        expected = None if self.is_miniature else n_voxels
        size = 0 if self.is_miniature else layout.whole_brain_bytes(n_voxels, part)
        problem = partial(_whole_problem, expected, part, self.numbers[part])
        return Source(layout.whole_brain_file(self.template, subject, part, side), size, problem)


def expected_files(settings: BoldMomentsSettings) -> tuple[Expected, ...]:
    """List the videos, their annotations, and the response files chosen."""
    selection = Selection(settings)
    derivatives = find_or_expect(settings.root, "derivatives")
    metadata = derivatives / "stimuli_metadata"
    videos = find_or_expect(settings.root, layout.VIDEO_FOLDER)
    if not videos.is_dir():
        videos = metadata / layout.VIDEO_FOLDER
    numbers = selection.numbers
    listed = [
        Expected("videos", videos / "*.mp4", count=len(numbers["train"]) + len(numbers["test"])),
        Expected("annotations", metadata / "annotations.json", n_bytes=1_640_000),
    ]
    for subject in selection.subjects:
        sources = {s.path: s for roi in selection.rois_of(subject) for s in selection.sources(subject, roi)}
        listed += [
            Expected(f"responses of {subject}", derivatives / path, n_bytes=source.n_bytes, problem=source.problem)
            for path, source in sources.items()
        ]
    return tuple(listed)


def _problem(read: Callable[[Path], object], path: Path) -> str | None:
    read(path)  # raises what is wrong
    return None


def _roi_problem(n_voxels: int | None, numbers: dict[layout.Part, tuple[str, ...]], path: Path) -> str | None:
    counts = {open_roi_file(path, part, len(numbers[part])).n_voxels for part in layout.REPETITIONS}
    return _count_problem(n_voxels, counts)


def _whole_problem(n_voxels: int | None, part: layout.Part, ids: Sequence[str], path: Path) -> str | None:
    return _count_problem(n_voxels, {open_whole_brain(path, part, ids).n_voxels})


def _count_problem(n_voxels: int | None, counts: set[int]) -> str | None:
    if len(counts) == 1 and (n_voxels is None or counts == {n_voxels}):
        return None
    return f"holds {' and '.join(map(str, sorted(counts)))} voxels; published: {n_voxels}"
