"""A miniature of the 2025 challenge: four subjects x 1,000 parcels, three modalities planted at different delays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from benchmarks.temporal import KERNELS, MODALITIES, MovieSize, benchmark_temporal, simulate_movies, time_medarc
from tests.experiment.miniature import read_table
from voxelcast.challenges import challenge_of
from voxelcast.core.arrays import FloatArray
from voxelcast.core.progress import Silent
from voxelcast.datasets.formats import algonauts2025 as layout
from voxelcast.datasets.formats.algonauts2025 import Algonauts2025Dataset
from voxelcast.datasets.registry import open_dataset
from voxelcast.encoders.learned.trunk_settings import TrunkSettings
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.testing.miniatures.writing import write_dict

pytestmark = [pytest.mark.usefixtures("in_process"), pytest.mark.slow]

RUNS = ("s01e01a", "s01e01b", "s01e02a", "s07e01a")
SIZE = MovieSize(runs=len(RUNS), volumes=160, features=10, patterns=3, noise=1.0)


@pytest.fixture
def challenge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, np.ndarray]:
    """Write responses, and have the dataset give the modalities as tables; return it and each parcel's modality."""
    movies, root = simulate_movies(SIZE), tmp_path / "data"
    for run in RUNS:
        layout.movie_path(root, run).parent.mkdir(parents=True, exist_ok=True)
        layout.movie_path(root, run).touch()
    for subject, responses in zip(layout.SUBJECTS, movies.responses, strict=True):
        path = layout.response_path(root, subject, "friends")
        path.parent.mkdir(parents=True)
        with h5py.File(path, "w") as file:
            for number, values in enumerate(np.split(responses, len(RUNS))[:-1]):
                file[f"ses-{number + 1:03d}_task-{RUNS[number]}"] = values.astype(np.float32)
        samples = layout.samples_path(root, subject, "friends-s7")
        samples.parent.mkdir(parents=True, exist_ok=True)
        write_dict(samples, {RUNS[-1]: SIZE.volumes})

    def features(dataset: Algonauts2025Dataset, table: str) -> FloatArray:
        stimuli = (*dataset.train_stimuli, *dataset.test_stimuli, *dataset.context_stimuli)
        at = [dataset.series[stimulus.stimulus_id] for stimulus in stimuli]
        rows = [RUNS.index(run) * SIZE.volumes + position for run, position in at]
        return movies.streams.features[MODALITIES.index(table)][rows]

    monkeypatch.setattr(Algonauts2025Dataset, "feature_tables", MODALITIES)
    monkeypatch.setattr(Algonauts2025Dataset, "features", features)
    return root, movies.modality


def test_the_modality_of_parcels_is_named_and_the_submission_passes(
    challenge: tuple[Path, np.ndarray], tmp_path: Path
) -> None:
    root, modality = challenge
    trunk = {"kind": "temporal", "width": 16, "epochs": 5, "windows": 96, "batch": 8, "learning_rate": 1e-2}
    plain: dict[str, Any] = {
        "name": "challenge",
        "dataset": {"kind": "algonauts2025", "root": str(root), "movies": ["s1"]},
        "features": list(MODALITIES),
        "delays": [0],
        "compress": {"method": "none"},
        "encoders": ["ridge"],
        "trunks": {f"{name} over time": trunk | {"streams": [name]} for name in MODALITIES},
        "selection": {"per": "voxel"},
        "folds": {"by": "group", "nested": False},
        "significance": {"permutations": 0},
        "compute": {"workers": 1},
    }
    config = parse_config(plain, "test")
    run_experiment(config, tmp_path / "out", progress=Silent())
    named = [np.load(tmp_path / "out" / "weights" / f"{subject}_parcels.npy") for subject in layout.SUBJECTS]
    assert (np.stack([weights.argmax(axis=0) % 3 for weights in named]) == modality).mean() >= 0.95
    assert all(weights[3:].sum() > 0.99 * weights.sum() for weights in named)
    assert {row["network"] for row in read_table(tmp_path / "out" / "scores.csv")} == {"trunk"}
    datasets = [open_dataset(config.dataset)]
    rules = challenge_of(datasets)
    (file,) = (tmp_path / "out").rglob("fmri_predictions_friends_s7.zip")
    read = rules.read(file, rules.shapes(datasets, "2025"))
    assert {part: values.shape for part, values in read.items()} == {
        (subject, RUNS[-1]): (SIZE.volumes, 1000) for subject in layout.SUBJECTS
    }


def test_longer_kernels_and_many_subjects_are_better() -> None:
    size = MovieSize(runs=5, volumes=200, parcels=60, features=12, patterns=3, noise=2.0)
    settings = TrunkSettings("temporal", width=24, windows=200, learning_rate=5e-3)
    lines, found = benchmark_temporal(size, settings)
    ordered = [found[f"kernel {kernel}"] for kernel in KERNELS]
    assert ordered == sorted(ordered, reverse=True), lines
    assert ordered[0] > 1.03 * found["each subject alone"]
    assert found["modality named"] >= 0.95
    assert any(line.startswith("many subjects above one: +") for line in lines)


def test_one_model_is_timed() -> None:
    settings = TrunkSettings("temporal", width=8, windows=32, epochs=1, shared_head=True)
    line, seconds = time_medarc(settings, streams=(6, 4), parcels=10)
    assert line.startswith("one model of 0.0 million weights, 1 epochs of 32 windows of 64 TR, on cpu")
    assert seconds > 0
