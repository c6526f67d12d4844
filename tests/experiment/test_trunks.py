"""Trunks from the experiment file to the results: many subjects in one model, judged in the same nested folds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.trunks import SubjectsSize, benchmark_trunks
from tests.datasets.series_files import SETTINGS, write_series
from tests.experiment.miniature import ENERGY, read_table, run, settings, write_dataset
from voxelcast.core.errors import ConfigError, ExecutionError, OptionError, UnknownNameError
from voxelcast.datasets.folder import FolderDataset
from voxelcast.encoders.learned.trunk import rebuild
from voxelcast.encoders.learned.trunk_settings import TrunkSettings
from voxelcast.experiment.planning.stages import TRAIN_TRUNKS
from voxelcast.experiment.run import estimate_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.report.depth import layer_order
from voxelcast.results.read import read_results
from voxelcast.store.result import StepResult

pytestmark = pytest.mark.usefixtures("in_process")

PLAIN: dict[str, Any] = {"encoders": ["ridge"], "significance": {"permutations": 0}}
COLOUR = [{"name": ENERGY, "layers": ["colour"], "input_size": 64}]
JOINT, OWN = {"kind": "linear"}, {"kind": "linear", "subjects": "each"}


def _scores(out: Path) -> dict[str, float]:
    return {row["subject"]: float(row["score"]) for row in read_table(out / "scores.csv")}


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three subjects, not to be changed."""
    return write_dataset(tmp_path_factory.mktemp("three") / "data", n=40, subjects=("ann", "bob", "cat"))


@pytest.mark.slow
def test_trunks_are_layers_more_and_one_training_serves_all_subjects(three: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    trunks = {"joint": JOINT, "own": OWN, "deep": {"kind": "mlp", "width": 4, "epochs": 2, "streams": ["colour"]}}
    joined = {"method": "stacking", "joined": True}
    few: dict[str, Any] = PLAIN | {"folds": {"n": 3}}
    run(settings(three, trunks=trunks, ensemble=joined, **few), out)
    layers = read_table(out / "layers.csv")
    names = [(line["network"], line["layer"]) for line in layers]
    assert names[2:] == [("trunk", "joint"), ("trunk", "own"), ("trunk", "deep"), ("joined", "all layers")]
    assert [line["n_features"] for line in layers[2:5]] == ["16", "16", "8"]
    assert np.load(out / "weights" / "ann_all.npy").shape == (6, 5)
    tried = {(row["subject"], row["layer"]) for row in read_table(out / "search.csv") if row["network"] == "trunk"}
    assert tried == {(subject, trunk) for subject in ("ann", "bob", "cat") for trunk in trunks}
    # Three nested folds leave out seven sets of folds: one training for all, or one for each subject.
    done = [path.name.partition("_")[0] for path in (out / "steps" / "trunk").iterdir()]
    assert {name: done.count(name) for name in done} == {"deep": 7, "joint": 7, "own": 21}
    (order,) = layer_order(read_results(out)).layers.values()
    assert order == ("colour", "static.4")
    again = run(settings(three, trunks={"joint": JOINT}, **few), tmp_path / "fewer", store=out / "steps")
    assert again.steps_run == 4  # a fit each, and how the layers of the trunk are compressed


@pytest.mark.slow
def test_ten_subjects_together_beat_each_alone() -> None:
    """At 100 stimuli each, by nested scores."""
    lines, found = benchmark_trunks(SubjectsSize(voxels=20), TrunkSettings("linear"))
    assert found["all subjects' trunk"] > 1.03 * found["one subject's trunk"], lines
    assert found["one subject's trunk"] > found["ridge on the features"], lines


@pytest.mark.slow
def test_noise_scores_nothing(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", n=40, n_voxels=20, subjects=("ann", "bob", "cat"))
    for number, path in enumerate(sorted((data / "responses").glob("*.npy"))):
        np.save(path, np.random.default_rng(number).standard_normal(np.load(path).shape))
    deep = {"kind": "mlp", "width": 8, "epochs": 10, "learning_rate": 1e-2}
    for name, trunk in (("joint", JOINT), ("deep", deep)):
        run(settings(data, networks=COLOUR, trunks={name: trunk}, **PLAIN), tmp_path / name)
        assert abs(np.mean(list(_scores(tmp_path / name).values()))) < 0.1


@pytest.mark.slow
def test_no_subject_lets_held_out_stimuli_in(three: Path, tmp_path: Path) -> None:
    """Outputs for a fold are the same whatever any subject's responses in it are."""
    plain = settings(three, networks=COLOUR, trunks={"joint": JOINT}, **PLAIN)
    run(plain, tmp_path / "out")
    other = tmp_path / "other"
    write_dataset(other, n=40, subjects=("ann", "bob", "cat"))
    from voxelcast.experiment.plan import Plan
    from voxelcast.store.steps import StepStore

    plan = Plan(parse_config(plain, "test"), StepStore(tmp_path / "out" / "steps"))
    train_ids = plan.dataset.stimulus_ids("train")
    fold = [i for i, k in zip(train_ids, plan.folds(train_ids), strict=True) if k == 2]
    ids = (other / "stimulus_ids.txt").read_text().split()
    for subject in ("bob", "cat"):
        Y = np.load(other / "responses" / f"{subject}.npy")
        Y[[ids.index(one) for one in fold]] += 100.0
        np.save(other / "responses" / f"{subject}.npy", Y)
    run(settings(other, networks=COLOUR, trunks={"joint": JOINT}, **PLAIN), tmp_path / "changed")

    def outputs(folder: str, left_out: str) -> np.ndarray:
        (step,) = (tmp_path / folder / "steps" / "trunk").glob(f"joint_all{left_out}-*/result.npz")
        return np.asarray(StepResult(step).array("scores"))

    for left_out in ("_2", "_0_2", "_2_3"):
        np.testing.assert_array_equal(outputs("changed", left_out), outputs("out", left_out))
    for left_out in ("", "_1", "_0_1"):
        assert not np.allclose(outputs("changed", left_out), outputs("out", left_out))
    (step,) = (tmp_path / "out" / "steps" / "trunk").glob("joint_all_2-*/result.npz")
    assert rebuild(StepResult(step).arrays("trunk")).head.shape == (8, 15)


def test_a_subject_that_the_trunk_never_saw_has_a_score(three: Path, tmp_path: Path) -> None:
    plain = settings(three, networks=COLOUR, trunks={"joint": JOINT | {"unseen": ["cat"]}}, **PLAIN)
    run(plain | {"folds": {"n": 3}}, tmp_path / "out")
    assert min(_scores(tmp_path / "out").values()) > 0.5


def test_a_subject_that_fails_costs_those_that_share_its_trunk(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, responses = three, FolderDataset.responses

    def failing(dataset: FolderDataset, subject: str, *where: Any) -> Any:
        if subject == "cat":
            raise OSError("the disk is gone")
        return responses(dataset, subject, *where)

    monkeypatch.setattr(FolderDataset, "responses", failing)
    with pytest.raises(ExecutionError, match="3 of 3 subject x ROI failed"):
        run(settings(data, networks=COLOUR, trunks={"joint": JOINT}, **PLAIN), tmp_path / "joint")
    with pytest.raises(ExecutionError, match="1 of 3 subject x ROI failed"):
        run(settings(data, networks=COLOUR, trunks={"own": OWN}, **PLAIN), tmp_path / "own")
    assert [row["missing"] != "" for row in read_table(tmp_path / "own" / "scores.csv")] == [False, False, True]


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Settings of an experiment on a time series."""
    root = tmp_path_factory.mktemp("series")
    write_series(root)
    return {
        "name": "series",
        "dataset": {"kind": "time_series", "root": str(root), **SETTINGS},
        "features": ["conditions", "onoff"],
        "delays": [0],
        "compress": {"method": "none"},
        "folds": {"by": "group", "nested": False},
        "compute": {"workers": 1},
        **PLAIN,
    }


@pytest.mark.slow
def test_a_temporal_trunk_finds_the_delay_by_itself(series: dict[str, Any], tmp_path: Path) -> None:
    how = {"kind": "temporal", "width": 6, "window": 20, "windows": 80, "learning_rate": 2e-2, "rois": "all"}
    trunks = {"wide": how | {"kernel": 7}}
    run(series | {"trunks": trunks}, tmp_path / "out")
    rows = {(row["subject"], row["roi"]): row for row in read_table(tmp_path / "out" / "scores.csv")}
    assert len(rows) == 4
    assert {row["layer"] for row in rows.values()} == {"wide"}
    assert all(float(row["selection_score"]) > 0.7 for row in rows.values())
    later = run(series | {"trunks": trunks, "delays": [0, 1]}, tmp_path / "later", store=tmp_path / "out" / "steps")
    assert later.steps_run == 4  # delays are not for trunks


def test_the_estimate_counts_trunks(three: Path, tmp_path: Path) -> None:
    plain, some, more = (
        estimate_experiment(parse_config(settings(three, trunks=trunks), "miniature"), tmp_path / "out")
        for trunks in ({}, {"joint": JOINT}, {"joint": JOINT, "own": OWN})
    )
    assert TRAIN_TRUNKS not in plain.seconds
    assert 0 < some.seconds[TRAIN_TRUNKS] < more.seconds[TRAIN_TRUNKS]
    assert plain.disk_bytes < some.disk_bytes < more.disk_bytes
    assert "training trunks" in " ".join(some.lines())


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"trunks": {"a/b": JOINT}}, ConfigError, "trunk"),
        ({"trunks": {"a": {"kind": "tree"}}}, ConfigError, "linear"),
        ({"trunks": {"a": {"depth": 2}}}, ConfigError, "depth"),
        ({"trunks": {"a": JOINT}, "ensemble": {"method": "banded_ridge"}}, ConfigError, "trunks go with single layers"),
        ({"networks": [COLOUR[0] | {"label": "trunk"}]}, ConfigError, "is how trunks are called"),
        ({"trunks": {"a": {"kind": "temporal"}}}, OptionError, r"trunks\.a\.kind must be temporal for time series"),
        (
            {"trunks": {"a": JOINT | {"streams": ["hue"]}}},
            UnknownNameError,
            r"layer or network 'hue' does not exist .*trunks\.a",
        ),
        (
            {"trunks": {"a": JOINT | {"unseen": ["dan"]}}},
            UnknownNameError,
            r"subject 'dan' does not exist in trunks\.a\.unseen",
        ),
        ({"trunks": {"a": OWN | {"unseen": ["ann"]}}}, OptionError, "has no subject to be trained on for ann all"),
    ],
)
def test_settings_that_contradict_are_refused(
    three: Path, tmp_path: Path, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run(settings(three, **changes), tmp_path / "out")
