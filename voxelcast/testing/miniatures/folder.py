"""A miniature of a user's own folder: pictures, two subjects, two ROIs, a split and groups."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from voxelcast.core.seeds import generator
from voxelcast.datasets.folder import FolderSettings
from voxelcast.datasets.miniature import Miniature
from voxelcast.datasets.simulation.videos import draw_clip
from voxelcast.store.atomic import atomic_path, save_array, write_text
from voxelcast.testing.miniatures import register_miniature
from voxelcast.testing.miniatures.writing import begin_miniature, look, plant_responses

SUBJECTS, N_TRAIN, N_TEST, N_VOXELS = ("ann", "bob"), 32, 8, 6


@register_miniature("folder")
def write_folder(root: Path, seed: int) -> FolderSettings:
    """Write 32 + 8 pictures in eight groups, and the responses of two subjects to one presentation of each.

    The rows of the responses are not in the order of the files, so that a join by position would be noticed.
    """
    begin_miniature(root, Miniature("folder", seed, {"n_train": N_TRAIN, "n_test": N_TEST}))
    ids = [f"img{number:03d}" for number in generator(seed, "ids").permutation(N_TRAIN + N_TEST)]
    pictures = [draw_clip(seed, number + 1, 1, 32) for number in range(len(ids))]
    for stimulus_id, frames in zip(ids, pictures, strict=True):
        (root / "stimuli").mkdir(exist_ok=True)
        with atomic_path(root / "stimuli" / f"{stimulus_id}.png") as temporary:
            Image.fromarray(frames[0]).save(temporary, format="png")
    looks = np.stack([look(frames) for frames in pictures])
    for subject in SUBJECTS:
        parts = plant_responses(looks, N_TRAIN, N_VOXELS, (1, 1), seed, subject)
        save_array(root / "responses" / f"{subject}.npy", np.concatenate(parts)[:, 0])
    rois = [f"{voxel},{'V1' if voxel < N_VOXELS // 2 else 'V4'}" for voxel in range(N_VOXELS)]
    splits = [f"{name},{'train' if row < N_TRAIN else 'test'}" for row, name in enumerate(ids)]
    groups = [f"{name},group{row % 8}" for row, name in enumerate(ids)]
    _write_lines(root / "stimulus_ids.txt", ids)
    _write_lines(root / "rois.csv", ["voxel,roi", *rois])
    _write_lines(root / "split.csv", ["stimulus_id,split", *splits])
    _write_lines(root / "groups.csv", ["stimulus_id,group", *groups])
    return FolderSettings(root)


def _write_lines(path: Path, lines: list[str]) -> None:
    write_text(path, "\n".join(lines) + "\n")
