"""Extraction with large networks of transformers against their forward pass alone, in turns, in one run."""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from voxelcast.core.arrays import ByteArray
from voxelcast.core.seeds import generator
from voxelcast.networks.base import Precision
from voxelcast.networks.clips import ClipNetwork
from voxelcast.networks.extract import extract_from
from voxelcast.networks.frame_batcher import default_size
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.precision import same_bits
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.decode import FrameChunk
from voxelcast.stimuli.stimulus import Stimulus

_DEPTHS = ("0.2", "0.4", "0.6", "0.8", "1.0")
_CLIPS = 8  # per forward pass on a GPU; one on a CPU
_GIANT: dict[str, tuple[str, dict[str, Any], str, dict[str, Any]]] = {
    "V-JEPA2-g": (
        "vjepa2",
        {
            "hidden_size": 1408,
            "num_hidden_layers": 40,
            "num_attention_heads": 22,
            "mlp_ratio": 48 / 11,
            "crop_size": 256,
            "frames_per_clip": 64,
            "pred_hidden_size": 24,
            "pred_num_hidden_layers": 1,
            "pred_num_attention_heads": 2,
        },
        "VJEPA2VideoProcessor",
        {"size": {"shortest_edge": 292}, "crop_size": {"height": 256, "width": 256}},
    ),
    "ViT-g": (
        "vit",
        {
            "hidden_size": 1408,
            "num_hidden_layers": 40,
            "num_attention_heads": 16,
            "intermediate_size": 6144,
            "image_size": 224,
            "patch_size": 14,
        },
        "ViTImageProcessor",
        {"size": {"height": 224, "width": 224}},
    ),
}
_SMALL: dict[str, Any] = {"hidden_size": 48, "num_hidden_layers": 5, "num_attention_heads": 2}


@dataclass(frozen=True)
class GiantExtraction:
    """What is timed: ``stimuli`` videos of 64 frames, in memory; ``small`` takes narrow networks of five layers."""

    device: str = "cuda"
    precision: Precision = "bfloat16"
    stimuli: int = 32
    rounds: int = 3
    small: bool = False

    def load(self, name: str, folder: Path) -> ModuleNetwork:
        """Build a network from its config, with random weights."""
        import transformers

        kind, config, processor, sizes = _GIANT[name]
        config = {**config, **(_SMALL if self.small else {})}
        if self.small and name == "ViT-g":
            config["intermediate_size"] = 96
        transformers.AutoConfig.for_model(kind, **config).save_pretrained(folder)
        getattr(transformers, processor)(**sizes).save_pretrained(folder)
        length = {"clip_length": 4} if self.small and kind == "vjepa2" else {}
        network = load_network(
            f"hf:{folder}",
            layers=_DEPTHS,
            weights="random",
            precision=self.precision,
            device=self.device,
            **length,
        )
        assert isinstance(network, ModuleNetwork)
        return network


@dataclass(frozen=True)
class GiantTimes:
    """Median seconds of each side for the same frames, and that of the forward pass wholly in bfloat16 on a GPU."""

    name: str
    n_parameters: int
    n_frames: int
    extraction: float
    forward: float
    all_bfloat16: float | None

    @property
    def ratio(self) -> float:
        """Speed of the extraction in parts of that of the forward pass alone."""
        return self.forward / self.extraction

    def lines(self) -> list[str]:
        """Say it."""
        lines = [
            f"{self.name}: {self.n_parameters / 1e6:.0f} M parameters, {self.n_frames} frames, 5 layers pooled",
            f"extraction: {self.extraction:.3f} s, {self.n_frames / self.extraction:.0f} frames/s",
            f"forward pass alone: {self.forward:.3f} s, {self.n_frames / self.forward:.0f} frames/s",
            f"ratio: {self.ratio:.3f}",
        ]
        if self.all_bfloat16 is not None:
            part = self.all_bfloat16 / self.extraction
            lines.append(
                f"forward pass with all weights and sums in bfloat16: {self.all_bfloat16:.3f} s, ratio {part:.3f}"
            )
        return lines


class _Memory:
    """Videos in memory, as a source of frames; there are 8 different ones."""

    def __init__(self, n_frames: int, small: bool) -> None:
        size = 64 if small else 268
        draw = generator(0, "benchmark", "transformers")
        self._videos: list[ByteArray] = [draw.integers(0, 256, (n_frames, size, size, 3), np.uint8) for _ in range(8)]

    def chunks(self, position: int) -> Iterator[FrameChunk]:
        frames = self._videos[position % len(self._videos)]
        yield FrameChunk(frames, np.arange(len(frames)), np.arange(len(frames)) / 16)


def benchmark_transformers(extraction: GiantExtraction, names: tuple[str, ...] = tuple(_GIANT)) -> list[GiantTimes]:
    """Time both sides of each network."""
    found = []
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            found.append(_time(extraction, name, extraction.load(name, Path(folder))))
        gc.collect()
    return found


def _time(extraction: GiantExtraction, name: str, network: ModuleNetwork) -> GiantTimes:
    n_frames = network.card.clip_length or (8 if extraction.small else 64)
    memory = _Memory(n_frames, extraction.small)
    stimuli = [Stimulus(str(n), Path(str(n))) for n in range(extraction.stimuli)]
    settings = ExtractionSettings(spatial_pool="mean")
    on_gpu = network.device.type != "cpu"
    if isinstance(network, ClipNetwork):
        size = _CLIPS if on_gpu else 1
        batch = torch.zeros(size, 3, n_frames, *(network.card.input_size,) * 2, device=network.device)
        n_passes = -(-len(stimuli) // size)
    else:
        size = default_size(network, settings)
        batch = torch.zeros(size, 3, *(network.card.input_size,) * 2, device=network.device)
        n_passes = -(-len(stimuli) * n_frames // size)

    def extract_all() -> None:
        for _ in extract_from(memory, network, stimuli, settings):
            pass

    def forward() -> None:
        for _ in range(n_passes):
            network.output(batch)

    def plain() -> None:
        with torch.inference_mode(), same_bits():
            for _ in range(n_passes):
                network.module(batch.to(torch.bfloat16))

    sides = (extract_all, forward)
    ours, alone = _in_turns(sides, extraction.rounds, on_gpu)
    bare = None
    if on_gpu and extraction.precision == "bfloat16":
        network.module.to(torch.bfloat16)
        (bare,) = _in_turns((plain,), extraction.rounds, on_gpu)
    n = sum(weights.numel() for weights in network.module.parameters())
    return GiantTimes(name, n, len(stimuli) * n_frames, ours, alone, bare)


def _in_turns(sides: tuple[Callable[[], None], ...], rounds: int, on_gpu: bool) -> tuple[float, ...]:
    """Run each side once to warm up, then all in turns; give their median seconds."""
    seconds: list[list[float]] = [[] for _ in sides]
    for number in range(rounds + 1):
        for side, taken in zip(sides, seconds, strict=True):
            started = time.perf_counter()
            side()
            if on_gpu:
                torch.cuda.synchronize()
            if number:
                taken.append(time.perf_counter() - started)
    return tuple(median(taken) for taken in seconds)
