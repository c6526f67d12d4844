"""A small folder of BOLD runs with events and motion, with a planted response."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

RUNS = ("run1", "run2", "run10")
N_VOLUMES, TR, SHAPE = 40, 2.0, (3, 4, 2)
SETTINGS: dict[str, Any] = {
    "bold": "{subject}/{subject}_{run}_bold.nii",
    "tr": TR,
    "events": "{run}_events.tsv",
    "nuisance": "{subject}/{run}_motion.txt",
    "masks": {"all_voxels": "mask.nii", "four": "atlas.nii[2]"},
}


def write_series(root: Path, subjects: tuple[str, ...] = ("ann", "bob"), noise: float = 0.1) -> np.ndarray:
    """Write runs whose every voxel follows the condition ``face`` 2 TR later; return the mask."""
    rng = np.random.default_rng(0)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    mask = rng.random(SHAPE) < 0.7
    atlas = np.zeros(SHAPE, np.int16)
    atlas.flat[[1, 5, 6, 20]] = 2
    nib.save(nib.Nifti1Image(mask.astype(np.uint8), affine), root / "mask.nii")
    nib.save(nib.Nifti1Image(atlas, affine), root / "atlas.nii")
    for run in RUNS:
        starts = np.sort(rng.choice(np.arange(1, N_VOLUMES - 2), 8, replace=False))
        kinds = rng.permutation(["face", "house"] * 4)
        rows = [f"{start * TR}\t{TR}\t{kind}" for start, kind in zip(starts, kinds, strict=True)]
        (root / f"{run}_events.tsv").write_text("\n".join(["onset\tduration\ttrial_type", *rows]) + "\n")
        signal = np.zeros(N_VOLUMES)
        signal[starts[kinds == "face"] + 2] = 1
        for subject in subjects:
            (root / subject).mkdir(exist_ok=True)
            motion = rng.standard_normal((N_VOLUMES, 2))
            np.savetxt(root / subject / f"{run}_motion.txt", motion)
            drift = 100 + 3 * np.linspace(-1, 1, N_VOLUMES) + motion @ [5.0, -4.0]
            volumes = (drift + signal) + noise * rng.standard_normal((*SHAPE, N_VOLUMES))
            image = nib.Nifti1Image(volumes.astype(np.float32), affine)
            nib.save(image, root / subject / f"{subject}_{run}_bold.nii")
    return mask
