"""Selection per voxel, ensembles, searches by proposals and folds of groups, from experiment file to results."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import ENERGY, read_table, run, settings, stimulus_ids, write_dataset, write_table
from voxelcast.core.errors import ConfigError, ExecutionError, OptionError, UnknownNameError
from voxelcast.core.progress import Silent
from voxelcast.datasets.formats.algonauts2021 import MINI_ROIS
from voxelcast.experiment.run import estimate_experiment, run_experiment
from voxelcast.experiment.settings_file import load_config, parse_config
from voxelcast.store.result import StepResult
from voxelcast.testing.miniatures import write_miniature

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.mark.parametrize(
    "changes",
    [
        {"ensemble": {"method": "stacking"}, "selection": {"per": "voxel"}},
        {"ensemble": {"method": "average", "top": 2}, "search": {"method": "random", "trials": 4, "joint": True}},
        {"selection": {"per": "voxel", "rule": "one_standard_error"}, "search": {"method": "grid", "trials": 5}},
    ],
)
def test_weights_and_gain_are_in_the_results(images: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    out = tmp_path / "out"
    run(settings(images, **changes), out)
    (row,) = read_table(out / "scores.csv")
    gain = [float(row[name]) for name in ("gain_low", "gain", "gain_high")]
    assert gain == sorted(gain)
    assert float(row["score"]) - float(row["single_score"]) == pytest.approx(gain[1])
    assert row["ensemble"] == changes.get("ensemble", {}).get("method", "none")
    weights = read_table(out / "weights.csv")
    assert {w["fold"] for w in weights} == {"all", "1", "2", "3", "4"}
    final = [w for w in weights if w["fold"] == "all"]
    assert len(final) == int(row["n_models"])
    by_layer = np.load(out / "weights" / "ann_all.npy")
    assert by_layer.shape == (2, 5)
    assert sum(float(w["weight"]) for w in final) == pytest.approx(by_layer.sum() / 5)
    assert not list((out / "steps" / "fit").glob(".scratch*"))
    assert "combine several models" in (out / "notes.json").read_text()


def test_each_group_is_a_fold(images: Path, tmp_path: Path) -> None:
    ids = stimulus_ids(images)
    write_table(tmp_path / "runs.csv", ("stimulus_id", "group"), [(i, f"run {k % 3}") for k, i in enumerate(ids)])
    plain = settings(images, folds={"by": "group"}, encoders=["pls"])
    with pytest.raises(OptionError, match=r"folds\.by=group needs groups"):
        run(plain, tmp_path / "without")
    plain["dataset"]["groups"] = str(tmp_path / "runs.csv")
    run(plain, tmp_path / "out")
    assert [name for name in read_table(tmp_path / "out" / "search.csv")[0] if name.startswith("fold_")] == [
        "fold_1",
        "fold_2",
        "fold_3",
    ]


@pytest.mark.parametrize("method", ["exact", "random"])
def test_repeats_average_the_score_over_partitions(images: Path, tmp_path: Path, method: str) -> None:
    plain = settings(images, encoders=["pls"], search={"method": method, "trials": 3})
    store = tmp_path / "store"
    run(plain, tmp_path / "once", store=store)
    summary = run(plain | {"folds": {"n": 4, "repeats": 3}}, tmp_path / "thrice", store=store)
    (once,), (thrice,) = (read_table(tmp_path / name / "scores.csv") for name in ("once", "thrice"))
    found = [StepResult(path).json("scores") for path in (store / "fit").glob("ann*/result.npz")]
    (scores,) = [row["score_of_repeats"] for row in found if "score_of_repeats" in row]
    assert scores[0] == float(once["score"])
    assert len(set(scores)) == 3
    assert float(thrice["score"]) == pytest.approx(np.mean(scores))
    assert float(thrice["score_low"]) < float(thrice["score"]) < float(thrice["score_high"])
    # Read responses and extracted features, and the first partition's two layers, are there from the first run.
    assert summary.steps_run == 2 * 2 + 1
    assert {row["fold"] for row in read_table(tmp_path / "thrice" / "weights.csv")} == {"all", *map(str, range(1, 13))}
    assert "means over 3 partitions into folds" in (tmp_path / "thrice" / "notes.json").read_text()


def test_without_nested_folds_the_notes_promise_nothing_that_is_not_there(
    images: Path, tmp_path: Path, in_process: None
) -> None:
    plain = settings(images, encoders=["pls"], ensemble={"method": "average", "top": 2}, selection={"per": "voxel"})
    for repeats in (1, 2):
        folds = {"n": 4, "nested": False, "repeats": repeats}
        run(plain | {"folds": folds}, tmp_path / str(repeats), store=tmp_path / "store")
    notes = (tmp_path / "2" / "notes.json").read_text()
    (once,), (row,) = (read_table(tmp_path / name / "scores.csv") for name in ("1", "2"))
    assert (row["score"], row["gain"], row["score_from"]) == ("", "", "none")
    assert "Selection scores and predictions are means over 2 partitions into folds; the search is that of" in notes
    assert '(weights.csv has all weights)."' in notes
    assert (tmp_path / "2" / "search.csv").read_bytes() == (tmp_path / "1" / "search.csv").read_bytes()
    assert row["selection_score"] != once["selection_score"]


def test_subjects_of_an_roi_share_targets(tmp_path: Path) -> None:
    root = write_dataset(tmp_path / "data", subjects=("ann", "bob"))
    run(settings(root, encoders=["ridge"]), tmp_path / "alone", store=tmp_path / "store")
    run(settings(root, encoders=["ridge"], share={"components": 3}), tmp_path / "shared", store=tmp_path / "store")
    alone, shared = (read_table(tmp_path / name / "scores.csv") for name in ("alone", "shared"))
    assert [row["subject"] for row in shared] == ["ann", "bob"]
    assert all(a["score"] != b["score"] and float(b["score"]) > 0.3 for a, b in zip(alone, shared, strict=True))


def test_sharing_needs_another_subject(images: Path, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"at least two subjects with all; got ann alone"):
        run(settings(images, share={"components": 3}), tmp_path / "out")


@pytest.mark.parametrize(("folds", "most"), [({"n": 4}, 23), ({"n": 4, "nested": False}, 35)])
@pytest.mark.parametrize("fit", ["folds", "once"])
def test_sharing_more_than_a_training_part_has_is_refused_before_any_work(
    tmp_path: Path, folds: dict[str, Any], most: int, fit: str
) -> None:
    root = write_dataset(tmp_path / "data", subjects=("ann", "bob"))
    plain = settings(root, folds=folds, compress={"components": 8, "fit": fit})
    with pytest.raises(OptionError, match=f"share.components must be below {most + 1}, .* got {most + 1}; lower it"):
        estimate_experiment(parse_config(plain | {"share": {"components": most + 1}}, "x"), tmp_path / "out")
    estimate_experiment(parse_config(plain | {"share": {"components": most}}, "x"), tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"search": {"joint": True}}, "joint needs method bayes or random, got method exact"),
        ({"search": {"method": "grid", "prune": True}}, "prune needs method bayes or random, got method grid"),
        ({"folds": {"by": "group", "repeats": 2}}, "repeats must be 1 where by is group"),
        ({"share": {"components": 2}, "ensemble": {"method": "banded_ridge"}}, "share.components must be 0"),
        ({"search": {"metric": "pooled_2021"}, "selection": {"per": "voxel"}}, "set selection.per=roi"),
    ],
)
def test_settings_that_contradict_are_refused(images: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(settings(images, **changes), "miniature")


@pytest.mark.slow
def test_experts_and_atlases_in_an_experiment(images: Path, tmp_path: Path) -> None:
    root = tmp_path / "study"
    shutil.copytree(images, root)
    rois = [(voxel, roi) for roi, voxels in (("V1", (0, 1)), ("LOC", (2,)), ("WB", range(5))) for voxel in voxels]
    write_table(root / "rois.csv", ("voxel", "roi"), rois)
    out = tmp_path / "experts"
    run(settings(root, ensemble={"method": "experts", "experts": ["V1", "LOC"]}), out)
    scores = {row["roi"]: row for row in read_table(out / "scores.csv")}
    assert scores["WB"]["ensemble"] == "experts"
    assert scores["V1"]["ensemble"] == "none"
    used = {row["encoder"].partition(" of ")[2] for row in read_table(out / "weights.csv") if row["roi"] == "WB"}
    assert used & {"V1", "LOC"}
    assert "the models of V1, LOC were stacked" in (out / "notes.json").read_text()
    alone = settings(root, ensemble={"method": "experts", "experts": ["V1", "FFA"]})
    with pytest.raises(UnknownNameError, match=r"FFA.*ensemble\.experts"):
        run(alone, tmp_path / "unknown")
    atlas = {"method": "atlases", "atlases": [2, str(tmp_path / "{subject}_{roi}.npy")]}
    for roi, n_voxels in (("V1", 2), ("LOC", 1), ("WB", 5)):
        np.save(tmp_path / f"ann_{roi}.npy", np.arange(n_voxels) % 2)
    chosen = settings(root, ensemble=atlas, selection={"per": "voxel"})
    run(chosen, tmp_path / "atlases")
    assert np.load(tmp_path / "atlases" / "weights" / "ann_WB.npy").sum(axis=0) == pytest.approx(np.ones(5))
    np.save(tmp_path / "ann_WB.npy", np.zeros(4, dtype=int))
    with pytest.raises(ExecutionError, match=r"atlas of ann_WB .*n_voxels"):
        run(chosen, tmp_path / "wrong")


@pytest.mark.slow
@pytest.mark.parametrize("example", ["algonauts2021_experts", "algonauts2021_winner"])
def test_examples_of_2021_cut_down(tmp_path: Path, example: str) -> None:
    write_miniature("algonauts2021", tmp_path / "data")
    small = [
        f"dataset.root={tmp_path / 'data'}",
        f"networks=[{{name: {ENERGY}, layers: [colour, static.3], input_size: 64}}]",
        "frames={n: 2}",
        "compress.components=8",
        "compress.fewer=allow",
        "folds.n=3",
        "significance.permutations=0",
    ]
    config = load_config(Path("examples") / f"{example}.yaml", small)
    run_experiment(config, tmp_path / "out", progress=Silent())
    scores = read_table(tmp_path / "out" / "scores.csv")
    combined = [row for row in scores if row["ensemble"] != "none"]
    assert {row["roi"] for row in combined} == ({"WB"} if example.endswith("experts") else set(MINI_ROIS))
    assert all(row["gain"] for row in combined)
    track = "full" if example.endswith("experts") else "mini"
    assert (tmp_path / "out" / "submission" / f"{track}_track.zip").is_file()
