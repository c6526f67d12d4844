"""How much memory and disk it takes to extract and compress all layers of a network for a whole dataset."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.clips import ClipFrames, make_clips
from benchmarks.mini_track import peak_bytes
from voxelcast.execution.machine import check_disk
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import pca_scores, raw_gram
from voxelcast.features.rows import RowFile
from voxelcast.networks.base import Network, Precision
from voxelcast.networks.extract import StimulusFeatures, extract_from
from voxelcast.networks.registry import load_network
from voxelcast.stimuli.stimulus import Stimulus

_SHARD = 32
_DISTINCT = 8


@dataclass(frozen=True)
class MemoryBenchmark:
    """What it took.

    Parameters
    ----------
    n_stimuli, n_frames : int
    features : dict from layer to int
        Numbers per stimulus.
    components : int
    disk_bytes : int
        Announced before the first stimulus.
    used_bytes : int
        That the files took in the end.
    extracted_bytes, peak_bytes : int
        Largest resident memory of the process up to the end of extraction, and of all.
    extract_seconds, compress_seconds : float
    """

    n_stimuli: int
    n_frames: int
    features: dict[str, int]
    components: int
    disk_bytes: int
    used_bytes: int
    extracted_bytes: int
    peak_bytes: int
    extract_seconds: float
    compress_seconds: float

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        frames = self.n_stimuli * self.n_frames
        return [
            f"extraction: {frames} frames in {self.extract_seconds:.1f} s, {frames / self.extract_seconds:.1f} "
            f"frames/s; peak resident memory {self.extracted_bytes / 2**30:.2f} GiB",
            f"disk: {self.used_bytes / 1e9:.3f} GB taken, {self.disk_bytes / 1e9:.3f} GB announced",
            f"exact PCA to {self.components} of each of {len(self.features)} layers: {self.compress_seconds:.1f} s; "
            f"peak resident memory of the whole {self.peak_bytes / 2**30:.2f} GiB",
        ]


def benchmark_memory(
    network: str = "torchvision/vgg19",
    *,
    layers: Sequence[str] = ("algonauts2021",),
    device: str = "cpu",
    precision: Precision = "float32",
    every: int = 4,
    n_stimuli: int = 40,
    components: int = 250,
    scratch: str | None = None,
    announce: Callable[[str], None] = print,
) -> MemoryBenchmark:
    """Extract all layers for simulated 3-second clips, write them to disk, and compress each by exact PCA.

    Parameters
    ----------
    network : str
    layers : sequence of str
    device : str
    precision : {"float32", "tf32", "bfloat16"}
    every : int
        Look at every so many frames of 90.
    n_stimuli : int
    components : int
        At most ``n_stimuli - 1`` are kept.
    scratch : str or None
        Folder for the features; None: a temporary one, which is removed.
    announce : callable
        Is told the disk space needed before anything is written.

    Raises
    ------
    UnwritableError
        If there is too little disk.
    """
    loaded = load_network(network, weights="random", layers=tuple(layers), device=device, precision=precision)
    clips = [clip[::every] for clip in make_clips(min(_DISTINCT, n_stimuli))]
    source = ClipFrames(clips, 30 / every, shifted=True)
    first = next(iter(extract_from(source, loaded, [Stimulus("clip", Path("clip"))])))
    assert isinstance(first, StimulusFeatures)
    features = {layer: values.size for layer, values in first.features.items()}
    needed = 4 * n_stimuli * sum(features.values())
    kept = min(components, n_stimuli - 1)
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        announce(
            f"{network}, {len(features)} layers, {n_stimuli} stimuli of {len(clips[0])} frames, {precision} on "
            f"{device}: {needed / 1e9:.3f} GB of scratch disk"
        )
        check_disk(Path(folder), needed)
        started = time.perf_counter()
        shards = _extract(loaded, source, n_stimuli, Path(folder))
        extracted, extract_seconds = peak_bytes(), time.perf_counter() - started
        used = sum(path.stat().st_size for paths in shards.values() for path in paths)
        rows = np.arange(n_stimuli)
        started = time.perf_counter()
        for paths in shards.values():
            pca_scores(raw_gram(FeatureMatrix(paths)), rows, kept)
        compress_seconds = time.perf_counter() - started
    return MemoryBenchmark(
        n_stimuli, len(clips[0]), features, kept, needed, used, extracted, peak_bytes(), extract_seconds,
        compress_seconds,
    )  # fmt: skip


def _extract(network: Network, source: ClipFrames, n_stimuli: int, folder: Path) -> dict[str, list[Path]]:
    """Write each layer's features, a file for every 32 stimuli as an experiment does; return the files by layer."""
    paths: dict[str, list[Path]] = {layer: [] for layer in network.layers}
    stimuli = [Stimulus(f"clip{k:04d}", Path("clip")) for k in range(n_stimuli)]
    with ExitStack() as stack:
        files: dict[str, RowFile] = {}
        for place, result in enumerate(extract_from(source, network, stimuli)):
            assert isinstance(result, StimulusFeatures)
            if place % _SHARD == 0:
                stack.pop_all().close()
                for layer, values in result.features.items():
                    paths[layer].append(folder / f"{layer}-{place // _SHARD:04d}.npy")
                    files[layer] = stack.enter_context(RowFile(paths[layer][-1], values.shape))
            for layer, values in result.features.items():
                files[layer].append(values)
    return paths
