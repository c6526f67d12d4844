"""How long an experiment will take and how much disk, before it is begun.

One stimulus of each network is looked at and one matrix product is timed; the rest is counting. The estimate is meant
to tell a coffee from a night, not to be exact.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxelcast.core.errors import DataError, OptionError, StimulusError
from voxelcast.encoders.budget import Budget
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.sample import SampleEncoder
from voxelcast.execution.steps import Step
from voxelcast.experiment.builders import network_from_json
from voxelcast.experiment.compress_step import excluded_folds
from voxelcast.experiment.config import TABLES, CompressConfig
from voxelcast.experiment.extract_step import LoadedNetwork, layer_path
from voxelcast.experiment.plan import Plan
from voxelcast.features.compress import check_plain

_VOXELS = 200
"""Of a typical ROI."""


@dataclass(frozen=True)
class NetworkEstimate:
    """One network: seconds per stimulus, stimuli that are not extracted yet, numbers per stimulus of each layer.

    ``stored`` counts what is written to disk, ``features`` what is compressed: fewer where time is pooled in between.
    """

    shown: str
    seconds_per_stimulus: float
    stimuli_left: int
    stored: dict[str, int]
    features: dict[str, int]


@dataclass(frozen=True)
class Estimate:
    """What lies ahead: stimuli, models, seconds and bytes."""

    n_train: int
    n_test: int
    n_pairs: int
    networks: tuple[NetworkEstimate, ...]
    extract_seconds: float
    compress_seconds: float
    fit_seconds: float
    disk_bytes: int

    def lines(self) -> list[str]:
        """Say it in plain lines."""
        layers = sum(len(network.features) for network in self.networks)
        total = self.extract_seconds + self.compress_seconds + self.fit_seconds
        return [
            f"{self.n_train} training and {self.n_test} held-out stimuli, {self.n_pairs} subject x ROI, "
            f"{layers} layers",
            f"estimate: {_duration(total)} (extraction {_duration(self.extract_seconds)}, compression "
            f"{_duration(self.compress_seconds)}, fitting {_duration(self.fit_seconds)}), "
            f"{self.disk_bytes / 1e9:.2f} GB of disk for what is not done yet",
        ]


def estimate(plan: Plan, workers: int) -> Estimate:
    """Estimate the work that is not done yet; a typical ROI is taken to have 200 voxels."""
    n_train = len(plan.dataset.train_stimuli)
    n = n_train + len(plan.dataset.test_stimuli)
    extracted = plan.extract_steps()
    networks = (
        *_tables(plan),
        *(_look(plan, network, extracted[network.shown]) for network in plan.networks),
    )
    for one in networks:
        _check_features(plan.config.compress, one)
    extract_seconds = sum(one.seconds_per_stimulus * one.stimuli_left for one in networks)
    disk = sum(4 * sum(one.stored.values()) * one.stimuli_left for one in networks)
    compress, n_folds = plan.config.compress, plan.n_folds
    subsets = len(plan.excluded_folds(n_folds))
    sizes = [size for one in networks for size in one.features.values()]
    most = n_train if compress.method == "none" or compress.components == "max" else compress.components
    kept = [min(size, most) for size in sizes]
    rate = _flops_per_second() * workers
    grams = subsets if compress.scale else 1
    compress_flops = sum(2.0 * n * n * size * grams + subsets * 4.0 * n_train**3 / 3 for size in sizes)
    fits = len(excluded_folds(n_folds, nested=plan.config.folds.nested, refit=True))
    products = 2.0 * n_train + 100.0 * n_train / n_folds  # of moments, and of scoring some 50 settings
    fit_flops = fits * products * sum(kept) * _VOXELS * len(plan.pairs)
    searched = _sample_fit_seconds(plan, n_train, n_folds, kept) * len(plan.pairs) / workers
    overhead = 1e-3 * fits * len(sizes) * len(plan.pairs) * len(plan.config.encoders) / workers
    if any(one.stimuli_left for one in networks):
        disk += sum(8 * n * k * subsets for k in kept)
    return Estimate(
        n_train,
        n - n_train,
        len(plan.pairs),
        networks,
        extract_seconds,
        compress_flops / rate,
        fit_flops / rate + overhead + searched,
        disk,
    )


def _tables(plan: Plan) -> tuple[NetworkEstimate, ...]:
    """Count the features that come with the dataset: they take no time."""
    sizes = {table: plan.dataset.features(table).shape[1] for table in plan.config.features}
    return (NetworkEstimate(TABLES, 0.0, 0, sizes, sizes),) if sizes else ()


def _sample_fit_seconds(plan: Plan, n_train: int, n_folds: int, kept: Sequence[int]) -> float:
    """Seconds on one core that the encoders without a path need for one ROI; ``kept``: components of each layer."""
    config, others = plan.config, n_folds * (n_folds - 1) if plan.config.folds.nested else 0
    seconds = 0.0
    for name in config.encoders:
        encoder = get_encoder(name, 0, Budget(**config.automl.model_dump()))
        if isinstance(encoder, SampleEncoder):
            exact = config.search.method == "exact"
            # The exact search shares the fits of two outer folds; it is for encoders that share work between settings.
            fits = n_folds + others / 2 if exact else n_folds + others
            tries = 1 if exact or not encoder.space(n_train, 1, 1) else config.search.trials
            seconds += tries * fits * sum(encoder.time_estimate(n_train, k, _VOXELS) for k in kept)
    return seconds


def _look(plan: Plan, network: LoadedNetwork, steps: Sequence[Step]) -> NetworkEstimate:
    """Count what is left; sizes come from a finished step, or from one stimulus, extracted three times."""
    from voxelcast.networks.extract import extract_stimulus

    left = sum(step.size for step in steps if not plan.store.is_done(step.step_id))
    done = [plan.store.path(step.step_id) for step in steps if plan.store.is_done(step.step_id)]
    paths = {layer: [p for f in done if (p := layer_path(f, layer)).is_file()] for layer in network.layers}
    shapes = {layer: np.load(found[0], mmap_mode="r").shape[1:] for layer, found in paths.items() if found}
    if not left and len(shapes) == len(network.layers):
        return _counted(plan, network.shown, 0.0, 0, shapes)
    loaded = network_from_json(network.json, plan.config.compute.device)
    for stimulus in plan.stimuli:
        try:
            seconds = np.inf
            for _ in range(3):  # the first warms up; a busy machine slows down some more than others
                started = time.perf_counter()
                features = extract_stimulus(
                    loaded, stimulus, plan.sampling, plan.config.pool, space=plan.config.space
                ).features
                seconds = min(seconds, time.perf_counter() - started)
        except StimulusError:
            if plan.config.broken_stimuli == "stop":
                raise
            continue
        return _counted(plan, network.shown, seconds, left, {layer: f.shape for layer, f in features.items()})
    raise DataError(f"none of {len(plan.stimuli)} stimuli can be read; check the files")


def _counted(
    plan: Plan, shown: str, seconds: float, left: int, shapes: Mapping[str, tuple[int, ...]]
) -> NetworkEstimate:
    stored = {layer: math.prod(shape) for layer, shape in shapes.items()}
    features = {layer: shape[-1] for layer, shape in shapes.items()} if plan.config.compression.axis else stored
    return NetworkEstimate(shown, seconds, left, stored, features)


def _check_features(compress: CompressConfig, network: NetworkEstimate) -> None:
    """Raise OptionError where a layer has too few features for the components, or too many for none."""
    for layer, size in network.features.items():
        if compress.method == "none":
            check_plain(size, f" of layer {network.shown} {layer}")
        elif compress.components != "max" and compress.components > size and compress.fewer == "error":
            raise OptionError(
                f"compress.components must be at most {size}, the number of features of layer {network.shown} "
                f"{layer}; got {compress.components}; lower it, or set compress.fewer=allow"
            )


def _flops_per_second() -> float:
    a = np.ones((600, 600))
    a @ a
    started = time.perf_counter()
    a @ a
    return 2 * 600.0**3 / (time.perf_counter() - started) / 2  # real work reaches about half of the product's rate


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
