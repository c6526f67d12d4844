"""How much memory and disk it takes to extract and compress all layers of a network for a whole dataset."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from benchmarks.clips import ClipFrames, make_clips
from voxelcast.execution.machine import check_disk
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import PCAOptions, gram_matrices, pca_scores
from voxelcast.networks.base import Network, Precision
from voxelcast.networks.extract import StimulusFeatures, extract_from
from voxelcast.networks.registry import load_network
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.memory import peak_mb
from voxelcast.store.result import ResultWriter, StepResult

_SHARD = 32
_DISTINCT = 8


@dataclass(frozen=True)
class Extraction:
    """What is extracted and compressed.

    Parameters
    ----------
    network : str
    layers : tuple of str
    device : str
    precision : {"float32", "tf32", "bfloat16"}
    every : int
        Look at every so many frames of 90.
    stimuli : int
    components : int
        At most ``stimuli - 1`` are kept.
    """

    network: str = "torchvision/vgg19"
    layers: tuple[str, ...] = ("algonauts2021",)
    device: str = "cpu"
    precision: Precision = "float32"
    every: int = 4
    stimuli: int = 40
    components: int = 250


@dataclass(frozen=True)
class MemoryBenchmark:
    """What it took.

    Parameters
    ----------
    extraction : Extraction
    n_frames : int
        Of each stimulus.
    features : dict from layer to int
        Numbers per stimulus.
    components : int
    disk_bytes : int
        Announced before the first stimulus.
    used_bytes : int
        That the files took in the end.
    extracted_mb, peak_mb : float
        Largest resident memory of the process up to the end of extraction, and of all.
    extract_seconds, compress_seconds : float
    """

    extraction: Extraction
    n_frames: int
    features: dict[str, int]
    components: int
    disk_bytes: int
    used_bytes: int
    extracted_mb: float
    peak_mb: float
    extract_seconds: float
    compress_seconds: float

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        frames = self.extraction.stimuli * self.n_frames
        return [
            f"extraction: {frames} frames in {self.extract_seconds:.1f} s, {frames / self.extract_seconds:.1f} "
            f"frames/s; peak resident memory {self.extracted_mb * 1e6 / 2**30:.2f} GiB",
            f"disk: {self.used_bytes / 1e9:.3f} GB taken, {self.disk_bytes / 1e9:.3f} GB announced",
            f"exact PCA to {self.components} of each of {len(self.features)} layers: {self.compress_seconds:.1f} s; "
            f"peak resident memory of the whole {self.peak_mb * 1e6 / 2**30:.2f} GiB",
        ]


def benchmark_memory(
    extraction: Extraction, *, scratch: str | None = None, announce: Callable[[str], None] = print
) -> MemoryBenchmark:
    """Extract all layers for simulated 3-second clips, write them to disk, and compress each by exact PCA.

    Parameters
    ----------
    extraction : Extraction
    scratch : str or None
        Folder for the features; None: a temporary one, which is removed.
    announce : callable
        Is told the disk space needed before anything is written.

    Raises
    ------
    UnwritableError
        If there is too little disk.
    """
    e = extraction
    network = load_network(e.network, weights="random", layers=e.layers, device=e.device, precision=e.precision)
    clips = [clip[:: e.every] for clip in make_clips(min(_DISTINCT, e.stimuli))]
    source = ClipFrames(clips, 30 / e.every, shifted=True)
    first = next(iter(extract_from(source, network, [Stimulus("clip", Path("clip"))])))
    assert isinstance(first, StimulusFeatures)
    features = {layer: values.size for layer, values in first.features.items()}
    needed = 4 * e.stimuli * sum(features.values())
    kept = min(e.components, e.stimuli - 1)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        announce(
            f"{e.network}, {len(features)} layers, {e.stimuli} stimuli of {len(clips[0])} frames, {e.precision} on "
            f"{e.device}: {needed / 1e9:.3f} GB of scratch disk"
        )
        check_disk(Path(folder), needed)
        started = time.perf_counter()
        shards = _extract(network, source, e.stimuli, Path(folder))
        extracted_mb, extract_seconds = peak_mb(), time.perf_counter() - started
        used = sum(path.stat().st_size for path in shards)
        started = time.perf_counter()
        for layer in network.layers:
            matrix = FeatureMatrix([StepResult(path).stored(layer) for path in shards])
            pca_scores(next(gram_matrices(matrix, [None])), np.arange(e.stimuli), PCAOptions(kept))
        compress_seconds = time.perf_counter() - started
    return MemoryBenchmark(
        e, len(clips[0]), features, kept, needed, used, extracted_mb, peak_mb(), extract_seconds, compress_seconds
    )


def _extract(network: Network, source: ClipFrames, n_stimuli: int, folder: Path) -> list[Path]:
    """Write all layers' features, a file for every 32 stimuli as an experiment does; return the files."""
    stimuli = [Stimulus(f"clip{k:04d}", Path("clip")) for k in range(n_stimuli)]
    paths: list[Path] = []
    results = extract_from(source, network, stimuli)
    for shard in range(0, n_stimuli, _SHARD):
        writer = ResultWriter(folder / f"{shard:04d}.npz")
        for result in islice(results, _SHARD):
            assert isinstance(result, StimulusFeatures)
            for layer, values in result.features.items():
                writer.rows(layer, values.shape).append(values)
        writer.close()
        paths.append(writer.path)
    return paths
