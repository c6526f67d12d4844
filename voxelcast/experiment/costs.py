"""How long an experiment will take, and how much memory and disk, before it is begun.

Networks, compressions and encoders say what they cost; here the costs are added up. One stimulus of each network is
looked at, the responses of the smallest subject x ROI are read, and one matrix product is timed. The estimate, like the
seconds and operations measured on one core that it counts with, is meant to be right within a factor of about three.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from voxelcast.core.cost import Cost
from voxelcast.core.errors import DataError, OptionError, StimulusError, VoxelcastError
from voxelcast.datasets.base import ResponseSet
from voxelcast.datasets.readers.shared_reading import MOST_KEPT
from voxelcast.encoders.banded_ridge import banded_ridge_seconds
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.learned.trunk import trunk_operations
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.execution.status import duration
from voxelcast.experiment.plan import (
    COMPRESS,
    DIVIDE,
    EXTRACT,
    FIT,
    JOIN,
    KEEP,
    READ,
    SHUFFLE,
    TRAIN,
    TRAIN_TRUNKS,
    WHOLE_BRAIN,
    Plan,
)
from voxelcast.experiment.settings import OWN, TABLES, ExperimentSettings
from voxelcast.experiment.steps.compress import excluded_folds
from voxelcast.experiment.steps.extract import (
    Extracted,
    LoadedNetwork,
    feature_name,
    network_of,
    pool_index,
    stimuli_for,
)
from voxelcast.experiment.trainings import training_cost
from voxelcast.features.compress import check_plain, check_size
from voxelcast.features.settings import CompressionSettings
from voxelcast.results.schema import Pair
from voxelcast.scoring.exchangeability import response_warnings
from voxelcast.search.memory import FitSize, fit_bytes
from voxelcast.store.memory import resident_mb

_VOXELS = 200
"""Of a typical ROI, where responses cannot be read."""
_MOST_READ = 1_000_000_000
"""Bytes of files that are read for a measurement; of larger ones a typical rate is taken."""
_MOST_READ_TOGETHER = 20_000_000
"""The same where the reading of one ROI is that of all, so that it would be done twice."""
_TYPICAL_RATE = 5e7
"""Bytes of files read in a second."""
_PROPOSAL = {"random": 3e-4, "grid": 0.0, "tpe": 1.5e-3, "gp": 0.1}
"""Seconds that making a proposal takes."""
_GPU_RATE = 1e13
"""Floating-point operations per second of a GPU that trains."""
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

    @property
    def cost(self) -> Cost:
        """Cost of the stimuli that are left."""
        each = Cost(seconds=self.seconds_per_stimulus, memory=self.memory, disk=4.0 * sum(self.stored.values()))
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
            f"{self.disk_bytes / 1e9:.2f} GB of disk for what is not done yet, "
            f"{self.worker_bytes / 1e9:.2f} GB of memory at most in a worker, "
            f"{self.workers * self.worker_bytes / 1e9:.2f} GB in {workers}",
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
    extracted = plan.extract_steps()
    looked_at = plan.networks if plan.plain else ()
    networks = [*_tables(plan), *(one for network in looked_at for one in _look(plan, network, extracted))]
    for one in networks:
        _check_features(plan.compression_of(one.shown), one, n, n_train)
    sizes = [size for one in networks for size in one.features.values()]
    kept = [config.compress.kept(n_train, size) for size in sizes]
    partitions = config.folds.repeats * len(plan.fold_tables)
    compressions = partitions if config.compressed_in_folds else 1  # otherwise all partitions share one
    subsets = len(plan.excluded_folds(n_folds))
    reading, known, warnings = _reading(plan, look)
    voxels = {pair: known.get(pair, _VOXELS) for pair in plan.pairs}
    costs = {
        READ: reading,
        EXTRACT: _total(one.cost for one in networks),
        COMPRESS: _total(config.compress.cost(n, n_train, size, subsets) for size in sizes) * compressions,
    }
    if config.ensemble.joined:
        rank, fits = min(n_train - 1, sum(kept)), len(plan.excluded_folds(n_folds, refit=True))
        operations, memory = 2.0 * n * n * sum(kept) + 10.0 * n_train**3, 8.0 * (4 * n * n + 3 * n * max(kept))
        costs[JOIN] = Cost(operations, memory=memory, disk=8.0 * n * rank) * (partitions * fits)
        kept = [*kept, rank]
    features = tuple(k * plan.most_delays for k in kept or [max(voxels.values())])
    if config.trunks:
        costs[TRAIN_TRUNKS] = _trunk_cost(plan, networks, voxels) * partitions
        features = (*features, *(min(trunk.width, sum(kept)) for trunk in config.trunks.values()))
    if config.learned:
        costs[TRAIN] = training_cost(plan, n_train, voxels, rate)
    costs[FIT] = _total(
        FitEstimate(config, n_train, n_folds, voxels[one], features, 1 + len(plan.sharers(pair)), rate).cost(n_test)
        for pair in voxels
        for one in (pair, *plan.experts(pair))  # which are searched again for the pair
    )
    if config.control != "none":
        costs[SHUFFLE] = costs[FIT] * config.shuffles
    if plan.layer_groups:
        costs[DIVIDE] = _total(_partition_cost(plan, networks, n_train, q) for q in voxels.values())
    if not config.unsaved and (n_test or config.models != "none"):
        costs[KEEP] = _keeping(plan, sizes, kept, voxels)
    pairs = min(workers, len(plan.pairs))
    side_by_side = {
        READ: pairs,
        COMPRESS: workers,
        TRAIN_TRUNKS: workers if config.compute.device == "cpu" else 1,
        FIT: pairs,
        SHUFFLE: workers,
        DIVIDE: workers,
        TRAIN: workers if plan.extract_on == "cpu" else 1,
    }  # extraction's seconds have all cores
    left = [EXTRACT, JOIN, TRAIN_TRUNKS, KEEP, *([COMPRESS] if any(one.stimuli_left for one in networks) else [])]
    return Estimate(
        n_train,
        n_test,
        len(plan.pairs),
        tuple(f"{subject}: {plan.dataset.extent(subject).shown()}" for subject in plan.dataset.subjects),
        tuple(networks),
        workers,
        {name: (cost.seconds + cost.operations / rate) / side_by_side.get(name, 1) for name, cost in costs.items()},
        disk_bytes=int(sum(cost.disk for name, cost in costs.items() if name in left)),
        worker_bytes=int(1e6 * resident_mb() + max(cost.memory for cost in costs.values())),
        warnings=(*plan.warnings, *warnings),
        gpu_seconds=costs[TRAIN].seconds if TRAIN in costs and plan.extract_on != "cpu" else 0.0,
    )


def _keeping(plan: Plan, sizes: Sequence[int], kept: Sequence[int], voxels: Mapping[Pair, int]) -> Cost:
    """Count what it takes to keep how layers are compressed, and fitted models: at most, of all layers that may count.

    Both are on disk twice, as the result of a step and in ``models/``; axes have two bytes a number, and are found and
    judged in two passes over the features.
    """
    config, n_train = plan.config, len(plan.dataset.train_stimuli)
    mixed = config.ensemble.method in ("stacking", "banded_ridge", "atlases") or config.selection.per == "voxel"
    each = config.ensemble.top if config.ensemble.method == "average" else 1 + len(config.ensemble.experts)
    n_used = len(sizes) if mixed else min(len(sizes), each * len(voxels))
    numbers = sorted((size * k for size, k in zip(sizes, kept, strict=False)), reverse=True)[:n_used]
    if config.compress.method != "pca":
        numbers = [0] * len(numbers)
    of_voxel = 4.0 * max(len(config.delays), 1) * (sum(kept) if mixed else each * max(kept, default=0))
    saved = [q for q in voxels.values() if config.models == "all" or (config.models == "roi" and q <= WHOLE_BRAIN)]
    disk = 2 * sum(map(_axes_bytes, numbers)) + of_voxel * (sum(voxels.values()) + sum(saved))
    return Cost(4.0 * n_train * sum(numbers), memory=8.0 * max(numbers, default=0), disk=disk)


def _axes_bytes(n_numbers: int) -> float:
    return n_numbers * (2.0 if n_numbers > 2**20 else 4.0)


def _total(costs: Iterable[Cost]) -> Cost:
    return sum(costs, start=Cost())


def _reading(plan: Plan, look: bool) -> tuple[Cost, dict[Pair, int], list[str]]:
    """Measure how long responses take to be read, on the smallest files that are left; count voxels where it is known.

    Datasets may keep files that several ROIs share: of such the second reading counts. What was read is looked at for
    responses that depend on each other.
    """
    steps = plan.responses_steps()
    voxels = {
        pair: int(plan.store.read(step.step_id).json("facts")["n_voxels"])
        for pair, step in steps.items()
        if plan.store.is_sound(step.step_id)
    }
    files = {pair: plan.dataset.response_files(*pair) for pair in steps if pair not in voxels}
    sizes = {pair: sum(path.stat().st_size for path in paths) for pair, paths in files.items()}
    if not sizes:
        return Cost(), voxels, []
    smallest = min(sizes, key=lambda pair: sizes[pair])
    by_header = plan.dataset.reads_together and (plan.dataset.series is not None or not look)
    if by_header and sizes[smallest] > _MOST_READ_TOGETHER:
        return _reading_together(plan, sizes, voxels)
    if sizes[smallest] > _MOST_READ:
        return Cost(seconds=sum(sizes.values()) / _TYPICAL_RATE, memory=3.0 * max(sizes.values())), voxels, []
    sharing = [pair for pair in files if pair != smallest and files[pair] == files[smallest]][:1]
    seconds, held, first = [], 0, None
    try:
        for pair in (smallest, *sharing):
            started = time.perf_counter()
            found = [plan.dataset.responses(*pair)]
            if plan.dataset.has_test_responses:
                found.append(plan.dataset.responses(*pair, "test"))
            seconds.append(time.perf_counter() - started)
            voxels[pair], first = found[0].n_voxels, first or found[0]
            held = max(held, sum(responses.values.nbytes for responses in found))
    except (VoxelcastError, OSError):  # the step itself will say what is wrong
        return Cost(), voxels, []
    growth = max(sizes.values()) / max(1, sizes[smallest])
    total = seconds[-1] * sum(sizes.values()) / max(1, sizes[smallest]) + seconds[0] - seconds[-1]
    for pair, size in sizes.items():
        voxels.setdefault(pair, max(1, round(voxels[smallest] * size / max(1, sizes[smallest]))))
    warnings = [] if first is None or plan.dataset.series is not None else _response_warnings(plan, first)
    return Cost(seconds=total, memory=3.0 * held * growth), voxels, warnings


def _response_warnings(plan: Plan, responses: ResponseSet) -> list[str]:
    mean, subject = responses.mean(), responses.subject if responses.subject in plan.fold_tables else ""
    known = np.isfinite(mean).all(axis=0)
    said = response_warnings(mean[:, known], plan.folds(responses.stimulus_ids, subject=subject)) if known.any() else []
    return [f"{responses.subject} {responses.roi}: {warning}" for warning in said]


def _reading_together(
    plan: Plan, sizes: Mapping[Pair, int], voxels: dict[Pair, int]
) -> tuple[Cost, dict[Pair, int], list[str]]:
    """Count what it takes to read each subject's files once, by their headers."""
    seconds = memory = 0.0
    for subject in dict.fromkeys(subject for subject, _ in sizes):
        extent = plan.dataset.extent(subject)
        one = 8.0 * extent.n_stimuli * (extent.n_repetitions or 1)
        memory = max(memory, min(MOST_KEPT, one * sum(extent.voxels.values())) + 3 * one * max(extent.voxels.values()))
        seconds += max(size for pair, size in sizes.items() if pair[0] == subject) / _TYPICAL_RATE
        voxels = {(subject, roi): size for roi, size in extent.voxels.items()} | voxels
    return Cost(seconds=seconds, memory=memory), voxels, []


def _partition_cost(plan: Plan, networks: Sequence[NetworkEstimate], n_train: int, q: int) -> Cost:
    """Count what it takes to divide one ROI's variance: four fits per combination and fold, each cross-validated."""
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
        operations += 4 * n_folds**2 * tries * p * (2.0 * n_train * p + 10.0 * p * p + 50.0 * n_train / n_folds * q)
        memory = 8.0 * (2 * n_train * sum(together) + 3 * p * p + (chosen + 3) * n_train * q)
    return Cost(operations, memory=memory)


def _trunk_cost(plan: Plan, networks: Sequence[NetworkEstimate], voxels: Mapping[Pair, int]) -> Cost:
    """Count what training all trunks takes, for one partition into folds."""
    n_train, n = len(plan.dataset.train_stimuli), len(plan.stimuli)
    fits, total = len(plan.excluded_folds(plan.n_folds, refit=True)), Cost()
    for label, trunk in plan.config.trunks.items():
        p = sum(
            plan.config.compress.kept(n_train, size)
            for one in networks
            for layer, size in one.features.items()
            if (one.shown, layer) in plan.streams[label]
        )
        for members in {tuple(plan.trained_on(trunk, pair)) for pair in voxels}:
            q = sum(voxels[pair] for pair in members)
            operations = trunk_operations(trunk, n_train, p, q)
            memory, disk = 8.0 * (4 * n * p + 4 * n_train * q), 8.0 * (n * min(trunk.width, p) + trunk.width * (p + q))
            on_gpu = plan.extract_on != "cpu" and trunk.kind != "linear"
            work = Cost(seconds=operations / _GPU_RATE) if on_gpu else Cost(operations)
            total += (work + Cost(memory=memory, disk=disk)) * fits
    return total


def _tables(plan: Plan) -> tuple[NetworkEstimate, ...]:
    """Count the features that no network makes: they take no time."""
    given = {table: plan.dataset.features(table).shape[1] for table in plan.config.tables}
    own = {name: values.shape[1] for name, values in plan.own_features.items()}
    return tuple(
        NetworkEstimate(shown, 0.0, 0, sizes, sizes) for shown, sizes in ((TABLES, given), (OWN, own)) if sizes
    )


def _look(plan: Plan, network: LoadedNetwork, extracted: Mapping[str, Extracted]) -> list[NetworkEstimate]:
    """Count what is left; sizes come from a finished step, or from one stimulus, extracted three times."""
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
    for stimulus in stimuli_for(network, plan.stimuli):
        try:
            seconds = np.inf
            for _ in range(3):  # the first warms up; a busy machine slows down some more than others
                started = time.perf_counter()
                looked_at = extract_stimulus(loaded, stimulus, settings)
                seconds = min(seconds, time.perf_counter() - started)
        except StimulusError:
            if plan.config.broken_stimuli == "stop":
                raise
            continue
        shapes = {(layer, pool): looked_at.by_pool[pool][layer].shape for layer, pool in features}
        traces = [trace for trace in loaded.layer_traces() if trace.name in network.layers]
        batch = default_size(loaded)
        memory = extraction_cost(traces, settings, looked_at.n_frames, batch).memory
        return _counted(plan, network.shown, shapes, left, seconds, memory)
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
    counted = []
    for pool in plan.config.pools:
        of_pool = {layer: shape for (layer, used), shape in shapes.items() if used == pool}
        stored = {layer: math.prod(shape) for layer, shape in of_pool.items()}
        features = {layer: shape[-1] for layer, shape in of_pool.items()} if pool == "pc1" else stored
        named = pool if len(plan.config.pools) > 1 else ""
        counted.append(NetworkEstimate(shown, seconds, left, stored, features, named, memory))
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
    a = np.ones((600, 600))
    a @ a
    started = time.perf_counter()
    a @ a
    return 2 * 600.0**3 / (time.perf_counter() - started) / 2  # real work reaches about half of the product's rate


@dataclass(frozen=True)
class FitEstimate:
    """The work of one subject x ROI: the search, the choice and the fits, counted.

    ``sizes`` has the features of each layer as encoders get them, of all delays; ``n_subjects`` share targets (1: none
    are shared); ``rate`` is in operations per second of one core.
    """

    config: ExperimentSettings
    n_train: int
    n_folds: int
    n_voxels: int
    sizes: tuple[int, ...]
    n_subjects: int
    rate: float

    def cost(self, n_test: int) -> Cost:
        """Return the seconds on one core, of all partitions into folds, and the bytes that one holds at most."""
        once = self._search() + self._combination() + self._sharing()
        return Cost(seconds=self.config.folds.repeats * once, memory=self._memory(n_test))

    def _memory(self, n_test: int) -> float:
        config, n, q = self.config, self.n_train, self.n_voxels
        fit = FitSize(
            ProblemSize(n, max(self.sizes), q),
            n_test=n_test,
            n_folds=self.n_folds,
            n_layers=len(self.sizes),
            encoders=tuple(self._encoders),
            fitted_in_folds=config.compressed_in_folds,
            per_voxel=config.selection.per == "voxel",
            ensemble=config.ensemble.method,
            proposals=None if self._exact else max(map(self._trials, self._encoders)),
        )
        banded = n * (n * len(self.sizes) + sum(self.sizes)) if config.ensemble.method == "banded_ridge" else 0
        shared = (self.n_subjects - 1) * n * q + (3 * n * n if self.n_subjects > 1 else 0)
        return sum(fit_bytes(fit).values()) + 8.0 * (banded + shared)

    @cached_property
    def _encoders(self) -> list[Encoder]:
        return [get_encoder(name, 0, self.config.automl) for name in self.config.encoders]

    @property
    def _exact(self) -> bool:
        return self.config.search.method == "exact"

    @property
    def _outer_folds(self) -> int:
        return self.n_folds if self.config.folds.nested else 0

    @property
    def _evaluations(self) -> int:
        """Folds that one proposal is judged on, inside all outer folds."""
        return self.n_folds * max(1, self._outer_folds)

    def _search(self) -> float:
        """Count what scoring the candidates takes."""
        search, n_layers = self.config.search, len(self.sizes)
        each = [self._evaluate(encoder) for encoder in self._encoders]
        if self._exact:
            return sum(each)
        proposing = _PROPOSAL[search.sampler if search.method == "bayes" else search.method] * (1 + self._outer_folds)
        if search.joint:
            # One study, whose proposals are of all layers and encoders by turns.
            return search.trials * (proposing + sum(each) / len(each) / n_layers)
        trials = [self._trials(encoder) for encoder in self._encoders]
        return sum(n * (n_layers * proposing + seconds) for n, seconds in zip(trials, each, strict=True))

    def _trials(self, encoder: Encoder) -> int:
        """Proposals for one layer; an encoder without hyper-parameters is tried once."""
        return self.config.search.trials if encoder.search_space(ProblemSize(self.n_train, 1, 1)) else 1

    def _of_layers(self, seconds: Callable[[ProblemSize], float]) -> float:
        return sum(seconds(ProblemSize(self.n_train, size, self.n_voxels)) for size in self.sizes)

    def _evaluate(self, encoder: Encoder) -> float:
        """Seconds of trying on all layers the whole grid, of which two outer folds share fits, or one proposal."""
        held_out = -(-self.n_train // self.n_folds)
        each = self._of_layers(lambda size: encoder.evaluate_seconds(size, held_out, self.rate, grid=self._exact))
        return each * ((self.n_folds + self._evaluations) / 2 if self._exact else self._evaluations)

    def _combination(self) -> float:
        """Count what fitting the models chosen, and weighing layers, takes."""
        ensemble, layers, q = self.config.ensemble, len(self.sizes), self.n_voxels
        outers = 1 + self._outer_folds
        whole = self.config.selection.per == "voxel" or ensemble.method == "stacking"
        used = layers if whole else min(ensemble.top, layers) if ensemble.method == "average" else 1
        # A mixture is compared with the best single candidate, which is fitted as well.
        alone = self._outer_folds if whole or ensemble.method != "none" else 0
        seconds = (outers * used + alone) / layers * self._refit()
        if ensemble.method == "stacking":
            sums = 2.0 * self.n_train * self._evaluations / self.n_folds * q * layers**2
            weights = 5e-5 * (layers + 4) * (q if ensemble.per == "voxel" else 1) * outers
            seconds += self._evaluations * self._refit() + sums / self.rate + weights
        if self._outer_folds and ensemble.method != "banded_ridge":  # again without a fold more, for the interval
            seconds += self._outer_folds * (self.n_folds - 1) * used / layers * self._refit()
        if ensemble.method == "experts":
            members = 1 + len(ensemble.experts)
            sums = 2.0 * self.n_train * self._evaluations / self.n_folds * q * members * (members + max(self.sizes))
            seconds += self._evaluations * self._refit() / layers + sums / self.rate + 5e-5 * (members + 4) * q * outers
        if ensemble.method == "banded_ridge":
            size = ProblemSize(self.n_train, sum(self.sizes), q)
            seconds += outers * banded_ridge_seconds(size, self.n_folds, ensemble.draws, layers, self.rate)
        return seconds

    def _refit(self) -> float:
        """Seconds of fitting and predicting once, on all layers, what was chosen of the one encoder that takes most.

        A layer may be chosen with as many parameters as voxels choose differently.
        """

        def seconds(encoder: Encoder) -> float:
            tried = 1 if self._exact else self._trials(encoder)
            models = 1 if self.config.selection.per == "roi" else min(tried, self.n_voxels)
            return self._of_layers(lambda size: encoder.fit_members_seconds(size, models, self.rate))

        return max(map(seconds, self._encoders))

    def _sharing(self) -> float:
        """Count what estimating the components takes that subjects share, in each training part."""
        if self.n_subjects == 1:
            return 0.0
        n, parts = float(self.n_train), excluded_folds(self.n_folds, nested=self.config.folds.nested, refit=True)
        return len(parts) * (3 * n**3 + 2 * n**2 * self.n_voxels * self.n_subjects) / self.rate
