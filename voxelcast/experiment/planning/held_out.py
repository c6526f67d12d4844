"""The steps that keep how layers are made, and predict held-out stimuli from saved models."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from voxelcast.encoders.learned.trunk_settings import TRUNK
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.layers import readable_ids
from voxelcast.experiment.planning.trainings import Trainings
from voxelcast.experiment.planning.trunks import Trunks
from voxelcast.experiment.steps.axes import AxesJob, JoinedAxesJob, LayerCompression, ProjectJob
from voxelcast.experiment.steps.compress import FoldedLayers, compressed, layer_keys
from voxelcast.experiment.steps.extract import Extracted, Readable, feature_name
from voxelcast.experiment.steps.kept import KeptLayer
from voxelcast.experiment.steps.predict import HeldOutStimuli, PairToPredict, PredictJob, Projected, Together
from voxelcast.models.shards import divide
from voxelcast.results.schema import Pair
from voxelcast.search.joined import JOINED

LAYERS_TOGETHER = 2  # in one step, for few files
"""Layers, or shards of stimuli, in one step where each takes a moment."""
WHOLE_BRAIN = 10_000
"""Voxels: a subject x ROI of more is a whole brain, which ``models: roi`` does not save."""


def weighed_layers(plan: Plan, fits: Iterable[Step]) -> set[str]:
    """Return the keys of the layers that the models of finished fits weigh."""
    return {part["layer"] for step in fits for part in plan.store.read(step.step_id).json("parts")}


def keeping_steps(
    weighed: Collection[str], folded: FoldedLayers, compressions: Sequence[Step], join: Step | None, device: str
) -> dict[KeptLayer, Step]:
    """Make the steps that keep how layers are compressed, of those that models weigh, by what they keep.

    ``compressions`` are the steps of the layers, ``join`` that of the last one, which joins the others; ``device``:
    where it is done.
    """
    everything = compressed(folded)
    keys = layer_keys(everything)
    key_of = [keys[layer.network, layer.layer, layer.pool] for layer in everything]
    joins = join is not None and key_of[-1] in weighed
    wanted, kept = (set(key_of) if joins else set(weighed)), dict[KeptLayer, Step]()
    n_train = len(folded.fold_ids)
    for start in range(0, len(compressions), LAYERS_TOGETHER):
        group = [k for k in range(start, min(start + LAYERS_TOGETHER, len(compressions))) if key_of[k] in wanted]
        if not group:
            continue
        layers = tuple(LayerCompression.of(compressions[k]) for k in group)
        step = Step(AxesJob(layers, device), uses_gpu=device != "cpu", shares_gpu=device != "cpu")
        for number, (k, one) in enumerate(zip(group, layers, strict=True)):
            feature, named = feature_name(one.layer, one.pool_index), everything[k]
            of_layer = key_of[k], named.network, named.layer, named.pool, feature
            kept[KeptLayer(*of_layer, step.step_id, number)] = step
    if joins and join is not None:
        step = Step(JoinedAxesJob(everything[:-1], join.step_id, n_train))
        last = everything[-1]
        of_layer = key_of[-1], last.network, last.layer, "", ""
        kept[KeptLayer(*of_layer, step.step_id, 0, tuple(key_of[:-1]))] = step
    return kept


def learned_layers(
    plan: Plan,
    weighed: Collection[str],
    pairs: Iterable[Pair],
    folded: FoldedLayers,
    trunks: Trunks,
    trainings: Trainings,
) -> list[KeptLayer]:
    """Return what is kept of trunks and trained encoders that models of some pairs weigh."""
    layers, found, keys = compressed(folded), list[KeptLayer](), layer_keys(folded.layers)
    for pair in pairs:
        for trunk in trunks[pair][0] if pair in trunks else ():
            read = [one for one in layers if (one.network, one.layer) in plan.streams[trunk.layer]]
            found.append(trunk.kept([keys[one.network, one.layer, one.pool] for one in read]))
        found += [one for layer in trainings.layers.get((pair, 0), ()) for one in layer.kept()]
    used = {*weighed, *(member for one in found if one.key in weighed for member in one.members)}
    return list({one.key: one for one in found if one.key in used}.values())


def saved_pairs(plan: Plan, fits: Mapping[Pair, Step]) -> list[Pair]:
    """Return the pairs whose models are saved, of finished fits, by the setting ``models``."""
    kind = plan.config.models
    if kind == "none" or plan.config.unsaved:
        return []
    sizes = {pair: plan.store.read(step.step_id).array("layer_weights").shape[1] for pair, step in fits.items()}
    return [pair for pair, size in sizes.items() if kind == "all" or size <= WHOLE_BRAIN]


def held_out_shards(plan: Plan) -> list[list[str]]:
    """Return the ids of the held-out stimuli that are looked at together, and of those that they depend on."""
    shards = []
    for part in ("test", "far"):
        ids = [stimulus.stimulus_id for stimulus in plan.parts()[part]]
        shards += [[ids[k] for k in shard] for shard in divide(ids, plan.known_shards)]
    return shards


def _predicted(plan: Plan, extracted: Extracted) -> tuple[Step, ...]:
    """Return the steps whose stimuli are needed to predict the held-out ones."""
    near = (*extracted.near, *extracted.train) if plan.test_is_near else ()
    return (*extracted.test, *extracted.far, *near)


def project_steps(
    plan: Plan, kept: Iterable[KeptLayer], extracted: Mapping[str, Extracted]
) -> tuple[list[Step], list[tuple[list[str], Projected]]]:
    """Make the steps that compress held-out stimuli, as saved models do, a shard each.

    Also returns the ids of each shard's readable stimuli, and where their components will be.
    """
    by_key, groups = {layer.key: layer for layer in kept}, dict[tuple[str, str], dict[str, KeptLayer]]()
    made = [layer for layer in by_key.values() if layer.source in extracted]
    read = {member for layer in made for member in layer.members}
    for layer in made:
        if layer.key not in read:
            of_source = groups.setdefault((layer.source, layer.alone), {})
            of_source |= {key: by_key[key] for key in (*layer.members, layer.key)}
    networks = {shown: _predicted(plan, of_network) for shown, of_network in extracted.items()}
    shards, steps, found = next(iter(networks.values())), list[Step](), []
    for number, shard in enumerate(shards):
        of_shard = [
            Step(
                ProjectJob(networks[shown][number].step_id, tuple(some.values()), plan.extract_on),
                uses_gpu=plan.extract_on != "cpu",
                size=shard.size,
            )
            for (shown, _), some in groups.items()
        ]
        found.append((readable_ids(plan, [shard]), Projected(tuple(step.step_id for step in of_shard))))
        steps += of_shard
    return steps, found


def predict_steps(
    plan: Plan,
    fits: Mapping[Pair, Step],
    responses: Mapping[Pair, Step],
    readable: Readable,
    kept: Iterable[KeptLayer],
    projected: Sequence[tuple[list[str], Projected]],
) -> dict[Pair, Step]:
    """Make the steps that predict and score the held-out stimuli, one for all ROIs of a subject, by pair.

    There are none where no stimulus is held out.
    """
    if not readable.test_ids:
        return {}
    config = plan.config
    together = () if config.unsaved else _together(plan, readable, tuple(kept), projected)
    series = plan.dataset.series is not None
    stimuli = HeldOutStimuli(readable.test_ids, readable.test_rows, readable.test_groups, series)
    joined = tuple(layer for layer in kept if layer.network in (JOINED, TRUNK))
    on_gpu = plan.extract_on != "cpu" and not config.unsaved
    of_subject: dict[str, list[PairToPredict]] = {}
    for pair, fit in fits.items():
        settings = config.settings_of(pair[1])
        of_pair = pair[1], fit.step_id, responses[pair].step_id, settings.seed, settings.voxels_choose
        of_subject.setdefault(pair[0], []).append(PairToPredict(*of_pair))
    steps: dict[Pair, Step] = {}
    for subject, pairs in of_subject.items():
        scoring = config.interval, config.significance, plan.extract_on
        job = PredictJob(subject, tuple(pairs), stimuli, together, joined, *scoring)
        step = Step(job, uses_gpu=on_gpu)
        steps |= {(subject, one.roi): step for one in pairs}
    return steps


def _together(
    plan: Plan, readable: Readable, kept: Sequence[KeptLayer], projected: Sequence[tuple[list[str], Projected]]
) -> tuple[Together, ...]:
    """Say which held-out stimuli are predicted together: a shard, or of time series a run."""
    position = {name: number for number, name in enumerate(readable.test_ids)}
    shards = [(ids, one) for ids, one in projected if ids]
    if plan.dataset.series is None:
        return tuple(Together((one,), np.array([position[i] for i in ids]), ()) for ids, one in shards)
    runs: dict[str, list[str]] = {}
    for name in readable.test_ids:
        runs.setdefault(plan.dataset.series[name][0], []).append(name)
    found = []
    for run, wanted in runs.items():
        own = [(ids, one) for ids, one in shards if any(plan.dataset.series[i][0] == run for i in ids)]
        there = [i for ids, _ in own for i in ids]
        moments = {delays: plan.delayed(delays, there, wanted) for delays in plan.all_delays()}
        single = [(layer.key, plan.delays_of(layer.network, layer.layer)) for layer in kept if not layer.members]
        delayed = tuple((key, moment) for key, delays in single if (moment := moments[delays]) is not None)
        found.append(Together(tuple(one for _, one in own), np.array([position[i] for i in wanted]), delayed))
    return tuple(found)
