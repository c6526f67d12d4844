"""A miniature of a user's own folder: pictures, two subjects, two ROIs, a split and groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from voxelcast.core.seeds import generator
from voxelcast.datasets.folder_settings import FolderSettings
from voxelcast.store.atomic import save_array, write_text
from voxelcast.testing.miniatures import register_miniature
from voxelcast.testing.miniatures.writing import begin_miniature, plant_responses, write_clips

SUBJECTS, N_TRAIN, N_TEST, N_VOXELS = ("ann", "bob"), 32, 8, 6


@register_miniature("folder")
def write_folder(root: Path, seed: int) -> FolderSettings:
    """Write 32 + 8 pictures in eight groups, and the responses of two subjects to one presentation of each.

    The rows of the responses are not in the order of the files, so that a join by position would be noticed.
    """
    begin_miniature(root, "folder", seed, n_train=N_TRAIN, n_test=N_TEST)
    ids = [f"img{number:03d}" for number in generator(seed, "ids").permutation(N_TRAIN + N_TEST)]
    looks = write_clips([root / "stimuli" / f"{name}.png" for name in ids], seed)
    for subject in SUBJECTS:
        parts = plant_responses(looks, N_TRAIN, N_VOXELS, (1, 1), seed, subject)
        save_array(root / "responses" / f"{subject}.npy", np.concatenate(parts)[:, 0])
    rois = [f"{voxel},{'V1' if voxel < N_VOXELS // 2 else 'V4'}" for voxel in range(N_VOXELS)]
    splits = [f"{name},{'train' if row < N_TRAIN else 'test'}" for row, name in enumerate(ids)]
    groups = [f"{name},group{row % 8}" for row, name in enumerate(ids)]
    tables = {
        "stimulus_ids.txt": ids,
        "rois.csv": ["voxel,roi", *rois],
        "split.csv": ["stimulus_id,split", *splits],
        "groups.csv": ["stimulus_id,group", *groups],
    }
    for name, lines in tables.items():
        write_text(root / name, "\n".join(lines) + "\n")
    return FolderSettings(root)
