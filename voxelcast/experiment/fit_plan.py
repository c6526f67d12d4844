"""The steps that search, judge and refit the models of each subject x ROI, each with its key."""

from __future__ import annotations

from collections.abc import Sequence

from voxelcast.core.settings import content
from voxelcast.encoders.registry import get_encoder
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan, Readable, Space
from voxelcast.experiment.steps import fit as fit_step
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId


def fit_steps(
    plan: Plan,
    responses: dict[tuple[str, str], Step],
    spaces: Sequence[Space],
    readable: Readable,
    repeated: Sequence[Sequence[Space]] = (),
) -> dict[tuple[str, str], Step]:
    """Make the steps that search, judge and refit the models, by subject and ROI.

    ``repeated`` has the spaces of each further partition into folds.
    """
    config = plan.config
    fold_ids = plan.folds(readable.train_ids)
    more_folds = [plan.folds(readable.train_ids, repeat) for repeat in range(1, config.folds.repeats)]
    groups = plan.groups_of(readable.train_ids)
    rows = plan.delayed_rows(readable)
    steps = {}
    for pair, prepared in responses.items():
        others = [responses[other] for other in plan.sharers(pair)]
        shared = {
            "share": config.share,
            "fitted_in_folds": config.compressed_in_folds,
            "groups": groups,
            "test_groups": plan.groups_of(readable.test_ids),
            "encoders": config.encoders,
            # Its budget changes nothing where it is not used.
            "automl": config.automl if any(get_encoder(name).uses_automl for name in config.encoders) else None,
            "settings": config.pair_settings,
            "truncate": config.compress.compression(axis=False, seed=0).nested,
            "interval": config.interval,
            "significance": config.significance,
            "subject": pair[0],
            "roi": pair[1],
        }
        key = {
            "version": fit_step.VERSION,
            "responses": prepared.step_id.key,
            "spaces": [
                [s.step.step_id.key, s.network, s.weights, s.layer, *([s.pool] if s.pool else [])] for s in spaces
            ],
            "folds": fold_ids.tolist(),
            "repeats": [
                [folds.tolist(), [space.step.step_id.key for space in own]]
                for folds, own in zip(more_folds, repeated, strict=True)
            ],
            "others": [other.step_id.key for other in others],
            "train": readable.train_ids,
            "test": readable.test_ids,
            **({} if rows is None else {"delayed_rows": rows.tolist()}),
            **shared,
        }
        arguments = {
            **shared,
            "delayed_rows": rows,
            "responses": plan.store.path(prepared.step_id),
            "train_rows": readable.train_rows,
            "test_rows": readable.test_rows,
            "spaces": _located(plan, spaces),
            "fold_ids": fold_ids,
            "repeats": [(folds, _located(plan, own)) for folds, own in zip(more_folds, repeated, strict=True)],
            "others": [plan.store.path(other.step_id) for other in others],
        }
        step_id = StepId("fit", "_".join(pair), content_key(content(key)))
        arguments["scratch"] = plan.store.scratch(step_id)
        steps[pair] = Step(step_id, fit_step.fit_pair, arguments)
    return steps


def _located(plan: Plan, spaces: Sequence[Space]) -> list[fit_step.Located]:
    return [(plan.store.path(s.step.step_id), s.network, s.weights, s.layer, s.pool) for s in spaces]
