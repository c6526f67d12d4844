"""Every setting counts in the key of the step that uses it, or is known to change no result of a step."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
import torch

from tests.datasets.series_files import N_VOLUMES, RUNS, SETTINGS, write_series
from tests.experiment.miniature import settings, stimulus_ids, write_dataset, write_table
from voxelcast.core.settings import NO_EFFECT, content, effective_fields
from voxelcast.datasets.registry import DATASETS
from voxelcast.execution.steps import Step
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.fits import (
    control_steps,
    fit_steps,
    partition_steps,
    responses_steps,
    searched_layers,
    training_responses,
)
from voxelcast.experiment.planning.layers import (
    add_joined,
    extraction_steps,
    folded_layers,
    join_step,
    readable_stimuli,
)
from voxelcast.experiment.planning.trainings import source_steps, training_steps
from voxelcast.experiment.planning.trunks import trunk_steps
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps.responses import ResponsesJob
from voxelcast.store.steps import StepStore

STAGES = ("responses", "extract", "compress", "join", "trunk", "train", "fit", "control", "partition")
NETS = """
from torch import nn

class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 5)

    def forward(self, frames):
        return self.second(self.first(frames.flatten(2).mean(2)))

class Other(Small):
    pass
"""
OWN: dict[str, Any] = {
    "networks": [
        {"name": "module:key_nets:Small", "layers": ["first", "second"], "version": "1"}
        | {"input_size": 24, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    ],
    "variance_partitioning": {"groups": {}},
}
CLIPS = OWN | {"networks": [OWN["networks"][0] | {"takes": "clip", "clip_length": 2, "clip_stride": 1}]}
THREE = OWN | {"networks": [CLIPS["networks"][0] | {"clip_length": 3}]}
PLAIN: dict[str, Any] = {"ensemble": {}}
HEARD: dict[str, Any] = PLAIN | {
    "networks": [{"name": "voxelcast/mel", "layers": ["mel"], "sound": {"missing": "silence"}}],
    "variance_partitioning": {"groups": {}},
}
BAYES: dict[str, Any] = {"search": {"method": "bayes"}}
DEEP: dict[str, Any] = {"trunks": {"a": {"kind": "mlp", "shared_head": True}}}
LONG: dict[str, Any] = {"trunks": {"a": {"kind": "temporal"}}}
TRAINED: dict[str, Any] = PLAIN | {"encoders": ["ridge", "readout"]}
TUNED: dict[str, Any] = OWN | PLAIN | {"encoders": ["ridge", "finetuned"]}
AUTOML: dict[str, Any] = {"search": {"method": "random"}, "encoders": ["flaml"]}
PATHS_AND_CHOICES = {
    "root": "files count by their content",
    "stimuli": "stimuli count by their content",
    "responses": "files of responses count by their content",
    "conditions": "the file counts by its content",
    "roi_table": "counts by its content",
    "split": "the stimuli of both parts count by their ids",
    "folds": "the fold of each stimulus counts in the steps that use it",
    "groups": "groups of stimuli count in the steps that use them",
    "rois": "an ROI's responses do not depend on which others are used",
    "subjects": "a subject's responses do not depend on which others are used",
}
"""Marked fields of datasets, and why they change nothing in a step's result."""
WITHOUT_EFFECT = {
    "name": "names the experiment",
    "networks.label": "names the network in the results, where steps have it as a name",
    "networks.licence": "is shown",
    "networks.texts": "texts count by their content: tests/networks/test_streams.py",
    "networks.revision": "what it gives counts: weights by their hash, code by its revision in the card",
    "networks.trust_remote_code": "code that runs counts by its revision in the card",
    "interval.resamples": "of rsa's bootstrap alone",
    "features.file": "counts by the features in it",
    "features.words": "counts by the features of its words",
    "features.frequency": "counts by the features of words",
    "features.ids": "counts by the features, in the order of the stimuli",
    "compute.device": "where work runs",
    "compute.workers": "where work runs",
    "compute.gpus": "where work runs",
    "compute.keep_scratch": "what stays on the disk",
    "models": "whose models are saved beside the results",
    "readout.graphs": "how a GPU is told what to do",
    "finetuned.graphs": "how a GPU is told what to do",
}
OF_LANGUAGE_MODELS = {"features.network", "features.context", "features.ahead"}
"""Settings that are changed in test_word_networks.py."""
ADDING_STEPS = {"control", "shuffles"}
"""Settings that count by the steps that they add, and change none."""


SAMPLES: dict[str, Any] = {"features": {"own": {"file": "{run}.npy", "rate": 0.5}}}
WORDS: dict[str, Any] = {"features": {"own": {"words": "{run}.tsv"}}}


@dataclass(frozen=True)
class Change:
    """Another value of a setting, the steps that use it, and what it needs besides."""

    value: Any
    stages: tuple[str, ...]
    needs: Mapping[str, Any] = field(default_factory=dict)
    base: str = "pictures"


TRUNK = ("trunk", "fit")
EXTRACT, COMPRESS, FIT = ("extract", "compress"), ("compress", "fit", "partition"), ("fit",)
CHANGES: dict[str, Change] = {
    "features": Change(["onoff"], EXTRACT, base="series"),
    "features.columns": Change(["b"], EXTRACT, {"features": {"own": {"file": "own.csv"}}}, base="series"),
    "features.rate": Change(0.6, EXTRACT, SAMPLES, base="series"),
    "features.start": Change(-1.0, EXTRACT, SAMPLES, base="series"),
    "features.of": Change(["length"], EXTRACT, WORDS, base="series"),
    "features.at": Change("whole", EXTRACT, WORDS, base="series"),
    "features.combine": Change("last", EXTRACT, WORDS, base="series"),
    "delays": Change([1, 3], FIT, base="series"),
    "seed": Change(1, ("compress", "join", "trunk", "fit", "partition"), DEEP),
    "features_as": Change("float16", EXTRACT),
    "frames.every": Change(2, EXTRACT),
    "frames.n": Change(3, EXTRACT, {"frames": {"n": 2}}),
    "frames.first": Change(1, EXTRACT),
    "frames.hz": Change(3.0, EXTRACT, {"frames": {"hz": 2.0}}),
    "pool": Change("max", EXTRACT),
    "spatial_pool": Change("mean", EXTRACT),
    "broken_stimuli": Change("skip", EXTRACT),
    "invalid_voxels": Change("exclude", ("responses", "fit", "partition")),
    "compress.method": Change("mds", COMPRESS),
    "compress.components": Change(4, COMPRESS),
    "compress.fit": Change("once", COMPRESS),
    "compress.scale": Change(True, COMPRESS),
    "compress.fewer": Change("allow", COMPRESS),
    "compress.whiten": Change(True, COMPRESS),
    "compress.scale_apart": Change(True, COMPRESS, {"compress": {"components": 5, "scale": True, "fit": "once"}}),
    "compress.options": Change({"epochs": 4}, COMPRESS, {"compress": {"method": "autoencoder", "components": 4}}),
    "encoders": Change(["pls"], FIT),
    "automl.seconds": Change(61.0, FIT, AUTOML),
    "automl.memory_mb": Change(4000, FIT, AUTOML),
    **{
        f"{encoder}.{name}": Change(value, ("train", "fit"), needs)
        for encoder, needs in (("readout", TRAINED), ("finetuned", TUNED))
        for name, value in {
            **{"places": "point", "select_layers": True, "time": "learned", "side": 2, "epochs": 3, "batch": 4},
            **{"rate": 0.1, "places_rate": 2.0, "decay": 0.2, "channel_dropout": 0.3, "loss": "pearson"},
            **{"average": "tail", "patience": 3, "seeds": 2, "variants": [{"epochs": 4}]},
        }.items()
    },
    "readout.apart": Change(True, FIT, TRAINED | {"readout": {"seeds": 2}}),
    "finetuned.apart": Change(True, FIT, TUNED),
    **{
        f"finetuned.{name}": Change(value, ("train", "fit"), TUNED)
        for name, value in {
            **{"release": "half", "backbone_rate": 1e-3, "layer_decay": 0.5, "lora": 2, "shift": 3},
            **{"shift_per": "batch", "light": 0.1, "bfloat16": False},
        }.items()
    },
    "ensemble.temperature": Change(0.2, FIT),
    "ensemble.compare": Change(True, FIT),
    "folds.inner": Change(2, ("compress", "join", "fit"), {"variance_partitioning": {"groups": {}}}),
    "search.method": Change("grid", FIT),
    "search.stop": Change(False, FIT),
    "search.precision": Change("float32", FIT),
    "search.sampler": Change("gp", FIT, BAYES),
    "search.trials": Change(7, FIT, BAYES),
    "search.prune": Change(True, FIT, BAYES),
    "search.joint": Change(True, FIT, BAYES | PLAIN),
    "search.metric": Change("pooled_2021", FIT),
    "selection.per": Change("voxel", FIT),
    "selection.rule": Change("one_standard_error", FIT),
    "ensemble.method": Change("average", FIT),
    "ensemble.per": Change("roi", FIT),
    "ensemble.top": Change(2, FIT),
    "ensemble.sum_to_one": Change(False, FIT),
    "ensemble.draws": Change(3, FIT),
    "ensemble.joined": Change(False, FIT),
    "ensemble.experts": Change(
        ["all_voxels"], FIT, {"ensemble": {"method": "experts", "experts": ["four"]}}, base="series"
    ),
    "ensemble.atlases": Change(
        [3], FIT, {"ensemble": {"method": "atlases", "atlases": [2]}, "selection": {"per": "voxel"}}
    ),
    "share.components": Change(3, FIT, {"share": {"components": 2}}),
    "trunks.kind": Change("linear", TRUNK, {"trunks": {"a": {"kind": "mlp"}}}),
    "trunks.subjects": Change("each", TRUNK, DEEP),
    "trunks.rois": Change("all", TRUNK, LONG, base="series"),
    "trunks.unseen": Change(["bob"], TRUNK, DEEP),
    "trunks.streams": Change(["colour"], TRUNK, DEEP),
    "trunks.width": Change(8, TRUNK, DEEP),
    "trunks.kernel": Change(9, TRUNK, LONG, base="series"),
    "trunks.causal": Change(True, TRUNK, LONG, base="series"),
    "trunks.rank": Change(2, TRUNK, DEEP),
    "trunks.shared_head": Change(False, TRUNK, DEEP),
    "trunks.subject_dropout": Change(0.1, TRUNK, DEEP),
    "trunks.epochs": Change(3, TRUNK, DEEP),
    "trunks.windows": Change(3, TRUNK, LONG, base="series"),
    "trunks.window": Change(3, TRUNK, LONG, base="series"),
    "trunks.batch": Change(3, TRUNK, DEEP),
    "trunks.learning_rate": Change(0.1, TRUNK, DEEP),
    "trunks.weight_decay": Change(0.2, TRUNK, DEEP),
    "folds.n": Change(5, ("compress", "join", "fit", "partition")),
    "folds.nested": Change(False, ("compress", "join", "fit", "partition")),
    "folds.by": Change("group", ("compress", "join", "fit", "partition")),
    "folds.gap": Change(4, ("compress", "fit"), {"folds": {"by": "segment", "n": 3, "gap": 2}}, base="series"),
    "folds.unit": Change("stimulus", ("fit", "partition")),
    "folds.repeats": Change(2, ("fit", "partition")),
    "interval.level": Change(0.9, ("fit", "partition")),
    "significance.permutations": Change(50, FIT),
    "significance.alpha": Change(0.1, FIT),
    "variance_partitioning.groups": Change({"a": ["colour"], "c": ["static.4"]}, ("partition",)),
    "variance_partitioning.draws": Change(3, ("partition",)),
    "networks.name": Change("module:key_nets:Other", EXTRACT, OWN),
    "networks.layers": Change(["second", "first"], EXTRACT, OWN),
    "networks.weights": Change("weights.pt", EXTRACT, OWN),
    "networks.input_size": Change(32, EXTRACT, OWN),
    "networks.mean": Change([0.4, 0.5, 0.6], EXTRACT, OWN),
    "networks.std": Change([0.4, 0.5, 0.6], EXTRACT, OWN),
    "networks.version": Change("2", EXTRACT, OWN),
    "networks.precision": Change("bfloat16", EXTRACT, OWN),
    "networks.takes": Change("frames", EXTRACT, CLIPS),
    "networks.clip_length": Change(3, EXTRACT, CLIPS),
    "networks.clip_stride": Change(2, EXTRACT, CLIPS),
    "networks.clip_axes": Change("BTCHW", EXTRACT, THREE),
    "networks.tokens": Change({"height": 2, "width": 3}, EXTRACT, OWN),
    "networks.sound.hz": Change(3.0, EXTRACT, HEARD),
    "networks.sound.look_back": Change(3.0, EXTRACT, HEARD),
    "networks.sound.look_ahead": Change(1.0, EXTRACT, HEARD),
    "networks.sound.channels": Change("stereo", EXTRACT, HEARD),
    "networks.sound.missing": Change("stop", EXTRACT, HEARD),
    "networks.padding": Change(
        "port",
        EXTRACT,
        PLAIN
        | {"networks": [{"name": "simclr/r50_1x_sk0", "layers": ["net.0.2"], "weights": "random", "input_size": 32}]}
        | {"variance_partitioning": {"groups": {}}},
    ),
    "networks.noise_seed": Change(
        1,
        EXTRACT,
        PLAIN
        | {"networks": [{"name": "vonenet/alexnet", "layers": ["vone_block"], "weights": "random", "input_size": 64}]}
        | {"variance_partitioning": {"groups": {}}},
    ),
}


def leaves(model: Any, prefix: str = "", *, marked: bool = False) -> Iterator[tuple[str, bool]]:
    """Name every setting, ``search.method``, and say whether it is marked as changing no result; datasets apart."""
    hints = get_type_hints(model, include_extras=True)
    names = [each.name for each in fields(model)] if is_dataclass(model) else list(model.model_fields)
    for name in names:
        without = marked or NO_EFFECT in getattr(hints[name], "__metadata__", ())
        sections = [each for each in _types(hints[name]) if hasattr(each, "__pydantic_config__")]
        if name == "dataset":
            continue
        if prefix + name == "features.network":
            sections = []  # they are those of networks
        if not sections or name == "features":  # of which there are simple ones
            yield prefix + name, without
        for section in sections:
            yield from leaves(section, f"{prefix}{name}.", marked=without)


def _types(annotation: Any) -> Iterator[Any]:
    yield annotation
    for member in get_args(annotation):
        yield from _types(member)


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Settings of an experiment on pictures and of one on a time series."""
    folder = tmp_path_factory.mktemp("bases")
    pictures = write_dataset(folder / "pictures", n=24, n_voxels=3, subjects=("ann", "bob"))
    groups = [[name, f"g{number // 3}"] for number, name in enumerate(stimulus_ids(pictures))]
    write_table(pictures / "groups.csv", ["stimulus_id", "group"], groups)
    (folder / "series").mkdir()
    write_series(folder / "series")
    common: dict[str, Any] = {"encoders": ["ridge"], "compress": {"components": 5}}
    joined = {"ensemble": {"method": "stacking", "joined": True}}
    divided = {"variance_partitioning": {"groups": {"a": ["colour"], "b": ["static.4"]}}}
    series: dict[str, Any] = {
        "name": "series",
        "dataset": {"kind": "time_series", "root": str(folder / "series"), **SETTINGS},
        "features": ["conditions"],
        "delays": [1, 2],
        "compress": {"method": "none"},
        "folds": {"by": "group"},
        "encoders": ["ridge"],
    }
    return {"pictures": settings(pictures, **common, **joined, **divided), "series": series}


@pytest.fixture
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the user's own networks in the folder in which the experiment runs, and encoders that need no package."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("voxelcast.experiment.plan.check_ready", lambda encoders: None)
    (tmp_path / "key_nets.py").write_text(NETS)
    rows = [[run, 2 * k, 2, k, k % 3] for run in RUNS for k in range(N_VOLUMES)]
    write_table(tmp_path / "own.csv", ["run", "onset", "duration", "a", "b"], rows)
    for run in RUNS:
        np.save(tmp_path / f"{run}.npy", np.arange(50.0))
        said = [f"{2 * k + early}\t0.9\t{word}" for k in range(N_VOLUMES) for early, word in ((0.2, "a"), (1.5, "two"))]
        (tmp_path / f"{run}.tsv").write_text("\n".join(["onset\tduration\tword", *said]))
    namespace: dict[str, Any] = {}
    exec(NETS, namespace)
    torch.manual_seed(5)
    torch.save(namespace["Small"]().state_dict(), tmp_path / "weights.pt")


def keys(plain: dict[str, Any], store: StepStore) -> dict[str, set[str]]:
    """Return the keys of all steps of an experiment by their stage; nothing is run."""
    plan = Plan(parse_config(plain, "keys"), store)
    config = plan.config
    responses, extracted = responses_steps(plan), extraction_steps(plan)
    for step in (step for of_network in extracted.values() for step in of_network.steps):
        job: Any = step.job
        if not store.is_done(step.step_id):
            with store.writing(step.step_id) as writer:
                writer.json("stimuli", [{"stimulus_id": name, "n_frames": 1, "broken": None} for name in job.shard])
    readable = readable_stimuli(plan, extracted)
    folded = [folded_layers(plan, extracted, readable, repeat) for repeat in range(config.folds.repeats)]
    layers, joins = [one for one, _ in folded], list[Step]()
    if config.ensemble.joined:
        joins = [join_step(plan, one) for one in layers]
        layers = [add_joined(one, step) for one, step in zip(layers, joins, strict=True)]
    by_subject = dict.fromkeys(plan.dataset.subjects, layers)
    for step in responses.values():
        if not store.is_done(step.step_id):
            with store.writing(step.step_id) as writer:
                writer.json("facts", {"training": step.step_id.key})
    given = training_responses(plan, responses)
    trunks, training = trunk_steps(plan, given, readable, by_subject, extracted)
    sources = source_steps(plan)
    trainings = training_steps(plan, sources, responses, readable)
    fits = fit_steps(plan, given, readable, searched_layers(plan, by_subject, trunks, trainings))
    shuffles = range(1, config.shuffles + 1) if config.control != "none" else ()
    shuffled = [training_steps(plan, sources, responses, readable, number) for number in shuffles]
    of_shuffles = [searched_layers(plan, by_subject, trunks, found) for found in shuffled]
    made: dict[str, Sequence[Step]] = {
        "responses": list(responses.values()),
        "extract": [step for of_network in extracted.values() for step in of_network.steps],
        "compress": [step for _, steps in folded for step in steps],
        "join": joins,
        "trunk": training,
        "train": trainings.steps,
        "fit": list(fits.values()),
        "control": [step for steps in control_steps(plan, fits, of_shuffles).values() for step in steps],
        "partition": list(partition_steps(plan, given, readable, by_subject).values()),
    }
    return {stage: {step.step_id.key for step in steps} for stage, steps in made.items()}


def changed(plain: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """Return settings with one of them changed."""
    section, _, name = path.rpartition(".")
    if section == "networks.sound":
        first, *others = plain["networks"]
        return plain | {"networks": [first | {"sound": first.get("sound", {}) | {name: value}}, *others]}
    if section == "networks":
        first, *others = plain["networks"]
        cut = {"clip_length", "clip_stride"} if name == "takes" else set()  # frames have no clips
        network = {key: given for key, given in first.items() if key not in cut}
        return plain | {"networks": [network | {name: value}, *others]}
    if section == "features":
        return plain | {"features": {key: given | {name: value} for key, given in plain["features"].items()}}
    if section == "trunks":
        return plain | {"trunks": {label: given | {name: value} for label, given in plain["trunks"].items()}}
    return plain | ({section: plain.get(section, {}) | {name: value}} if section else {name: value})


@pytest.mark.parametrize("path", CHANGES)
def test_a_setting_counts_where_it_is_used(
    path: str, bases: dict[str, dict[str, Any]], tmp_path: Path, own_networks: None
) -> None:
    change, store = CHANGES[path], StepStore(tmp_path / "steps")
    plain = bases[change.base] | change.needs
    before, after = keys(plain, store), keys(changed(plain, path, change.value), store)
    for stage in change.stages:
        if before[stage] and after[stage]:
            assert not before[stage] & after[stage], f"{path} does not count in the keys of the stage {stage}"
    assert any(before[stage] and after[stage] for stage in change.stages)
    for stage in STAGES[: min(map(STAGES.index, change.stages))]:
        assert not after[stage] or before[stage] <= after[stage], (
            f"{path} changes keys of the stage {stage}, which does not use it"
        )


def test_every_setting_is_changed_or_known_to_change_nothing() -> None:
    found = dict(leaves(ExperimentSettings))
    found = {path: without for path, without in found.items() if path not in OF_LANGUAGE_MODELS}
    assert {path for path, without in found.items() if without} | {"name"} == set(WITHOUT_EFFECT)
    assert set(found) - set(WITHOUT_EFFECT) - ADDING_STEPS == set(CHANGES), (
        "give each new setting another value in CHANGES"
    )


def test_a_control_adds_steps_and_changes_none(bases: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    store, plain = StepStore(tmp_path / "steps"), bases["pictures"]
    before, few, more = (
        keys(plain | {"control": control, "shuffles": n}, store)
        for control, n in (("none", 5), ("shuffle", 5), ("shuffle", 6))
    )
    assert (len(before["control"]), len(few["control"]), len(more["control"])) == (0, 10, 12)  # of two subjects
    assert few["control"] < more["control"]
    assert before | {"control": few["control"]} == few
    other = keys(changed(plain | {"control": "shuffle", "shuffles": 5}, "encoders", ["pls"]), store)
    assert not other["control"] & few["control"]


def test_where_work_runs_changes_no_key(bases: dict[str, dict[str, Any]], tmp_path: Path) -> None:
    store, plain = StepStore(tmp_path / "steps"), bases["pictures"]
    elsewhere = plain | {"name": "another", "compute": {"workers": 3, "gpus": 2}}
    assert keys(plain, store) == keys(elsewhere, store)


@pytest.mark.parametrize("kind", DATASETS.names())
def test_a_setting_of_a_dataset_counts_unless_it_is_a_path_or_a_choice(kind: str) -> None:
    cls = DATASETS.get(kind).Settings
    given: Any = object.__new__(cls)
    for each in fields(cls):
        object.__setattr__(given, each.name, "one")
    marked = {each.name for each in fields(cls)} - set(effective_fields(cls))
    assert marked <= set(PATHS_AND_CHOICES), "say in PATHS_AND_CHOICES why a field changes no result"

    def key(dataset: Any) -> str:
        job = ResponsesJob(dataset, ("hash",), ("s1",), 1, "ann", "V1", "stop")
        return Step(job).step_id.key

    for name in (each.name for each in fields(cls)):
        other = copy.copy(given)
        object.__setattr__(other, name, "other")
        assert (key(other) == key(given)) is (name in marked), name


def test_a_job_counts_by_all_its_fields() -> None:
    job = ResponsesJob({"kind": "folder"}, ("hash",), ("s1",), 1, "ann", "V1", "stop")  # type: ignore[arg-type]
    assert set(content(job)) == {each.name for each in fields(ResponsesJob)}
