"""A fit of files that are larger than the memory it may take, in a process of its own, and the same fit in memory."""

from __future__ import annotations

import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from voxelcast.api.large import fit_large
from voxelcast.core.arrays import FloatArray, IntArray, blocks
from voxelcast.core.errors import ExecutionError
from voxelcast.core.seeds import generator
from voxelcast.encoders.registry import get_encoder, list_encoders
from voxelcast.search.base import GivenFeatures
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings, SelectionSettings
from voxelcast.store.memory import peak_mb, reset_peak

_COMPARED = 50  # voxels


@dataclass(frozen=True)
class LargeFit:
    """Sizes of the files, in numbers of 8 bytes, and the bytes that the fit may hold."""

    stimuli: int = 10_000
    features: int = 100
    voxels: int = 19_000
    folds: int = 4
    memory: float = 300e6
    scratch: str | None = None


def benchmark_large(fit: LargeFit) -> Iterator[str]:
    """Draw features and responses to disk, fit them, and compare some voxels with the same fit in memory."""
    with tempfile.TemporaryDirectory(dir=fit.scratch) as name:
        folder = Path(name)
        X = generator(0, "large").standard_normal((fit.stimuli, fit.features))
        np.save(folder / "X.npy", X)
        _write_responses(fit, X, folder / "Y.npy")
        sizes = [(folder / name).stat().st_size / 1e6 for name in ("X.npy", "Y.npy")]
        yield f"features {sizes[0]:.0f} MB, responses {sizes[1]:.0f} MB; memory allowed: {fit.memory / 1e6:.0f} MB"
        fold_ids = np.arange(fit.stimuli) % fit.folds
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            before, peak, seconds, together, scores = pool.submit(_fitted, fit, folder, fold_ids).result()
        yield (
            f"held at most: {peak - before:.0f} MB, and {before:.0f} of Python and its libraries; {together} voxels at "
            f"a time; {seconds:.0f} s of the processor; score {np.nanmean(scores):.4f}"
        )
        shown = np.linspace(0, fit.voxels - 1, _COMPARED).astype(int)
        Y = np.array(np.load(folder / "Y.npy", mmap_mode="r")[:, shown])
        settings = PairSettings(selection=SelectionSettings("voxel"))
        with threadpool_limits(limits=1):
            expected = search_pair(Y, [GivenFeatures("given", "layer", X)], [get_encoder("ridge")], fold_ids, settings)
        assert expected.voxel_scores is not None
        gap = np.abs(scores[shown] - expected.voxel_scores).max()
        yield f"{_COMPARED} voxels fitted in memory: scores differ by at most {gap:.1e}"


def _write_responses(fit: LargeFit, X: FloatArray, path: Path) -> None:
    rng = generator(0, "large", "responses")
    weights = rng.standard_normal((fit.features, fit.voxels)) / fit.features**0.5
    np.lib.format.open_memmap(path, "w+", np.float64, (fit.stimuli, fit.voxels))
    for rows in blocks(fit.stimuli, 8 * fit.voxels, 2**26):
        noise = rng.standard_normal((rows.stop - rows.start, fit.voxels))
        np.load(path, mmap_mode="r+")[rows] = 0.5 * X[rows] @ weights + noise


def _fitted(fit: LargeFit, folder: Path, fold_ids: IntArray) -> tuple[float, float, float, int, FloatArray]:
    if not reset_peak():
        raise ExecutionError("the peak of a fit's memory can be measured on Linux alone; run this on a Linux machine")
    list_encoders()  # imports what a fit imports
    before, started = peak_mb(), time.process_time()
    with threadpool_limits(limits=1):
        found = fit_large(folder / "X.npy", folder / "Y.npy", folder / "out", memory=fit.memory, folds=fold_ids)
    seconds = time.process_time() - started
    return before, peak_mb(), seconds, found.attrs["voxels_at_a_time"], np.asarray(found["score"])
