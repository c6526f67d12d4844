"""A miniature of the 2025 challenge: what a temporal kernel and many subjects are worth, and how long one model takes.

Subjects see the same runs. Three modalities change slowly and on their own; each parcel follows one of them, by a
response of a few volumes around a delay of the modality's own: 3, 7 and 15 TR, within the reach of kernels of 9, 17 and
45 volumes. What a parcel takes of its modality is a mixture of a few patterns that subjects share. The last run is held
out of everything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import generator
from voxelcast.encoders.learned.trunk import Streams, Trunk, train_trunk
from voxelcast.encoders.learned.trunk_settings import TrunkSettings
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import voxel_scores

MODALITIES = ("video", "sound", "words")
DELAYS = (3, 7, 15)
KERNELS = (45, 17, 9, 1)
"""In volumes; 1 is none: the volume itself."""
PARTS = ("kernels", "subjects", "modalities")
MEDARC_STREAMS = (3072, 1280, 2048, 4096, 2400)
"""Widths of five streams, with which a model of width 192 and five heads of 1,000 parcels has 3.4 million weights."""


@dataclass(frozen=True)
class MovieSize:
    """Runs and their volumes, subjects, parcels, features of each modality, and the noise's standard deviation.

    The signal's is 1.
    """

    runs: int = 10
    volumes: int = 300
    subjects: int = 4
    parcels: int = 1000
    features: int = 24
    patterns: int = 6
    noise: float = 2.0


@dataclass(frozen=True)
class Movies:
    """Streams, responses (n_volumes, n_parcels) of each subject, the modality of each parcel, and the last run's rows.

    ``modality`` has the shape (n_subjects, n_parcels).
    """

    streams: Streams
    responses: tuple[FloatArray, ...]
    modality: IntArray
    test: IntArray

    @property
    def train(self) -> IntArray:
        """Rows of the other runs."""
        return np.setdiff1d(np.arange(len(self.responses[0])), self.test)


def simulate_movies(size: MovieSize, seed: int = 0) -> Movies:
    """Make features and responses."""
    rng = generator(seed, "movies")
    n = size.runs * size.volumes
    series = np.stack([np.repeat(np.arange(size.runs), size.volumes), np.tile(np.arange(size.volumes), size.runs)], 1)
    features, patterns = [], []
    for delay in DELAYS:
        X = rng.standard_normal((size.runs, size.volumes, size.features))
        for volume in range(1, size.volumes):
            X[:, volume] = 0.6 * X[:, volume - 1] + 0.8 * X[:, volume]
        mixed = X @ rng.standard_normal((size.features, size.patterns))
        response = np.zeros_like(mixed)
        for lag, weight in zip((delay - 1, delay, delay + 1), (0.25, 0.5, 0.25), strict=True):
            response[:, lag:] += weight * mixed[:, : size.volumes - lag]
        features.append(X.reshape(n, -1))
        patterns.append(response.reshape(n, -1))
    modality = rng.integers(len(DELAYS), size=(size.subjects, size.parcels))
    responses = []
    for subject in range(size.subjects):
        signal = np.empty((n, size.parcels))
        for number, pattern in enumerate(patterns):
            of_it = modality[subject] == number
            signal[:, of_it] = pattern @ rng.standard_normal((size.patterns, int(of_it.sum())))
        responses.append(signal / signal.std(axis=0) + size.noise * rng.standard_normal(signal.shape))
    last = np.arange(n - size.volumes, n)
    return Movies(Streams(tuple(features), series), tuple(responses), modality, last)


def parcel_scores(movies: Movies, trunk: Trunk, streams: Streams, subject: int) -> FloatArray:
    """Fit the subject's head and return each parcel's r on the last run, ndarray of shape (n_parcels,)."""
    outputs, Y = trunk.features(streams), movies.responses[subject]
    model = get_encoder("ridge_per_voxel").fit(outputs[movies.train], Y[movies.train], {})
    return voxel_scores(Y[movies.test], model.predict(outputs[movies.test]), "pearson_r")


def scores_of(
    movies: Movies, settings: TrunkSettings, *, streams: Sequence[int] = (0, 1, 2), seed: int = 0, device: str = "cpu"
) -> FloatArray:
    """Train and judge, ndarray of shape (n_subjects, n_parcels); of ``subjects`` each, a trunk for every one."""
    chosen = replace(movies.streams, features=tuple(movies.streams.features[number] for number in streams))
    every = range(len(movies.responses))
    groups = [list(every)] if settings.subjects == "all" else [[subject] for subject in every]
    scores = []
    for group in groups:
        responses = [movies.responses[subject][movies.train] for subject in group]
        trunk = train_trunk(chosen, movies.train, responses, settings, seed=seed, device=device)
        scores += [parcel_scores(movies, trunk, chosen, subject) for subject in group]
    return np.stack(scores)


def benchmark_temporal(
    size: MovieSize, settings: TrunkSettings, *, parts: Sequence[str] = PARTS, seed: int = 0, device: str = "cpu"
) -> tuple[list[str], dict[str, float]]:
    """Compare kernels, many subjects with one, and modalities; return lines to print, and the numbers.

    ``parts``: of `PARTS`; what comes after ``kernels`` is compared with the longest one.
    """
    movies = simulate_movies(size, seed)
    found: dict[str, float] = {}
    lines = [f"{size.subjects} subjects x {size.parcels} parcels, {size.runs} runs of {size.volumes} TR; mean r:"]

    def compare(name: str, settings: TrunkSettings, streams: Sequence[int] = (0, 1, 2)) -> FloatArray:
        started = time.perf_counter()
        scores = scores_of(movies, settings, streams=streams, device=device)
        found[name] = float(scores.mean())
        lines.append(f"{name}: {found[name]:.4f} ({time.perf_counter() - started:.1f} s)")
        return scores

    for kernel in KERNELS if "kernels" in parts else KERNELS[:1]:
        compare(f"kernel {kernel}", replace(settings, kernel=kernel))
    if "subjects" in parts:
        compare("each subject alone", replace(settings, subjects="each"))
        lines.append(f"many subjects above one: {found['kernel 45'] / found['each subject alone'] - 1:+.1%}")
    if "modalities" in parts:
        single = [compare(f"{name} alone", settings, streams=[number]) for number, name in enumerate(MODALITIES)]
        found["modality named"] = float((np.argmax(single, axis=0) == movies.modality).mean())
        lines.append(f"modality named: {found['modality named']:.4f}")
    return lines, found


def time_medarc(
    settings: TrunkSettings, *, streams: Sequence[int] = MEDARC_STREAMS, parcels: int = 1000, device: str = "cpu"
) -> tuple[str, float]:
    """Train one model on noise, of four subjects, 40 runs of 450 TR; return a line, and the seconds."""
    rng, n = generator(0, "medarc"), 40 * 450
    series = np.stack([np.repeat(np.arange(40), 450), np.tile(np.arange(450), 40)], axis=1)
    features = tuple(rng.standard_normal((n, p), dtype=np.float32) for p in streams)
    responses = [rng.standard_normal((n, parcels), dtype=np.float32) for _ in range(4)]
    started = time.perf_counter()
    trunk = train_trunk(Streams(features, series), np.arange(n), responses, settings, device=device)
    seconds = time.perf_counter() - started
    count = sum(A.size for A in (*trunk.maps, *trunk.kernels, trunk.head)) + parcels * settings.width
    epochs = f"{len(trunk.errors)} epochs of {settings.windows} windows of {settings.window} TR"
    return f"one model of {count / 1e6:.1f} million weights, {epochs}, on {device}: {seconds:.1f} s", seconds
