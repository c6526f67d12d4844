"""A miniature of the Algonauts 2021 challenge: both tracks, and the test responses in ``truth/``."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np

from voxelcast.core.seeds import derive_seed, generator
from voxelcast.datasets.formats import algonauts2021 as layout
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS, N_REPETITIONS, SUBJECTS, Algonauts2021Settings
from voxelcast.store.atomic import save_array, write_bytes
from voxelcast.testing.miniatures import register_miniature
from voxelcast.testing.miniatures.writing import begin_miniature, plant_responses, write_clips

N_SUBJECTS, N_TRAIN, N_TEST, N_TEST_REPETITIONS = 2, 60, 12, 10


@register_miniature("algonauts2021")
def write_algonauts2021(root: Path, seed: int) -> Algonauts2021Settings:
    """Write two subjects, nine ROIs of 4 to 8 voxels, a whole brain of 30 to 40, and 60 + 12 clips."""
    rng = generator(seed, "voxels", "algonauts2021")
    voxels = {
        subject: {roi: int(rng.integers(4, 9)) for roi in MINI_ROIS} | {layout.WHOLE_BRAIN: int(rng.integers(30, 41))}
        for subject in SUBJECTS[:N_SUBJECTS]
    }
    begin_miniature(root, "algonauts2021", seed, n_train=N_TRAIN, n_test=N_TEST, voxels=voxels)
    names = [f"{number:04d}_simulated-{derive_seed(seed, 'name', number)}.mp4" for number in range(1, 73)]
    looks = write_clips([root / layout.VIDEO_FOLDER / name for name in names], seed)
    for subject, counts in voxels.items():
        for roi, n_voxels in counts.items():
            repetitions = (N_REPETITIONS, N_TEST_REPETITIONS)
            train, test = plant_responses(looks, N_TRAIN, n_voxels, repetitions, seed, subject, roi)
            content = {"train": train}
            if roi == layout.WHOLE_BRAIN:
                content["voxel_mask"] = _mask(n_voxels, seed, subject)
            path = layout.response_path(root / layout.RESPONSE_FOLDER, subject, roi)
            write_bytes(path, pickle.dumps(content, protocol=4))
            save_array(layout.true_test_path(root, subject, roi), test)
    return Algonauts2021Settings(root)


def _mask(n_voxels: int, seed: int, subject: str) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    mask = np.zeros(layout.MASK_SHAPE)
    # Some millimetres apart in the middle of the volume, so that maps of them look like maps.
    inside = np.indices((30, 30, 30)).reshape(3, -1).T + np.array([24, 32, 20])
    chosen = generator(seed, "mask", subject).choice(len(inside), n_voxels, replace=False)
    mask[tuple(inside[chosen].T)] = 1
    return mask
