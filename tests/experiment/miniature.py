"""Miniature datasets and experiments on which the whole way takes a few seconds."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.progress import Silent
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS, SUBJECTS
from voxelcast.datasets.simulation.plan import SimulationPlan
from voxelcast.experiment.run import Summary, run_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.simulation import simulate
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.sampling import FrameSampling

GRID = 8  # blocks per side: those over which the layer ``colour`` averages
BLOCK = 4  # pixels per block
PATTERNS = 6
FRAMES = 12
ENERGY = "voxelcast/motion_energy"


def draw(n: int, rng: np.random.Generator) -> tuple[ByteArray, FloatArray]:
    """Draw pictures (n, 32, 32, 3) of 8 x 8 blocks that mix six patterns, and how much of each, (n, 6)."""
    mixture = rng.standard_normal((n, PATTERNS))
    patterns = rng.standard_normal((PATTERNS, GRID, GRID, 3))
    blocks = np.clip(128 + 16 * np.tensordot(mixture, patterns, axes=1), 0, 255).astype(np.uint8)
    return blocks.repeat(BLOCK, axis=1).repeat(BLOCK, axis=2), mixture


def driven_responses(mixture: FloatArray, n_voxels: int, rng: np.random.Generator, noise: float = 0.5) -> FloatArray:
    """Responses (n_stimuli, n_voxels) linear in the mixture, plus noise of half the signal's deviation."""
    signal = mixture @ rng.standard_normal((PATTERNS, n_voxels))
    return np.asarray(signal + noise * signal.std() * rng.standard_normal(signal.shape))


def write_dataset(
    root: Path,
    *,
    n: int = 48,
    n_voxels: int = 5,
    videos: bool = False,
    subjects: Sequence[str] = ("ann",),
    seed: int = 0,
) -> Path:
    """Write stimuli, responses and their ids in the layout of a user's own folder, and return ``root``.

    Ids are not in the order of the files, so that a join by place would be noticed.
    """
    rng = np.random.default_rng(seed)
    shown, mixture = draw(n, rng)
    ids = [f"s{number:03d}" for number in rng.permutation(n)]
    (root / "stimuli").mkdir(parents=True)
    (root / "responses").mkdir()
    for stimulus_id, picture in zip(ids, shown, strict=True):
        if videos:
            moving = np.stack([np.roll(picture, frame % 3, axis=1) for frame in range(FRAMES)])
            write_video(root / "stimuli" / f"{stimulus_id}.mp4", moving, 6)
        else:
            Image.fromarray(picture).save(root / "stimuli" / f"{stimulus_id}.png")
    for subject in subjects:
        np.save(root / "responses" / f"{subject}.npy", driven_responses(mixture, n_voxels, rng))
    (root / "stimulus_ids.txt").write_text("\n".join(ids) + "\n")
    return root


def stimulus_ids(root: Path) -> list[str]:
    """Ids of the rows of the responses."""
    return (root / "stimulus_ids.txt").read_text().split()


def write_table(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write a CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV, every field as text."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def settings(root: Path, **changes: Any) -> dict[str, Any]:
    """Settings of a small experiment on a folder dataset; ``changes`` replace whole sections."""
    plain: dict[str, Any] = {
        "name": "miniature",
        "dataset": {"kind": "folder", "root": str(root)},
        "networks": [{"name": ENERGY, "layers": ["colour", "static.4"], "input_size": 64}],
        "frames": {"every": 3},
        "compress": {"method": "pca", "components": 8},
        "encoders": ["pls", "ridge"],
        "folds": {"n": 4, "nested": True},
        "compute": {"workers": 1},
    }
    return plain | changes


def write_settings(path: Path, plain: Mapping[str, Any]) -> Path:
    """Write an experiment file."""
    path.write_text(yaml.safe_dump(dict(plain)))
    return path


def run(plain: dict[str, Any], output: Path, store: Path | None = None) -> Summary:
    """Run an experiment in silence."""
    return run_experiment(parse_config(plain, "miniature"), output, store=store, progress=Silent())


def write_simulation(root: Path, *, n_train: int = 30, n_test: int = 6) -> Path:
    """Write a challenge of ten subjects with nine ROIs of two voxels; colour drives EBA, contrast the others."""
    plan = SimulationPlan(
        seed=1,
        n_train=n_train,
        n_test=n_test,
        voxels={subject: dict.fromkeys(MINI_ROIS, 2) for subject in SUBJECTS},
        drivers=dict.fromkeys(MINI_ROIS, (ENERGY, "static.3")) | {"EBA": (ENERGY, "colour")},
        fps=4,
        size=32,
        signal=0.6,
        n_components=5,
    )
    simulate(root, plan, [], sampling=FrameSampling(every=2), seed=1, progress=Silent())
    return root


def contents(folder: Path) -> dict[str, bytes]:
    """Every file under a folder with its bytes: what must not change."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
