"""Experiments with trained encoders: which trainings there are, and that no fold is judged by what saw it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.experiment.conftest import in_process
from tests.experiment.miniature import run, settings, write_dataset
from voxelcast.core.errors import ConfigError, ExecutionError, OptionError
from voxelcast.execution.stage import Failure
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.trainings import Trainings, parts_left_out
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.steps.trained import TrainedLayer
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepStore

__all__ = ["in_process"]

NET = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Conv2d(3, 4, 3, stride=4), nn.Conv2d(4, 5, 3)

    def forward(self, frames):
        return self.second(self.first(frames).relu())
"""
QUICK: dict[str, Any] = {"epochs": 2, "seeds": 1, "side": 3, "batch": 4}


@pytest.fixture
def plain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of a small experiment with a network of the user's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "training_nets.py").write_text(NET)
    network = {"name": "module:training_nets:Net", "layers": ["first", "second"], "version": "1", "input_size": 24}
    network |= {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
    root = write_dataset(tmp_path / "data", n=24, n_voxels=3, subjects=("ann", "bob"))
    learned = {"readout": QUICK, "finetuned": {**QUICK, "release": 1, "shift": 1}, "significance": {"permutations": 0}}
    return settings(root, networks=[network], encoders=["ridge", "readout"], **learned)


def test_a_ring_of_folds_needs_few_trainings() -> None:
    assert len(parts_left_out(10, nested=True, inner=None)) == 1 + 10 + 45
    assert len(parts_left_out(10, nested=True, inner=2)) == 1 + 10 + 10
    assert len(parts_left_out(10, nested=True, inner=0)) == 1 + 10
    assert len(parts_left_out(10, nested=False, inner=None)) == 1 + 10
    ring = [set(part) for part in parts_left_out(5, nested=True, inner=2) if len(part) == 2]
    assert sorted(map(sorted, ring)) == [[0, 1], [0, 4], [1, 2], [2, 3], [3, 4]]


@pytest.mark.slow
def test_a_mean_predicts_each_fold_by_trainings_without_it(
    plain: dict[str, Any], tmp_path: Path, in_process: None
) -> None:
    """The prediction is the plain mean of what each training step left, each fold from the step that left it out."""
    frames = {"n": 2}
    asked = plain | {"encoders": ["readout", "finetuned"], "frames": frames, "folds": {"n": 4, "inner": 0}}
    asked |= {"ensemble": {"method": "mean"}, "readout": {**QUICK, "seeds": 2, "apart": True}}
    run(asked, tmp_path / "out")
    store, plan = StepStore(tmp_path / "out" / "steps"), Plan(parse_config(asked, "here"), StepStore(tmp_path / "s"))
    fold_ids = plan.folds(plan.dataset.stimulus_ids("train"))
    parts: dict[tuple[str, str], list[np.ndarray]] = {}
    for folder in sorted((store.root / "train").glob("*-without-*")):
        fold = int(folder.name.partition("-without-")[2].split("-")[0])
        with np.load(folder / "result.npz") as found:
            for name in [name for name in found if name.startswith("predictions/")]:
                place = int(name.split("/")[1].split("_")[0])
                subject = ["ann", "bob"][place] if folder.name.startswith("readout") else folder.name.split("-")[2][:3]
                key = (subject, f"{folder.name.split('-')[0]}{name[-1]}")
                rows = parts.setdefault(key, [np.full((24, 3), np.nan)])[0]
                rows[fold_ids == fold] = found[name][fold_ids == fold]
    scores = pd.read_csv(tmp_path / "out" / "scores.csv").set_index("subject")["score"]
    for subject in ("ann", "bob"):
        models = [rows for (who, _), (rows,) in parts.items() if who == subject]
        assert len(models) == 3
        Y = plan.dataset.responses(subject, plan.dataset.rois(subject)[0]).mean()
        expected = cross_validated_r(Y, np.mean(models, axis=0), fold_ids).mean()
        assert scores[subject] == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_rules_curves_and_a_second_run(plain: dict[str, Any], tmp_path: Path, in_process: None) -> None:
    asked = plain | {"ensemble": {"method": "stacking", "per": "roi", "compare": True}, "folds": {"n": 5, "inner": 2}}
    asked |= {"readout": {**QUICK, "seeds": 2, "apart": True}, "control": "shuffle", "shuffles": 5}
    run(asked, tmp_path / "out")
    rules = pd.read_csv(tmp_path / "out" / "rules.csv")
    assert list(rules.columns) == ["subject", "roi", "rule", "claimed", "nested"]
    assert len(rules) == 2 * 5
    scores = pd.read_csv(tmp_path / "out" / "scores.csv").set_index("subject")
    stacked = rules[rules.rule == "stacking"].set_index("subject")["nested"]
    np.testing.assert_allclose(stacked, scores["score"], atol=1e-9)
    assert scores["gain"].notna().all()
    curves = pd.read_csv(tmp_path / "out" / "training.csv")
    assert len(curves) == (1 + 5) * 2 * 2  # of one and of two folds left out only the first are shown
    assert run(asked, tmp_path / "out").steps_run == 0


def test_a_variant_is_left_out_where_one_of_its_trainings_failed(tmp_path: Path) -> None:
    """Of three variants one was given up in one fold; a whole training of another pair failed."""
    store = StepStore(tmp_path)
    steps = [Step(Told(number, {1: "its loss is not finite"} if number == 2 else {})) for number in range(4)]
    for step in steps[:3]:
        step.run(store)

    def layer(pair: tuple[str, str], *numbers: int) -> TrainedLayer:
        known = tuple(((k,), steps[number].step_id) for k, number in enumerate(numbers))
        source: Any = None
        return TrainedLayer("readout", "net", "none", "readout: a", known, 0, (0, 1, 2), source, None, pair)

    layers = {(("ann", "V1"), 0): layer(("ann", "V1"), 0, 1).apart(), (("bob", "V1"), 0): (layer(("bob", "V1"), 0, 2),)}
    layers[("cat", "V1"), 0] = layer(("cat", "V1"), 0, 3).apart()
    failure = Failure(steps[3].step_id, MemoryError(), "worker was killed", None)
    found = Trainings(tuple(steps), layers).surviving(store, [failure])
    assert found.steps == tuple(steps[:3])
    assert [found.layers[(who, "V1"), 0] for who in ("ann", "cat")] == [layers[("ann", "V1"), 0], ()]
    assert [one.variants for one in found.layers[("bob", "V1"), 0]] == [(0, 2)]
    assert [note.partition(" (")[0] for note in found.notes] == [
        "bob V1: readout of net was left out in 1 of its variants and seeds",
        "cat V1: readout of net was left out in 3 of its variants and seeds",
    ]
    assert "its loss is not finite (told/2-" in found.notes[0]
    assert "worker was killed (told/3-" in found.notes[1]


@dataclass(frozen=True)
class Told(Job):
    """Writes what failed."""

    kind = "told"
    version = 1
    number: int
    failed: dict[int, str]

    @property
    def name(self) -> str:
        return str(self.number)

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        writer.json("failed", self.failed)


@pytest.mark.slow
def test_a_run_goes_on_without_a_training_that_failed(plain: dict[str, Any], tmp_path: Path, in_process: None) -> None:
    two = {**QUICK, "variants": [{"rate": 1e30}, {}]}
    asked = plain | {"readout": two, "folds": {"n": 3, "nested": False}, "ensemble": {"method": "mean"}}
    run(asked, tmp_path / "out")
    notes = " ".join(json.loads((tmp_path / "out" / "notes.json").read_text()))
    assert "ann all: readout of training_nets.Net was left out in 1 of its variants and seeds (1)" in notes
    assert "is not finite; lower the learning rates" in notes
    weights = pd.read_csv(tmp_path / "out" / "weights.csv")
    assert (weights["encoder"] == "readout").sum() == 2
    curves = pd.read_csv(tmp_path / "out" / "training.csv")
    assert set(curves["variant"]) == {2}
    alone = {"encoders": ["readout"], "readout": {**QUICK, "rate": 1e30}}
    with pytest.raises(
        ExecutionError, match=r"2 of 2 subject x ROI failed: ann all: all trainings failed: .* not finite"
    ):
        run(asked | alone, tmp_path / "none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"folds": {"inner": 0}}, "folds.inner: 0 leaves nothing to choose by"),
        ({"folds": {"inner": 3}}, "inner must be even"),
        ({"share": {"components": 2}}, "readout does not go with share.components"),
        ({"ensemble": {"method": "banded_ridge"}}, "readout does not go with ensemble.method banded_ridge"),
        ({"readout": {"variants": [{"colour": 1}]}}, "variants have no setting 'colour'"),
    ],
)
def test_settings_that_do_not_go_together(plain: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(plain | changes, "here")


def test_a_network_that_cannot_be_trained_is_named_before_work(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", n=24, n_voxels=3)
    config = parse_config(settings(root, encoders=["finetuned"]), "here")
    with pytest.raises(OptionError, match=r"finetuned needs networks of torch, and .* is none; take readout"):
        Plan(config, StepStore(tmp_path / "steps"))
