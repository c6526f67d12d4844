"""The demonstration: a small simulated challenge, analysed like a real one, and compared with its truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from voxelcast.challenges import challenge_of
from voxelcast.core.arrays import FloatArray
from voxelcast.core.progress import Progress
from voxelcast.core.seeds import derive_seed
from voxelcast.datasets.formats.simulated import SimulatedDataset, SimulatedSettings
from voxelcast.datasets.simulation.plan import SimulationPlan, simulation_preset
from voxelcast.datasets.simulation.videos import draw_clip
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.layers import extraction_steps
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import load_config
from voxelcast.experiment.simulation import DEFAULT_DRIVERS, simulate
from voxelcast.experiment.steps.extract import feature_name
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.models.encoder import load_encoder
from voxelcast.networks.settings import NetworkSettings
from voxelcast.stimuli.encode import write_video
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.store.atomic import write_text
from voxelcast.store.steps import StepStore

_N_NEW = 3
_RESNET: dict[str, Any] = {"name": "torchvision/resnet18", "weights": "random", "input_size": 64}


@dataclass(frozen=True)
class Recovered:
    """One ROI: the layer that was planted, the layer that was found, and how similar their features are.

    ``similarity`` is linear centred kernel alignment, 1 for the same layer.
    """

    roi: str
    planted: str
    found: str
    similarity: float


@dataclass(frozen=True)
class Demonstration:
    """What the demonstration left and found."""

    output: Path
    mean_score: float
    submission: str
    recovered: tuple[Recovered, ...]
    predicted: Mapping[str, Mapping[str, float]]
    """Mean predicted response to each of three new videos, by ROI, of the first subject."""


def demonstrate(folder: Path, progress: Progress) -> Demonstration:
    """Simulate ten subjects in ``folder/data``, run ``folder/experiment.yaml`` and compare with the truth."""
    data = folder / "data"
    plan = simulation_preset("demo", DEFAULT_DRIVERS)
    resnet = NetworkSettings(**{**_RESNET, "layers": ("*",)})
    simulate(data, plan, [resnet], sampling=FrameSampling(every=2), seed=0, progress=progress)
    if not (folder / "experiment.yaml").is_file():
        write_text(folder / "experiment.yaml", _EXPERIMENT + yaml.safe_dump(_settings(data), sort_keys=False))
    config = load_config(folder / "experiment.yaml")
    summary = run_experiment(config, folder / "output", progress=progress)
    dataset = SimulatedDataset(SimulatedSettings(data))
    checked = challenge_of([dataset]).check(folder / "output" / "submission" / "mini_track.zip", [dataset])
    assert summary.mean_score is not None  # nested cross-validation is on: there is a score
    found, output = recovered(config, folder / "output"), folder / "output"
    return Demonstration(output, summary.mean_score, checked, found, predict_new(folder / "new_videos", output, plan))


def predict_new(videos: Path, output: Path, plan: SimulationPlan) -> dict[str, dict[str, float]]:
    """Draw three videos that nobody has seen and predict the responses to them by the saved models."""
    for number in range(_N_NEW):
        path = videos / f"new_{number + 1}.mp4"
        if not path.is_file():
            videos.mkdir(exist_ok=True)
            write_video(path, draw_clip(derive_seed(plan.seed, "new"), number, plan.n_frames, plan.size), plan.fps)
    encoder = load_encoder(output, subject=plan.subjects[0])
    predictions = encoder.predict(videos)
    return {
        name: {roi: float(array[row].mean()) for (_, roi), array in predictions.arrays.items()}
        for row, name in enumerate(predictions.ids)
    }


_EXPERIMENT = """# Written by `voxelcast demo`. Run it again, or a copy with other settings:
#   voxelcast run demo/experiment.yaml --output demo/output
"""


def _settings(data: Path) -> dict[str, object]:
    return {
        "name": "demo",
        "dataset": {"kind": "simulated", "root": str(data)},
        "networks": [
            {"name": "voxelcast/motion_energy", "layers": ["static.*", "motion.3", "motion.4", "colour"]},
            {**_RESNET, "layers": ["maxpool", "layer4"]},
        ],
        "frames": {"every": 2},
        "pool": "mean",
        "compress": {"method": "pca", "components": 20},
        "encoders": ["pls", "ridge"],
        "search": {"method": "exact", "metric": "pearson_r"},
        "folds": {"n": 10, "nested": True},
        "compute": {"keep_scratch": True},  # features are compared with those planted
    }


def recovered(config: ExperimentSettings, output: Path) -> tuple[Recovered, ...]:
    """Compare, for each ROI, the layer with the best selection score (mean over subjects) with the planted one."""
    plan = Plan(config, StepStore(output / "steps"))
    truth = SimulatedDataset(SimulatedSettings(config.dataset.root)).truth()
    search = pd.read_csv(output / "search.csv")
    best = search.groupby(["roi", "network", "layer", "subject"])["score"].max().groupby(level=[0, 1, 2]).mean()
    extracted = extraction_steps(plan)

    def features(network: str, layer: str) -> FeatureMatrix:
        results = [plan.store.read(step.step_id) for step in extracted[network].steps]
        return FeatureMatrix([result.stored(feature_name(layer)) for result in results])

    rows = []
    for roi, (network, layer) in truth["plan"]["drivers"].items():
        found_network, found_layer = best[roi].idxmax()
        similarity = linear_cka(_kernel(features(network, layer)), _kernel(features(found_network, found_layer)))
        rows.append(Recovered(roi, f"{network} {layer}", f"{found_network} {found_layer}", similarity))
    return tuple(rows)


def _kernel(matrix: FeatureMatrix) -> FloatArray:
    features = matrix.columns(0, matrix.shape[1])
    centred = features - features.mean(axis=0)
    return np.asarray(centred @ centred.T)


def linear_cka(K: FloatArray, L: FloatArray) -> float:
    """Similarity of two feature spaces: ``<K, L> / (|K| |L|)`` of their centred Gram matrices (n_stimuli, n_stimuli).

    References
    ----------
    .. [1] Kornblith, S. et al. Similarity of neural network representations revisited. ICML (2019).
       https://arxiv.org/abs/1905.00414
    """
    return float((K * L).sum() / (np.linalg.norm(K) * np.linalg.norm(L)))


def all_recovered(rows: Sequence[Recovered], least: float = 0.95) -> bool:
    """Whether every ROI's layer was found, or one whose features are as similar as ``least``."""
    return all(row.similarity >= least for row in rows)
