"""What extraction costs beside the forward pass: each part alone, then each added to those before it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.clips import make_clips, write_clips
from benchmarks.extract import Extraction, timed
from voxelcast.execution.machine import available_cores
from voxelcast.features.pooling import sum_parts
from voxelcast.networks.decode_ahead import decoding
from voxelcast.networks.extract import extract, extract_from
from voxelcast.networks.frame_batcher import default_size
from voxelcast.networks.gpu_copies import DeviceFrames
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.row_sums import RowLayout, RowSums
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

_ROUNDS = 5


def benchmark_parts(extraction: Extraction, pools: tuple[str, ...]) -> Iterator[str]:
    """Time the parts of an extraction on one device and say each as soon as it is known; ``pools`` as a whole."""
    e, network = extraction, extraction.load()
    workers = e.workers or available_cores()
    clips = make_clips(min(e.clips, 16))
    memory, how = e.decoded(clips), ExtractionSettings(FrameSampling(every=e.every))
    n_frames = e.clips * e.n_frames
    size = default_size(network, how)
    passes = _Passes(network, size, e.n_frames)
    yield f"{e.network}, {len(network.layers)} layers, {e.precision}, {size} frames a batch; ms a batch on the device"
    yield f"forward pass alone: {passes.ms(passes.forward):.2f}"
    yield f"and layers read, nothing done with them: {passes.ms(passes.read):.2f}"
    yield f"and summed over time: {passes.ms(passes.summed):.2f} (plain sums {passes.ms(passes.plain_sums):.2f})"
    yield f"until all of that is asked for: {passes.asking():.2f} of the processor"
    chunk = torch.from_numpy(clips[0][:: e.every]).to(network.device)
    n_chunks = size / len(chunk)
    yield f"frames prepared: {n_chunks * passes.ms(lambda: network.prepare(chunk)):.2f}"
    yield f"batch joined: {passes.ms(lambda: network.join(torch.chunk(passes.frames, 12))):.2f}"
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(clips, Path(folder))
        stimuli = [Stimulus(f"clip{i:04d}", paths[i % len(paths)]) for i in range(e.clips)]
        few = stimuli[: e.n_warm]
        if network.device.type == "cuda":
            for name, prepare in (("copied to the device", _unchanged), ("and prepared", network.prepare)):
                with DeviceFrames(memory, len(stimuli), network.device, prepare) as frames:
                    seconds = timed(chunk for k in range(len(stimuli)) for chunk in frames.chunks(k))
                yield f"frames {name}, nothing else: {1000 * seconds * size / n_frames:.2f}, {n_frames / seconds:.0f}/s"
            for some in (few, stimuli):
                with decoding(some, how.sampling, chunk=64, workers=workers) as source:
                    seconds = timed(chunk for k in range(len(some)) for chunk in source.chunks(k))
            yield f"decoded by {workers} processes, nothing else: {n_frames / seconds:.0f} frames/s"
        forward = size / passes.ms(passes.forward) * 1000
        ways: dict[str, Callable[[Any, ExtractionSettings], Iterator[Any]]] = {
            "decoded frames": lambda some, settings: extract_from(memory, network, some, settings),
            "decoded frames, staying on the device": lambda some, settings: extract_from(
                memory, network, some, settings, on_device=True
            ),
            "mp4 files": lambda some, settings: extract(network, some, settings, workers=workers, decoders="processes"),
        }
        for pool in pools:
            settings = ExtractionSettings(how.sampling, (pool,))
            seen = stimuli if pool == "mean" else few
            for name, way in ways.items():
                timed(way(few, settings))
                rate = len(seen) * e.n_frames / timed(way(seen, settings))
                yield f"{pool}, from {name}: {rate:.0f} frames/s, {rate / forward:.1%} of the forward pass alone"
    if network.device.type == "cuda":
        yield f"most memory of the device: {torch.cuda.max_memory_allocated(network.device) / 1e9:.1f} GB"


class _Passes:
    """Forward passes of one batch, with what is done with its layers."""

    def __init__(self, network: ModuleNetwork, size: int, length: int) -> None:
        self._network = network
        side = network.card.input_size
        self.frames = torch.randn(size, 3, side, side, device=network.device)
        length = min(length, size)
        self._lengths = [length] * (size // length) + ([size % length] if size % length else [])
        sizes: dict[str, int] = {}
        network.stream(self.frames[:2], lambda layer, values: sizes.update({layer: values[0].numel()}))
        self._layout = RowLayout({layer: sizes[layer] for layer in network.layers})

    def forward(self) -> None:
        """Run the network alone."""
        self._network.output(self.frames)

    def read(self) -> None:
        """Read its layers, too."""
        self._network.stream(self.frames, lambda layer, values: None)

    def summed(self) -> None:
        """Sum them over time, too."""
        rows = RowSums(self._layout, self._lengths, self._network.device)
        self._network.stream(self.frames, rows.take)

    def plain_sums(self) -> None:
        """Sum them, but leave the sums as they are."""
        whole = self._lengths[0] * (len(self.frames) // self._lengths[0])
        self._network.stream(self.frames, lambda _, values: sum_parts(values[:whole], self._lengths[0]))

    def asking(self) -> float:
        """Give the ms until a pass with sums is asked for, not done."""
        self._wait()
        started = time.perf_counter()
        self.summed()
        seconds = time.perf_counter() - started
        self._wait()
        return 1000 * seconds

    def ms(self, work: Callable[[], object]) -> float:
        """Give the ms that a piece of work takes, again and again without a pause."""
        work()
        self._wait()
        started = time.perf_counter()
        for _ in range(_ROUNDS):
            work()
        self._wait()
        return 1000 * (time.perf_counter() - started) / _ROUNDS

    def _wait(self) -> None:
        if self._network.device.type == "cuda":
            torch.cuda.synchronize(self._network.device)


def _unchanged(frames: torch.Tensor) -> torch.Tensor:
    return frames
