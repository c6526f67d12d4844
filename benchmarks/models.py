"""Saved models: what they weigh, how long they take to load, and their speed beside plain extraction."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.extract import LAYERS_25
from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.linear import LinearModel
from voxelcast.models.card import FORMAT, Card, FileCard, InputCard, LayerCard, PairCard, layer_key
from voxelcast.models.encoder import load_encoder
from voxelcast.models.layers import half_precision
from voxelcast.models.network_input import network_facts
from voxelcast.models.pair import FittedPart, take_apart
from voxelcast.models.tensors import file_sha256, write_tensors
from voxelcast.networks.base import Network
from voxelcast.networks.extract import extract_from
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import ExtractionSettings, NetworkSettings
from voxelcast.stimuli.in_memory import FramesInMemory
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

_EVERY = ExtractionSettings(FrameSampling(every=1))
_DISTINCT = 64  # images; they are looked at again and again


@dataclass(frozen=True)
class ModelCase:
    """A network's layers, components of each and voxels of a subject; images that are looked at, and where."""

    network: str = "torchvision/resnet50"
    layers: tuple[str, ...] = LAYERS_25
    components: int = 50
    voxels: int = 18_222
    images: int = 64
    size: int = 224
    device: str = "cpu"
    stacked: bool = True


@dataclass(frozen=True)
class ModelFacts:
    """Bytes of all layers and of what a subject adds, seconds of loading, images a second of both sides."""

    n_layers: int
    layer_bytes: int
    subject_bytes: int
    load_seconds: float
    extraction: float
    prediction: float

    def lines(self) -> list[str]:
        """Say it in plain lines."""
        return [
            f"{self.n_layers} layers: {self.layer_bytes / 1e6:.1f} MB for all subjects; a subject adds "
            f"{self.subject_bytes / 1e6:.1f} MB",
            f"loading, hashes checked: {self.load_seconds:.2f} s",
            f"extraction {self.extraction:.1f} images/s, prediction {self.prediction:.1f} images/s: "
            f"{100 * self.prediction / self.extraction:.0f} %",
        ]


def benchmark_models(case: ModelCase, rounds: int = 3, folder: Path | None = None) -> ModelFacts:
    """Write a model of random axes and coefficients, load it, and time extraction and prediction in turns."""
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) if folder is None else folder
        settings = NetworkSettings(case.network, case.layers, weights="random")
        network = load_network(settings, device=case.device)
        write_model(root, case, settings, network)
        started = time.perf_counter()
        encoder = load_encoder(root, device=case.device)
        for key in encoder.needed:
            encoder.layer(key)
        encoder.pair(encoder.pairs[0])
        load_seconds = time.perf_counter() - started
        encoder.network()  # the other side's is loaded, too
        rng = np.random.default_rng(0)
        distinct = rng.integers(0, 256, (min(case.images, _DISTINCT), case.size, case.size, 3), dtype=np.uint8)
        frames = {str(k): distinct[k % len(distinct)] for k in range(case.images)}
        extraction, prediction = np.inf, np.inf
        for _ in range(rounds):
            with encoder.device.alone():
                started = time.perf_counter()
                n = sum(1 for _ in _extracted(network, frames))
                extraction = min(extraction, (time.perf_counter() - started) / n)
            started = time.perf_counter()
            for _ in encoder.batches(frames):
                pass
            prediction = min(prediction, (time.perf_counter() - started) / n)
        layers = [layer.file.size for layer in encoder.card.layers.values() if layer.file]
        return ModelFacts(
            n_layers=len(layers),
            layer_bytes=sum(layers),
            subject_bytes=encoder.card.pairs[0].file.size,
            load_seconds=load_seconds,
            extraction=1 / extraction,
            prediction=1 / prediction,
        )


def _extracted(network: Network, frames: Mapping[str, Any]) -> Iterator[Any]:
    source = FramesInMemory.of(frames, _EVERY.sampling)
    return extract_from(source, network, [Stimulus(name, Path(name)) for name in source.ids], _EVERY)


def write_model(folder: Path, case: ModelCase, settings: NetworkSettings, network: Network) -> Card:
    """Write a model of random numbers in the sizes of a real one; without stacking, of the last layer alone."""
    rng = np.random.default_rng(0)
    layers: dict[str, LayerCard] = {}
    for name, n_features in _sizes(network).items():
        if not case.stacked and name != network.layers[-1]:
            continue
        p, key = min(case.components, n_features), layer_key((case.network, name))
        axes = rng.standard_normal((p, n_features), dtype=np.float32) / np.float32(np.sqrt(n_features))
        arrays: dict[str, Any] = {"mean": np.zeros(n_features, np.float32), "axes": axes}
        half = axes.size > 2**20
        if half:
            arrays["axes"], arrays["axes_scale"] = half_precision(axes)
        write_tensors(folder / "layers" / f"{key}.safetensors", arrays)
        file = _file(folder, f"layers/{key}.safetensors")
        layers[key] = LayerCard(
            input="input1",
            network=case.network,
            layer=name,
            kind="axes",
            n_features=n_features,
            n_components=p,
            half=half,
            file=file,
        )
    parts = [
        FittedPart(key, "ridge", _linear(rng, one.n_components, case.voxels), np.ones(case.voxels), one.n_components)
        for key, one in layers.items()
    ]
    cards, arrays = take_apart(parts, np.ones(case.voxels, bool), np.zeros(case.voxels), np.zeros(case.voxels))
    write_tensors(folder / "sub01.safetensors", {f"WB/{name}": array for name, array in arrays.items()})
    pair = {"subject": "sub01", "roi": "WB", "n_voxels": case.voxels, "n_valid": case.voxels, "parts": cards}
    card = Card(
        format=FORMAT,
        name="benchmark",
        voxelcast="0",
        inputs={"input1": InputCard(kind="network", facts=network_facts(settings, 0, network.card, _EVERY))},
        layers=layers,
        pairs=(PairCard.model_validate(pair | {"file": _file(folder, "sub01.safetensors")}),),
    )
    (folder / "card.json").write_text(card.text())
    return card


def _sizes(network: Network) -> dict[str, int]:
    """Count the features of each layer."""
    (found,) = _extracted(network, {"0": np.zeros((64, 64, 3), np.uint8)})
    return {layer: values.size for layer, values in found.features.items()}


def _linear(rng: np.random.Generator, p: int, q: int) -> LinearModel:
    coefficients: FloatArray = rng.standard_normal((p, q), dtype=np.float32)
    return LinearModel({}, coefficients, np.zeros(q))


def _file(folder: Path, name: str) -> FileCard:
    return FileCard(name=name, size=(folder / name).stat().st_size, sha256=file_sha256(folder / name))
