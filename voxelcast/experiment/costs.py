"""How long an experiment will take, and how much memory and disk, before it is begun.

Networks, compressions and fits say what they cost; here the costs are added up. One stimulus of each network is
looked at, the responses of the smallest subject x ROI are read, and one matrix product is timed. The estimate is
meant to be right within a factor of about three.
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
from voxelcast.core.errors import DataError, OptionError, StimulusError, VoxelcastError
from voxelcast.execution.status import duration
from voxelcast.execution.steps import Step
from voxelcast.experiment.fit_estimate import FitEstimate
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.settings import TABLES
from voxelcast.experiment.steps.extract import LoadedNetwork, layer_path, network_of, pool_index
from voxelcast.experiment.steps.responses import n_voxels
from voxelcast.features.compress import check_plain, check_size
from voxelcast.features.settings import CompressionSettings
from voxelcast.results.schema import Pair
from voxelcast.store.memory import resident_mb

_VOXELS = 200
"""Of a typical ROI, where responses cannot be read."""
_MOST_READ = 1_000_000_000
"""Bytes of files that are read for a measurement; of larger ones a typical rate is taken."""
_TYPICAL_RATE = 5e7
"""Bytes of files read in a second."""


@dataclass(frozen=True)
class NetworkEstimate:
    """One network with one pool: seconds per stimulus, stimuli not extracted yet, numbers per stimulus of each layer.

    ``stored`` counts what is written to disk, ``features`` what is compressed: fewer where time is pooled in between.
    Of several pools the first has the seconds and the memory (bytes): stimuli are decoded and seen by the network once
    for all.
    """

    shown: str
    seconds_per_stimulus: float
    stimuli_left: int
    stored: dict[str, int]
    features: dict[str, int]
    pool: str = ""
    memory: float = 0.0

    @property
    def cost(self) -> Cost:
        """Cost of the stimuli that are left."""
        each = Cost(seconds=self.seconds_per_stimulus, memory=self.memory, disk=4.0 * sum(self.stored.values()))
        return each * self.stimuli_left


@dataclass(frozen=True)
class Reading:
    """Reading the responses that are not prepared yet, and the voxels of each subject x ROI where they are known."""

    cost: Cost
    n_voxels: Mapping[Pair, int]


@dataclass(frozen=True)
class Estimate:
    """What lies ahead: stimuli, models, seconds and bytes.

    ``worker_bytes`` is the most memory that a worker holds at a time, its libraries included.
    """

    n_train: int
    n_test: int
    n_pairs: int
    networks: tuple[NetworkEstimate, ...]
    workers: int
    read_seconds: float
    extract_seconds: float
    compress_seconds: float
    join_seconds: float
    fit_seconds: float
    partition_seconds: float
    disk_bytes: int
    worker_bytes: int

    def lines(self) -> list[str]:
        """Say it in plain lines."""
        spaces = sum(len(network.features) for network in self.networks)
        layers = len({(network.shown, layer) for network in self.networks for layer in network.features})
        pools = {network.pool for network in self.networks if network.pool}
        several = f" in {len(pools)} pools: {spaces} feature spaces" if pools else ""
        compress_seconds = self.compress_seconds + self.join_seconds
        parts = {
            "reading responses": self.read_seconds,
            "extraction": self.extract_seconds,
            "compression": compress_seconds,
            "fitting": self.fit_seconds,
        }
        if self.partition_seconds:
            parts["dividing variance"] = self.partition_seconds
        each = ", ".join(f"{what} {duration(seconds)}" for what, seconds in parts.items())
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return [
            f"{self.n_train} training and {self.n_test} held-out stimuli, {self.n_pairs} subject x ROI, "
            f"{layers} layers{several}",
            f"estimate: {duration(sum(parts.values()))} ({each}), "
            f"{self.disk_bytes / 1e9:.2f} GB of disk for what is not done yet, "
            f"{self.worker_bytes / 1e9:.2f} GB of memory at most in a worker, "
            f"{self.workers * self.worker_bytes / 1e9:.2f} GB in {workers}",
        ]


def estimate(plan: Plan, workers: int) -> Estimate:
    """Estimate the work that is not done yet."""
    config, n_folds = plan.config, plan.n_folds
    n_train = len(plan.dataset.train_stimuli)
    n = n_train + len(plan.dataset.test_stimuli)
    extracted = plan.extract_steps()
    networks = (
        *_tables(plan),
        *(one for network in plan.networks for one in _look(plan, network, extracted[network.shown])),
    )
    for one in networks:
        _check_features(config.compress, one, n, n_train)
    extracting = sum((one.cost for one in networks), start=Cost())
    rate = _flops_per_second()
    repeats = config.folds.repeats
    sizes = [size for one in networks for size in one.features.values()]
    kept = [config.compress.kept(n_train, size) for size in sizes]
    subsets = len(plan.excluded_folds(n_folds))
    compressions = repeats if config.compressed_in_folds else 1  # otherwise all partitions share one
    each_layer = (config.compress.cost(n, n_train, size, subsets) for size in sizes)
    compressing = sum(each_layer, start=Cost()) * compressions
    joining = Cost()
    if config.ensemble.joined:
        rank, fits = min(n_train - 1, sum(kept)), len(plan.excluded_folds(n_folds, refit=True))
        operations, memory = 2.0 * n * n * sum(kept) + 10.0 * n_train**3, 8.0 * (4 * n * n + 3 * n * max(kept))
        joining = Cost(operations, memory=memory, disk=8.0 * n * rank) * (repeats * fits)
        kept = [*kept, rank]
    reading = _reading(plan)
    voxels = {pair: reading.n_voxels.get(pair, _VOXELS) for pair in plan.pairs}
    features = tuple(k * max(len(config.delays), 1) for k in kept)
    fits_of_each = [
        FitEstimate(config, n_train, n_folds, q, features, 1 + len(plan.sharers(pair)), rate)
        for pair, q in voxels.items()
    ]
    fitting = sum((fit.cost(len(plan.dataset.test_stimuli)) for fit in fits_of_each), start=Cost())
    dividing = sum((_partition_cost(plan, networks, n_train, q) for q in voxels.values()), start=Cost())
    side_by_side = min(workers, len(plan.pairs))
    stages = (reading.cost, extracting, compressing, joining, fitting, dividing)
    disk = extracting.disk + joining.disk + (compressing.disk if any(one.stimuli_left for one in networks) else 0)
    return Estimate(
        n_train,
        n - n_train,
        len(plan.pairs),
        networks,
        workers,
        read_seconds=reading.cost.seconds / side_by_side,
        extract_seconds=extracting.seconds,
        compress_seconds=compressing.operations / rate / workers,
        join_seconds=joining.operations / rate,  # one step
        fit_seconds=fitting.seconds / side_by_side,  # one core each
        partition_seconds=dividing.operations / rate / workers,
        disk_bytes=int(disk),
        worker_bytes=int(1e6 * resident_mb() + max(stage.memory for stage in stages)),
    )


def _reading(plan: Plan) -> Reading:
    """Measure how long responses take to be read, on the smallest files that are left.

    Datasets may keep files that several ROIs share: of such the second reading counts.
    """
    steps = plan.responses_steps()
    voxels = {
        pair: n_voxels(plan.store.path(step.step_id))
        for pair, step in steps.items()
        if plan.store.is_done(step.step_id)
    }
    files = {pair: plan.dataset.response_files(*pair) for pair in steps if pair not in voxels}
    sizes = {pair: sum(path.stat().st_size for path in paths) for pair, paths in files.items()}
    if not sizes:
        return Reading(Cost(), voxels)
    smallest = min(sizes, key=lambda pair: sizes[pair])
    if sizes[smallest] > _MOST_READ:
        return Reading(Cost(seconds=sum(sizes.values()) / _TYPICAL_RATE, memory=3.0 * max(sizes.values())), voxels)
    sharing = [pair for pair in files if pair != smallest and files[pair] == files[smallest]][:1]
    seconds, held = [], 0
    try:
        for pair in (smallest, *sharing):
            started = time.perf_counter()
            found = [plan.dataset.responses(*pair)]
            if plan.dataset.has_test_responses:
                found.append(plan.dataset.responses(*pair, "test"))
            seconds.append(time.perf_counter() - started)
            voxels[pair] = found[0].n_voxels
            held = max(held, sum(responses.values.nbytes for responses in found))
    except (VoxelcastError, OSError):  # the step itself will say what is wrong
        return Reading(Cost(), voxels)
    growth = max(sizes.values()) / max(1, sizes[smallest])
    total = seconds[-1] * sum(sizes.values()) / max(1, sizes[smallest]) + seconds[0] - seconds[-1]
    for pair, size in sizes.items():
        voxels.setdefault(pair, max(1, round(voxels[smallest] * size / max(1, sizes[smallest]))))
    return Reading(Cost(seconds=total, memory=3.0 * held * growth), voxels)


def _partition_cost(plan: Plan, networks: Sequence[NetworkEstimate], n_train: int, q: int) -> Cost:
    """Count what it takes to divide one ROI's variance: an eigendecomposition per combination and pair of folds."""
    sizes: Counter[tuple[str, str]] = Counter()
    kept, n_folds = plan.config.compress.kept, plan.n_folds
    for one in networks:
        sizes.update({(one.shown, layer): kept(n_train, size) for layer, size in one.features.items()})
    groups = [sum(sizes[layer] for layer in layers) for layers in plan.layer_groups.values()]
    operations = memory = 0.0
    for chosen in range(1, 2 ** len(groups)):
        together = [size for index, size in enumerate(groups) if chosen >> index & 1]
        draws = plan.config.variance_partitioning.draws if len(together) > 1 else 0
        tries, p = draws + len(together) + 1 if draws else 1, min(sum(together), n_train)
        # Moments, eigenvectors, and the errors of some 25 penalties.
        operations += n_folds**2 * tries * p * (2.0 * n_train * p + 10.0 * p * p + 50.0 * n_train / n_folds * q)
        memory = 8.0 * (2 * n_train * sum(together) + 3 * p * p + (chosen + 3) * n_train * q)
    return Cost(operations, memory=memory)


def _tables(plan: Plan) -> tuple[NetworkEstimate, ...]:
    """Count the features that come with the dataset: they take no time."""
    sizes = {table: plan.dataset.features(table).shape[1] for table in plan.config.features}
    return (NetworkEstimate(TABLES, 0.0, 0, sizes, sizes),) if sizes else ()


def _look(plan: Plan, network: LoadedNetwork, steps: Sequence[Step]) -> list[NetworkEstimate]:
    """Count what is left; sizes come from a finished step, or from one stimulus, extracted three times."""
    from voxelcast.networks.extract import extract_stimulus
    from voxelcast.networks.frame_batcher import default_batch
    from voxelcast.networks.layer_sizes import extraction_cost

    settings = plan.config.extraction
    left = sum(step.size for step in steps if not plan.store.is_done(step.step_id))
    done = [plan.store.path(step.step_id) for step in steps if plan.store.is_done(step.step_id)]
    features = list(product(network.layers, settings.pools))
    shapes = {}
    for layer, pool in features:
        paths = [layer_path(folder, layer, pool_index(pool, settings.pools)) for folder in done]
        found = next((path for path in paths if path.is_file()), None)
        if found is not None:
            shapes[layer, pool] = np.load(found, mmap_mode="r").shape[1:]
    if not left and len(shapes) == len(features):
        return _counted(plan, network.shown, shapes, NetworkEstimate(network.shown, 0.0, 0, {}, {}))
    loaded = network_of(network.settings, network.seed, plan.config.compute.device)
    for stimulus in plan.stimuli:
        try:
            seconds = np.inf
            for _ in range(3):  # the first warms up; a busy machine slows down some more than others
                started = time.perf_counter()
                extracted = extract_stimulus(loaded, stimulus, settings)
                seconds = min(seconds, time.perf_counter() - started)
        except StimulusError:
            if plan.config.broken_stimuli == "stop":
                raise
            continue
        shapes = {(layer, pool): extracted.by_pool[pool][layer].shape for layer, pool in features}
        traces = [trace for trace in loaded.layer_traces() if trace.name in network.layers]
        batch = default_batch(loaded.card.input_size, largest=loaded.largest_activation)
        memory = extraction_cost(traces, settings, extracted.n_frames, batch).memory
        measured = NetworkEstimate(network.shown, seconds, left, {}, {}, memory=memory)
        return _counted(plan, network.shown, shapes, measured)
    raise DataError(f"none of {len(plan.stimuli)} stimuli can be read; check the files")


def _counted(
    plan: Plan, shown: str, shapes: Mapping[tuple[str, str], tuple[int, ...]], measured: NetworkEstimate
) -> list[NetworkEstimate]:
    """Count numbers per stimulus with each pool, from the shapes by layer and pool; the first has what was measured."""
    pools = plan.config.pools
    counted = []
    for pool in pools:
        of_pool = {layer: shape for (layer, used), shape in shapes.items() if used == pool}
        stored = {layer: math.prod(shape) for layer, shape in of_pool.items()}
        features = {layer: shape[-1] for layer, shape in of_pool.items()} if pool == "pc1" else stored
        named, first = pool if len(pools) > 1 else "", pool == pools[0]
        seconds, memory = (measured.seconds_per_stimulus, measured.memory) if first else (0.0, 0.0)
        counted.append(NetworkEstimate(shown, seconds, measured.stimuli_left, stored, features, named, memory))
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
