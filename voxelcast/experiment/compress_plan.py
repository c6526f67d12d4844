"""The steps that compress the layers of an experiment, for each pool and partition into folds, each with its key."""

from __future__ import annotations

from collections.abc import Sequence

from voxelcast.core.settings import content
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan, Readable, Space
from voxelcast.experiment.settings import TABLES
from voxelcast.experiment.steps import compress as compress_step
from voxelcast.experiment.steps import extract as extract_step
from voxelcast.features.pooling import pool_key
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId


def compress_spaces(plan: Plan, extracted: dict[str, list[Step]], readable: Readable, repeat: int = 0) -> list[Space]:
    """Make the steps that compress each layer of each network, for each pool, for the folds of a repeat."""
    # Without a compression fitted in folds, all repeats share one.
    fold_ids = plan.folds(readable.train_ids, repeat if plan.config.compressed_in_folds else 0)
    excluded = plan.excluded_folds(int(fold_ids.max()) + 1)
    pools = plan.config.pools
    sources = [
        (network.shown, network.card.weights, layer, pool)
        for network in plan.networks
        for layer in network.layers
        for pool in pools
    ]
    sources += [(TABLES, "none", table, "") for table in plan.config.features]  # they were never pooled
    spaces = []
    for shown, weights, layer, pool in sources:
        shards = extracted[shown]
        compression = {"compression": plan.config.compress, "seed": plan.config.compress_seed, "axis": pool == "pc1"}
        place = extract_step.place_of(pool, pools) if pool else None
        several = {} if place is None else {"pool": pool_key(pool)}
        key = {
            "version": compress_step.VERSION,
            "shards": [step.step_id.key for step in shards],
            "layer": layer,
            "folds": fold_ids.tolist(),
            "excluded": excluded,
            **several,
            **content(compression),
        }
        called = pool if several else ""
        arguments = {
            "shards": [extract_step.layer_path(plan.store.path(step.step_id), layer, place) for step in shards],
            "layer": " ".join(filter(None, (shown, layer, called))),
            "fold_ids": fold_ids,
            "excluded": excluded,
            **compression,
        }
        name = "-".join(filter(None, (shown.replace("/", "-"), layer, called.partition("(")[0])))
        step = Step(StepId("compress", name, content_key(key)), compress_step.compress_layer, arguments)
        spaces.append(Space(step, shown, weights, layer, called))
    return spaces


def compress_steps(spaces: Sequence[Space], repeated: Sequence[Sequence[Space]]) -> list[Step]:
    """Return the steps of the spaces of all partitions into folds, each once: without refits they share them."""
    steps = [space.step for own in (spaces, *repeated) for space in own]
    return list({step.step_id: step for step in steps}.values())
