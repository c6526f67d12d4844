"""A subject x ROI that fails costs no other; the results say what is missing until it is done, and then are whole."""

from __future__ import annotations

import json
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from tests.experiment.miniature import contents, read_table, run, settings, write_dataset
from voxelcast.challenges import challenge_of
from voxelcast.challenges.predictions import read_outputs
from voxelcast.core.errors import DataError, ExecutionError
from voxelcast.datasets.formats.simulated import SimulatedDataset, SimulatedSettings
from voxelcast.execution.status import read_status
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.stages import FIT
from voxelcast.experiment.results import remove_all_results
from voxelcast.experiment.steps.partition import PartitionJob
from voxelcast.results.read import read_results
from voxelcast.search.base import PairContext

SUBJECTS = ("ann", "bob", "cat")
OF_THIS_RUN = ("provenance.json", "report.html", "progress.jsonl")  # when, how long


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Pictures and the responses of three subjects."""
    return write_dataset(tmp_path / "data", subjects=SUBJECTS)


@contextmanager
def spoiled(root: Path) -> Iterator[None]:
    """Let one subject respond to a single picture alone, so that the training part of a fold is constant."""
    path = root / "responses" / "bob.npy"
    whole = path.read_bytes()
    values = np.zeros((len(np.load(path)), 1))
    values[7] = 1.0
    np.save(path, values)
    yield
    path.write_bytes(whole)


def results(output: Path) -> dict[str, bytes]:
    """All that a run leaves but its steps, and what tells the time."""
    found = contents(output)
    return {n: b for n, b in found.items() if not n.startswith("steps/") and n not in OF_THIS_RUN}


def done(output: Path) -> dict[str, int]:
    """Finished steps, and when each was."""
    return {str(mark.parent): mark.stat().st_mtime_ns for mark in (output / "steps").glob("[!.]*/[!.]*/DONE")}


def check_incomplete(output: Path, why: str) -> None:
    """Hold results without ``bob`` to saying so."""
    rows = {row["subject"]: row for row in read_table(output / "scores.csv")}
    assert list(rows) == list(SUBJECTS)
    assert why in rows["bob"]["missing"]
    assert {value for column, value in rows["bob"].items() if column not in ("subject", "roi", "missing")} == {""}
    for subject in ("ann", "cat"):
        assert rows[subject]["missing"] == ""
        assert float(rows[subject]["score"]) > 0.5
    assert set(read_results(output).examples) == {("ann", "all"), ("cat", "all")}
    assert sorted(path.stem for path in (output / "voxels").iterdir()) == ["ann_all", "cat_all"]
    first, *_ = json.loads((output / "notes.json").read_text())
    assert first.startswith("Incomplete: 1 of 3 subject x ROI failed")
    assert why in first
    page = (output / "report.html").read_text()
    assert "voxelcast report: incomplete" in page
    assert "1 of 3 pairs of subject and ROI is missing" in page
    assert page.count(why) >= 2  # in the notes, and in the table of what was excluded
    status = read_status(output)
    assert status.state == "not running"
    lines = {stage.what: stage.line() for stage in status.stages}
    assert lines[FIT].endswith("2 of 3 done, 1 failed")


def test_a_pair_that_fails_is_named_and_then_done_alone(three: Path, tmp_path: Path, in_process: None) -> None:
    output = tmp_path / "out"
    with spoiled(three):
        with pytest.raises(ExecutionError) as failed:
            run(settings(three), output)
        said = str(failed.value)
        assert said.startswith("1 of 3 subject x ROI failed: bob all: no candidate has a score")
        (log,) = (output / "failures").iterdir()
        assert f"(log: {log})" in said
        assert "DataError" in log.read_text()
        assert f"in {output}, marked as incomplete" in said
        assert "run the same command again: it does just what is missing" in said
        check_incomplete(output, "no candidate has a score")
        before = done(output)
        with pytest.raises(ExecutionError, match="1 of 3"):
            run(settings(three), output)
        assert done(output) == before
    summary = run(settings(three), output)
    assert summary.steps_run == 2  # bob's responses and fit
    assert before.items() <= done(output).items()
    run(settings(three), tmp_path / "undisturbed")
    assert results(output) == results(tmp_path / "undisturbed")
    assert "missing" not in read_table(output / "scores.csv")[0]
    assert "report: incomplete" not in (output / "report.html").read_text()


def test_what_an_earlier_run_left_of_a_pair_goes_when_it_fails(three: Path, tmp_path: Path, in_process: None) -> None:
    run(settings(three), tmp_path / "out")
    assert (tmp_path / "out" / "predictions" / "bob_all.npy").is_file()
    with spoiled(three), pytest.raises(ExecutionError):
        run(settings(three), tmp_path / "out")
    assert [name for name in results(tmp_path / "out") if "bob" in name and not name.startswith("failures/")] == []
    check_incomplete(tmp_path / "out", "no candidate has a score")


def test_an_error_that_nobody_foresaw_is_a_failure_too(
    three: Path, tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxelcast.experiment.steps import fit as fit_step

    search = fit_step.search_pair

    def divide(*arguments: Any, context: PairContext, **options: Any) -> Any:
        return 1 / 0 if "bob" in context.names else search(*arguments, context=context, **options)

    with monkeypatch.context() as patch:
        patch.setattr(fit_step, "search_pair", divide)
        with pytest.raises(ExecutionError, match=r"bob all: ZeroDivisionError: division by zero \(log: "):
            run(settings(three), tmp_path / "out")
        check_incomplete(tmp_path / "out", "ZeroDivisionError")
        (log,) = (tmp_path / "out" / "failures").iterdir()
        assert "return 1 / 0" in log.read_text()
    assert run(settings(three), tmp_path / "out").steps_run == 1
    run(settings(three), tmp_path / "undisturbed")
    assert results(tmp_path / "out") == results(tmp_path / "undisturbed")


def test_responses_that_cannot_be_prepared_cost_their_own_pair_and_its_sharers(
    three: Path, tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from voxelcast.experiment.steps import responses as responses_step

    ceilings, asked = responses_step.ceilings, []

    def divide(*arguments: Any) -> Any:
        asked.append(arguments)
        return 1 / 0 if len(asked) == 2 else ceilings(*arguments)

    monkeypatch.setattr(responses_step, "ceilings", divide)
    with pytest.raises(ExecutionError, match=r"1 of 3 .* bob all: responses of bob_all failed: ZeroDivisionError"):
        run(settings(three), tmp_path / "out")
    assert [row["subject"] for row in read_table(tmp_path / "out" / "scores.csv") if row["missing"]] == ["bob"]
    asked.clear()
    with pytest.raises(ExecutionError, match=r"3 of 3 .* there are no results"):
        run(settings(three, share={"components": 2}), tmp_path / "shared")
    assert not (tmp_path / "shared" / "scores.csv").exists()


def test_variance_that_cannot_be_divided_costs_no_score(
    images: Path, tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = settings(images, encoders=["pls"])
    plain["variance_partitioning"] = {"groups": {"a": ["colour"], "b": ["static.4"]}, "draws": 1}
    with monkeypatch.context() as patch:
        patch.setattr(PartitionJob, "run", lambda *_: 1 / 0)
        with pytest.raises(ExecutionError, match=r"the variance of 1 of 1 .* ann_all: ZeroDivisionError.*\(log: "):
            run(plain, tmp_path / "out")
    (row,) = read_table(tmp_path / "out" / "scores.csv")
    assert float(row["score"]) > 0.5
    assert "not divided" in (tmp_path / "out" / "notes.json").read_text()
    assert run(plain, tmp_path / "out").steps_run == 1
    assert json.loads((tmp_path / "out" / "notes.json").read_text()) == []


@pytest.mark.parametrize("stage", ["responses", "fit"])
def test_where_every_pair_fails_no_results_stay(
    tmp_path: Path, in_process: None, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    from voxelcast.experiment.steps import responses as responses_step

    root, output = write_dataset(tmp_path / "data", subjects=("bob",)), tmp_path / "out"
    plain = settings(root, encoders=["pls"], significance={"permutations": 0})
    plain["variance_partitioning"] = {"groups": {"a": ["colour"], "b": ["static.4"]}, "draws": 1}
    run(plain, output)
    whole = results(output)
    mine = ("voxels/mine.npz", "submission/mine.zip", "brain_maps/mine.png", "thesis.txt")
    for name in (*mine, "brain_maps/bob_pearson_r.png"):
        (output / name).parent.mkdir(exist_ok=True)
        (output / name).write_text("mine")
    with monkeypatch.context() as patch, spoiled(root):
        if stage == "responses":
            patch.setattr(responses_step, "ceilings", lambda *arguments: 1 / 0)
        with pytest.raises((ExecutionError, ArithmeticError)) as failed:
            run(plain, output)
    assert ("division by zero" if stage == "responses" else "there are no results") in str(failed.value)
    left = {name for name in results(output) if not name.startswith("failures/")}
    assert left == {"config.yaml", ".lock", *mine}
    assert not (output / "provenance.json").exists()
    assert not (output / "report.html").exists()
    for name in mine:
        (output / name).unlink()
    assert run(plain, output).steps_run == 0
    assert results(output) == whole


def test_a_submission_goes_with_the_results(tmp_path: Path) -> None:
    pairs = [("sub01", "V1")]
    dataset = SimpleNamespace(
        subjects=("sub01",), rois=lambda subject: ("V1",), submission_track="mini", challenge="algonauts2021"
    )
    for name in ("mini_track.pkl", "mini_track.zip", "mine.zip"):
        (tmp_path / "submission").mkdir(exist_ok=True)
        (tmp_path / "submission" / name).touch()
    remove_all_results(cast(Plan, SimpleNamespace(dataset=dataset, pairs=pairs)), tmp_path)
    assert [path.name for path in (tmp_path / "submission").iterdir()] == ["mine.zip"]


def test_brain_maps_go_when_their_values_change_and_only_then(three: Path, tmp_path: Path, in_process: None) -> None:
    output, plain = tmp_path / "out", settings(three, encoders=["pls"], significance={"permutations": 3})
    maps, mine = output / "brain_maps", {"notes.txt", "ann_mine.png"}

    def draw(*subjects: str) -> set[str]:
        """Leave files named as those of ``voxelcast maps``."""
        maps.mkdir(exist_ok=True)
        endings = ("pearson_r.nii.gz", "pearson_r.png", "q_value_hemi-L.func.gii", "q_value_hemi-R.func.gii")
        for subject in subjects:
            for ending in endings:
                Image.new("L", (4, 4)).save(maps / f"{subject}_{ending}", format="png")
        return {f"{subject}_{ending}" for subject in subjects for ending in endings}

    def there() -> set[str]:
        assert ("Brain map: ann pearson r." in (output / "report.html").read_text()) is (len(list(maps.iterdir())) > 2)
        return {path.name for path in maps.iterdir()} - mine

    run(plain, output)
    drawn = draw(*SUBJECTS)
    for name in mine:
        Image.new("L", (4, 4)).save(maps / name, format="png")
    assert run(plain, output).steps_run == 0
    assert there() == drawn
    with spoiled(three):
        with pytest.raises(ExecutionError, match="1 of 3"):
            run(plain, output)
        assert there() == set()
        drawn = draw("ann", "cat")
        with pytest.raises(ExecutionError, match="1 of 3"):
            run(plain, output)
        assert there() == drawn  # nothing was computed anew
    assert run(plain, output).steps_run == 0  # all is in the store, but bob's values were not in the output
    assert there() == set()
    assert {path.name for path in maps.iterdir()} == mine


@pytest.mark.slow
def test_the_dask_engine_ends_the_same(three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="needs pip install 'voxelcast[cluster]'")
    from tests.execution.local_dask import LocalDask

    monkeypatch.setattr("voxelcast.experiment.run.open_engine", lambda *arguments: LocalDask())
    with spoiled(three):
        with pytest.raises(ExecutionError, match="bob all: no candidate has a score"):
            run(settings(three), tmp_path / "out")
        check_incomplete(tmp_path / "out", "no candidate has a score")
    before = done(tmp_path / "out")
    run(settings(three), tmp_path / "out")
    assert before.items() <= done(tmp_path / "out").items()
    monkeypatch.undo()
    run(settings(three), tmp_path / "undisturbed")
    assert results(tmp_path / "out") == results(tmp_path / "undisturbed")


@pytest.mark.slow
def test_a_challenge_without_one_pair_is_not_submitted(simulation: Path, tmp_path: Path, in_process: None) -> None:
    root = shutil.copytree(simulation, tmp_path / "data")
    plain = settings(root, dataset={"kind": "simulated", "root": str(root)}, frames={"every": 2})
    plain |= {"folds": {"n": 3, "nested": False}, "compress": {"components": 5}, "encoders": ["pls"]}
    plain |= {"significance": {"permutations": 0}}
    output = tmp_path / "out"
    run(plain, output)
    whole = results(output)
    assert "submission/mini_track.zip" in whole

    (output / "submission" / "mine.zip").touch()
    (path,) = root.rglob("mini_track/sub02/V1.pkl")
    measured = pickle.loads(path.read_bytes())
    constant = np.zeros_like(measured["train"])
    constant[3] = 1.0
    good = path.read_bytes()
    path.write_bytes(pickle.dumps(measured | {"train": constant}))
    with pytest.raises(ExecutionError, match="1 of 90 subject x ROI failed: sub02 V1: "):
        run(plain, output)
    assert [left.name for left in (output / "submission").iterdir()] == ["mine.zip"]
    (output / "submission" / "mine.zip").unlink()
    notes = json.loads((output / "notes.json").read_text())
    assert any(n.startswith("No submission was made: it needs every subject x ROI; sub02 V1 failed") for n in notes)
    dataset = SimulatedDataset(SimulatedSettings(root))
    with pytest.raises(DataError, match=r"sub02 V1 is missing in .*out because it failed \(no candidate"):
        read_outputs([output], dataset)

    path.write_bytes(good)
    assert run(plain, output).steps_run == 0  # all of it is in the store
    assert results(output) == whole
    challenge_of([dataset]).write(read_outputs([output], dataset), [dataset], tmp_path / "again")
