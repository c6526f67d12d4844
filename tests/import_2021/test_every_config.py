"""Every configuration of the 2021 repository is imported and run, cut down, with the network that it names."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.golden import inside
from tests.import_2021.test_convert import AUTO, SEARCHED, write_train
from voxelcast.core.progress import Silent
from voxelcast.datasets.formats.simulated import write_responses, write_videos
from voxelcast.datasets.simulation.plan import SimulationPlan
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings_file import load_config
from voxelcast.import_2021.convert import import_2021

SIMCLR = "simclr_r50_2x_sk1_100pct"
PLAN = SimulationPlan(
    seed=3,
    n_train=15,
    n_test=3,
    voxels={"sub01": {"V1": 5}},
    drivers={"V1": ("any", "early")},
    fps=4,
    seconds=1.0,
    size=32,
)


@dataclass(frozen=True)
class Config2021:
    """What tells a configuration from the others; None where it does not say."""

    model: str
    reduction: str = "pca_50"
    filter: str | None = "mean"
    rate: int | None = None
    encoder: str = "partial_ls"
    merged: bool | None = None

    def write(self, path: Path) -> Path:
        """Write it as the repository has it."""
        said: dict[str, Any] = {"feature_model": self.model, "dim_reduction": self.reduction}
        said |= {"filter_type": self.filter} if self.filter else {}
        said |= {"sampling_rate": self.rate} if self.rate else {}
        without = () if self.filter else ("filter_type",)
        if self.merged is not None:
            said |= {"merge_layer_features": self.merged, "autosklearn_config": AUTO}
            return write_train(path, said, without=SEARCHED)
        return write_train(path, said, without=without, net_config={"encoding_model": self.encoder})


_ARCHITECTURES = (
    *("alexnet", "efficientnet_b3", "resnet101", "resnet152", "resnet18", "resnet34", "resnext50_32x4d", "vgg"),
)
_ENCODERS = ("cca", "pls_canonical", "elastic_net", "mlp_network", "linear_regression", "omp")
_FILTERS = ("1d-pca", "bold-kernel-1", "bold-kernel-2", "bold-kernel-3")
_SIMCLR = {
    "pca_100": ("r152_2x_sk1", "r152_3x_sk1", "r50_1x_sk0", "r50_2x_sk1"),
    "pca_250": ("r50_1x_sk0", "r50_2x_sk1"),
    "pca_50": (
        *("r101_1x_sk0", "r101_1x_sk1", "r101_2x_sk0", "r101_2x_sk1"),
        *("r152_2x_sk1", "r152_3x_sk1", "r50_2x_sk1"),
    ),
}
_VONE = ("vone-cornets", "vone-resnet50", "vone-resnet50_at", "vone-resnet50_ns")
CONFIGS = [
    Config2021("alexnet", "pca_100", None, encoder="elastic_net"),
    *(Config2021(model) for model in _ARCHITECTURES),
    *(Config2021(f"barlow_twins_{part}_20ep", rate=2) for part in ("1p", "10p")),
    *(
        Config2021("resnet50", f"{method}_{n}")
        for method, n in product(("autoencoder", "mds", "pca", "umap"), (50, 100, 250))
    ),
    *(Config2021("resnet152", encoder=encoder) for encoder in _ENCODERS),
    *(Config2021(model, filter=name) for model, name in product(("resnet50", "resnet152"), _FILTERS)),
    *(Config2021(SIMCLR, filter=name, rate=1) for name in ("mean", "median")),
    *(Config2021(SIMCLR, f"pca_{n}", rate=2) for n in (60, 70, 75)),
    *(Config2021(SIMCLR, filter=f"mean_sr_{rate}") for rate in (1, 2, 3)),
    *(Config2021(f"simclr_{name}_100pct", reduction) for reduction, names in _SIMCLR.items() for name in names),
    *(Config2021(model, reduction) for model, reduction in product(_VONE, ("pca_50", "pca_100"))),
    *(Config2021(SIMCLR, "pca_75", rate=2, merged=merged) for merged in (False, True)),
    # The whole brain's: their subject and ROI come from the cluster config.
    *(Config2021(SIMCLR, "pca_75", rate=2, merged=merged) for merged in (False, True)),
    Config2021(SIMCLR, "pca_75", rate=2),
]
"""All 71, in the order of their folders."""


def _overrides(config: Config2021, root: Path) -> list[str]:
    """Cut a configuration down to 18 small clips, and its network to what runs in seconds."""
    size = 64 if config.model == "alexnet" else 32
    changes = [
        f"dataset={{kind: simulated, root: {root}}}",
        *("networks.0.weights=random", f"networks.0.input_size={size}", "compress.components=4", "folds.n=3"),
        *("interval.resamples=100", "significance.permutations=0", "compute.workers=1"),
    ]
    if config.filter in ("mean", None) and config.rate is None:
        changes.append("frames={n: 1}")
    if config.encoder in ("elastic_net", "mlp_network") or config.merged is None:
        changes.append("search.trials=2")
    if config.merged is not None:
        changes += [
            "networks.0.layers=['depth:0.5', 'depth:1']",
            "encoders=[flaml]",
            "automl.seconds=1",
            "folds.nested=false",
        ]
    if config.model.startswith("simclr_r152"):
        changes.append("networks.0.layers=['depth:0', 'depth:1']")
    if not config.reduction.startswith("pca"):
        changes += ["networks.0.layers=['depth:0.5']", "compress.fit=once"]
    return changes


@pytest.fixture(scope="module")
def simulation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighteen clips of four frames, and five voxels."""
    root = tmp_path_factory.mktemp("simulation")
    write_videos(PLAN, root)
    write_responses(PLAN, root, {("any", "early"): np.random.default_rng(0).standard_normal((18, 30))})
    return root


def test_there_are_as_many_as_in_the_repository() -> None:
    assert len(CONFIGS) == 71
    assert len({config.model for config in CONFIGS}) == 23
    assert Counter(config.encoder for config in CONFIGS)["partial_ls"] == 64


@pytest.mark.slow
@pytest.mark.parametrize("model", dict.fromkeys(config.model for config in CONFIGS))
def test_every_configuration_runs(model: str, simulation: Path, tmp_path: Path) -> None:
    """Those of one network share what it extracts."""
    pytest.importorskip("timm")
    for number, config in enumerate(CONFIGS):
        if config.model != model:
            continue
        pytest.importorskip({"umap": "umap"}.get(config.reduction.partition("_")[0], "numpy"))
        train = config.write(tmp_path / f"c{number}.json")
        for as_in_2021 in (False, True):
            file = tmp_path / f"c{number}.yaml"
            file.write_text(import_2021(train, as_in_2021=as_in_2021).experiment)
            settings = load_config(file, _overrides(config, simulation))
        with inside.in_process():
            summary = run_experiment(settings, tmp_path / f"out{number}", store=tmp_path / "store", progress=Silent())
        scores = pd.read_csv(tmp_path / f"out{number}" / "scores.csv")
        assert list(scores["roi"]) == ["V1"], json.dumps(str(config))
        assert np.isfinite(np.load(tmp_path / f"out{number}" / "predictions" / "sub01_V1.npy")).all()
        assert summary.output == tmp_path / f"out{number}"
