"""The nested search of a whole brain at real size: all voxels of one subject at once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.simulation import TrackSize, simulate_responses
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.base import PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings
from voxelcast.store.memory import peak_mb


@dataclass(frozen=True)
class WholeBrainBenchmark:
    """What the whole brain of one subject took.

    Parameters
    ----------
    n_voxels, n_layers, threads : int
    encoders : tuple of str
    wall_seconds, cpu_seconds : float
        Search, nested cross-validation, selection, refit and prediction.
    peak_mb : float
        Highest resident memory of the process, simulation of the responses included.
    true_layer : str
    found : PairResult
    """

    n_voxels: int
    n_layers: int
    threads: int
    encoders: tuple[str, ...]
    wall_seconds: float
    cpu_seconds: float
    peak_mb: float
    true_layer: str
    found: PairResult

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        right = sum(choice.layer == self.true_layer for choice in self.found.nested_choices)
        scores = self.found.voxel_scores
        score = float("nan") if scores is None else float(np.nanmean(scores))
        return [
            f"{self.n_voxels} voxels of one subject, {self.n_layers} layers, {', '.join(self.encoders)}, nested "
            f"cross-validation, one process, {self.threads} BLAS thread{'s' if self.threads > 1 else ''}",
            f"wall time: {self.wall_seconds:.1f} s (processor time {self.cpu_seconds:.1f} s)",
            f"peak memory: {self.peak_mb * 1e6 / 2**30:.2f} GiB",
            f"true layer found in {right} of {len(self.found.nested_choices)} outer folds; selection score "
            f"{self.found.chosen.score:.4f}, nested score {score:.4f}",
        ]


def benchmark_whole_brain(
    n_voxels: int,
    size: TrackSize,
    *,
    threads: int = 1,
    encoders: Sequence[str] = ("pls",),
    seed: int = 0,
) -> WholeBrainBenchmark:
    """Time the nested search of one subject's whole brain on simulated responses.

    The voxels are searched together: layer, encoder and params are chosen for all of them. Features are given and
    fixed. Memory holds the responses (n_train x n_voxels, in float64) three times and the moments of the folds of one
    layer (n_folds x n_components x n_voxels); there is no copy of the responses for each fold.

    Parameters
    ----------
    n_voxels : int
        The default is a subject of the Algonauts 2021 full track.
    size : TrackSize
    threads : int
        Of the linear algebra; most products are too small to be worth a second one.
    encoders : sequence of str
    seed : int
    """
    spaces = size.simulate(seed)
    true_layer = spaces[size.n_layers // 2]
    responses = simulate_responses(true_layer.features[: size.n_train], n_voxels, seed)
    fold_ids = make_folds(size.n_train, size.n_folds, seed)
    with threadpool_limits(limits=threads):
        start, cpu_start = time.perf_counter(), time.process_time()
        chosen = [get_encoder(name) for name in encoders]
        found = search_pair(responses, spaces, chosen, fold_ids, PairSettings(seed=seed))
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    return WholeBrainBenchmark(
        n_voxels=n_voxels,
        n_layers=size.n_layers,
        threads=threads,
        encoders=tuple(encoders),
        wall_seconds=seconds,
        cpu_seconds=cpu_seconds,
        peak_mb=peak_mb(),
        true_layer=true_layer.layer,
        found=found,
    )
