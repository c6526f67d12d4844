"""Settings of BOLD Moments, and the files that they stand for, opened without reading more than is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le
from numpy.typing import NDArray

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_same_stimuli, check_shape
from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.datasets.base import SPLITS, Split
from voxelcast.datasets.formats import bold_moments_layout as layout
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS
from voxelcast.datasets.miniature import read_miniature
from voxelcast.datasets.readers.brain_images import open_image
from voxelcast.datasets.readers.pickled_arrays import StoredArray, StoredImage
from voxelcast.datasets.readers.pickles import open_entry, open_pickle
from voxelcast.datasets.settings import DatasetSettings, Names, select_names


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


@dataclass(frozen=True)
class Gathered:
    """Responses in a file, of shape (n_stimuli, n_repetitions, all voxels), and the voxels to read (None: all)."""

    stored: StoredArray
    voxels: IntArray | None = None

    @property
    def n_voxels(self) -> int:
        """Number of voxels to read."""
        return self.stored.shape[2] if self.voxels is None else len(self.voxels)

    def read(self) -> NDArray[Any]:
        """Read the responses of the voxels chosen."""
        return self.stored.read(self.voxels)


@dataclass(frozen=True)
class Source:
    """One file that responses come from, relative to ``derivatives``.

    It holds the splits that ``stimulus_ids`` has, where ``find`` finds the responses to each; ``n_voxels`` is the
    published number, None where that is not known.
    """

    path: Path
    n_bytes: int
    n_voxels: int | None
    stimulus_ids: Mapping[Split, Sequence[str]]
    find: Callable[[Path, Split, Sequence[str]], StoredArray]

    def open(self, path: Path, split: Split) -> Gathered:
        """Open the responses to a split's stimuli; raises as `open_pickle`, and ShapeError for another shape."""
        stored = self.find(path, split, self.stimulus_ids[split])
        sizes = (len(self.stimulus_ids[split]), layout.REPETITIONS[split], None)
        stored.check_shape(f"{split} responses of {path}", ("stimulus", "repetition", "voxel"), sizes)
        return Gathered(stored)

    def problem(self, path: Path) -> str | None:
        """Compare the number of voxels in the file with the published one."""
        counts = {self.open(path, split).n_voxels for split in self.stimulus_ids}
        if len(counts) == 1 and (self.n_voxels is None or counts == {self.n_voxels}):
            return None
        return f"holds {' and '.join(map(str, sorted(counts)))} voxels; published: {self.n_voxels}"


class Selection:
    """Subjects, ROIs, videos and files that the settings stand for, in the dataset or a miniature of it."""

    def __init__(self, settings: BoldMomentsSettings) -> None:
        self.settings, self.version, self.template = settings, settings.version, settings.template
        self.files = settings.files or ("roi" if settings.template == "MNI152" else "whole_brain")
        miniature = read_miniature(settings.root, settings.kind)
        sizes = miniature or {}
        self.is_miniature = miniature is not None
        first = {"train": 1, "test": layout.FIRST_TEST_NUMBER}
        counts = {"train": sizes.get("n_train", layout.N_TRAIN), "test": sizes.get("n_test", layout.N_TEST)}
        self.stimulus_ids: dict[Split, tuple[str, ...]] = {
            split: tuple(f"{first[split] + k:04d}" for k in range(counts[split])) for split in SPLITS
        }
        self.n_grayordinates: tuple[int, ...] = tuple(sizes.get("grayordinates", layout.N_GRAYORDINATES))
        known = tuple(sizes.get("subjects", layout.SUBJECTS))
        self.subjects = select_names("subject", settings.subjects, known, "in this BOLD Moments dataset")
        self.parts = layout.roi_parts(settings.version, settings.template)
        """Native parts of each ROI."""
        groups = {"all": layout.main_rois(self.version, self.template)}
        if self.template == "MNI152":
            groups[layout.CHALLENGE] = MINI_ROIS
        asked = ("all",) if settings.rois == "all" else settings.rois
        names = tuple(name for each in asked for name in groups.get(each, (each,)))
        self.rois = select_names("ROI", names, tuple(self.parts), f"in version {self.version}, {self.template}")

    def rois_of(self, subject: str) -> tuple[str, ...]:
        """Return the ROIs chosen, but those that could not be found in the subject."""
        if self.template != "MNI152":
            return self.rois
        published = layout.published_voxels(self.version)[subject]
        return tuple(roi for roi in self.rois if any(published[part] for part in self.parts[roi]))

    def sources(self, subject: str, roi: str) -> tuple[Source, ...]:
        """List the files from which the responses of an ROI come; both splits."""
        if self.files == "roi":
            return tuple(self._roi_source(subject, part) for part in self.parts[roi])
        sides = self.parts[roi] if self.template == "fsaverage" else ("",)
        return tuple(self._whole_source(subject, split, side) for split in SPLITS for side in sides)

    def index_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the files that say where the parts of an ROI lie in MNI152."""
        return tuple(layout.roi_index_file(subject, part) for part in self.parts[roi])

    def chosen_by(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the files that say which voxels of the whole brain are the ROI's; none where all are, or are known."""
        needed = self.files == "whole_brain" and self.template == "MNI152" and roi != layout.WHOLE_BRAIN
        return self.index_files(subject, roi) if needed else ()

    def _roi_source(self, subject: str, part: str) -> Source:
        published = layout.published_voxels(self.version)[subject][part]
        return Source(
            layout.roi_file(self.version, subject, part, self.settings.voxels, self.settings.tr),
            0 if self.is_miniature else layout.roi_file_bytes(self.version, part, published),
            None if self.is_miniature or self.settings.voxels == "reliable" else published,
            self.stimulus_ids,
            _find_in_roi_file,
        )

    def _whole_source(self, subject: str, split: Split, side: str) -> Source:
        n_voxels = {"fsLR32k": sum(layout.N_GRAYORDINATES), "fsaverage": layout.N_VERTICES}.get(
            self.template, layout.published_voxels("B")[subject][layout.WHOLE_BRAIN]
        )
        return Source(
            layout.whole_brain_file(self.template, subject, split, side),
            0 if self.is_miniature else layout.whole_brain_bytes(n_voxels, split),
            None if self.is_miniature else n_voxels,
            {split: self.stimulus_ids[split]},
            _find_in_whole_brain,
        )


def index_problem(path: Path) -> str | None:
    """Read the voxels of an ROI, which raises what is wrong with the file."""
    read_indices(path)
    return None


def _find_in_roi_file(path: Path, split: Split, stimulus_ids: Sequence[str]) -> StoredArray:
    return open_entry(path, f"{split}_data_allvoxel")


def _find_in_whole_brain(path: Path, split: Split, stimulus_ids: Sequence[str]) -> StoredArray:
    """Find the betas of all voxels, and check that their rows are of these videos."""
    betas, names, *_ = _organized(path)
    rows = [str(name).removeprefix("vid") for name in names]
    check_same_stimuli(f"rows of {path}", rows, f"the {split} videos", stimulus_ids)
    if not isinstance(betas, StoredArray):
        raise DataError(f"{path}: the {split} responses must be an array; got a {type(betas).__name__}")
    return betas


def read_mask(whole_brain: Path, mask: Path) -> tuple[BoolArray, FloatArray | None]:
    """Read where the voxels of a subject lie in MNI152, and the volume's affine.

    Taken from the mask's NIfTI file (which needs nibabel), or from the image inside the betas of the whole brain.
    Raises MissingPackageError, MissingFileError, DataError where neither can be read, or has a mask.
    """
    if not mask.is_file() and whole_brain.is_file():
        _, _, *images = _organized(whole_brain)
        image = images[0] if images else None
        inside = image.mask() if isinstance(image, StoredImage) else None
        if inside is None or not isinstance(image, StoredImage):
            raise DataError(f"{whole_brain} holds no mask; get {mask.name} from the same dataset")
        return inside, image.affine
    volume = open_image(mask, "mask")
    (values,) = volume.read(np.arange(volume.n_voxels))
    return np.asarray(values == 1).reshape(volume.geometry.sizes), volume.geometry.affine


def read_indices(path: Path) -> IntArray:
    """Read where the voxels of an ROI lie: the first of a tuple of arrays, of shape (n_voxels, 3).

    Raises as `open_pickle`, and ShapeError for another shape.
    """
    content = open_pickle(path, str(path))
    if not isinstance(content, (tuple, list)) or not content or not isinstance(content[0], StoredArray):
        raise DataError(f"{path} must hold a tuple that begins with an array of voxel numbers; get the file again")
    indices = content[0].read()
    check_shape(f"voxel numbers in {path}", indices, ("voxel", "axis"), (None, 3))
    return indices.astype(np.int64)


def _organized(path: Path) -> tuple[Any, ...]:
    """Open a tuple of betas, names of their rows (``vid0001``), and in MNI152 a mask."""
    content = open_pickle(path, str(path))
    if not isinstance(content, (tuple, list)) or len(content) < 2 or not isinstance(content[1], (list, tuple)):
        raise DataError(f"{path} must hold a tuple of betas and the names of their rows; get the file again")
    return tuple(content)
