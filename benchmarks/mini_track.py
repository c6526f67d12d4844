"""The tuning of a whole challenge track at real size, over worker processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.simulation import simulate_features, simulate_responses
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.sample import AnyEncoder
from voxelcast.scoring.correlation import pearson_r
from voxelcast.search.base import GivenFeatures
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import PairContext, search_pair
from voxelcast.search.settings import PairSettings

# Subject 1 of the Algonauts 2021 mini track; the other subjects' regions are of the same order.
SUBJECT_1_VOXELS = {
    "V1": 232,
    "V2": 231,
    "V3": 261,
    "V4": 107,
    "LOC": 1843,
    "EBA": 351,
    "FFA": 68,
    "STS": 341,
    "PPA": 425,
}


@dataclass(frozen=True)
class PairFound:
    """What one pair's search found: the layer, its rank among the true one, the score and the seconds it took."""

    subject: str
    roi: str
    layer: str
    true_layer: str
    selection_score: float
    score: float
    seconds: float


@dataclass(frozen=True)
class MiniTrackBenchmark:
    """What the track took.

    Parameters
    ----------
    wall_seconds : float
        From the first process started to the last result, simulation of the responses included.
    search_seconds : float
        Search, selection, refit and prediction, summed over pairs.
    peak_bytes : int
        Highest resident memory of the parent and of each worker, summed: no less than the true peak of the sum.
    pairs : tuple of PairFound
    workers : int
    nested : bool
    """

    wall_seconds: float
    search_seconds: float
    peak_bytes: int
    pairs: tuple[PairFound, ...]
    workers: int
    nested: bool
    n_outer: int

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        right = sum(pair.layer == pair.true_layer for pair in self.pairs)
        return [
            f"{len(self.pairs)} pairs of subject and ROI, {self.workers} worker processes, one BLAS thread each"
            f"{', nested cross-validation' if self.nested else ''}"
            f"{f', nested in {self.n_outer} outer folds of their own' if self.n_outer else ''}",
            f"wall time: {self.wall_seconds:.1f} s (search alone, summed over pairs: {self.search_seconds:.1f} s)",
            f"peak memory, summed over processes: {self.peak_bytes / 2**30:.2f} GiB",
            f"true layer found in {right} of {len(self.pairs)} pairs",
        ]


@dataclass(frozen=True)
class _Job:
    subject: str
    roi: str
    n_voxels: int
    true_layer: int


@dataclass(frozen=True)
class _Setup:
    n_train: int
    n_test: int
    n_layers: int
    n_components: int
    n_folds: int
    encoders: tuple[str, ...]
    nested: bool
    n_outer: int
    seed: int


def benchmark_mini_track(
    workers: int = 2,
    *,
    voxel_counts: Mapping[str, Mapping[str, int]] | None = None,
    n_train: int = 1000,
    n_test: int = 102,
    n_layers: int = 25,
    n_components: int = 50,
    n_folds: int = 10,
    encoders: Sequence[str] = ("pls",),
    nested: bool = False,
    n_outer: int = 0,
    seed: int = 0,
) -> MiniTrackBenchmark:
    """Time search, selection, refit and prediction of all pairs of subject and ROI on simulated responses.

    Every pair goes through `voxelcast.search.pair.search_pair`, as in an experiment: every setting of every encoder
    on every layer. Features are given and fixed.

    Parameters
    ----------
    workers : int
        Number of processes.
    voxel_counts : mapping of str to mapping of str to int, optional
        Voxels by subject and ROI. Default: ten subjects with the regions of the first subject of the challenge.
    n_train, n_test, n_layers, n_components, n_folds : int
    encoders : sequence of str
    nested : bool
        With nested cross-validation, about 5.5 times the work.
    n_outer : int
        Above 0: judge by outer folds of their own instead, as the textbook has it: the whole search, with ``n_folds``
        folds, is repeated on the rest of each of ``n_outer`` folds.
    seed : int

    Raises
    ------
    OptionError
        If there is no worker.
    """
    if workers < 1:
        raise OptionError(f"workers must be at least 1; got {workers}")
    if nested and n_outer:
        raise OptionError(f"nested and n_outer exclude each other; got nested and n_outer={n_outer}; choose one")
    counts = voxel_counts or {f"sub{s:02d}": SUBJECT_1_VOXELS for s in range(1, 11)}
    early = {"V1", "V2", "V3", "V4"}
    jobs = [
        _Job(subject, roi, n_voxels, n_layers // 6 if roi in early else (3 * n_layers) // 4)
        for subject, rois in counts.items()
        for roi, n_voxels in rois.items()
    ]
    # The largest pairs first, so that no worker starts one when the others are done.
    jobs.sort(key=lambda job: -job.n_voxels)
    setup = _Setup(n_train, n_test, n_layers, n_components, n_folds, tuple(encoders), nested, n_outer, seed)
    start = time.perf_counter()
    # Spawned, not forked: a forked process would inherit BLAS threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(setup,)) as pool:
        done = list(pool.map(_run_job, jobs))
    wall_seconds = time.perf_counter() - start
    peaks: dict[int, int] = {}
    for _, pid, peak in done:
        peaks[pid] = max(peaks.get(pid, 0), peak)
    return MiniTrackBenchmark(
        wall_seconds=wall_seconds,
        search_seconds=sum(pair.seconds for pair, _, _ in done),
        peak_bytes=peak_bytes() + sum(peaks.values()),
        pairs=tuple(pair for pair, _, _ in done),
        workers=workers,
        nested=nested,
        n_outer=n_outer,
    )


class _Worker:
    """What a worker process makes once and uses for all its pairs."""

    setup: _Setup
    spaces: list[GivenFeatures]
    limits: threadpool_limits


def _start_worker(setup: _Setup) -> None:
    _Worker.limits = threadpool_limits(limits=1)
    _Worker.setup = setup
    n = setup.n_train + setup.n_test
    _Worker.spaces = [
        GivenFeatures("given", f"layer {k:02d}", simulate_features(n, setup.n_components, setup.seed, k))
        for k in range(setup.n_layers)
    ]


def _run_job(job: _Job) -> tuple[PairFound, int, int]:
    """Search one pair; return what it found, the process's id and its peak memory in bytes."""
    setup, spaces = _Worker.setup, _Worker.spaces
    responses = simulate_responses(
        spaces[job.true_layer].features[: setup.n_train], job.n_voxels, setup.seed, job.subject, job.roi
    )
    fold_ids = make_folds(setup.n_train, setup.n_folds, setup.seed)
    names, encoders = (job.subject, job.roi), [get_encoder(name) for name in setup.encoders]
    start = time.perf_counter()
    found = search_pair(
        responses,
        spaces,
        encoders,
        fold_ids,
        PairSettings(nested=setup.nested, seed=setup.seed),
        context=PairContext(names),
    )
    voxel_scores = found.voxel_scores
    if setup.n_outer:
        voxel_scores = _outer_scores(responses, spaces, encoders, setup)
    seconds = time.perf_counter() - start
    score = float("nan") if voxel_scores is None else float(np.nanmean(voxel_scores))
    pair = PairFound(
        subject=job.subject,
        roi=job.roi,
        layer=found.chosen.layer,
        true_layer=spaces[job.true_layer].layer,
        selection_score=found.chosen.score,
        score=score,
        seconds=seconds,
    )
    return pair, multiprocessing.current_process().pid or 0, peak_bytes()


def _outer_scores(
    responses: FloatArray, spaces: Sequence[GivenFeatures], encoders: Sequence[AnyEncoder], setup: _Setup
) -> FloatArray:
    """Predict each outer fold by a whole search on the rest; return r per voxel, averaged over outer folds."""
    outer_of_row = make_folds(setup.n_train, setup.n_outer, setup.seed)
    scores = []
    for outer in range(setup.n_outer):
        train, out = np.flatnonzero(outer_of_row != outer), np.flatnonzero(outer_of_row == outer)
        rows = np.concatenate([train, out])
        found = search_pair(
            responses[train],
            [GivenFeatures(space.network, space.layer, space.features[rows]) for space in spaces],
            encoders,
            make_folds(len(train), setup.n_folds, setup.seed),
            PairSettings(nested=False, seed=setup.seed),
        )
        scores.append(pearson_r(responses[out], found.predictions))
    mean: FloatArray = np.mean(scores, axis=0)
    return mean


def peak_bytes() -> int:
    """Return the highest resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():
        peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) * 1024
    import resource  # Not on Windows, and counts from the parent's peak on Linux.
    import sys

    peak_rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak_rss if sys.platform == "darwin" else peak_rss * 1024
