"""The 2021 repository's code and ours on the same videos, weights and responses: how far apart are their numbers?

The repository runs as it is, from a temporary copy; `benchmarks.inside_2021` says what is put in the place of what it
imports and is not there. In the copy the numbers of videos, 1102 and 1000, are those of the simulation.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from benchmarks.simulation import PairSize
from voxelcast.api.extraction import extract
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, MissingFileError
from voxelcast.datasets.formats.simulated import write_responses, write_videos
from voxelcast.datasets.simulation.plan import SimulationPlan
from voxelcast.encoders.registry import get_encoder
from voxelcast.experiment.run import run_experiment
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps.extract import network_of
from voxelcast.features.compress import compress_folds
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.import_2021.convert import import_2021
from voxelcast.search.base import GivenFeatures
from voxelcast.search.folds import folds_2021
from voxelcast.search.training import PairData, training

_VIDEOS = "AlgonautsVideos268_All_30fpsmax"
_INSIDE = Path(__file__).with_name("inside_2021.py")
_CONFIG = Path("configs/train/roi/architectures/pls_pca_50_alexnet.json")
_COMPONENTS, _FOLDS, _RATE, _VIDEOS_TRAIN = 50, 10, 2, 1000
_TORCHVISION = {"alexnet": "alexnet", "vgg": "vgg19", "resnet18": "resnet18", "resnet50": "resnet50"}
_SETTINGS: dict[str, tuple[str, list[dict[str, float]]]] = {
    "partial_ls": ("pls_2021", [{"n_components": k} for k in (1, 5, 50)]),
    "pls_canonical": ("pls_canonical_2021", [{"n_components": k} for k in (1, 5, 20)]),
    "cca": ("cca_2021", [{"n_components": k} for k in (1, 5, 20)]),
    "omp": ("omp", [{"n_nonzero_coefs": k} for k in (1, 5, 20)]),
    "elastic_net": (
        "elastic_net_2021",
        [{"alpha": a, "l1_ratio": s} for a in (0.01, 0.25) for s in (0.01, 0.505)],
    ),
    "linear_regression": ("ols", [{"lambda_reg": 1e-7}, {"lambda_reg": 0.1}]),
}


@dataclass(frozen=True)
class Comparison:
    """What is compared: a checkout of the repository, simulated videos, and the networks whose features are."""

    checkout: Path
    n_train: int = 70
    n_test: int = 10
    n_voxels: int = 30
    trials: int = 3
    networks: tuple[str, ...] = ("alexnet", "resnet18", "simclr_r50_1x_sk0_100pct")
    shown: int = 4
    """Videos of which the features of the networks after the first are compared."""

    def plan(self) -> SimulationPlan:
        """Return the simulation: one subject x ROI, whose responses follow from the repository's own features."""
        driver = {"V1": ("alexnet", "layer_4")}
        return SimulationPlan(
            0,
            self.n_train,
            self.n_test,
            {"sub01": {"V1": self.n_voxels}},
            driver,
            fps=8,
            seconds=1.0,
            size=268,
            signal=0.5,
        )


@dataclass
class Differences:
    """Rows of the table, in the order of the work."""

    say: Callable[[str], None]
    rows: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.say("| what is compared | largest difference |\n|---|---|")

    def add(self, what: str, difference: float | str) -> None:
        """Add one, and say it."""
        self.rows.append((what, difference if isinstance(difference, str) else f"{difference:.1e}"))
        self.say("| {} | {} |".format(*self.rows[-1]))


def compare(comparison: Comparison, say: Callable[[str], None]) -> Differences:
    """Run both codes and return how far apart they are, each row said as a line of Markdown as soon as it is known.

    Raises MissingFileError if the folder is no checkout of the repository; DataError if it fails, with what it said.
    """
    if not (comparison.checkout / _CONFIG).is_file():
        raise MissingFileError(
            f"{comparison.checkout} has no {_CONFIG}; name a checkout of RobertTLange/algonauts-2021"
        )
    with tempfile.TemporaryDirectory() as scratch:
        return _Comparing(comparison, Path(scratch), Differences(say)).run()


class _Comparing:
    """One comparison under way in a scratch folder."""

    def __init__(self, comparison: Comparison, scratch: Path, found: Differences) -> None:
        self.asked, self.plan, self.scratch = comparison, comparison.plan(), scratch
        self.copy, self.data, self.weights = scratch / "copy", scratch / "data", scratch / "weights"
        self.found = found
        self.train, self.rows = np.arange(comparison.n_train), comparison.n_train + comparison.n_test
        self.weights.mkdir()
        shutil.copytree(comparison.checkout, self.copy, ignore=shutil.ignore_patterns(".git"))
        for file in ("utils/helper.py", "feature_compression/compress_features.py"):
            text = re.sub(r"\b1102\b", str(self.rows), (self.copy / file).read_text())
            (self.copy / file).write_text(re.sub(r"\b1000\b", str(comparison.n_train), text))
        (self.copy / "data").symlink_to(self.data)
        _make_weights([*comparison.networks, "alexnet"], self.weights)

    def run(self) -> Differences:
        """Do all of it."""
        write_videos(self.plan, self.data)
        folder = Path("data/features/alexnet/mean/sr_2")
        random, exact = self.copy / folder / f"pca_{_COMPONENTS}_random", self.copy / folder / f"pca_{_COMPONENTS}"
        first = {"folder": str(folder), "components": _COMPONENTS}
        self._inside(
            {
                "task": "extract",
                "model_type": "alexnet",
                "rate": _RATE,
                "videos": f"data/{_VIDEOS}",
                "into": str(folder),
            },
            {"task": "compress", "exact": False, **first},
        )
        exact.rename(random)
        layers = self._activations(self.copy / folder)
        write_responses(self.plan, self.data, {("alexnet", "layer_4"): layers[3]})
        self._inside(
            {"task": "compress", "exact": True, **first},
            *(
                {"task": "components", "folder": str(path), "layer": "layer_4", "into": str(self.scratch / path.name)}
                for path in (random, exact)
            ),
        )
        settings = self._imported(_CONFIG, {"weights": str(self.weights / "alexnet.pth")})
        self._features("alexnet", settings, layers)
        self._components(layers[3], settings, random, exact)
        self._encoders()
        self._whole(settings)
        for name in self.asked.networks:
            if name != "alexnet":
                self._features_of(name)
        return self.found

    def _inside(self, *tasks: Mapping[str, Any]) -> None:
        """Run tasks inside the copy."""
        file = self.scratch / "tasks.json"
        file.write_text(json.dumps({"tasks": tasks, "weights": str(self.weights)}))
        done = subprocess.run([sys.executable, str(_INSIDE), str(file)], cwd=self.copy, capture_output=True, text=True)
        if done.returncode:
            raise DataError(f"the 2021 code failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}")

    def _imported(self, config: Path, network: Mapping[str, Any]) -> ExperimentSettings:
        """Import a config of the repository, and point it at the simulation."""
        raw = yaml.safe_load(import_2021(self.copy / config, as_in_2021=True).experiment)
        raw["dataset"] = {"kind": "simulated", "root": str(self.data)}
        raw["networks"][0] |= network
        return parse_config(raw, str(config))

    def _activations(self, folder: Path, n: int | None = None) -> list[FloatArray]:
        """Read what the repository extracted, an array of shape (n_videos, n_features) for each layer."""
        names = [path.stem for path in sorted((self.data / _VIDEOS).glob("*.mp4"))][:n]
        layers = range(1, 1 + len(list((folder / "activations").glob(f"{names[0]}_layer_*.npy"))))
        return [np.stack([np.load(folder / "activations" / f"{name}_layer_{k}.npy") for name in names]) for k in layers]

    def _features_of(self, name: str) -> None:
        """Compare the features of a few videos."""
        few = self.data / f"few_{name}"
        few.mkdir()
        for path in sorted((self.data / _VIDEOS).glob("*.mp4"))[: self.asked.shown]:
            (few / path.name).symlink_to(path)
        simclr = name.startswith("simclr")
        task = {
            "task": "extract",
            "model_type": name,
            "rate": _RATE,
            "videos": f"data/{few.name}",
            "into": f"data/{name}",
        }
        self._inside(*([{"task": "make_simclr", "model_type": name}] if simclr else []), task)
        written = json.loads(re.sub(r"#.*", "", (self.copy / _CONFIG).read_text()))
        written["train_config"]["feature_model"] = name
        config = self.scratch / f"{name}.json"
        config.write_text(json.dumps(written))
        file = f"{name}.pth" if name not in _TORCHVISION else f"{_TORCHVISION[name]}.pth"
        raw = yaml.safe_load(import_2021(config, as_in_2021=True).experiment)["networks"][0]
        weights = str(self.copy / raw["weights"]) if simclr else str(self.weights / file)
        self._features(
            name, self._imported(config, {"weights": weights}), self._activations(self.data / name, self.asked.shown)
        )

    def _features(self, name: str, settings: ExperimentSettings, layers: Sequence[FloatArray]) -> None:
        """Compare the features of a network, layer by layer."""
        network = network_of(settings.networks[0], settings.seed, "cpu")
        videos = sorted((self.data / _VIDEOS).glob("*.mp4"))[: len(layers[0])]
        ours = extract(videos, network, frames=settings.frames, pool="mean")
        if [len(one[0]) for one in layers] != [one.shape[1] for one in ours.values()]:
            there, here = ([int(one.shape[-1]) for one in some] for some in (layers, ours.values()))
            self.found.add(f"features of {name}: sizes of the layers", f"{there} there, {here} here")
            return
        pairs = [(theirs, one.values) for theirs, one in zip(layers, ours.values(), strict=True)]
        self.found.add(
            f"features of {name}, {len(layers)} layers, in their standard deviations",
            max(float(np.abs(here - there).max() / there.std()) for there, here in pairs),
        )
        self.found.add(
            "the same, 1 - r", max(1 - float(np.corrcoef(here.ravel(), there.ravel())[0, 1]) for there, here in pairs)
        )

    def _components(self, layer: FloatArray, settings: ExperimentSettings, random: Path, exact: Path) -> None:
        """Compare the components of the same features."""
        (ours,) = compress_folds(FeatureMatrix([layer]), [self.train], settings.compress)
        for path, what in ((exact, "PCA in full"), (random, "scikit-learn's random solver, unseeded, as it ran")):
            theirs = np.load(self.scratch / f"{path.name}.npz")
            whole = np.concatenate([theirs["X"], theirs["X_test"]])
            signs = np.sign((whole[self.train] * ours.scores[self.train]).sum(axis=0))
            off = np.abs(whole * signs - ours.scores)
            for part, rows in (("training", self.train), ("test", np.arange(len(self.train), self.rows))):
                self.found.add(
                    f"{_COMPONENTS} components of the same features, {part} videos, {what}", float(off[rows].max())
                )

    def _encoders(self) -> None:
        """Compare every encoder on the same simulated components, as many as the challenge's videos give."""
        pair = PairSize(_VIDEOS_TRAIN + 100, _COMPONENTS, self.asked.n_voxels).simulate(0)
        train = pair.X[:_VIDEOS_TRAIN]
        mean, deviation = train.mean(axis=0), train.std(axis=0)
        X, X_test = (train - mean) / deviation, (pair.X[_VIDEOS_TRAIN:] - mean) / deviation
        Y = pair.Y[:_VIDEOS_TRAIN]
        given = self.scratch / "given.npz"
        np.savez(given, X=X, Y=Y, X_test=X_test)
        task = {"task": "score", "data": str(given)}
        self._inside(
            *(
                {**task, "encoder": name, "settings": some, "into": str(self.scratch / f"{name}.npz")}
                for name, (_, some) in _SETTINGS.items()
            )
        )
        data = PairData(Y, folds_2021(len(X), _FOLDS), _FOLDS)
        parts = training(GivenFeatures("", "", X), data)
        for name, (ours, settings) in _SETTINGS.items():
            encoder, theirs = get_encoder(ours), np.load(self.scratch / f"{name}.npz")
            wanted = [{} for _ in settings] if ours == "ols" else settings
            folds = [
                encoder.evaluate(parts, wanted, (fold,), (fold,), "pooled_2021")[0][:, 0] for fold in range(_FOLDS)
            ]
            predicted = np.stack([encoder.fit(X, Y, params).predict(X_test) for params in wanted])
            self.found.add(
                f"{name}: mean of fold scores, same components",
                float(np.abs(np.mean(folds, axis=0) - theirs["scores"]).max()),
            )
            self.found.add(
                f"{name}: predictions for test videos, in their standard deviations",
                float(np.abs(predicted - theirs["predictions"]).max() / theirs["predictions"].std()),
            )

    def _whole(self, settings: ExperimentSettings) -> None:
        """Compare whole runs, from videos to predictions."""
        config = json.loads(re.sub(r"#.*", "", (self.copy / _CONFIG).read_text()))
        searched = config["train_config"] | {"sampling_rate": _RATE, "bo_opt_iters": self.asked.trials}
        into = str(self.scratch / "search.json")
        self._inside({"task": "search", "train_config": searched, "encoder": "partial_ls", "into": into})
        output = self.scratch / "output"
        run_experiment(settings, output)
        ours = pd.read_csv(output / "search.csv")
        tried = pd.DataFrame(json.loads((self.scratch / "search.json").read_text()))
        layers = list(dict.fromkeys(ours["layer"]))
        scores = {(layers.index(row.layer), _count(row)): float(row.score) for row in _rows(ours)}
        places = tried["layer_id"].str.removeprefix("layer_").astype(int) - 1
        counts = np.minimum(tried["n_components"].to_numpy().astype(int), _COMPONENTS)
        off = [
            abs(scores[place, count] - score)
            for place, count, score in zip(places, counts, tried["corr_mean"], strict=True)
        ]
        self.found.add(f"whole run: scores of {len(off)} proposals, from videos on", max(off))
        best = float(tried["corr_mean"].max())
        self.found.add("whole run: best score, there and here", f"{best:.6f}, {max(scores.values()):.6f}")
        at = int(tried["corr_mean"].to_numpy().argmax())
        self.found.add(
            "whole run: chosen layer and components, there and here",
            f"{places.iloc[at] + 1}, {int(counts[at])}; {_shown(scores)}",
        )
        predictions = np.load(self.scratch / "search.npy")
        here = np.load(output / "predictions" / "sub01_V1.npy")
        self.found.add(
            "whole run: submission, in its standard deviations",
            float(np.abs(here - predictions).max() / predictions.std()),
        )


def _rows(table: pd.DataFrame) -> list[Any]:
    return list(table.itertuples())


def _count(row: Any) -> int:
    return int(row.hyperparameters.removeprefix("n_components="))


def _shown(scores: Mapping[tuple[int, int], float]) -> str:
    layer, count = max(scores, key=lambda key: scores[key])
    return f"{layer + 1}, {count}"


def _make_weights(networks: Sequence[str], folder: Path) -> None:
    """Save random weights of torchvision's and timm's networks."""
    import timm
    import torch
    from torchvision import models

    torch.manual_seed(0)
    for name in dict.fromkeys(networks):
        if name in _TORCHVISION:
            torch.save(
                models.get_model(_TORCHVISION[name], weights=None).state_dict(), folder / f"{_TORCHVISION[name]}.pth"
            )
        elif not name.startswith("simclr"):
            torch.save(timm.create_model(name, pretrained=False).state_dict(), folder / f"{name}.pth")
