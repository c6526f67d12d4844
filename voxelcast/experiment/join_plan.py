"""The steps that join the layers of an experiment, where ``ensemble.joined`` asks for it, each with its key."""

from __future__ import annotations

from collections.abc import Sequence

from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan, Readable, Space
from voxelcast.experiment.steps import compress as compress_step
from voxelcast.experiment.steps import join as join_step
from voxelcast.search.joined import ALL_LAYERS, JOINED
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId


def join_spaces(plan: Plan, partitions: Sequence[Sequence[Space]], readable: Readable) -> list[Space]:
    """Make the space that joins the layers, for each partition into folds; none where it is not asked for.

    Unlike the compression it is fitted to each training part in any case.
    """
    if not plan.config.ensemble.joined:
        return []
    joined = []
    for repeat, spaces in enumerate(partitions):
        fold_ids = plan.folds(readable.train_ids, repeat)
        n_folds = int(fold_ids.max()) + 1
        excluded = compress_step.excluded_folds(n_folds, nested=plan.config.folds.nested, refit=True)
        key = {
            "version": join_step.VERSION,
            "layers": [space.step.step_id.key for space in spaces],
            "folds": fold_ids.tolist(),
            "excluded": excluded,
        }
        arguments = {
            "layers": [plan.store.path(space.step.step_id) for space in spaces],
            "fitted_in_folds": plan.config.compressed_in_folds,
            "fold_ids": fold_ids,
            "excluded": excluded,
        }
        step = Step(StepId("join", "all-layers", content_key(key)), join_step.join_layers, arguments)
        joined.append(Space(step, JOINED, "none", ALL_LAYERS, ""))
    return joined
