"""The steps that divide explained variance between groups of layers, each with its key, and the files they lead to."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxelcast.core.settings import content
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan, Readable, Space
from voxelcast.experiment.steps import partition as partition_step
from voxelcast.store.atomic import write_bytes
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId

Pair = tuple[str, str]
Grouped = dict[str, list[Space]]


def partition_steps(
    plan: Plan,
    responses: Mapping[Pair, Step],
    spaces: Sequence[Space],
    readable: Readable,
    repeated: Sequence[Sequence[Space]] = (),
) -> dict[Pair, Step]:
    """Make a step for each subject x ROI; none where no groups are asked for.

    ``repeated`` has the spaces of each further partition into folds.
    """
    if not plan.layer_groups:
        return {}
    config = plan.config
    rows = plan.delayed_rows(readable)
    partitions = [
        (plan.folds(readable.train_ids, repeat), _grouped(plan, own)) for repeat, own in enumerate((spaces, *repeated))
    ]
    shared: dict[str, Any] = {
        "fitted_in_folds": config.compressed_in_folds,
        "stimulus_groups": plan.groups_of(readable.train_ids),
        "draws": config.variance_partitioning.draws,
        "interval": config.interval,
        "seed": config.seed,
    }
    key = {
        "version": partition_step.VERSION,
        "partitions": [
            [folds.tolist(), [[name, [space.step.step_id.key for space in own]] for name, own in grouped.items()]]
            for folds, grouped in partitions
        ],
        "train": readable.train_ids,
        **({} if rows is None else {"delayed_rows": rows.tolist()}),
        **shared,
    }
    arguments = {
        **shared,
        "delayed_rows": rows,
        "train_rows": readable.train_rows,
        "partitions": [(folds, _located(plan, grouped)) for folds, grouped in partitions],
    }
    steps = {}
    for pair, prepared in responses.items():
        own_key = content_key(content({"responses": prepared.step_id.key, **key}))
        own = {**arguments, "responses": plan.store.path(prepared.step_id)}
        steps[pair] = Step(StepId("partition", "_".join(pair), own_key), partition_step.divide_pair, own)
    return steps


def _grouped(plan: Plan, spaces: Sequence[Space]) -> Grouped:
    return {
        name: [space for space in spaces if (space.network, space.layer) in layers]
        for name, layers in plan.layer_groups.items()
    }


def _located(plan: Plan, grouped: Grouped) -> dict[str, list[tuple[Path, str, str]]]:
    return {
        name: [(plan.store.path(space.step.step_id), space.network, space.layer) for space in spaces]
        for name, spaces in grouped.items()
    }


def partition_rows(plan: Plan, steps: Mapping[Pair, Step], output: Path) -> list[list[object]]:
    """Write the values of the voxels and return the rows of ``variance_partitioning.csv``."""
    rows: list[list[object]] = []
    for (subject, roi), step in steps.items():
        folder = plan.store.path(step.step_id)
        write_bytes(output / "variance_partitioning" / f"{subject}_{roi}.npz", (folder / "voxels.npz").read_bytes())
        for row in json.loads((folder / "parts.json").read_text()):
            named = row | {"subject": subject, "roi": roi}
            rows.append([named[column] for column in partition_step.PARTITION_COLUMNS])
    return rows
