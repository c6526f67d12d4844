"""A miniature of a user's own time series: BOLD runs of two subjects with events and motion."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from voxelcast.core.seeds import generator
from voxelcast.datasets.time_series import TimeSeriesSettings
from voxelcast.store.atomic import save_array, write_text
from voxelcast.testing.miniatures import register_miniature
from voxelcast.testing.miniatures.writing import begin_miniature

SUBJECTS, RUNS, N_VOLUMES, N_VOXELS, TR, DELAY = ("ann", "bob"), ("run1", "run2", "run3"), 40, 8, 2.0, 2


@register_miniature("time_series")
def write_time_series(root: Path, seed: int) -> TimeSeriesSettings:
    """Write three runs of two subjects, the last to be held out, whose voxels follow ``face`` by two volumes."""
    begin_miniature(root, "time_series", seed, runs=list(RUNS), subjects=list(SUBJECTS))
    for run in RUNS:
        rng = generator(seed, run)
        starts = np.sort(rng.choice(np.arange(1, N_VOLUMES - DELAY), 8, replace=False))
        kinds = rng.permutation(["face", "house"] * 4)
        rows = [f"{start * TR}\t{TR}\t{kind}" for start, kind in zip(starts, kinds, strict=True)]
        write_text(root / f"{run}_events.tsv", "\n".join(["onset\tduration\ttrial_type", *rows]) + "\n")
        signal = np.zeros((N_VOLUMES, 1))
        signal[starts[kinds == "face"] + DELAY] = 1
        for subject in SUBJECTS:
            motion = rng.standard_normal((N_VOLUMES, 2))
            lines = [f"{x:.6f}\t{y:.6f}" for x, y in motion]
            write_text(root / subject / f"{run}_motion.tsv", "\n".join(["x\ty", *lines]) + "\n")
            drift = 100 + 3 * np.linspace(-1, 1, N_VOLUMES) + motion @ [0.5, -0.4]
            bold = drift[:, None] + signal + 0.3 * rng.standard_normal((N_VOLUMES, N_VOXELS))
            save_array(root / subject / f"{run}_bold.npy", bold.astype(np.float32))
    mask = np.arange(N_VOXELS) < N_VOXELS // 2
    save_array(root / "first_half.npy", mask.astype(np.uint8))
    return TimeSeriesSettings(
        root,
        bold="{subject}/{run}_bold.npy",
        tr=TR,
        events="{run}_events.tsv",
        nuisance="{subject}/{run}_motion.tsv",
        masks={"first_half": "first_half.npy"},
        test_runs=(RUNS[-1],),
    )
