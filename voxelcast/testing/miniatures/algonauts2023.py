"""A miniature of the Algonauts 2023 challenge, with the test responses beside the test images."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray
from voxelcast.core.seeds import derive_seed, generator
from voxelcast.datasets.base import SPLITS
from voxelcast.datasets.formats import algonauts2023 as layout
from voxelcast.datasets.formats.algonauts2023 import Algonauts2023Settings
from voxelcast.store.atomic import save_array
from voxelcast.testing.miniatures import register_miniature
from voxelcast.testing.miniatures.writing import begin_miniature, plant_responses, write_clips, write_dict

N_TRAIN, N_TEST, N_VERTICES, N_MESH = 40, 12, (36, 42), 163_842
SUBJECTS = layout.SUBJECTS[:2]
_AREAS = ("V1v", "V1d", "hV4", "EBA", "FFA-1", "PPA", "OWFA", "early", "lateral")
"""Areas that the miniature's subjects have; each on some vertices of both hemispheres."""


@register_miniature("algonauts2023")
def write_algonauts2023(root: Path, seed: int) -> Algonauts2023Settings:
    """Write two subjects with 40 + 12 images of their own, in the layout of the challenge.

    ``test_split/test_fmri`` holds three presentations of each test image, which the challenge does not give away.
    """
    sizes = {"n_train": N_TRAIN, "n_test": N_TEST, "n_vertices": list(N_VERTICES), "subjects": list(SUBJECTS)}
    begin_miniature(root, "algonauts2023", seed, **sizes)
    for subject in SUBJECTS:
        _write_subject(root / subject, subject, seed)
    return Algonauts2023Settings(root)


def _write_subject(folder: Path, subject: str, seed: int) -> None:
    looks = _write_images(folder, derive_seed(seed, subject))
    for index, side in enumerate(layout.HEMISPHERES):
        train, test = plant_responses(looks, N_TRAIN, N_VERTICES[index], (1, 3), seed, subject, side)
        save_array(layout.response_path(folder, side, "train"), train[:, 0])
        save_array(layout.response_path(folder, side, "test"), test)
        _write_masks(folder, side, N_VERTICES[index], derive_seed(seed, subject, side))
    for name, areas in layout.ROI_CLASSES.items():
        write_dict(layout.mapping_path(folder, name), {0: "Unknown"} | dict(enumerate(areas, start=1)))


def _write_images(folder: Path, seed: int) -> FloatArray:
    """Write the images; return what drives the responses, a row per image."""
    numbers = np.sort(generator(seed, "nsd numbers").choice(73_000, N_TRAIN + N_TEST, replace=False))
    names = {"train": numbers[:N_TRAIN], "test": numbers[N_TRAIN:]}
    paths = [
        layout.image_folder(folder, split) / f"{split}-{position:04d}_nsd-{number:05d}.png"
        for split in SPLITS
        for position, number in enumerate(names[split], start=1)
    ]
    return write_clips(paths, seed)


def _write_masks(folder: Path, side: layout.Hemisphere, n_vertices: int, seed: int) -> None:
    mesh = np.zeros(N_MESH, dtype=np.int64)
    # Among the first vertices, those of fsaverage5, which pictures of maps show.
    on_mesh = np.sort(generator(seed, "mesh").choice(10_242, n_vertices, replace=False))
    mesh[on_mesh] = 1
    save_array(layout.mask_path(folder, side, "all-vertices", "fsaverage"), mesh)
    for name, areas in layout.ROI_CLASSES.items():
        labels = np.zeros(n_vertices, dtype=np.int64)
        for number, area in enumerate(areas, start=1):
            if area in _AREAS:
                labels[np.arange(n_vertices) % len(areas) == number - 1] = number
        save_array(layout.mask_path(folder, side, name), labels)
        whole = np.zeros(N_MESH, dtype=np.int64)
        whole[on_mesh] = labels
        save_array(layout.mask_path(folder, side, name, "fsaverage"), whole)
