"""How long an experiment will take and how much disk, before it is begun.

One stimulus of each network is looked at and one matrix product is timed; the rest is counting. The estimate is meant
to tell a coffee from a night, not to be exact.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from voxelcast.core.cost import Cost
from voxelcast.core.errors import DataError, OptionError, StimulusError
from voxelcast.execution.steps import Step
from voxelcast.experiment.fit_estimate import FitEstimate
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.settings import TABLES
from voxelcast.experiment.steps.compress import excluded_folds
from voxelcast.experiment.steps.extract import LoadedNetwork, layer_path, network_of, pool_index
from voxelcast.features.compress import check_plain, check_size
from voxelcast.features.settings import CompressionSettings

_VOXELS = 200
"""Of a typical ROI."""


@dataclass(frozen=True)
class NetworkEstimate:
    """One network with one pool: seconds per stimulus, stimuli not extracted yet, numbers per stimulus of each layer.

    ``stored`` counts what is written to disk, ``features`` what is compressed: fewer where time is pooled in between.
    Of several pools the first has the seconds: stimuli are decoded and seen by the network once for all.
    """

    shown: str
    seconds_per_stimulus: float
    stimuli_left: int
    stored: dict[str, int]
    features: dict[str, int]
    pool: str = ""


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
    partition_seconds: float = 0.0
    join_seconds: float = 0.0

    def lines(self) -> list[str]:
        """Say it in plain lines."""
        spaces = sum(len(network.features) for network in self.networks)
        layers = len({(network.shown, layer) for network in self.networks for layer in network.features})
        pools = {network.pool for network in self.networks if network.pool}
        several = f" in {len(pools)} pools: {spaces} feature spaces" if pools else ""
        compress_seconds = self.compress_seconds + self.join_seconds
        total = self.extract_seconds + compress_seconds + self.fit_seconds + self.partition_seconds
        dividing = f", dividing variance {_duration(self.partition_seconds)}" if self.partition_seconds else ""
        return [
            f"{self.n_train} training and {self.n_test} held-out stimuli, {self.n_pairs} subject x ROI, "
            f"{layers} layers{several}",
            f"estimate: {_duration(total)} (extraction {_duration(self.extract_seconds)}, compression "
            f"{_duration(compress_seconds)}, fitting {_duration(self.fit_seconds)}{dividing}), "
            f"{self.disk_bytes / 1e9:.2f} GB of disk for what is not done yet",
        ]


def estimate(plan: Plan, workers: int) -> Estimate:
    """Estimate the work that is not done yet; a typical ROI is taken to have 200 voxels."""
    n_train = len(plan.dataset.train_stimuli)
    n = n_train + len(plan.dataset.test_stimuli)
    extracted = plan.extract_steps()
    networks = (
        *_tables(plan),
        *(one for network in plan.networks for one in _look(plan, network, extracted[network.shown])),
    )
    for one in networks:
        _check_features(plan.config.compress, one, n, n_train)
    extract_seconds = sum(one.seconds_per_stimulus * one.stimuli_left for one in networks)
    disk = sum(4 * sum(one.stored.values()) * one.stimuli_left for one in networks)
    compress, n_folds = plan.config.compress, plan.n_folds
    subsets = len(plan.excluded_folds(n_folds))
    sizes = [size for one in networks for size in one.features.values()]
    kept = [compress.kept(n_train, size) for size in sizes]
    rate = _flops_per_second() * workers
    partitions = plan.config.folds.repeats
    compressions = partitions if plan.config.compressed_in_folds else 1  # otherwise all partitions share one
    compressing = sum((compress.cost(n, n_train, size, subsets) for size in sizes), start=Cost()) * compressions
    if any(one.stimuli_left for one in networks):
        disk += int(compressing.disk)
    fits = len(excluded_folds(n_folds, nested=plan.config.folds.nested, refit=True))
    join_flops = 0.0
    if plan.config.ensemble.joined:
        join_flops = partitions * fits * (2.0 * n * n * sum(kept) + 10.0 * n_train**3)
        kept = [*kept, min(n_train - 1, sum(kept))]
        disk += 8 * n * kept[-1] * fits * partitions
    features = tuple(k * max(len(plan.config.delays), 1) for k in kept)
    fits_of_each = [
        FitEstimate(plan.config, n_train, n_folds, _VOXELS, features, 1 + len(plan.sharers(pair)), rate / workers)
        for pair in plan.pairs
    ]
    return Estimate(
        n_train,
        n - n_train,
        len(plan.pairs),
        networks,
        extract_seconds,
        compressing.operations / rate,
        sum(fit.seconds() for fit in fits_of_each) / min(workers, len(plan.pairs)),  # one core each
        disk,
        _partition_flops(plan, networks, n_train, n_folds) * len(plan.pairs) / rate,
        join_flops / rate * workers,  # one step
    )


def _partition_flops(plan: Plan, networks: Sequence[NetworkEstimate], n_train: int, n_folds: int) -> float:
    """Count what it takes to divide one ROI's variance: an eigendecomposition per combination and pair of folds."""
    sizes: Counter[tuple[str, str]] = Counter()
    kept = plan.config.compress.kept
    for one in networks:
        sizes.update({(one.shown, layer): kept(n_train, size) for layer, size in one.features.items()})
    groups = [sum(sizes[layer] for layer in layers) for layers in plan.layer_groups.values()]
    flops = 0.0
    for chosen in range(1, 2 ** len(groups)):
        own = [size for place, size in enumerate(groups) if chosen >> place & 1]
        draws = plan.config.variance_partitioning.draws if len(own) > 1 else 0
        tries, p = draws + len(own) + 1 if draws else 1, min(sum(own), n_train)
        # Moments, eigenvectors, and the errors of some 25 penalties.
        flops += n_folds**2 * tries * p * (2.0 * n_train * p + 10.0 * p * p + 50.0 * n_train / n_folds * _VOXELS)
    return flops


def _tables(plan: Plan) -> tuple[NetworkEstimate, ...]:
    """Count the features that come with the dataset: they take no time."""
    sizes = {table: plan.dataset.features(table).shape[1] for table in plan.config.features}
    return (NetworkEstimate(TABLES, 0.0, 0, sizes, sizes),) if sizes else ()


def _look(plan: Plan, network: LoadedNetwork, steps: Sequence[Step]) -> list[NetworkEstimate]:
    """Count what is left; sizes come from a finished step, or from one stimulus, extracted three times."""
    from voxelcast.networks.extract import extract_stimulus

    left = sum(step.size for step in steps if not plan.store.is_done(step.step_id))
    done = [plan.store.path(step.step_id) for step in steps if plan.store.is_done(step.step_id)]
    pools = plan.config.pools
    features = list(product(network.layers, pools))
    shapes = {}
    for layer, pool in features:
        paths = [layer_path(folder, layer, pool_index(pool, pools)) for folder in done]
        found = next((path for path in paths if path.is_file()), None)
        if found is not None:
            shapes[layer, pool] = np.load(found, mmap_mode="r").shape[1:]
    if not left and len(shapes) == len(features):
        return _counted(plan, network.shown, 0.0, 0, shapes)
    loaded = network_of(network.settings, network.seed, plan.config.compute.device)
    for stimulus in plan.stimuli:
        try:
            seconds = np.inf
            for _ in range(3):  # the first warms up; a busy machine slows down some more than others
                started = time.perf_counter()
                found = extract_stimulus(loaded, stimulus, plan.config.extraction)
                seconds = min(seconds, time.perf_counter() - started)
        except StimulusError:
            if plan.config.broken_stimuli == "stop":
                raise
            continue
        shapes = {(layer, pool): found.by_pool[pool][layer].shape for layer, pool in features}
        return _counted(plan, network.shown, seconds, left, shapes)
    raise DataError(f"none of {len(plan.stimuli)} stimuli can be read; check the files")


def _counted(
    plan: Plan, shown: str, seconds: float, left: int, shapes: Mapping[tuple[str, str], tuple[int, ...]]
) -> list[NetworkEstimate]:
    """Count numbers per stimulus, from the shapes by layer and pool."""
    pools = plan.config.pools
    counted = []
    for pool in pools:
        own = {layer: shape for (layer, used), shape in shapes.items() if used == pool}
        stored = {layer: math.prod(shape) for layer, shape in own.items()}
        features = {layer: shape[-1] for layer, shape in own.items()} if pool == "pc1" else stored
        named = pool if len(pools) > 1 else ""
        spent = seconds if pool == pools[0] else 0.0
        counted.append(NetworkEstimate(shown, spent, left, stored, features, named))
    return counted


def _check_features(compress: CompressionSettings, network: NetworkEstimate, n: int, n_train: int) -> None:
    """Raise OptionError where a layer has too few features for the components, or too many for the method."""
    for layer, size in network.features.items():
        name = " ".join(filter(None, (network.shown, layer, network.pool)))
        check_size(compress, n, size, n_train, f" of layer {name}")
        if compress.method == "none":
            check_plain(size, f" of layer {name}")
        elif compress.components != "max" and compress.components > size and compress.fewer == "error":
            raise OptionError(
                f"compress.components must be at most {size}, the number of features of layer {name}; "
                f"got {compress.components}; lower it, or set compress.fewer=allow"
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
