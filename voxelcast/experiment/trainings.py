"""Which trainings an experiment has, for the encoders that are trained in steps of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from voxelcast.core.arrays import IntArray
from voxelcast.core.cost import Cost
from voxelcast.core.seeds import derive_seed
from voxelcast.encoders.learned.settings import FinetunedSettings, ReadoutSettings
from voxelcast.encoders.registry import get_encoder
from voxelcast.execution.stage import Failure
from voxelcast.execution.steps import Step
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.steps.compress import FoldedLayers
from voxelcast.experiment.steps.extract import LoadedNetwork, Readable, Shards, extract_steps
from voxelcast.experiment.steps.frames import FramesJob
from voxelcast.experiment.steps.train import TrainJob
from voxelcast.experiment.steps.trained import Source, TrainedLayer
from voxelcast.models.shards import divide
from voxelcast.networks.settings import ExtractionSettings
from voxelcast.results.schema import Pair
from voxelcast.search.training import is_inner
from voxelcast.stimuli.stimulus import Stimulus
from voxelcast.store.steps import StepStore

if TYPE_CHECKING:
    from voxelcast.experiment.plan import Plan

MAPS, FRAMES = "maps", "pixels"
_GPU_RATE, _GPU_PICTURE, _GPU_STEP = 1e14, 3e-5, 4e-4
_CPU_PICTURE, _CPU_STEP = 0.05, 4e-3
"""Operations per second; seconds of a picture forwards and backwards in a small network; seconds of a step besides."""


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


def source_steps(
    config: ExperimentSettings, network: LoadedNetwork, reads: str, device: str
) -> Callable[[tuple[Stimulus, ...], Shards, int], list[Step]]:
    """Return what makes steps that give trained encoders what they read of stimuli: maps in half precision, or frames.

    It takes stimuli, those known to be looked at together, and the number of the first step.
    """
    if reads == MAPS:
        how = maps_extraction(config, network)
        return lambda stimuli, known, first: extract_steps(network, stimuli, how, device, known, first)

    def frames(stimuli: tuple[Stimulus, ...], known: Shards, first: int) -> list[Step]:
        shards = divide([one.stimulus_id for one in stimuli], known)
        how = network.card.input_size, config.frames, config.broken_stimuli
        jobs = [FramesJob(number, *how, tuple(stimuli[k] for k in shard)) for number, shard in enumerate(shards, first)]
        return [Step(job, size=len(job.stimuli)) for job in jobs]

    return frames


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


@dataclass(frozen=True)
class Wanted:
    """What is trained: responses of pairs that share stimuli and folds, in some order if they are shuffled."""

    responses: Mapping[Pair, Step]
    fold_ids: IntArray
    order: IntArray | None = None


def train_steps(
    config: ExperimentSettings,
    sources: Mapping[str, Mapping[str, tuple[LoadedNetwork, Sequence[Step]]]],
    readable: Readable,
    wanted: Wanted,
    device: str,
) -> tuple[list[Step], dict[Pair, tuple[TrainedLayer, ...]]]:
    """Make the trainings of some pairs, and say what each pair's layers are.

    ``sources``: by what is read and by the network's shown name. A readout's voxels share nothing, so those of all
    pairs are trained in one step; a network is fine-tuned for each pair by itself.
    """
    steps: list[Step] = []
    layers: dict[Pair, tuple[TrainedLayer, ...]] = dict.fromkeys(wanted.responses, ())
    without = parts_left_out(int(wanted.fold_ids.max()) + 1, nested=config.folds.nested, inner=config.folds.inner)
    learned = [name for name in config.encoders if get_encoder(name).reads != "features"]
    for encoder in learned:
        kind, settings = get_encoder(encoder).reads, learned_settings(config, encoder)
        every = tuple(wanted.responses)
        groups = [every] if kind == MAPS else [(pair,) for pair in every]
        for shown, (network, shards) in sources[kind].items():
            source = source_of(network, shards, settings.side)
            seed = derive_seed(config.seed, "trained", encoder, shown)
            for group in groups:
                ids = tuple(wanted.responses[pair].step_id for pair in group)
                made = {
                    left_out: Step(
                        TrainJob(
                            *(encoder, group, ids, source, readable),
                            *(wanted.fold_ids if left_out else np.zeros_like(wanted.fold_ids), left_out, wanted.order),
                            replace(settings, apart=False),
                            seed,
                            device,
                        ),
                        uses_gpu=device != "cpu",
                        size=settings.n_trainings,
                    )
                    for left_out in without
                }
                steps += made.values()
                known = tuple((left_out, step.step_id) for left_out, step in made.items())
                for place, pair in enumerate(group):
                    whole = TrainedLayer(
                        *(encoder, shown, network.card.weights, f"{encoder}: {' + '.join(network.layers)}", known),
                        *(place, tuple(range(settings.n_trainings)), source, settings.side, pair),
                    )
                    layers[pair] += whole.apart() if settings.apart else (whole,)
    return steps, layers


def training_cost(plan: Plan, n_train: int, voxels: Mapping[Pair, int], rate: float) -> Cost:
    """Estimate the seconds of all trainings, one after the other, on a core of ``rate`` operations a second, or a GPU.

    Counted are the products of the readout, three times a network's forward pass, and what starting a step takes.
    """
    config, total = plan.config, Cost()
    on_gpu = plan.extract_on != "cpu"
    parts = len(parts_left_out(plan.n_folds, nested=config.folds.nested, inner=config.folds.inner))
    partitions = config.folds.repeats * (1 + (config.shuffles if config.control != "none" else 0))
    for encoder, network in product(config.learned, plan.networks):
        settings, tuned = learned_settings(config, encoder), get_encoder(encoder).reads == FRAMES
        source = source_of(network, (), settings.side)
        for q in [sum(voxels.values())] if not tuned else list(voxels.values()):
            readout = 6.0 * sum(c * h * w for c, h, w in source.shapes) * q
            each = readout / (_GPU_RATE if on_gpu else rate) + tuned * (_GPU_PICTURE if on_gpu else _CPU_PICTURE)
            epochs = settings.seeds * sum(
                one.epochs * (2 if isinstance(one, FinetunedSettings) and one.release == "half" else 1)
                for one in settings.trainings()
            )
            seconds = epochs * (n_train * each + n_train / settings.batch * (_GPU_STEP if on_gpu else _CPU_STEP))
            numbers = sum(c * h * w for c, h, w in source.shapes)
            memory = 2.0 * numbers * n_train + 16.0 * q * sum(c + h * w for c, h, w in source.shapes)
            total += Cost(seconds=seconds * parts * partitions, memory=memory)
    return total
