"""How long an experiment will take, and how much memory and disk, before it is begun.

Networks, compressions and encoders say what they cost; here the costs are added up. One stimulus of each network is
looked at, the responses of the smallest subject x ROI are read, and a matrix product and a loop of Python are timed: by
processor time, as other programs on the machine hold up the run as well, but nobody knows for how long.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from threadpoolctl import threadpool_limits

from voxelcast.core.cost import Cost, readable_bytes
from voxelcast.core.errors import DataError, OptionError, StimulusError
from voxelcast.encoders.params import ProblemSize
from voxelcast.execution.status import duration
from voxelcast.experiment.fit_costs import FitEstimate, partition_cost, search_pace
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.layers import extraction_steps
from voxelcast.experiment.planning.stages import (
    COMPRESS,
    DIVIDE,
    EXTRACT,
    FIT,
    JOIN,
    KEEP,
    PREDICT,
    READ,
    REPORT,
    RESULTS,
    SHUFFLE,
    TRAIN,
    TRAIN_TRUNKS,
)
from voxelcast.experiment.reading_costs import reading_cost
from voxelcast.experiment.settings import OWN, TABLES
from voxelcast.experiment.steps.extract import (
    Extracted,
    LoadedNetwork,
    feature_name,
    network_of,
    pool_index,
    stimuli_for,
)
from voxelcast.experiment.training_costs import training_cost, trunk_cost
from voxelcast.experiment.writing_costs import keeping_cost, written
from voxelcast.features.compress import check_plain, check_size
from voxelcast.features.settings import CompressionSettings
from voxelcast.store.memory import resident_mb

_START = {READ: 1.0, EXTRACT: 5.0, COMPRESS: 0.6, FIT: 0.6}
"""Seconds until a worker has Python and the libraries of a stage; those of extraction are torch and torchvision."""
_STEP = 0.02
"""Seconds in which a worker begins a step and writes its result, besides what the step does."""
_PREDICT, _PREDICTED = 0.1, 4000.0
"""Seconds in which a subject's predictions are begun, and operations for each response predicted."""
_LOOP, _LOOP_SECONDS = 20_000, 4.3e-3
"""Rounds of a loop, and how long they take where these seconds, and those of `written`, were measured: on one core."""
_VOXELS = 200
"""Of a typical ROI, where responses cannot be read."""
_PARTS = {
    READ: "reading responses",
    EXTRACT: "extraction",
    COMPRESS: "compression",
    JOIN: "compression",
    TRAIN_TRUNKS: "training trunks",
    TRAIN: "training",
    FIT: "fitting",
    SHUFFLE: "fitting",
    DIVIDE: "dividing variance",
    KEEP: "models",
    PREDICT: "models",
    RESULTS: "results and report",
    REPORT: "results and report",
}
"""What the stages are called in the lines of an estimate."""


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
    number_bytes: int = 4

    @property
    def cost(self) -> Cost:
        """Cost of the stimuli that are left."""
        each = Cost(
            seconds=self.seconds_per_stimulus, memory=self.memory, disk=self.number_bytes * sum(self.stored.values())
        )
        return each * self.stimuli_left


@dataclass(frozen=True)
class Estimate:
    """What lies ahead: stimuli, models, seconds of each stage and bytes.

    ``data`` has a line for each subject: stimuli, repetitions, voxels, space. ``worker_bytes`` is the most memory that
    a worker holds at a time, its libraries included; ``warnings`` say what is wrong with the folds.
    """

    n_train: int
    n_test: int
    n_pairs: int
    data: tuple[str, ...]
    networks: tuple[NetworkEstimate, ...]
    workers: int
    seconds: Mapping[str, float]
    disk_bytes: int
    worker_bytes: int
    warnings: tuple[str, ...] = ()
    gpu_seconds: float = 0.0

    def lines(self) -> list[str]:
        """Say it in plain lines."""
        spaces = sum(len(network.features) for network in self.networks)
        layers = len({(network.shown, layer) for network in self.networks for layer in network.features})
        pools = {network.pool for network in self.networks if network.pool}
        several = f" in {len(pools)} pools: {spaces} feature spaces" if pools else ""
        parts: dict[str, float] = {}
        for stage, seconds in self.seconds.items():
            parts[_PARTS[stage]] = parts.get(_PARTS[stage], 0.0) + seconds
        each = ", ".join(f"{what} {duration(seconds)}" for what, seconds in parts.items())
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return [
            f"{self.n_train} training and {self.n_test} held-out stimuli, {self.n_pairs} subject x ROI, "
            f"{layers} layers{several}",
            f"estimate: {duration(sum(parts.values()))} ({each}), "
            f"{readable_bytes(self.disk_bytes)} of disk for what is not done yet, "
            f"{readable_bytes(self.worker_bytes)} of memory at most in a worker, "
            f"{readable_bytes(self.workers * self.worker_bytes)} in {workers}",
            *([f"training: about {self.gpu_seconds / 3600:.2f} hours of one GPU"] if self.gpu_seconds else []),
            *self.data,
            *(f"warning: {warning}" for warning in self.warnings),
        ]


def estimate(plan: Plan, workers: int, *, look: bool = True) -> Estimate:
    """Estimate the work that is not done yet.

    ``look``: whether large files of responses are read to tell whether responses depend on each other; a run, whose
    steps read them anyway, says so in its results.
    """
    config, n_folds, n_train = plan.config, plan.n_folds, len(plan.dataset.train_stimuli)
    n_test = len(plan.dataset.test_stimuli)
    n, rate = n_train + n_test, _flops_per_second()
    extracted = extraction_steps(plan)
    looked_at = plan.networks if plan.plain else ()
    networks = [*_tables(plan), *(one for network in looked_at for one in _look(plan, network, extracted, workers))]
    for one in networks:
        _check_features(plan.compression_of(one.shown), one, n, n_train)
    sizes = [size for one in networks for size in one.features.values()]
    kept = [config.compress.kept(n_train, size) for size in sizes]
    partitions = config.folds.repeats * len(plan.fold_tables)
    compressions = partitions if config.compressed_in_folds else 1  # otherwise all partitions share one
    seen, solved, subsets = stimuli_compressed(plan), training_sets(plan), len(plan.excluded_folds(n_folds))
    reading, known, warnings = reading_cost(plan, look)
    voxels = {pair: known.get(pair, _VOXELS) for pair in plan.pairs}
    costs = {
        READ: reading,
        EXTRACT: _total(one.cost for one in networks),
        COMPRESS: _total(
            replace(
                config.compress.cost(seen, n_train, size, solved),
                disk=config.compress.cost(seen, n_train, size, subsets).disk,
            )
            for size in sizes
        )
        * compressions,
    }
    if config.ensemble.joined:
        rank, fits = min(n_train - 1, sum(kept)), len(plan.excluded_folds(n_folds, refit=True))
        operations, memory = 2.0 * n * n * sum(kept) + 10.0 * n_train**3, 8.0 * (4 * n * n + 3 * n * max(kept))
        costs[JOIN] = Cost(operations, memory=memory, disk=8.0 * n * rank) * (partitions * fits)
        kept = [*kept, rank]
    features = tuple(k * plan.most_delays for k in kept or [max(voxels.values())])
    if config.trunks:
        costs[TRAIN_TRUNKS] = trunk_cost(plan, networks, voxels) * partitions
        features = (*features, *(min(trunk.width, sum(kept)) for trunk in config.trunks.values()))
    if config.learned:
        costs[TRAIN] = training_cost(plan, n_train, voxels, rate)
    fitted = len(voxels) * len(features) * partitions
    typical = ProblemSize(n_train, max(features), int(np.median(list(voxels.values()))))
    pace = search_pace(config, n_folds, typical, fitted, rate)
    costs[FIT] = _total(
        FitEstimate(config, n_train, n_folds, voxels[one], features, 1 + len(plan.sharers(pair)), rate, pace).cost(
            n_test
        )
        for pair in voxels
        for one in (pair, *plan.experts(pair))  # which are searched again for the pair
    )
    if config.control != "none":
        costs[SHUFFLE] = costs[FIT] * config.shuffles
    if plan.layer_groups:
        costs[DIVIDE] = _total(partition_cost(plan, networks, n_train, q) for q in voxels.values())
    if not config.unsaved and (n_test or config.models != "none"):
        costs[KEEP] = keeping_cost(plan, sizes, kept, voxels)
    pairs, layers = len(plan.pairs), len(sizes)
    n_steps = {READ: pairs if reading.seconds else 0, COMPRESS: layers * compressions, FIT: pairs}
    side_by_side = {READ: pairs, COMPRESS: max(1, layers * compressions), FIT: pairs, SHUFFLE: workers, DIVIDE: workers}
    if plan.extract_on == "cpu":
        side_by_side[TRAIN] = workers
    if config.compute.device == "cpu":
        side_by_side[TRAIN_TRUNKS] = workers
    costs |= written(plan)
    if n_test and not config.unsaved:
        predicted = _PREDICTED * n_test * sum(voxels.values())
        costs[PREDICT] = Cost(predicted, python=_PREDICT * len(plan.dataset.subjects))
    for name, start in _START.items():
        if name in costs and (costs[name].seconds or costs[name].operations):
            at_once = min(workers, side_by_side.get(name, 1))
            own = start * at_once if name != EXTRACT or plan.extract_on == "cpu" else 0.0
            costs[name] += Cost(python=own + _STEP * n_steps.get(name, 0))
    slower = _pace()
    seconds = {
        name: (cost.seconds + cost.operations / rate + cost.python * slower) / min(workers, side_by_side.get(name, 1))
        for name, cost in costs.items()
    }
    left = [EXTRACT, JOIN, TRAIN_TRUNKS, KEEP, *([COMPRESS] if any(one.stimuli_left for one in networks) else [])]
    return Estimate(
        n_train,
        n_test,
        len(plan.pairs),
        tuple(f"{subject}: {plan.dataset.extent(subject).shown()}" for subject in plan.dataset.subjects),
        tuple(networks),
        workers,
        seconds,
        disk_bytes=int(sum(cost.disk for name, cost in costs.items() if name in left)),
        worker_bytes=int(1e6 * resident_mb() + max(cost.memory for cost in costs.values())),
        warnings=(*plan.warnings, *warnings),
        gpu_seconds=costs[TRAIN].seconds if TRAIN in costs and plan.extract_on != "cpu" else 0.0,
    )


def _total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, start=Cost())


def _tables(plan: Plan) -> tuple[NetworkEstimate, ...]:
    """Count the features that no network makes: they take no time."""
    given = {table: plan.dataset.features(table).shape[1] for table in plan.config.tables}
    own = {name: values.shape[1] for name, values in plan.own_features.items()}
    return tuple(
        NetworkEstimate(shown, 0.0, 0, sizes, sizes) for shown, sizes in ((TABLES, given), (OWN, own)) if sizes
    )


def training_sets(plan: Plan) -> float:
    """Count the training sets that a compression is fitted to; one of a share of the stimuli by the cube of that."""
    return sum((1 - len(folds) / plan.n_folds) ** 3 for folds in plan.excluded_folds(plan.n_folds))


def stimuli_compressed(plan: Plan) -> int:
    """Count the stimuli whose components the compression gives: as `compression_sees`."""
    parts = plan.parts()
    held_out = plan.config.unsaved or plan.test_is_near
    return len(parts["train"]) + len(parts["near"]) + (len(parts["test"]) if held_out else 0)


def _look(
    plan: Plan, network: LoadedNetwork, extracted: Mapping[str, Extracted], workers: int
) -> list[NetworkEstimate]:
    """Count what is left; sizes come from a finished step, or from one stimulus, extracted three times.

    On a CPU workers share the stimuli, with one thread each.
    """
    from voxelcast.networks.extract import extract_stimulus
    from voxelcast.networks.frame_batcher import default_size
    from voxelcast.networks.layer_sizes import extraction_cost

    settings, steps = plan.config.extraction, extracted[network.shown].steps
    done = [plan.store.read(step.step_id) for step in steps if plan.store.is_sound(step.step_id)]
    left = sum(step.size for step in steps if not plan.store.is_sound(step.step_id))
    features = list(product(network.layers, settings.pools))
    shapes = {}
    for layer, pool in features:
        name = feature_name(layer, pool_index(pool, settings.pools))
        found = next((one for one in done if name in one), None)
        if found is not None:
            shapes[layer, pool] = found.stored(name).shape[1:]
    if not left and len(shapes) == len(features):
        return _counted(plan, network.shown, shapes)
    loaded = network_of(network.settings, network.seed, plan.config.compute.device)
    on_cpu = plan.config.compute.device == "cpu"
    clock = time.process_time if on_cpu else time.perf_counter
    at_once = min(workers, len(steps)) if plan.extract_on == "cpu" else 1
    for stimulus in stimuli_for(network, plan.stimuli):
        try:
            seconds = np.inf
            for _ in range(3):  # the first warms up; a busy machine slows down some more than others
                with threadpool_limits(limits=1 if on_cpu else None):
                    started = clock()
                    looked_at = extract_stimulus(loaded, stimulus, settings)
                    seconds = min(seconds, clock() - started)
        except StimulusError:
            if plan.config.broken_stimuli == "stop":
                raise
            continue
        shapes = {(layer, pool): looked_at.by_pool[pool][layer].shape for layer, pool in features}
        traces = [trace for trace in loaded.layer_traces() if trace.name in network.layers]
        batch = default_size(loaded)
        memory = extraction_cost(traces, settings, looked_at.n_frames, batch).memory
        return _counted(plan, network.shown, shapes, left, seconds / at_once, memory)
    raise DataError(f"none of {len(plan.stimuli)} stimuli can be read; check the files")


def _counted(
    plan: Plan,
    shown: str,
    shapes: Mapping[tuple[str, str], tuple[int, ...]],
    left: int = 0,
    seconds: float = 0.0,
    memory: float = 0.0,
) -> list[NetworkEstimate]:
    """Count numbers per stimulus with each pool, from the shapes by layer and pool; the first has what was measured."""
    counted, n_bytes = [], 2 if plan.config.features_as == "float16" else 4
    for pool in plan.config.pools:
        of_pool = {layer: shape for (layer, used), shape in shapes.items() if used == pool}
        stored = {layer: math.prod(shape) for layer, shape in of_pool.items()}
        features = {layer: shape[-1] for layer, shape in of_pool.items()} if pool == "pc1" else stored
        named = pool if len(plan.config.pools) > 1 else ""
        counted.append(NetworkEstimate(shown, seconds, left, stored, features, named, memory, n_bytes))
        seconds = memory = 0.0
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
    """Measure one core; processor time, which other programs on the machine disturb less than the clock."""
    a = np.ones((600, 600))
    with threadpool_limits(limits=1):
        a @ a
        started = time.process_time()
        for _ in range(4):
            a @ a
    return 4 * 2 * 600.0**3 / (time.process_time() - started) / 2  # real work reaches about half of the product's rate


def _pace() -> float:
    """Say how many times as long as where `_LOOP_SECONDS` was measured Python takes here."""
    seconds = math.inf
    for _ in range(3):
        counts, started = dict[int, int](), time.process_time()
        for number in range(_LOOP):
            counts[number % 97] = counts.get(number % 89, 0) + number
        seconds = min(seconds, time.process_time() - started)
    return seconds / _LOOP_SECONDS
