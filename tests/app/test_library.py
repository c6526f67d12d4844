"""Which experiments are found, in which state, with which numbers, in which order."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from voxelcast.app.experiment import Experiment
from voxelcast.app.library import Library
from voxelcast.app.side_by_side import side_by_side
from voxelcast.app.table import Query, read_query, table_lines
from voxelcast.core.errors import DataError, MissingFileError, OptionError, UnknownNameError
from voxelcast.execution.journal import Journal
from voxelcast.testing.results import write_output


def found(root: Path) -> dict[str, Experiment]:
    return {experiment.shown: experiment for experiment in Library([root]).experiments()}


def test_experiments_are_found_at_any_depth_up_to_three_and_links_are_not_followed(tmp_path: Path) -> None:
    root, outside = tmp_path / "outputs", tmp_path / "outside"
    for folder in ("a", "b/c", "b/d/e", "b/d/f/g", ".hidden/h", "a/inside"):
        (root / folder).mkdir(parents=True)
        (root / folder / "config.yaml").write_text("name: x")
    outside.mkdir()
    (outside / "config.yaml").write_text("name: y")
    (root / "link").symlink_to(outside)
    assert list(found(root)) == ["outputs/a", "outputs/b/c", "outputs/b/d/e"]
    assert list(found(root / "a")) == ["a"]
    both = Library([root, root / "a", outside]).experiments()
    assert [experiment.shown for experiment in both] == [*found(root), "outside"]
    with pytest.raises(MissingFileError, match="nowhere does not exist or is no folder"):
        Library([tmp_path / "nowhere"])


def test_what_cannot_be_read_is_listed_with_the_reason(few: Path, tmp_path: Path) -> None:
    shutil.copytree(few, tmp_path / "few")
    (tmp_path / "few" / "low" / "scores.csv").write_text("subject,roi\nann,V1\n")
    (tmp_path / "few" / "high" / "scores.csv").write_bytes(b"\xff\xfe")
    (tmp_path / "few" / "middle" / "progress.jsonl").write_text("[]}\n")
    listed = found(tmp_path / "few")
    reasons = {
        "begun": "no config.yaml: a run was stopped before it did anything",
        "broken": "scores.csv does not exist",
        "low": "lacks the column(s) network, weights",
        "high": "scores.csv",
    }
    for name, reason in reasons.items():
        assert listed[f"few/{name}"].state == "unreadable"
        assert reason in listed[f"few/{name}"].reason
    assert listed["few/middle"].state == "finished"  # its results are whole; only its journal is not


def test_running_stopped_finished(few: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"
    output.mkdir()
    (output / "config.yaml").write_text("name: mine\nnetworks: [{name: own/net, weights: w}]\n")
    library, journal = Library([output]), Journal(output)
    assert library.experiments()[0].state == "unreadable"
    with (output / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with journal.run(output / "steps", "local", {"fit": 10.0}):
            journal.stage("fit", ["fit/one-1", "fit/two-2"], [1, 1])
            (experiment,) = library.experiments()
            assert experiment.state == "running"
            assert experiment.networks == ("own/net (w)",)
            assert experiment.status is not None
            assert experiment.status.stages[0].waiting == 2
            (output / "steps" / "fit" / "one-1").mkdir(parents=True)
            (again,) = library.experiments()
            assert again.status is not None
            assert again.status.stages[0].done == 1  # nothing but the store has changed
            unfinished = (output / "progress.jsonl").read_text()
        shutil.copytree(few / "low", output, dirs_exist_ok=True)
    assert library.experiments()[0].state == "finished"
    (output / "progress.jsonl").write_text(unfinished)
    assert library.experiments()[0].state == "stopped"


def test_what_failed_is_said(few: Path, tmp_path: Path) -> None:
    shutil.copytree(few / "low", tmp_path / "run")
    table = pd.read_csv(tmp_path / "run" / "scores.csv").astype(object)
    table.loc[0, table.columns.difference(["subject", "roi"])] = np.nan
    table = table.assign(missing=["out of memory", *[""] * (len(table) - 1)])
    table.to_csv(tmp_path / "run" / "scores.csv", index=False)
    journal = Journal(tmp_path / "run")
    with pytest.raises(MemoryError), journal.run(tmp_path / "run" / "steps", "local", {}):
        raise MemoryError
    (experiment,) = Library([tmp_path / "run"]).experiments()
    assert experiment.state == "stopped"
    assert experiment.reason == "incomplete: 1 subject x ROI failed; the same command runs just it"
    assert experiment.results is not None
    assert len(experiment.results.scores) == len(table) - 1


def test_only_what_changed_is_read_again(few: Path, tmp_path: Path) -> None:
    shutil.copytree(few, tmp_path / "few")
    library = Library([tmp_path / "few"])
    before = library.experiments()
    assert library.experiments() == before
    scores = tmp_path / "few" / "low" / "scores.csv"
    scores.write_text("".join(scores.read_text().splitlines(keepends=True)[:2]))
    changed = [new.shown for old, new in zip(before, library.experiments(), strict=True) if new is not old]
    assert changed == ["few/low"]
    shutil.rmtree(tmp_path / "few" / "low")
    assert len(library.experiments()) == len(before) - 1
    with pytest.raises(UnknownNameError, match="no experiment has the address"):
        library.get(before[-1].key[::-1])


def test_numbers_are_means_over_subjects_then_rois(few: Path) -> None:
    experiments = Library([few]).experiments()
    for query in (Query(), Query(roi="V1"), Query(subject="bob"), Query(roi="mine", subject="ann")):
        shown = {line.experiment.name: line for line in table_lines(experiments, query)}
        for name in ("low", "middle", "high"):
            table = pd.read_csv(few / name / "scores.csv")
            table = table[table["roi"] == query.roi] if query.roi else table
            table = table[table["subject"] == query.subject] if query.subject else table
            if table.empty:
                assert name not in shown
                continue
            of_roi = table.groupby("roi")[["score", "noise_ceiling_r"]].mean().mean()
            assert shown[name].mean.score == pytest.approx(of_roi["score"], abs=1e-12)
            assert shown[name].mean.ceiling == pytest.approx(of_roi["noise_ceiling_r"], abs=1e-12)
            assert shown[name].n_rois == table["roi"].nunique()


@pytest.mark.parametrize(
    ("parameters", "names"),
    [
        ({}, ["high", "middle", "low", "begun", "broken"]),
        ({"sort": "score"}, ["low", "middle", "high", "begun", "broken"]),
        ({"sort": "-name"}, ["middle", "low", "high", "broken", "begun"]),
        ({"text": "OWN/ h"}, ["high"]),
        ({"text": "nowhere"}, []),
        ({"state": "unreadable"}, ["begun", "broken"]),
        ({"roi": "mine"}, ["middle"]),
        ({"roi": "V2"}, []),
    ],
)
def test_filter_and_sort(few: Path, parameters: dict[str, str], names: list[str]) -> None:
    query = read_query(parameters)
    lines = table_lines(Library([few]).experiments(), query)
    assert [line.experiment.name for line in lines] == names


def test_addresses_hold_what_differs_from_the_default() -> None:
    query = read_query({"text": " a&b ", "sort": "name", "other": "x"})
    assert query.address() == "/?text=a%26b&sort=name"
    assert query.toggled("name") == "/?text=a%26b&sort=-name"
    assert query.toggled("score") == "/?text=a%26b"
    assert Query().toggled("score") == "/?sort=score"
    for wrong in ({"sort": "size"}, {"sort": "--score"}, {"state": "lost"}):
        with pytest.raises(OptionError, match="must be one of"):
            read_query(wrong)


def test_side_by_side_counts_voxels_or_subjects(few: Path, tmp_path: Path) -> None:
    other = write_output(tmp_path / "other", subjects=["ann"], rois=["V1"], name="low", seed=2)
    table = pd.read_csv(few / "low" / "scores.csv")
    table["n_voxels"] = np.arange(1, len(table) + 1) * 10
    shutil.copytree(few / "low", tmp_path / "low")
    table.to_csv(tmp_path / "low" / "scores.csv", index=False)
    experiments = Library([tmp_path / "low", other]).experiments()
    both = side_by_side(experiments, by_voxel=True)
    assert both["labels"] == ["low (low)", "low (other)"]
    assert [roi for roi, *_ in both["rows"]] == ["V1", "LOC", "all ROIs"]
    wanted = np.average(table["score"], weights=table["n_voxels"])
    assert both["rows"][-1][1][0].score == pytest.approx(wanted, abs=1e-12)
    by_subject = side_by_side(experiments, by_voxel=False)
    assert by_subject["rows"][-1][1][0].score == pytest.approx(table.groupby("roi")["score"].mean().mean(), abs=1e-12)
    assert by_subject["rows"][-1][1][0].score != pytest.approx(wanted, abs=1e-6)
    highest = [top for *_, top in both["rows"]]
    assert highest == [np.nanmax([mean.score for mean in means]) for _, means, _ in both["rows"]]
    assert "networks" in [name for name, _ in both["differences"]]
    assert any("different subjects" in warning for warning in both["warnings"])
    with pytest.raises(OptionError, match="takes 2 to 20 experiments; got 1"):
        side_by_side(experiments[:1], by_voxel=False)
    (unreadable,) = (e for e in Library([few]).experiments() if e.name == "begun")
    with pytest.raises(DataError, match=r"begun .* has no scores"):
        side_by_side([*experiments, unreadable], by_voxel=False)
