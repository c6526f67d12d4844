"""The tuning of a whole challenge track at real size, over worker processes."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.simulation import TrackSize, simulate_responses
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.datasets.formats.algonauts2021 import EXPECTED_VOXELS, MINI_ROIS
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import pearson_r
from voxelcast.search.base import GivenFeatures, PairContext
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings
from voxelcast.store.memory import peak_mb

_EARLY = ("V1", "V2", "V3", "V4")


def mini_track_voxels(n_subjects: int = 10) -> dict[str, dict[str, int]]:
    """Return the voxels of the first subjects of the Algonauts 2021 mini track, by subject and ROI."""
    return {
        subject: {roi: rois[roi] for roi in MINI_ROIS} for subject, rois in list(EXPECTED_VOXELS.items())[:n_subjects]
    }


@dataclass(frozen=True)
class MiniTrack:
    """What is searched, and how.

    Parameters
    ----------
    workers : int
        Number of processes.
    voxels : mapping of str to mapping of str to int
        By subject and ROI.
    size : TrackSize
    encoders : tuple of str
    nested : bool
        With nested cross-validation, about 5.5 times the work.
    n_outer : int
        Above 0: estimate by outer folds of their own instead, as the textbook has it: the whole search, with
        ``size.n_folds`` folds, is repeated on the rest of each of ``n_outer`` folds.
    seed : int

    Raises
    ------
    OptionError
        If there is no worker, or both kinds of outer folds are asked for.
    """

    workers: int = 2
    voxels: Mapping[str, Mapping[str, int]] = field(default_factory=mini_track_voxels)
    size: TrackSize = field(default_factory=TrackSize)
    encoders: tuple[str, ...] = ("pls",)
    nested: bool = False
    n_outer: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise OptionError(f"workers must be at least 1; got {self.workers}")
        if self.nested and self.n_outer:
            raise OptionError(
                f"nested and n_outer exclude each other; got nested and n_outer={self.n_outer}; choose one"
            )


@dataclass(frozen=True)
class PairFound:
    """What one pair's search found, the seconds it took, and the worker's id and peak of memory."""

    subject: str
    roi: str
    layer: str
    true_layer: str
    selection_score: float
    score: float
    seconds: float
    worker: int
    peak_mb: float


@dataclass(frozen=True)
class MiniTrackBenchmark:
    """What the track took.

    Parameters
    ----------
    track : MiniTrack
    wall_seconds : float
        From the first process started to the last result, simulation of the responses included.
    peak_mb : float
        Highest resident memory of the parent and of each worker, summed: no less than the true peak of the sum.
    pairs : tuple of PairFound
    """

    track: MiniTrack
    wall_seconds: float
    peak_mb: float
    pairs: tuple[PairFound, ...]

    def lines(self) -> list[str]:
        """Return the result in words, one fact per line."""
        track, n = self.track, len(self.pairs)
        searched = sum(pair.seconds for pair in self.pairs)
        return [
            f"{n} pairs of subject and ROI, {track.workers} worker processes, one BLAS thread each"
            f"{', nested cross-validation' if track.nested else ''}"
            f"{f', nested in {track.n_outer} outer folds of their own' if track.n_outer else ''}",
            f"wall time: {self.wall_seconds:.1f} s (search alone, summed over pairs: {searched:.1f} s)",
            f"peak memory, summed over processes: {self.peak_mb * 1e6 / 2**30:.2f} GiB",
            f"true layer found in {sum(pair.layer == pair.true_layer for pair in self.pairs)} of {n} pairs",
        ]


def benchmark_mini_track(track: MiniTrack) -> MiniTrackBenchmark:
    """Time search, selection, refit and prediction of all pairs of subject and ROI on simulated responses.

    Every pair goes through `voxelcast.search.pair.search_pair`, as in an experiment: all params of every encoder on
    every layer. Features are given and fixed.
    """
    jobs = [(subject, roi, n) for subject, rois in track.voxels.items() for roi, n in rois.items()]
    # The largest pairs first, so that no worker starts one when the others are done.
    jobs.sort(key=lambda job: -job[2])
    start = time.perf_counter()
    # Spawned, not forked: a forked process would inherit BLAS threads in an unknown state.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(track.workers, mp_context=context, initializer=start_worker, initargs=(track,)) as pool:
        pairs = tuple(pool.map(search_one, *zip(*jobs, strict=True)))
    wall_seconds = time.perf_counter() - start
    peaks: dict[int, float] = {}
    for pair in pairs:
        peaks[pair.worker] = max(peaks.get(pair.worker, 0.0), pair.peak_mb)
    return MiniTrackBenchmark(track, wall_seconds, peak_mb() + sum(peaks.values()), pairs)


class _Worker:
    """What a worker process makes once and uses for all its pairs."""

    track: MiniTrack
    spaces: list[GivenFeatures]
    limits: threadpool_limits


def start_worker(track: MiniTrack) -> None:
    """Draw the features of all layers, once for all pairs that this process will search."""
    _Worker.limits = threadpool_limits(limits=1)
    _Worker.track, _Worker.spaces = track, track.size.simulate(track.seed)


def search_one(subject: str, roi: str, n_voxels: int) -> PairFound:
    """Search one pair, in a process that `start_worker` prepared."""
    track, spaces = _Worker.track, _Worker.spaces
    size, seed = track.size, track.seed
    true_space = spaces[size.n_layers // 6 if roi in _EARLY else (3 * size.n_layers) // 4]
    responses = simulate_responses(true_space.features[: size.n_train], n_voxels, seed, subject, roi)
    fold_ids = make_folds(size.n_train, size.n_folds, seed)
    encoders = [get_encoder(name) for name in track.encoders]
    start = time.perf_counter()
    settings = PairSettings(nested=track.nested, seed=seed)
    found = search_pair(responses, spaces, encoders, fold_ids, settings, context=PairContext((subject, roi)))
    scores = _outer_scores(responses, spaces, encoders, track) if track.n_outer else found.voxel_scores
    return PairFound(
        subject=subject,
        roi=roi,
        layer=found.chosen.layer,
        true_layer=true_space.layer,
        selection_score=found.chosen.score,
        score=float("nan") if scores is None else float(np.nanmean(scores)),
        seconds=time.perf_counter() - start,
        worker=multiprocessing.current_process().pid or 0,
        peak_mb=peak_mb(),
    )


def _outer_scores(
    responses: FloatArray, spaces: Sequence[GivenFeatures], encoders: Sequence[Encoder], track: MiniTrack
) -> FloatArray:
    """Predict each outer fold by a whole search on the rest; return r per voxel, averaged over outer folds."""
    outer_ids = make_folds(track.size.n_train, track.n_outer, track.seed)
    scores = []
    for outer in range(track.n_outer):
        train, out = np.flatnonzero(outer_ids != outer), np.flatnonzero(outer_ids == outer)
        rows = np.concatenate([train, out])
        given = [GivenFeatures(space.network, space.layer, space.features[rows]) for space in spaces]
        fold_ids = make_folds(len(train), track.size.n_folds, track.seed)
        settings = PairSettings(nested=False, seed=track.seed)
        found = search_pair(responses[train], given, encoders, fold_ids, settings)
        scores.append(pearson_r(responses[out], found.predictions))
    mean: FloatArray = np.mean(scores, axis=0)
    return mean
