"""A miniature of BOLD Moments: versions A and B, all templates and kinds of file, whose parts fit one another."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.checks import optional_package
from voxelcast.core.seeds import generator
from voxelcast.datasets.base import Split
from voxelcast.datasets.formats import bold_moments_layout as layout
from voxelcast.datasets.formats.bold_moments_files import BoldMomentsSettings
from voxelcast.store.atomic import write_bytes, write_json
from voxelcast.testing.miniatures import register_miniature
from voxelcast.testing.miniatures.writing import begin_miniature, plant_responses, write_clips

N_SUBJECTS, N_TRAIN, N_TEST = 2, 60, 12
N_GRAYORDINATES, N_VERTICES = (14, 16, 10), 18
_GRID, _MILLIMETRES, _VOXELS_PER_AREA, _UNNAMED_VOXELS = (14, 16, 12), 12.0, 3, 20
_SHADES, _MOTIONS = ("black", "dark", "grey", "light", "white"), ("rests", "drifts", "moves", "jumps", "flickers")
_REPETITIONS = (layout.REPETITIONS["train"], layout.REPETITIONS["test"])


@dataclass(frozen=True)
class _Responses:
    """Of one subject in one template; float64, as on OpenNeuro."""

    train: FloatArray
    test: FloatArray

    def roi_file(self, voxels: IntArray, **others: Any) -> bytes:
        """Express some voxels as a prepared file."""
        parts = {"train_data_allvoxel": self.train[..., voxels], "test_data_allvoxel": self.test[..., voxels]}
        return pickle.dumps(parts | others, protocol=pickle.HIGHEST_PROTOCOL)

    def whole_brain_files(self, *mask: Any) -> dict[Split, bytes]:
        """Express all voxels as the files of betas of each split."""
        names = [f"vid{number:04d}" for number in _numbers()]
        parts: dict[Split, tuple[Any, ...]] = {
            "train": (self.train, names[:N_TRAIN], *mask),
            "test": (self.test, names[N_TRAIN:], *mask),
        }
        return {part: pickle.dumps(content, protocol=pickle.HIGHEST_PROTOCOL) for part, content in parts.items()}


@register_miniature("bold_moments")
def write_bold_moments(root: Path, seed: int) -> BoldMomentsSettings:
    """Write two subjects with three voxels per area and hemisphere, and 60 + 12 clips.

    Raises StoreError where ``root`` holds anything else; MissingPackageError where nibabel is not installed, in whose
    objects the dataset keeps its masks.
    """
    needs = "masks of BOLD Moments need nibabel, which is not installed; pip install 'voxelcast[neuroimaging]'"
    nibabel = optional_package("nibabel", needs)
    subjects = layout.SUBJECTS[:N_SUBJECTS]
    sizes = {"n_train": N_TRAIN, "n_test": N_TEST, "subjects": subjects, "grayordinates": N_GRAYORDINATES}
    begin_miniature(root, "bold_moments", seed, **sizes)
    derivatives = root / "derivatives"
    metadata = derivatives / "stimuli_metadata"
    looks = write_clips([metadata / layout.VIDEO_FOLDER / f"{number:04d}.mp4" for number in _numbers()], seed)
    said = zip(_by_rank(looks[:, :48], _SHADES), _by_rank(looks[:, 64:], _MOTIONS), strict=True)  # colour, and change
    annotations = {
        f"{number:04d}": _annotation(number, seed, *words) for number, words in zip(_numbers(), said, strict=True)
    }
    write_json(metadata / "annotations.json", annotations)
    for subject in subjects:
        voxels, mask = _voxels_of(seed, subject)
        affine = np.diag([_MILLIMETRES] * 3 + [1.0])
        affine[:3, 3] = -78.0, -108.0, -66.0  # over the brain, for maps
        image: Any = nibabel.Nifti1Image(mask.astype(np.float64), affine)
        copy = type(image)(image.get_fdata(), image.affine)  # to_bytes leaves a stream in the image
        write_bytes(derivatives / layout.mask_file(subject), copy.to_bytes())
        _write_version_b(derivatives, subject, looks, seed, (voxels, mask, image))
        _write_surfaces(derivatives, subject, looks, seed)
        _write_version_a(derivatives, subject, looks, seed)
    return BoldMomentsSettings(root)


def _numbers() -> list[int]:
    first = layout.FIRST_TEST_NUMBER
    return [*range(1, N_TRAIN + 1), *range(first, first + N_TEST)]


def _planted(looks: FloatArray, n_voxels: int, seed: int, *names: str) -> _Responses:
    train, test = plant_responses(looks, N_TRAIN, n_voxels, _REPETITIONS, seed, *names)
    return _Responses(train.astype(np.float64), test.astype(np.float64))


def _voxels_of(seed: int, subject: str) -> tuple[dict[str, IntArray], Any]:
    """Choose the voxels of each native ROI among the voxels of the mask, and the mask."""
    areas = [name for name in layout.published_voxels("B")[subject] if name not in (layout.GENERAL, layout.WHOLE_BRAIN)]
    n_voxels = len(areas) * _VOXELS_PER_AREA + _UNNAMED_VOXELS
    rng = generator(seed, "places", subject)
    mask = np.zeros(np.prod(_GRID), dtype=bool)
    mask[rng.choice(mask.size, n_voxels, replace=False)] = True
    order = rng.permutation(n_voxels)
    voxels_of: dict[str, IntArray] = {
        area: np.sort(order[k * _VOXELS_PER_AREA : (k + 1) * _VOXELS_PER_AREA]) for k, area in enumerate(areas)
    }
    voxels_of[layout.GENERAL] = np.sort(order[: n_voxels // 3])
    voxels_of[layout.WHOLE_BRAIN] = np.arange(n_voxels)
    return voxels_of, mask.reshape(_GRID)


def _write_version_b(
    derivatives: Path, subject: str, looks: FloatArray, seed: int, volume: tuple[dict[str, IntArray], Any, Any]
) -> None:
    voxels_of, mask, image = volume
    responses = _planted(looks, int(mask.sum()), seed, subject, "B")
    grid = np.argwhere(mask)
    for name, voxels in voxels_of.items():
        path = derivatives / layout.roi_file("B", subject, name)
        # The names of what lies beside the responses are not published; only that there are indices and a mask.
        write_bytes(path, responses.roi_file(voxels, roi_indices=(grid[voxels], image)))
        if name != layout.WHOLE_BRAIN:
            where = (grid[voxels], voxels, image)
            write_bytes(derivatives / layout.roi_index_file(subject, name), pickle.dumps(where, protocol=5))
    for part, data in responses.whole_brain_files(image).items():
        write_bytes(derivatives / layout.whole_brain_file("MNI152", subject, part), data)


def _write_surfaces(derivatives: Path, subject: str, looks: FloatArray, seed: int) -> None:
    cortex = _planted(looks, sum(N_GRAYORDINATES), seed, subject, "fsLR32k")
    for part, data in cortex.whole_brain_files().items():
        write_bytes(derivatives / layout.whole_brain_file("fsLR32k", subject, part), data)
    for side in layout.HEMISPHERES:
        hemisphere = _planted(looks, N_VERTICES, seed, subject, side)
        for part, data in hemisphere.whole_brain_files().items():
            write_bytes(derivatives / layout.whole_brain_file("fsaverage", subject, part, side), data)


def _write_version_a(derivatives: Path, subject: str, looks: FloatArray, seed: int) -> None:
    published = layout.published_voxels("A")[subject]
    for tr in (None, *range(1, 10)):
        responses = _planted(looks, len(published) * _VOXELS_PER_AREA, seed, subject, "A", str(tr))
        for number, name in enumerate(published):
            first, after = number * _VOXELS_PER_AREA, (number + 1) * _VOXELS_PER_AREA
            voxels = np.arange(0 if name == layout.WHOLE_BRAIN else first, after)
            chosen: dict[layout.Voxels, IntArray] = {"allvoxel": voxels, "reliable": voxels[:-1]}
            for kind, some in chosen.items():
                write_bytes(derivatives / layout.roi_file("A", subject, name, kind, tr), responses.roi_file(some))


def _by_rank(looks: FloatArray, words: Sequence[str]) -> list[str]:
    """Give each clip one of some words, by the rank of the mean of its numbers."""
    ranks = np.argsort(np.argsort(looks.mean(axis=1)))
    return [words[rank * len(words) // len(looks)] for rank in ranks]


def _annotation(number: int, seed: int, shade: str, motion: str) -> dict[str, object]:
    """Describe a clip with the keys of the dataset; descriptions say how bright it is and how much it changes."""
    rng = generator(seed, "annotation", number)
    words = ["circle", "stripe", "texture", "flicker", "drift"]
    five = [str(word) for word in rng.choice(words, 5)]
    return {
        "bmd_matrixfilename": f"vid{number:04d}",
        "MiT_url": "",
        "MiT_filename": "",
        "set": "train" if number < layout.FIRST_TEST_NUMBER else "test",
        "objects": [[word] for word in five],
        "scenes": five,
        "actions": five,
        "text_descriptions": [f"{shade} {word} {motion}" for word in five],
        "spoken_transcription": f"a {five[0]} moves",
        "memorability_score": round(float(rng.uniform(0.5, 1.0)), 4),
        "memorability_decay": round(float(rng.uniform(-0.01, 0.0)), 6),
        "THINGS_uniqueID": [[word] for word in five],
        "PLACES365_classID": ["0"] * 5,
        "MiT_classID": ["0"] * 5,
    }
