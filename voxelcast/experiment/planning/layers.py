"""The steps that extract features, and compress and join layers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.checks import check_same_stimuli
from voxelcast.core.errors import DataError
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.steps import extract
from voxelcast.experiment.steps.compress import CompressedLayer, CompressJob, FoldedLayers, JoinJob
from voxelcast.experiment.steps.tables import DatasetTables, dataset_table, table_steps
from voxelcast.search.joined import ALL_LAYERS, JOINED
from voxelcast.stimuli.stimulus import Stimulus

Partitions = Mapping[str, Sequence[FoldedLayers]]
"""The compressed layers for each partition into folds, by subject."""


def of_parts(plan: Plan, make: Callable[[tuple[Stimulus, ...], extract.Shards, int], list[Step]]) -> extract.Extracted:
    """Make steps of each part of the stimuli, some of which are known to be looked at together."""
    made: dict[str, tuple[Step, ...]] = {}
    for part, stimuli in plan.parts().items():
        known = plan.known_shards if part in ("test", "far") and not plan.config.unsaved else ()
        made[part] = tuple(make(stimuli, known, sum(map(len, made.values()))))
    return extract.Extracted(**made)


def extraction_steps(plan: Plan) -> dict[str, extract.Extracted]:
    """Make the steps that extract each network's layers, a shard of stimuli each, by the network's shown name.

    Features that come with the dataset are steps among them. Training and held-out stimuli are never in one step.
    """
    config, row_of = plan.config, {one.stimulus_id: row for row, one in enumerate(plan.stimuli)}

    given = {table: dataset_table(plan.dataset, table) for table in config.tables}
    found: dict[str, extract.Extracted] = {}
    for source, read in ((DatasetTables(config.dataset), given), (plan.own, plan.own_features)):
        if read:
            found[source.shown] = of_parts(plan, partial(table_steps, source, read, row_of))
    for network in plan.networks if plan.plain else ():
        how = network, config.extraction, plan.extract_on

        def layers(stimuli: tuple[Stimulus, ...], known: extract.Shards, first: int, how: Any = how) -> list[Step]:
            return extract.extract_steps(how[0], stimuli, how[1], how[2], known, first)

        found[network.shown] = of_parts(plan, layers)
    return found


def readable_stimuli(plan: Plan, extracted: Mapping[str, extract.Extracted]) -> extract.Readable:
    """Say which stimuli the finished extraction steps could read.

    Raises AlignmentError if a network's features are not of the dataset's stimuli, or networks read other ones, and
    DataError if no training stimulus is left.
    """
    ids = [stimulus.stimulus_id for stimulus in plan.stimuli]
    broken_of: dict[str, dict[str, str]] = {}
    for shown, of_network in extracted.items():
        found = [one for step in of_network.steps for one in _records(plan, step)]
        records = {one["stimulus_id"]: one["broken"] for one in found}
        wanted = [i for step in of_network.steps if isinstance(step.job, extract.ShardJob) for i in step.job.shard]
        check_same_stimuli(f"features of {shown}", [one["stimulus_id"] for one in found], "the stimuli", wanted)
        broken_of[shown] = {i: records[i] for i in ids if records[i]}
    first, broken = next(iter(broken_of.items()))
    for shown, others in broken_of.items():
        kept, also = ([i for i in ids if i not in left_out] for left_out in (broken, others))
        check_same_stimuli(f"features of {first}", kept, f"features of {shown}", also)
    left_out = {*broken, *(i for i, fold in plan.segments.items() if fold < 0)}
    train = [i for i, s in enumerate(plan.dataset.train_stimuli) if s.stimulus_id not in left_out]
    test = [i for i, s in enumerate(plan.dataset.test_stimuli) if s.stimulus_id not in broken]
    if not train:
        raise DataError(f"none of {len(plan.dataset.train_stimuli)} training stimuli can be read; check the files")
    train_ids = tuple(plan.dataset.train_stimuli[i].stimulus_id for i in train)
    test_ids = tuple(plan.dataset.test_stimuli[i].stimulus_id for i in test)
    rows = np.array(train, dtype=int), np.array(test, dtype=int)
    groups = plan.units_of(train_ids), plan.units_of(test_ids)
    return extract.Readable(train_ids, test_ids, *rows, *groups, plan.dataset.series is not None, broken)


def _records(plan: Plan, step: Step) -> list[dict[str, Any]]:
    return list(plan.store.read(step.step_id).json("stimuli"))


def readable_ids(plan: Plan, steps: Sequence[Step]) -> list[str]:
    """Return the ids of the stimuli that finished extraction steps could read, in their order."""
    return [one["stimulus_id"] for step in steps for one in _records(plan, step) if not one["broken"]]


def compression_sees(plan: Plan, extracted: extract.Extracted) -> tuple[Step, ...]:
    """Return the steps whose stimuli the compression sees: it is fitted to the training stimuli alone.

    Held-out stimuli are among them only where models cannot be saved, or delays of training stimuli reach them.
    """
    if plan.config.unsaved:
        return (*extracted.train, *extracted.test, *extracted.near, *extracted.far)
    return (*extracted.train, *extracted.near, *(extracted.test if plan.test_is_near else ()))


def folded_layers(
    plan: Plan, extracted: Mapping[str, extract.Extracted], readable: extract.Readable, repeat: int, subject: str = ""
) -> tuple[FoldedLayers, list[Step]]:
    """Make the steps that compress each layer of each network, for each pool, for the folds of a repeat.

    ``subject``: one of `fold_tables`.

    Without a compression fitted in folds, all repeats share one.
    """
    config = plan.config
    refit = config.compressed_in_folds
    fold_ids = plan.folds(readable.train_ids, repeat, subject)
    fitted_for = fold_ids if refit else plan.folds(readable.train_ids)
    excluded = plan.excluded_folds(int(fitted_for.max()) + 1)
    fitted_for = of_all_rows(plan, fitted_for, readable)
    kept = readable_ids(plan, compression_sees(plan, next(iter(extracted.values())))) if extracted else []
    wanted = (*readable.train_ids, *(readable.test_ids if config.unsaved else ()))
    delayed = {delays: plan.delayed(delays, kept, wanted) for delays in plan.all_delays()}
    sources = [
        (network.shown, network.card.weights, layer, pool)
        for network in plan.networks
        for layer in network.layers
        for pool in config.pools
    ]
    models = plan.own.networks
    for shown, table in plan.feature_names:  # they were never pooled
        sources.append((shown, models[table].card.weights if table in models else "none", table, ""))
    layers, steps = [], []
    for shown, weights, layer, pool in sources if plan.plain else ():
        index = extract.pool_index(pool, config.pools) if pool else None
        named = "" if index is None else pool
        shards = tuple(step.step_id for step in compression_sees(plan, extracted[shown]))
        how = plan.compression_of(shown)
        device = plan.extract_on if how.method == "pca" else "cpu"
        given = how, config.compress_seed, pool == "pc1", device
        job = CompressJob(shown, layer, named, index, shards, fitted_for, excluded, *given)
        steps.append(Step(job, uses_gpu=device != "cpu", shares_gpu=device != "cpu"))
        moments = delayed[plan.delays_of(shown, layer)]
        layers.append(CompressedLayer(steps[-1].step_id, shown, weights, layer, named, refit, moments))
    return FoldedLayers(fold_ids, tuple(layers)), steps


def of_all_rows(plan: Plan, fold_ids: IntArray, readable: extract.Readable) -> IntArray:
    """Give the folds of all readable training stimuli: -1 for those between two segments."""
    fold_of = dict(zip(readable.train_ids, fold_ids.tolist(), strict=True))
    ids = [i for i in plan.dataset.stimulus_ids("train") if i not in readable.broken]
    return np.array([fold_of.get(i, -1) for i in ids], dtype=fold_ids.dtype)


def join_step(plan: Plan, folded: FoldedLayers) -> Step:
    """Make the step that joins layers; unlike the compression it is fitted to each training part in any case."""
    return Step(JoinJob(folded, plan.excluded_folds(int(folded.fold_ids.max()) + 1, refit=True)))


def add_joined(folded: FoldedLayers, step: Step) -> FoldedLayers:
    """Add the model on all layers to those of a partition into folds."""
    joined = CompressedLayer(step.step_id, JOINED, "none", ALL_LAYERS, "", fitted_in_folds=True)
    return FoldedLayers(folded.fold_ids, (*folded.layers, joined))
