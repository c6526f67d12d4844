"""The steps that read responses, fit models and divide variance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

from voxelcast.core.arrays import IntArray
from voxelcast.encoders.registry import get_encoder
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.layers import Partitions
from voxelcast.experiment.planning.trainings import NO_TRAININGS, Trainings
from voxelcast.experiment.planning.trunks import Trunks, add_trunks
from voxelcast.experiment.steps.compress import FoldedLayers, compressed
from voxelcast.experiment.steps.control import ControlJob
from voxelcast.experiment.steps.extract import Readable
from voxelcast.experiment.steps.fit import FitJob
from voxelcast.experiment.steps.partition import FoldedGroups, LayerGroup, PartitionJob
from voxelcast.experiment.steps.responses import ResponsesJob, TrainingResponses
from voxelcast.results.schema import Pair
from voxelcast.store.keys import file_hash
from voxelcast.store.readers.arrays import open_npy

SearchedPartitions = Mapping[Pair, tuple[FoldedLayers, ...]]
"""All layers that a search sees, for each partition into folds, by subject and ROI."""


def responses_steps(plan: Plan) -> dict[Pair, Step]:
    """Make the steps that read, check and average the responses, by subject and ROI."""
    config = plan.config
    ids = tuple(stimulus.stimulus_id for stimulus in plan.stimuli)
    steps = {}
    for subject, roi in plan.pairs:
        files = tuple(file_hash(path) for path in plan.dataset.response_files(subject, roi))
        n_train, handling = len(plan.dataset.train_stimuli), config.invalid_voxels
        job = ResponsesJob(config.dataset, files, ids, n_train, subject, roi, handling)
        steps[subject, roi] = Step(job, together=subject if plan.dataset.reads_together else "")
    return steps


def training_responses(plan: Plan, responses: Mapping[Pair, Step]) -> dict[Pair, TrainingResponses]:
    """Return the responses that finished steps have, as what is fitted to them counts them."""
    return {pair: TrainingResponses.of(step.step_id, plan.store) for pair, step in responses.items()}


def fit_steps(
    plan: Plan,
    responses: Mapping[Pair, TrainingResponses],
    readable: Readable,
    partitions: SearchedPartitions,
) -> dict[Pair, Step]:
    """Make the steps that search, evaluate and refit the models, by subject and ROI.

    Those are left out whose own responses, or others that they rely on, are not there.
    """
    config = plan.config
    uses_automl = any(get_encoder(name).uses_automl for name in config.encoders)
    return {
        pair: Step(
            FitJob(
                *pair,
                responses=prepared,
                sharers=tuple(responses[other] for other in plan.sharers(pair)),
                experts=tuple((other[1], responses[other]) for other in plan.experts(pair)),
                atlases=tuple(read_atlas(name, pair) for name in config.ensemble.atlases if isinstance(name, str)),
                stimuli=readable if config.unsaved else readable.fitted,
                partitions=tuple(partitions[pair]),
                encoders=config.encoders,
                automl=config.automl if uses_automl else None,  # it changes nothing where it is not used
                settings=config.settings_of(pair[1]),
                share=config.share,
                truncate=config.compress.nested,
                interval=config.interval,
                significance=config.significance,
                saved=not config.unsaved,
            )
        )
        for pair, prepared in responses.items()
        if all(other in responses for other in plan.relied_on(pair)) and all(one.layers for one in partitions[pair])
    }


def searched_layers(
    plan: Plan, partitions: Partitions, trunks: Trunks | None = None, trainings: Trainings = NO_TRAININGS
) -> SearchedPartitions:
    """Return the layers that each pair searches: those compressed, the outputs of trunks, and trained encoders."""
    return {
        pair: trainings.added(pair, add_trunks(partitions[pair[0]], (trunks or {}).get(pair)))
        for pair in plan.pairs
        if pair[0] in partitions
    }


def control_steps(
    plan: Plan, fits: Mapping[Pair, Step], shuffled: Sequence[SearchedPartitions]
) -> dict[Pair, list[Step]]:
    """Make the steps that fit models to shuffled responses, by subject and ROI; none unless ``control`` is set.

    ``shuffled`` has what is searched for each shuffle, with encoders that were trained on its responses.
    """
    if plan.config.control == "none":
        return {}
    settings = {
        pair: {each.name: getattr(step.job, each.name) for each in fields(FitJob)} for pair, step in fits.items()
    }
    return {
        pair: [
            Step(ControlJob(**given | {"partitions": found[pair]}, shuffle=number))
            for number, found in enumerate(shuffled, start=1)
            if all(one.layers for one in found[pair])
        ]
        for pair, given in settings.items()
    }


def partition_steps(
    plan: Plan, responses: Mapping[Pair, TrainingResponses], readable: Readable, partitions: Partitions
) -> dict[Pair, Step]:
    """Make the steps that divide explained variance, by subject and ROI; none where no groups are asked for."""
    if not plan.layer_groups:
        return {}
    draws, interval, seed = plan.config.variance_partitioning.draws, plan.config.interval, plan.config.seed
    steps = {}
    for pair, prepared in responses.items():
        grouped = _grouped(plan, partitions[pair[0]])
        stimuli = readable if plan.config.unsaved else readable.fitted
        steps[pair] = Step(PartitionJob(*pair, prepared, stimuli, grouped, draws, interval, seed))
    return steps


def _grouped(plan: Plan, partitions: Sequence[FoldedLayers]) -> tuple[FoldedGroups, ...]:
    return tuple(
        FoldedGroups(
            folded.fold_ids,
            tuple(
                LayerGroup(name, tuple(one for one in compressed(folded) if (one.network, one.layer) in members))
                for name, members in plan.layer_groups.items()
            ),
        )
        for folded in partitions
    )


def read_atlas(name: str, pair: Pair) -> IntArray:
    """Read the cluster of every voxel of a pair from a file of ``ensemble.atlases``."""
    path = Path(name.replace("{subject}", pair[0]).replace("{roi}", pair[1]))
    return open_npy(path, f"atlas of {' '.join(pair)}")
