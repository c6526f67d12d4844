"""BOLD Moments: the videos and subjects of the Algonauts 2021 challenge, with the test responses public."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, OptionError
from voxelcast.datasets.base import SPLITS, Dataset, DatasetFacts, ResponseSet, Split, VoxelIndices
from voxelcast.datasets.formats import bold_moments_files as found
from voxelcast.datasets.formats import bold_moments_layout as layout
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS, check_response_files, find_folder, find_or_expect
from voxelcast.datasets.inventory import Expected
from voxelcast.datasets.readers.values import as_response_values
from voxelcast.datasets.registry import register_dataset
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.readers.guard import check_file, reading
from voxelcast.store.readers.plain import read_json


@register_dataset
class BoldMomentsDataset(Dataset):
    """The dataset as it lies on OpenNeuro, with the videos (a separate download) anywhere up to two folders down.

    Notes
    -----
    Reading costs the memory of the voxels asked for, of the ROI's largest part once more while parts are joined, and
    buffers of 8 MiB: see :mod:`voxelcast.datasets.readers.pickled_arrays`.

    References
    ----------
    .. [1] Lahner, B. et al. (2024). Modeling short visual events through the BOLD Moments video fMRI dataset and
       metadata. Nature Communications 15, 6241. doi:10.1038/s41467-024-50310-3
    """

    Settings = found.BoldMomentsSettings
    facts: ClassVar[DatasetFacts] = DatasetFacts(
        title="BOLD Moments: responses to 1102 three-second videos, test responses public",
        unit="beta, z-scored",
        licence="CC0 (responses); the videos have terms of use of their own",
        citation="Lahner et al. (2024), doi:10.1038/s41467-024-50310-3",
        subjects=layout.SUBJECTS,
        n_train=layout.N_TRAIN,
        n_test=layout.N_TEST,
        voxels=layout.published_voxels("B"),
        tr_seconds=1.75,
        how_to_get=(
            "responses: OpenNeuro ds005165, e.g. aws s3 sync --no-sign-request s3://openneuro.org/ds005165/derivatives/"
            "versionB/MNI152/prepared_allvoxel_pkl into the same folders below ROOT; videos: agree to the terms at "
            "boldmomentsdataset.csail.mit.edu/stimuli_metadata, put mp4_h264 into ROOT/derivatives/stimuli_metadata."
        ),
        n_bytes=44_500_000_000,
    )

    def __init__(self, settings: found.BoldMomentsSettings) -> None:
        self._root, self._selection = settings.root, found.Selection(settings)
        self._subjects = self._selection.subjects
        self._derivatives = find_folder(self._root, "derivatives", "BOLD Moments")
        self._rois = {subject: self._selection.rois_of(subject) for subject in self._subjects}
        self._stimuli = self._find_videos()
        check_response_files(self)

    @classmethod
    def expected_files(cls, settings: found.BoldMomentsSettings) -> tuple[Expected, ...]:
        """List the videos, their annotations, and the response files of the subjects and ROIs chosen."""
        selection = found.Selection(settings)
        derivatives = find_or_expect(settings.root, "derivatives")
        metadata = derivatives / "stimuli_metadata"
        videos = find_or_expect(settings.root, layout.VIDEO_FOLDER)
        if not videos.is_dir():
            videos = metadata / layout.VIDEO_FOLDER
        listed = [
            Expected("videos", videos / "*.mp4", count=sum(map(len, selection.stimulus_ids.values()))),
            Expected("annotations", metadata / "annotations.json", n_bytes=1_640_000),
        ]
        for subject in selection.subjects:
            group, files = f"responses of {subject}", {}
            for roi in selection.rois_of(subject):
                for source in selection.sources(subject, roi):
                    path = derivatives / source.path
                    files[path] = Expected(group, path, n_bytes=source.n_bytes, problem=source.problem)
                for path in (derivatives / file for file in selection.chosen_by(subject, roi)):
                    files[path] = Expected(group, path, n_bytes=4_670_000, problem=found.index_problem)
            listed += files.values()
        return tuple(listed)

    def responses(self, subject: str, roi: str, split: Split = "train") -> ResponseSet:
        """Read the responses: values of shape (1000, 3, n_voxels), or (102, 10, n_voxels) for the test videos.

        Voxels come part by part, e.g. ``V1`` as lV1v, rV1v, lV1d, rV1d.
        """
        gathered = self._gather(subject, roi, split)
        ids = self.stimulus_ids(split)
        n_voxels = sum(part.n_voxels for part in gathered)
        if not n_voxels:
            raise DataError(f"{subject} {roi} holds no voxel; leave this ROI out")
        values = np.empty((len(ids), layout.REPETITIONS[split], n_voxels), gathered[0].stored.dtype)
        start = 0
        for part in gathered:
            values[:, :, start : start + part.n_voxels] = part.read()
            start += part.n_voxels
        return ResponseSet(subject, roi, ids, as_response_values(values, f"{subject} {roi}"), self.facts.unit)

    def response_files(self, subject: str, roi: str) -> tuple[Path, ...]:
        """Return the files of the ROI's parts, or of the whole brain and the ROI's voxels in it."""
        self.check_roi(subject, roi)
        files = [source.path for source in self._selection.sources(subject, roi)]
        return tuple(self._derivatives / path for path in (*files, *self._selection.chosen_by(subject, roi)))

    @property
    def has_test_responses(self) -> bool:
        """Always: ten presentations of each test video."""
        return True

    def metadata(self) -> Mapping[str, Mapping[str, object]]:
        """Read the annotations of each video: objects, scenes, actions, descriptions, memorability and others."""
        path = self._derivatives / "stimuli_metadata" / "annotations.json"
        check_file(path, "annotations", "get it from OpenNeuro ds005165")
        with reading(path, "annotations", "get it again"):
            annotations = read_json(path, "annotations")
            return {
                video.stimulus_id: dict(annotations[video.stimulus_id])
                for video in (*self.train_stimuli, *self.test_stimuli)
            }

    def voxel_mask(self, subject: str) -> BoolArray:
        """Read where the whole-brain voxels of version B lie in the MNI152 volume; shape (x, y, z)."""
        mask, _ = self._mask(subject)
        return mask

    def voxel_indices(self, subject: str, roi: str) -> VoxelIndices | None:
        """Read where the voxels of an ROI of version B lie in the MNI152 volume."""
        self.check_roi(subject, roi)
        if self._selection.template != "MNI152" or self._selection.version != "B":
            return None
        mask, affine = self._mask(subject)
        if roi == layout.WHOLE_BRAIN:
            return VoxelIndices(mask.shape, np.argwhere(mask), affine, "MNI152")
        return VoxelIndices(mask.shape, self._read_indices(subject, roi), affine, "MNI152")

    def _read_indices(self, subject: str, roi: str) -> IntArray:
        files = self._selection.index_files(subject, roi)
        return np.concatenate([found.read_indices(self._derivatives / path) for path in files])

    @property
    def submission_track(self) -> Literal["mini", "full"] | None:
        """Track whose ROIs were chosen, so that a submission can be made and scored at home."""
        if self._selection.template != "MNI152":
            return None
        rois = set(self._selection.rois)
        return "mini" if rois == set(MINI_ROIS) else "full" if rois == {layout.WHOLE_BRAIN} else None

    @cached_property
    def submission_voxels(self) -> Mapping[str, Mapping[str, int]]:
        """Voxels of each subject and ROI as the files hold them: not those of the challenge."""
        return {
            subject: {
                roi: sum(part.n_voxels for part in self._gather(subject, roi, "test")) for roi in self.rois(subject)
            }
            for subject in self._subjects
        }

    def _find_videos(self) -> dict[Split, tuple[Stimulus, ...]]:
        folder = find_folder(self._root, layout.VIDEO_FOLDER, "videos")
        ids = self._selection.stimulus_ids
        paths = [folder / f"{number}.mp4" for split in SPLITS for number in ids[split]]
        missing = [path for path in paths if not path.is_file()]
        if missing:
            raise DataError(
                f"{folder} must hold the videos {paths[0].name} to {paths[-1].name}; {len(missing)} of {len(paths)} "
                f"are missing, first {missing[0].name}; get the whole stimulus set"
            )
        return {
            split: tuple(Stimulus(number, folder / f"{number}.mp4") for number in numbers)
            for split, numbers in ids.items()
        }

    def _gather(self, subject: str, roi: str, split: Split) -> list[found.Gathered]:
        """Open the files of an ROI and say which voxels to take of each."""
        self.check_roi(subject, roi)
        sources = [source for source in self._selection.sources(subject, roi) if split in source.stimulus_ids]
        opened = [source.open(self._derivatives / source.path, split) for source in sources]
        if self._selection.files == "roi" or self._selection.template == "fsaverage" or roi == layout.WHOLE_BRAIN:
            return opened
        (whole,) = opened
        return [replace(whole, voxels=self._chosen_voxels(subject, roi, whole, self._derivatives / sources[0].path))]

    def _chosen_voxels(self, subject: str, roi: str, whole: found.Gathered, path: Path) -> IntArray:
        if self._selection.template == "fsLR32k":
            borders = np.cumsum((0, *self._selection.n_grayordinates))
            if borders[-1] != whole.n_voxels:
                raise DataError(f"{path} must hold {borders[-1]} grayordinates; got {whole.n_voxels}; get it again")
            part = (*layout.HEMISPHERES, "subcortex").index(roi)
            return np.arange(borders[part], borders[part + 1])
        mask, _ = self._mask(subject)
        if mask.sum() != whole.n_voxels:
            raise DataError(f"{path} holds {whole.n_voxels} voxels, but its mask {mask.sum()}; get the file again")
        index_of: IntArray = np.where(mask.ravel(), np.cumsum(mask.ravel()) - 1, -1)
        chosen: IntArray = index_of[np.ravel_multi_index(tuple(self._read_indices(subject, roi).T), mask.shape)]
        if (chosen < 0).any():
            n_outside = int((chosen < 0).sum())
            raise DataError(f"{n_outside} voxels of {subject} {roi} lie outside the mask of {path}; get the file again")
        return chosen

    def _mask(self, subject: str) -> tuple[BoolArray, FloatArray | None]:
        check_known("subject", subject, self._subjects, where="in this dataset")
        if self._selection.version != "B" or self._selection.template != "MNI152":
            raise OptionError("BOLD Moments states where voxels lie for version B in MNI152; choose these")
        whole = self._derivatives / layout.whole_brain_file("MNI152", subject, "test")
        return found.read_mask(whole, self._derivatives / layout.mask_file(subject))
