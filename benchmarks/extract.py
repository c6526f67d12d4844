"""Feature extraction as in 2021, frame by frame, against ours, on the same clips in one run."""

from __future__ import annotations

import copy
import multiprocessing
import queue
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torchvision import transforms

from benchmarks.clips import ClipFrames, make_clips, write_clips
from voxelcast.core.arrays import ByteArray, FloatArray
from voxelcast.core.checks import check_option
from voxelcast.core.errors import ExecutionError, OptionError
from voxelcast.execution.machine import available_cores
from voxelcast.networks.base import Precision
from voxelcast.networks.extract import StimulusFeatures, extract, extract_from
from voxelcast.networks.hooks import capture
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.registry import load_network
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.stimuli.decode import iter_frames
from voxelcast.stimuli.sampling import FrameSampling
from voxelcast.stimuli.stimulus import Stimulus

LAYERS_25 = ("conv1", "bn1", "relu", "maxpool", "layer[1-4].?", "layer1.2.conv3", "layer2.3.conv3", "layer3.5.conv3",
             "avgpool", "fc")  # fmt: skip
_LAYERS = {("torchvision/resnet50", "cuda"): LAYERS_25}
_BATCH = {"cuda": 512, "cpu": 8}
_PATIENCE = 120  # seconds until a process must have measured its GPU
_DISTINCT = 16  # clips; they are looked at again and again


@dataclass(frozen=True)
class Extraction:
    """What is extracted, and how it is timed.

    Parameters
    ----------
    network : str
    layers : tuple of str
        Empty for those of the published comparison, where the network has one, else ``algonauts2021``.
    device : {"cpu", "cuda"}
        Or one of several, e.g. ``cuda:1``.
    precision : {"float32", "tf32", "bfloat16"}
    every : int
        Every so many frames are looked at.
    clips : int
        3-second clips of 268 x 268 pixels at 30 frames a second that ours sees; the same 16 again and again.
    reference_clips : int
        How many the 2021 way sees, in each round.
    rounds : int
        How often both ways are timed, in turns; rates are of the medians.
    gpus : int
        Also time so many GPUs at once.
    workers : int or None
        Decoders; None: as many as there are cores.

    Raises
    ------
    OptionError
        If the device is not known or a number is below 1.
    """

    network: str = "torchvision/resnet50"
    layers: tuple[str, ...] = ()
    device: str = "cpu"
    precision: Precision = "bfloat16"
    every: int = 2
    clips: int = 8
    reference_clips: int = 2
    rounds: int = 1
    gpus: int = 1
    workers: int | None = None

    def __post_init__(self) -> None:
        check_option("device", self.device.split(":")[0], ("cpu", "cuda"))
        if min(self.every, self.clips, self.reference_clips, self.rounds, self.gpus) < 1:
            raise OptionError("every, clips, reference clips, rounds and gpus must be at least 1")

    @property
    def n_frames(self) -> int:
        """Frames looked at in one clip."""
        return -(-90 // self.every)

    @property
    def n_warm(self) -> int:
        """Clips seen before anything is timed: the first calls load code and start processes."""
        return max(1, min(self.clips, 1024 // self.n_frames)) if self.device.startswith("cuda") else 1

    def load(self, precision: Precision | None = None) -> ModuleNetwork:
        """Load the network with random weights."""
        network = load_network(
            self.network,
            weights="random",
            layers=self.layers or _LAYERS.get((self.network, self.device.split(":")[0]), ("algonauts2021",)),
            device=self.device,
            precision=precision or self.precision,
        )
        assert isinstance(network, ModuleNetwork)
        return network

    def decoded(self, clips: Sequence[ByteArray]) -> ClipFrames:
        """Return the frames looked at, in memory."""
        return ClipFrames([clip[:: self.every] for clip in clips], 30 / self.every)


@dataclass(frozen=True)
class ExtractBenchmark:
    """Frames a second of every way, and how far features are from those of single precision.

    Parameters
    ----------
    extraction : Extraction
    machine : str
    n_layers, n_decoders : int
    reference : float
        Frame by frame as in 2021, from files.
    forward : float
        The forward pass alone, one batch again and again.
    from_memory, from_files : float
        Ours, to features in main memory.
    by_gpus : mapping of int to float
        Ours from memory on so many GPUs at once, a process each.
    largest_error : float
        Over layers, ``max |x - r| / max |r|`` with the features r of single precision, frame by frame.
    least_correlation : float
        Over layers, between x and r.
    """

    extraction: Extraction
    machine: str
    n_layers: int
    n_decoders: int
    reference: float
    forward: float
    from_memory: float
    from_files: float
    by_gpus: dict[int, float]
    largest_error: float
    least_correlation: float

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        e = self.extraction
        lines = [
            f"{e.network}, {self.n_layers} layers pooled over time, {e.clips} clips of 268 x 268, 3 s at 30 "
            f"frames/s, {e.n_frames} frames of each, {e.precision}, on {self.machine}",
            f"as in 2021, frame by frame: {self.reference:.1f} frames/s",
            f"forward pass alone: {self.forward:.0f} frames/s",
            f"voxelcast from decoded frames: {self.from_memory:.0f} frames/s, "
            f"{self.from_memory / self.reference:.2f} times 2021, {self.from_memory / self.forward:.0%} of the forward "
            "pass alone",
            f"voxelcast from mp4 files, {self.n_decoders} decoders: {self.from_files:.0f} frames/s, "
            f"{self.from_files / self.reference:.2f} times 2021, {self.from_files / self.from_memory:.0%} of that from "
            "decoded frames",
            f"against single precision frame by frame: largest error {self.largest_error:.1e} of a layer's largest, "
            f"least correlation {self.least_correlation:.6f}",
        ]
        lines += [
            f"{n} GPUs: {rate:.0f} frames/s, {rate / self.by_gpus[1]:.2f} times one"
            for n, rate in self.by_gpus.items()
            if n > 1
        ]
        return lines


def benchmark_extract(extraction: Extraction) -> ExtractBenchmark:
    """Time both ways, in turns."""
    e = extraction
    n_decoders = e.workers or available_cores()
    clips = make_clips(min(e.clips, _DISTINCT))
    with tempfile.TemporaryDirectory() as folder:
        paths = write_clips(clips, Path(folder))
        ours, plain = e.load(), e.load("float32")
        stimuli = [Stimulus(f"clip{i:04d}", paths[i % len(paths)]) for i in range(e.clips)]
        memory = e.decoded(clips)
        decoders: Any = "processes" if e.device.startswith("cuda") else "threads"
        sampling = FrameSampling(every=e.every)
        settings = ExtractionSettings(sampling)
        ways: dict[str, Callable[[Sequence[Stimulus]], Iterator[Any]]] = {
            "memory": lambda stimuli: extract_from(memory, ours, stimuli),
            "files": lambda stimuli: extract(ours, stimuli, settings, workers=n_decoders, decoders=decoders),
            "reference": lambda stimuli: frame_by_frame(plain, stimuli, sampling),
        }
        seen = {"memory": e.clips, "files": e.clips, "reference": e.reference_clips}
        for what, way in ways.items():
            timed(way(stimuli[: 1 if what == "reference" else e.n_warm]))
        seconds: dict[str, list[float]] = {what: [] for what in ways}
        for _ in range(e.rounds):
            for what, way in ways.items():
                seconds[what].append(timed(way(stimuli[: seen[what]])))
        rates = {what: e.n_frames * seen[what] / float(np.median(times)) for what, times in seconds.items()}
        few = stimuli[:2]
        error, correlation = _compare(
            (r.features for r in extract_from(memory, ours, few) if isinstance(r, StimulusFeatures)),
            _single_precision(plain, memory, len(few)),
        )
        forward = _forward_alone(ours)
    return ExtractBenchmark(
        extraction=e,
        machine=_machine(e.device),
        n_layers=len(ours.layers),
        n_decoders=n_decoders,
        reference=rates["reference"],
        forward=forward,
        from_memory=rates["memory"],
        from_files=rates["files"],
        by_gpus={n: _on_gpus(e, n) for n in sorted({1, e.gpus})} if e.gpus > 1 else {},
        largest_error=error,
        least_correlation=correlation,
    )


def frame_by_frame(
    network: ModuleNetwork, stimuli: Sequence[Stimulus], sampling: FrameSampling
) -> Iterator[dict[str, FloatArray]]:
    """Extract features as in 2021: a frame at a time through PIL, every layer to main memory, the mean there.

    Yields
    ------
    features : dict from layer to ndarray of shape (n_features,)
    """
    card = network.card
    module = copy.deepcopy(network.module).to(memory_format=torch.contiguous_format)
    module.requires_grad_(True)  # nobody switched it off
    look = transforms.Compose(
        [transforms.Resize((card.input_size,) * 2), transforms.ToTensor(), transforms.Normalize(card.mean, card.std)]
    )
    for stimulus in stimuli:
        kept: dict[str, list[FloatArray]] = {layer: [] for layer in network.layers}
        for chunk in iter_frames(stimulus, sampling):
            for frame in chunk.frames:
                inputs = look(Image.fromarray(frame)).unsqueeze(0).to(network.device)
                with capture(module, network.layers) as captured:
                    module(inputs)
                for layer, values in captured.items():
                    kept[layer].append(values.detach().cpu().numpy().ravel())
        # Features x frames, as the 2021 pipeline stacked them.
        yield {layer: np.mean(np.stack(values, axis=1), axis=1) for layer, values in kept.items()}


def _single_precision(network: ModuleNetwork, memory: ClipFrames, n: int) -> Iterator[dict[str, FloatArray]]:
    """Extract features frame by frame, in single precision, from the same frames and resized as ours are."""
    for position in range(n):
        total: dict[str, FloatArray] = {}
        n_frames = 0
        for chunk in memory.chunks(position):
            for frame in chunk.frames:
                for layer, values in network.activations(network.prepare(frame[None])).items():
                    total[layer] = total.get(layer, 0.0) + values[0].double().cpu().numpy().ravel()
                n_frames += 1
        yield {layer: values / n_frames for layer, values in total.items()}


def _compare(found: Iterator[Any], expected: Iterator[dict[str, FloatArray]]) -> tuple[float, float]:
    errors, correlations = [], []
    for ours, theirs in zip(found, expected, strict=True):
        for layer, reference in theirs.items():
            errors.append(float(np.abs(ours[layer] - reference).max() / np.abs(reference).max()))
            correlations.append(float(np.corrcoef(ours[layer], reference)[0, 1]))
    return max(errors), min(correlations)


def timed(work: Iterator[Any]) -> float:
    """Give the seconds that an iteration to its end takes."""
    started = time.perf_counter()
    for _ in work:
        pass
    return time.perf_counter() - started


def _forward_alone(network: ModuleNetwork) -> float:
    """Give frames a second of the network without pooling, in its own precision, on a batch of its own size."""
    on_gpu = network.device.type == "cuda"
    size = network.card.input_size
    batch = _BATCH[network.device.type]
    frames = torch.randn(batch, 3, size, size, device=network.device)
    seconds = []
    for _ in range(6):
        if on_gpu:
            torch.cuda.synchronize(network.device)
        started = time.perf_counter()
        network.output(frames)
        if on_gpu:
            torch.cuda.synchronize(network.device)
        seconds.append(time.perf_counter() - started)
    return batch / float(np.median(seconds[1:]))


def _on_gpus(extraction: Extraction, n: int) -> float:
    """Give frames a second of ours from memory, in one process for each of ``n`` GPUs."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(n), context.Queue()
    each = [replace(extraction, device=f"cuda:{number}") for number in range(n)]
    processes = [context.Process(target=_one_gpu, args=(one, barrier, results)) for one in each]
    for process in processes:
        process.start()
    try:
        spans = [results.get(timeout=_PATIENCE) for _ in processes]
    except queue.Empty as error:
        raise ExecutionError(f"a process of {n} GPUs gave no result in {_PATIENCE} s; see its message above") from error
    for process in processes:
        process.join()
    # The clock is the machine's: the same in all processes.
    seconds: float = max(end for _, end in spans) - min(start for start, _ in spans)
    return n * extraction.clips * extraction.n_frames / seconds


def _one_gpu(extraction: Extraction, barrier: Any, results: Any) -> None:
    torch.cuda.set_device(extraction.device)
    network = extraction.load()
    memory = extraction.decoded(make_clips(min(extraction.clips, _DISTINCT)))
    stimuli = [Stimulus(f"clip{i:04d}", Path("clip")) for i in range(extraction.clips)]
    timed(extract_from(memory, network, stimuli[: max(1, 1024 // extraction.n_frames)]))
    barrier.wait()
    started = time.monotonic()
    timed(extract_from(memory, network, stimuli))
    results.put((started, time.monotonic()))


def _machine(device: str) -> str:
    if device == "cuda":
        return f"one {torch.cuda.get_device_name(0)}"
    return f"{torch.get_num_threads()} threads of a CPU"
