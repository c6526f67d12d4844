"""How time and memory of a search grow with the number of stimuli, features, voxels, layers and subjects."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.simulation import simulate_features
from voxelcast.core.seeds import generator
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.base import GivenFeatures
from voxelcast.search.folds import make_folds
from voxelcast.search.memory import FitSize, fit_bytes
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings

_DOUBLINGS = 3
_REPEATS = 3  # of which the fastest counts
# Of a slope over four sizes: what a busy machine's caches do to it.
TOLERANCE = 0.15


@dataclass(frozen=True)
class Work:
    """What is searched: so many subjects, one after the other, each with one ROI and every layer."""

    stimuli: int = 1000
    features: int = 50
    voxels: int = 500
    layers: int = 1
    subjects: int = 1
    folds: int = 5

    def doubled(self, what: str, times: int) -> Work:
        """Return the same with one number doubled so many times."""
        return replace(self, **{what: getattr(self, what) * 2**times})

    @property
    def size(self) -> ProblemSize:
        """Of one subject and layer."""
        return ProblemSize(self.stimuli, self.features, self.voxels)

    def operations(self, encoder: LinearEncoder) -> float:
        """Count the products and sums of the search, to leading order.

        Of n stimuli, p features, q voxels, s params and folds of m stimuli: 2 n p (p + q) for the moments of a layer,
        and for each fold and the last fit s p q + 2 m p (p + q) for the scores, and for the path 10 p**3 + 2 p**2 q
        (eigenvectors) or 4 p**2 (p + q) (p components, each of products with p x p and p x q moments).
        """
        n, p, q, m = self.stimuli, self.features, self.voxels, self.stimuli // self.folds
        path = 4.0 * p**2 * (p + q) if encoder.limited_by_rank else 10.0 * p**3 + 2.0 * p**2 * q
        scores = len(encoder.param_grid(self.size)) * p * q + 2.0 * m * p * (p + q)
        return self.subjects * self.layers * (2.0 * n * p * (p + q) + (self.folds + 1) * (path + scores))

    def bytes(self, encoder: Encoder) -> float:
        """Give the bytes that docs/memory.md states, with the features of all layers and the held-out responses."""
        fit = FitSize(self.size, 0, self.folds, self.layers, (encoder,), fitted_in_folds=False)
        return sum(fit_bytes(fit).values()) + 8.0 * self.stimuli * self.features * self.layers


MEMORY = {"stimuli": 1.0, "features": 2.0, "voxels": 1.0, "layers": 1.0, "subjects": 0.0}
"""Exponents of the memory: n (p + q), p (p + q) and the features of all layers."""
AXES = tuple(MEMORY)


@dataclass(frozen=True)
class Growth:
    """Time and memory as one number is doubled; exponents are slopes of log2 over the doublings.

    Parameters
    ----------
    encoder, axis : str
    sizes : tuple of int
    seconds : tuple of float
        Of the processor, not of the clock.
    megabytes : tuple of float
        Allocated at most, data included.
    stated : tuple of float
        Megabytes that docs/memory.md states, features included.
    stated_time : float
        Exponent of the operations that are counted.
    """

    encoder: str
    axis: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]
    megabytes: tuple[float, ...]
    stated: tuple[float, ...]
    stated_time: float

    @property
    def time(self) -> float:
        """Exponent of the time."""
        return exponent(self.seconds)

    @property
    def memory(self) -> float:
        """Exponent of the memory."""
        return exponent(self.megabytes)

    @property
    def as_stated(self) -> bool:
        """Whether neither grows faster than stated, and memory stays below its bound."""
        bounded = all(taken <= bound for taken, bound in zip(self.megabytes, self.stated, strict=True))
        slow = self.time <= self.stated_time + TOLERANCE and self.memory <= MEMORY[self.axis] + TOLERANCE
        return bounded and slow

    def line(self) -> str:
        """Return a row of a table."""
        seconds, megabytes = ", ".join(f"{s:.2f}" for s in self.seconds), ", ".join(f"{m:.3g}" for m in self.megabytes)
        return (
            f"| {self.encoder} | {self.axis} {self.sizes[0]} to {self.sizes[-1]} | {seconds} | {self.time:.2f} "
            f"({self.stated_time:.2f}) | {megabytes} | {self.memory:.2f} ({MEMORY[self.axis]:.0f}) |"
        )


def benchmark_growth(work: Work, encoders: tuple[str, ...], axes: tuple[str, ...] = AXES) -> Iterator[Growth]:
    """Double each number three times, the others as they are, and time and weigh the search of every encoder."""
    for name in encoders:
        encoder = get_encoder(name)
        assert isinstance(encoder, LinearEncoder)
        for axis in axes:
            works = [work.doubled(axis, times) for times in range(_DOUBLINGS + 1)]
            measured = [_measured(one, encoder) for one in works]
            yield Growth(
                encoder=name,
                axis=axis,
                sizes=tuple(getattr(one, axis) for one in works),
                seconds=tuple(seconds for seconds, _ in measured),
                megabytes=tuple(n_bytes / 1e6 for _, n_bytes in measured),
                stated=tuple(one.bytes(encoder) / 1e6 for one in works),
                stated_time=exponent([one.operations(encoder) for one in works]),
            )


def exponent(values: tuple[float, ...] | list[float]) -> float:
    """Give the slope of log2 of values over doublings, by least squares."""
    return float(np.polyfit(np.arange(len(values)), np.log2(values), 1)[0])


def growth_lines(found: Iterator[Growth]) -> Iterator[str]:
    """Give the rows of a table, and at last whether all is as stated."""
    yield "| encoder | doubled | seconds of the processor | exponent (stated) | MB | exponent (stated) |"
    yield "|---|---|---|---|---|---|"
    worse = []
    for one in found:
        yield one.line()
        worse += [] if one.as_stated else [f"{one.encoder}, {one.axis}"]
    yield f"grows faster than stated: {'; '.join(worse) or 'nothing'}"


def _measured(work: Work, encoder: Encoder) -> tuple[float, int]:
    """Give the processor's seconds of a search, and the bytes allocated at most during it, its data included."""
    best = min(_searched(work, encoder) for _ in range(_REPEATS))
    tracemalloc.start()
    _searched(work, encoder)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return best, peak


def _searched(work: Work, encoder: Encoder) -> float:
    """Search each subject and give the processor's seconds of that, without those of drawing data."""
    spaces = [
        GivenFeatures("given", f"layer{k}", simulate_features(work.stimuli, work.features, 0, k))
        for k in range(work.layers)
    ]
    fold_ids, seconds = make_folds(work.stimuli, work.folds, 0), 0.0
    for _ in range(work.subjects):
        # Smaller than the search's own arrays, which a low-rank signal drawn whole would not be.
        responses = generator(0, "growth").standard_normal((work.stimuli, work.voxels))
        responses += spaces[0].features[:, :1]
        started = time.process_time()
        search_pair(responses, spaces, [encoder], fold_ids, PairSettings(nested=False))
        seconds += time.process_time() - started
    return seconds
