"""Training readouts of ResNet-50's maps for ten subjects' ROIs, and how near it comes to what the device can do."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch

from voxelcast.core.seeds import generator
from voxelcast.core.torch_training import deterministic
from voxelcast.encoders.learned.head import Head, HeadSize, Shape
from voxelcast.encoders.learned.settings import ReadoutSettings
from voxelcast.encoders.learned.training import Lesson, Resident, train

_REPEATS = {"cuda": 50, "cpu": 3}


@dataclass(frozen=True)
class ReadoutTrack:
    """Sizes: by default 1,000 videos, and the nine ROIs of the ten subjects of 2021; maps are layers 2 to 4.

    ``side``: maps are averaged to so many places a side, as by the readout's setting of that name; 0: they are not.
    """

    n_videos: int = 1000
    n_voxels: int = 29_623
    n_folds: int = 10
    epochs: int = 45
    maps: tuple[Shape, ...] = ((512, 28, 28), (1024, 14, 14), (2048, 7, 7))
    side: int = ReadoutSettings().side or 0

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """Of the maps that are cached and read."""
        most = self.side or max(max(rows, columns) for _, rows, columns in self.maps)
        return tuple((channels, min(rows, most), min(columns, most)) for channels, rows, columns in self.maps)


@dataclass(frozen=True)
class ReadoutTimes:
    """Seconds of each training, of one step's forward and backward pass alone, and the number of steps."""

    track: ReadoutTrack
    device: str
    seconds: tuple[float, ...]
    limit: float
    n_steps: int

    @property
    def share(self) -> float:
        """How much of a training's time its forward and backward passes alone would take."""
        return self.limit * self.n_steps / float(np.median(self.seconds))

    def lines(self) -> list[str]:
        """Say it in plain lines."""
        track, each = self.track, float(np.median(self.seconds))
        whole = sum(self.seconds) + each * (track.n_folds + 1 - len(self.seconds))
        return [
            f"readout of {track.n_videos} videos x {track.n_voxels} voxels, {track.epochs} epochs, on {self.device}; "
            f"random maps of {', '.join('x'.join(map(str, shape)) for shape in track.shapes)}",
            f"one training: {each:.1f} s ({self.n_steps} steps of {1e3 * each / self.n_steps:.2f} ms)",
            f"{track.n_folds} folds and all stimuli: {whole:.0f} s ({len(self.seconds)} trainings measured)",
            f"forward and backward alone: {1e3 * self.limit:.2f} ms a step; training reaches {100 * self.share:.0f} %",
        ]


def benchmark_readout(track: ReadoutTrack, device: str = "cpu", trainings: int | None = None) -> ReadoutTimes:
    """Train without each fold and on all stimuli, as an experiment does; ``trainings``: only the first so many."""
    on, settings = torch.device(device), ReadoutSettings(epochs=track.epochs, seeds=1)
    torch.manual_seed(0)
    maps = tuple(torch.randn(track.n_videos, *shape, dtype=torch.float16, device=on) for shape in track.shapes)
    Y = generator(0, "benchmark", "readout").standard_normal((track.n_videos, track.n_voxels))
    size = HeadSize(track.shapes, (0,) * len(track.shapes), track.n_voxels)
    fold_ids = np.arange(track.n_videos) % track.n_folds
    seconds, n_steps = [], 0
    for left_out in range(track.n_folds + 1)[:trainings]:  # the last leaves no fold out
        rows = np.flatnonzero(fold_ids != left_out)
        started = time.perf_counter()
        train(Lesson(Resident(maps), size, rows, Y[rows], on), [(settings, 0)])
        seconds.append(time.perf_counter() - started)
        n_steps = n_steps or len(rows) // settings.batch * track.epochs
    batch = [values[: settings.batch] for values in maps]
    return ReadoutTimes(track, device, tuple(seconds), _forward_and_backward(size, batch, settings, on), n_steps)


def _forward_and_backward(
    size: HeadSize, batch: list[torch.Tensor], settings: ReadoutSettings, device: torch.device
) -> float:
    """Return the seconds of one forward and backward pass; on a GPU of recorded ones."""
    with deterministic(0):
        head = Head(size, settings).to(device)
        wanted = torch.zeros(len(batch[0]), size.n_voxels, device=device)

        def once() -> None:
            head.zero_grad(set_to_none=True)
            torch.autograd.backward((head(batch, [None] * len(batch)) - wanted).square().mean())

        repeats, run = _REPEATS[device.type], once
        if device.type == "cuda":
            stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            with torch.cuda.stream(stream):
                once()
                once()
            torch.cuda.synchronize()
            head.zero_grad(set_to_none=True)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=stream):
                once()
            run = graph.replay
        run()
        _wait(device)
        started = time.perf_counter()
        for _ in range(repeats):
            run()
        _wait(device)
        return (time.perf_counter() - started) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()
