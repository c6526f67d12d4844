"""The steps that train trunks, and their outputs as layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.learned.trunk_settings import TRUNK
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.layers import Partitions, compression_sees, readable_ids
from voxelcast.experiment.steps.compress import FoldedLayers, compressed
from voxelcast.experiment.steps.extract import Extracted, Readable
from voxelcast.experiment.steps.responses import TrainingResponses
from voxelcast.experiment.steps.trunk import TrunkJob, TrunkLayer, folds_name
from voxelcast.results.schema import Pair
from voxelcast.search.joined import JOINED
from voxelcast.store.steps import StepId

Trunks = Mapping[Pair, Sequence[Sequence[TrunkLayer]]]
"""The outputs of trunks for each partition into folds, by subject and ROI."""


def trunk_steps(
    plan: Plan,
    responses: Mapping[Pair, TrainingResponses],
    readable: Readable,
    partitions: Partitions,
    extracted: Mapping[str, Extracted],
) -> tuple[Trunks, list[Step]]:
    """Make the steps that train the trunks, one for each set of folds left out, and say which outputs a pair uses.

    Pairs that are trained on the same responses share the steps; those are left out that need responses that are
    not there.
    """
    if not plan.config.trunks:
        return {}, []
    readable = readable if plan.config.unsaved else readable.fitted
    ids, series = readable_ids(plan, compression_sees(plan, next(iter(extracted.values())))), None
    row_of = {stimulus_id: row for row, stimulus_id in enumerate(ids)}
    rows = np.array([row_of[stimulus_id] for stimulus_id in (*readable.train_ids, *readable.test_ids)])
    if plan.dataset.series is not None:
        at = [plan.dataset.series[stimulus_id] for stimulus_id in ids]
        numbers = {run: number for number, run in enumerate(dict.fromkeys(run for run, _ in at))}
        series = np.array([(numbers[run], position) for run, position in at])
    steps: dict[StepId, Step] = {}
    found: dict[Pair, list[list[TrunkLayer]]] = {}
    for pair in responses:
        if not all(other in responses for other in plan.relied_on(pair)):
            continue
        found[pair] = []
        for folded in partitions[pair[0]]:
            layers = []
            for label, trunk in plan.config.trunks.items():
                given = tuple((other, responses[other]) for other in plan.trained_on(trunk, pair))
                made = _trained(plan, label, given, folded, (readable.train_rows, rows, series))
                steps |= {step.step_id: step for step in made.values()}
                trained = {name: step.step_id for name, step in made.items()}
                layers.append(TrunkLayer(trained[""], TRUNK, "none", label, "", True, trained=trained))
            found[pair].append(layers)
    return found, list(steps.values())


def _trained(
    plan: Plan,
    label: str,
    responses: tuple[tuple[Pair, TrainingResponses], ...],
    folded: FoldedLayers,
    places: tuple[IntArray, IntArray, IntArray | None],
) -> dict[str, Step]:
    """Make the steps that train one trunk on some responses, by the folds that are left out.

    ``places`` are `TrunkJob`'s ``train_rows``, ``rows`` and ``series``.
    """
    trunk = plan.config.trunks[label]
    read = FoldedLayers(
        folded.fold_ids,
        tuple(
            replace(one, delayed=None) for one in compressed(folded) if (one.network, one.layer) in plan.streams[label]
        ),
    )
    device = "cpu" if trunk.kind == "linear" else plan.extract_on
    around = responses, *places, derive_seed(plan.config.seed, TRUNK)
    return {
        folds_name(excluded): Step(TrunkJob(label, device, trunk, read, excluded, *around), uses_gpu=device != "cpu")
        for excluded in plan.excluded_folds(int(folded.fold_ids.max()) + 1, refit=True)
    }


def add_trunks(
    partitions: Sequence[FoldedLayers], trunks: Sequence[Sequence[TrunkLayer]] | None
) -> Sequence[FoldedLayers]:
    """Add the outputs of trunks to the layers of each partition into folds; the model on all layers stays the last."""
    if not trunks:
        return partitions
    return [
        FoldedLayers(folded.fold_ids, tuple(sorted((*folded.layers, *outputs), key=lambda one: one.network == JOINED)))
        for folded, outputs in zip(partitions, trunks, strict=True)
    ]
