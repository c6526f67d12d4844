"""Which trainings an experiment has, for the encoders that are trained in steps of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.learned.settings import ReadoutSettings
from voxelcast.encoders.registry import get_encoder
from voxelcast.execution.stage import Failure
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.layers import compression_sees, of_parts
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.steps.compress import FoldedLayers
from voxelcast.experiment.steps.control import shuffled_order
from voxelcast.experiment.steps.extract import Extracted, LoadedNetwork, Readable, Shards, extract_steps
from voxelcast.experiment.steps.frames import FramesJob
from voxelcast.experiment.steps.train import TrainJob
from voxelcast.experiment.steps.trained import Source, TrainedLayer
from voxelcast.models.shards import divide
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.results.schema import Pair
from voxelcast.scoring.permutation import Exchange
from voxelcast.search.training import is_inner
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.steps import StepId, StepStore

MAPS, FRAMES = "maps", "pixels"
Sources = Mapping[str, Mapping[str, tuple[LoadedNetwork, Extracted]]]
"""Steps that give trained encoders what they read, by what that is and the network's shown name."""


@dataclass(frozen=True)
class Trainings:
    """Steps, and the trained layers of each pair in each partition into folds; ``notes`` say what was left out."""

    steps: tuple[Step, ...]
    layers: Mapping[tuple[Pair, int], tuple[TrainedLayer, ...]]
    notes: tuple[str, ...] = ()

    def surviving(self, store: StepStore, failures: Sequence[Failure]) -> Trainings:
        """Leave out the variants that some finished training was given up of, or that have one that failed."""
        failed = {one.step_id: one.reason for one in failures}
        done = [step for step in self.steps if step.step_id not in failed]
        given_up = {step.step_id: store.read(step.step_id).json("failed") for step in done}
        lost: dict[tuple[Pair, str, str], dict[int, str]] = {}
        trained = [(pair, layer) for (pair, _), layers in self.layers.items() for layer in layers]
        for pair, layer in trained:
            for _, step in layer.steps:
                reasons = {int(v): reason for v, reason in given_up.get(step, {}).items()}
                reasons |= dict.fromkeys(layer.variants, failed[step]) if step in failed else {}
                told = {v: f"{reason} ({step.folder})" for v, reason in reasons.items() if v in layer.variants}
                known = lost.setdefault((pair, layer.encoder, layer.network), {})
                known |= {v: reason for v, reason in told.items() if v not in known}
        kept = {
            (pair, repeat): tuple(
                replace(layer, variants=left)
                for layer in layers
                if (left := tuple(v for v in layer.variants if v not in lost[pair, layer.encoder, layer.network]))
            )
            for (pair, repeat), layers in self.layers.items()
        }
        notes = [
            f"{' '.join(pair)}: {encoder} of {network} was left out in {len(reasons)} of its variants and seeds "
            f"({', '.join(str(v + 1) for v in sorted(reasons))}), as a training failed: {next(iter(reasons.values()))}."
            for (pair, encoder, network), reasons in lost.items()
            if reasons
        ]
        return Trainings(tuple(done), kept, tuple(notes))

    def added(self, pair: Pair, partitions: Sequence[FoldedLayers]) -> tuple[FoldedLayers, ...]:
        """Return each partition into folds with the trained layers of a pair behind the others."""
        return tuple(
            FoldedLayers(folded.fold_ids, (*folded.layers, *self.layers.get((pair, repeat), ())))
            for repeat, folded in enumerate(partitions)
        )


NO_TRAININGS = Trainings((), {})


def learned_settings(config: ExperimentSettings, encoder: str) -> ReadoutSettings:
    """Return the settings of a trained encoder."""
    return config.finetuned if get_encoder(encoder).reads == FRAMES else config.readout


def spatial_pool(network: LoadedNetwork, side: int | None) -> str:
    """Return how the maps of a network's layers are averaged; layers of tokens are left as they are."""
    return "none" if side is None or any(len(shape) == 2 for shape in network.shapes.values()) else f"grid({side})"


def maps_extraction(config: ExperimentSettings, network: LoadedNetwork) -> ExtractionSettings:
    """Return how the maps that readouts read are extracted."""
    pool = "none" if config.readout.time == "learned" else "mean"
    spatial = spatial_pool(network, config.readout.side)
    return ExtractionSettings(config.frames, (pool,), spatial, config.broken_stimuli, "float16")


def source_of(network: LoadedNetwork, shards: Sequence[Step], side: int | None) -> Source:
    """Say what an encoder is trained on."""
    from voxelcast.networks.backbone import map_shape

    pooled = side if spatial_pool(network, side) != "none" else None
    shapes = [network.shapes[layer] for layer in network.layers]
    return Source(
        network.settings,
        network.seed,
        network.card,
        network.layers,
        tuple(map_shape(shape, pooled) for shape in shapes),
        tuple(len(shape) == 2 for shape in shapes),
        tuple(step.step_id for step in shards),
    )


def parts_left_out(n_folds: int, *, nested: bool, inner: int | None) -> list[tuple[int, ...]]:
    """List the sets of folds without which an encoder is trained: none, each, and each with its inner folds."""
    pairs = [
        (i, j) for i in range(n_folds) for j in range(i + 1, n_folds) if is_inner(i, j, n_folds, inner, trained=True)
    ]
    return [(), *((i,) for i in range(n_folds)), *(pairs if nested else [])]


def source_steps(plan: Plan) -> Sources:
    """Make the steps that give trained encoders what they read: maps in half precision, or frames."""

    def made(network: LoadedNetwork, reads: str) -> Extracted:
        def steps(stimuli: tuple[Stimulus, ...], known: Shards, first: int) -> list[Step]:
            if reads == MAPS:
                how = maps_extraction(plan.config, network)
                return extract_steps(network, stimuli, how, plan.extract_on, known, first)
            shards = enumerate(divide([one.stimulus_id for one in stimuli], known), first)
            what = network.card.input_size, plan.config.frames, plan.config.broken_stimuli
            jobs = [FramesJob(number, *what, tuple(stimuli[k] for k in shard)) for number, shard in shards]
            return [Step(job, size=len(job.stimuli)) for job in jobs]

        return of_parts(plan, steps)

    kinds = dict.fromkeys(get_encoder(name).reads for name in plan.config.learned)
    return {reads: {one.shown: (one, made(one, reads)) for one in plan.networks} for reads in kinds}


def training_steps(
    plan: Plan, sources: Sources, responses: Mapping[Pair, Step], readable: Readable, shuffle: int = 0
) -> Trainings:
    """Make the steps that train encoders, for each partition into folds; ``shuffle``: to shuffled responses."""
    steps: dict[StepId, Step] = {}
    layers: dict[tuple[Pair, int], tuple[TrainedLayer, ...]] = {}
    readable = readable if plan.config.unsaved else readable.fitted
    for table, repeat in product(plan.fold_tables, range(plan.config.folds.repeats)):
        of_table = {pair: step for pair, step in responses.items() if table in ("", pair[0])}
        fold_ids, order = plan.folds(readable.train_ids, repeat, table), None
        if shuffle:
            first = plan.folds(readable.train_ids, 0, table)
            order = shuffled_order(Exchange(first, readable.groups, False), plan.config.seed, shuffle)
            if order is None:
                continue
        made, found = _train_steps(plan, sources, readable, of_table, (fold_ids, order))
        steps |= {step.step_id: step for step in made}
        layers |= {(pair, repeat): some for pair, some in found.items()}
    return Trainings(tuple(steps.values()), layers)


def _train_steps(
    plan: Plan,
    sources: Sources,
    readable: Readable,
    responses: Mapping[Pair, Step],
    how: tuple[IntArray, IntArray | None],
) -> tuple[list[Step], dict[Pair, tuple[TrainedLayer, ...]]]:
    """Make the trainings of pairs that share stimuli and folds, and say what each pair's layers are.

    ``how`` are the folds and, of shuffled responses, their order. A readout's voxels share nothing, so those of all
    pairs are trained in one step; a network is fine-tuned for each pair by itself.
    """
    config, (fold_ids, order), steps = plan.config, how, list[Step]()
    layers: dict[Pair, tuple[TrainedLayer, ...]] = dict.fromkeys(responses, ())
    without = parts_left_out(int(fold_ids.max()) + 1, nested=config.folds.nested, inner=config.folds.inner)
    for encoder in config.learned:
        kind, settings = get_encoder(encoder).reads, learned_settings(config, encoder)
        groups = [tuple(responses)] if kind == MAPS else [(pair,) for pair in responses]
        for (network, extracted), group in product(sources[kind].values(), groups):
            source = source_of(network, compression_sees(plan, extracted), settings.side)
            ids = tuple(responses[pair].step_id for pair in group)
            seed = derive_seed(config.seed, "trained", encoder, network.shown)
            known = []
            for left_out in without:
                folds = fold_ids if left_out else np.zeros_like(fold_ids)  # which do not count without one left out
                what = encoder, group, ids, source, readable, folds, left_out, order
                job = TrainJob(*what, replace(settings, apart=False), seed, plan.extract_on)
                steps.append(Step(job, uses_gpu=plan.extract_on != "cpu", size=settings.n_trainings))
                known.append((left_out, steps[-1].step_id))
            for place, pair in enumerate(group):
                named = network.shown, network.card.weights, f"{encoder}: {' + '.join(network.layers)}"
                members = tuple(range(settings.n_trainings))
                whole = TrainedLayer(encoder, *named, tuple(known), place, members, source, settings.side, pair)
                layers[pair] += whole.apart() if settings.apart else (whole,)
    return steps, layers
