"""What an experiment chose of BOLD Moments, and which files that takes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from voxelcast.core.checks import check_option
from voxelcast.core.errors import OptionError
from voxelcast.datasets.formats import bold_moments_layout as layout
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS
from voxelcast.datasets.formats.algonauts2021_layout import find_or_expect, select_names
from voxelcast.datasets.formats.bold_moments_files import open_roi_file, open_whole_brain, read_places
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.miniature import read_miniature


@dataclass(frozen=True)
class Source:
    """One file that responses come from, relative to ``derivatives``: its size and what could be wrong with it."""

    path: Path
    n_bytes: int
    problem: Callable[[Path], str | None]


class Choice:
    """Settings of `BoldMomentsDataset`, checked before files are opened."""

    def __init__(
        self,
        root: Path,
        version: layout.Version = "B",
        space: layout.Space = "MNI152",
        files: layout.Files | None = None,
        voxels: layout.Voxels = "allvoxel",
        tr: int | None = None,
        subjects: Literal["all"] | Sequence[str] = "all",
        rois: Literal["all"] | Sequence[str] = "all",
    ) -> None:
        check_option("version", version, get_args(layout.Version))
        check_option("space", space, get_args(layout.Space))
        check_option("files", files, (None, *get_args(layout.Files)))
        check_option("voxels", voxels, get_args(layout.Voxels))
        check_option("tr", tr, (None, *range(1, 10)))
        if version == "A" and (space != "MNI152" or files == "whole_brain"):
            raise OptionError(f"version A has a file per ROI in MNI152 alone; got space {space}, files {files}")
        if version == "B" and (voxels != "allvoxel" or tr is not None):
            raise OptionError(f"voxels and tr are settings of version A; got voxels {voxels}, tr {tr} with version B")
        if space != "MNI152" and files == "roi":
            raise OptionError(f"space {space} has no files per ROI; set files: whole_brain")
        self.version, self.space, self.voxels, self.tr = version, space, voxels, tr
        self.files = files or ("roi" if space == "MNI152" else "whole_brain")
        miniature = read_miniature(root, "bold_moments")
        sizes = {} if miniature is None else miniature.sizes
        self.is_miniature = miniature is not None
        self.n_train: int = sizes.get("n_train", layout.N_TRAIN)
        self.n_test: int = sizes.get("n_test", layout.N_TEST)
        self.n_grayordinates: tuple[int, ...] = tuple(sizes.get("grayordinates", layout.N_GRAYORDINATES))
        self.subjects = select_names(
            "subject", subjects, sizes.get("subjects", layout.SUBJECTS), "in this BOLD Moments dataset"
        )
        self._parts = layout.roi_parts(version, space)
        self.rois = self._selected(rois)

    def _selected(self, rois: str | Sequence[str]) -> tuple[str, ...]:
        asked = [rois] if isinstance(rois, str) else rois
        groups = {"all": layout.main_rois(self.version, self.space)}
        if self.space == "MNI152":
            groups[layout.CHALLENGE] = MINI_ROIS
        names = [name for each in asked for name in groups.get(each, (each,))]
        return select_names("ROI", names, tuple(self._parts), f"in version {self.version}, {self.space}")

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
        if self.space != "MNI152":
            return self.rois
        published = layout.published_voxels(self.version)[subject]
        return tuple(roi for roi in self.rois if any(published[part] for part in self.parts(roi)))

    def sources(self, subject: str, roi: str) -> tuple[Source, ...]:
        """List the files from which the responses of an ROI come; both splits."""
        if self.files == "roi":
            return tuple(self._roi_source(subject, part) for part in self.parts(roi))
        sides = self.parts(roi) if self.space == "fsaverage" else ("",)
        whole = [self._whole_source(subject, part, side) for part in layout.REPETITIONS for side in sides]
        if self.space == "MNI152" and roi != layout.WHOLE_BRAIN:
            places = [layout.roi_places_file(subject, part) for part in self.parts(roi)]
            whole += [Source(path, 4_670_000, partial(_problem, read_places)) for path in places]
        return tuple(whole)

    def roi_file(self, subject: str, part: str) -> Path:
        """Return the prepared file of one native ROI."""
        return layout.roi_file(self.version, subject, part, self.voxels, self.tr)

    def places_of(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the files that say where the parts of an ROI lie in MNI152."""
        return tuple(layout.roi_places_file(subject, part) for part in self.parts(roi))

    def _roi_source(self, subject: str, part: str) -> Source:
        published = layout.published_voxels(self.version)[subject][part]
        n_voxels = None if self.is_miniature or self.voxels == "reliable" else published
        size = 0 if self.is_miniature else layout.roi_file_bytes(self.version, part, published)
        return Source(self.roi_file(subject, part), size, partial(_roi_problem, n_voxels, self.numbers))

    def _whole_source(self, subject: str, part: layout.Part, side: str) -> Source:
        n_voxels = {"fsLR32k": sum(layout.N_GRAYORDINATES), "fsaverage": layout.N_VERTICES}.get(
            self.space, layout.published_voxels("B")[subject][layout.WHOLE_BRAIN]
        )
        expected = None if self.is_miniature else n_voxels
        size = 0 if self.is_miniature else layout.whole_brain_bytes(n_voxels, part)
        problem = partial(_whole_problem, expected, part, self.numbers[part])
        return Source(layout.whole_brain_file(self.space, subject, part, side), size, problem)


def expected_files(root: Path, choice: Choice) -> tuple[Expected, ...]:
    """List the videos, their annotations, and the response files chosen."""
    derivatives = find_or_expect(root, "derivatives")
    metadata = derivatives / "stimuli_metadata"
    videos = find_or_expect(root, layout.VIDEO_FOLDER)
    if not videos.is_dir():
        videos = metadata / layout.VIDEO_FOLDER
    numbers = choice.numbers
    listed = [
        Expected("videos", videos / "*.mp4", count=len(numbers["train"]) + len(numbers["test"])),
        Expected("annotations", metadata / "annotations.json", n_bytes=1_640_000),
    ]
    for subject in choice.subjects:
        sources = {s.path: s for roi in choice.rois_of(subject) for s in choice.sources(subject, roi)}
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
    wanted = counts if n_voxels is None else {n_voxels}
    if len(counts) == 1 and counts == wanted:
        return None
    return f"holds {' and '.join(map(str, sorted(counts)))} voxels; published: {n_voxels}"
