"""Features that no step is left to read are removed at the end of a run, and made again where a step reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.experiment.miniature import read_table, run, settings, write_dataset
from voxelcast.experiment.scratch import inputs
from voxelcast.store.steps import StepId

pytestmark = pytest.mark.usefixtures("in_process")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("data"), subjects=("bob",))


def scratch(output: Path) -> dict[str, int]:
    return {path.parent.parent.name: path.stat().st_size for path in output.glob("steps/*/*/scratch.npz")}


def results(output: Path) -> dict[str, bytes]:
    files = (path for path in output.rglob("*") if path.is_file() and "steps" not in path.parts)
    names = {"config.yaml", "progress.jsonl", "provenance.json", "report.html"}
    return {str(path.relative_to(output)): path.read_bytes() for path in files if path.name not in names}


def plain(data: Path, **compute: Any) -> dict[str, Any]:
    return settings(data, significance={"permutations": 0}, folds={"n": 5}, compute={"workers": 1, **compute})


def test_features_go_and_the_same_command_does_nothing(data: Path, tmp_path: Path) -> None:
    first = run(plain(data), tmp_path / "out")
    assert first.steps_run > 0
    assert scratch(tmp_path / "out") == {}
    before = results(tmp_path / "out")
    assert run(plain(data), tmp_path / "out").steps_run == 0
    assert results(tmp_path / "out") == before
    run(plain(data, keep_scratch=True), tmp_path / "kept")
    assert scratch(tmp_path / "kept").keys() == {"extract", "compress"}
    assert results(tmp_path / "kept") == before


def test_a_step_that_reads_them_has_them_made_again(data: Path, tmp_path: Path) -> None:
    run(plain(data), tmp_path / "out")
    before = results(tmp_path / "out")
    (fit,) = (tmp_path / "out" / "steps" / "fit").glob("[!.]*/result.npz")
    fit.write_bytes(fit.read_bytes()[:-1] + b"x")
    run(plain(data), tmp_path / "out")
    assert results(tmp_path / "out") == before
    assert scratch(tmp_path / "out") == {}


def test_shared_store_keeps_them_for_other_experiments(data: Path, tmp_path: Path) -> None:
    run(plain(data), tmp_path / "out", store=tmp_path / "store")
    kept = list((tmp_path / "store").glob("*/*/scratch.npz"))
    assert {path.parent.parent.name for path in kept} == {"extract", "compress"}
    other = plain(data) | {"encoders": ["ols"], "compress": {"method": "pca", "components": 4}}
    marks = [path.stat().st_mtime_ns for path in kept]
    run(other, tmp_path / "other", store=tmp_path / "store")
    assert [path.stat().st_mtime_ns for path in kept] == marks


def test_another_encoder_on_a_released_store_repeats_what_it_needs(data: Path, tmp_path: Path) -> None:
    run(plain(data), tmp_path / "out")
    run(plain(data) | {"encoders": ["ols"]}, tmp_path / "other", store=tmp_path / "out" / "steps")
    run(plain(data) | {"encoders": ["ols"]}, tmp_path / "fresh")
    assert results(tmp_path / "other") == results(tmp_path / "fresh")


def test_half_precision_changes_scores_far_less_than_they_are_uncertain(data: Path, tmp_path: Path) -> None:
    rows = []
    for how in ("float32", "float16"):
        run(plain(data, keep_scratch=True) | {"features_as": how}, tmp_path / how)
        (row,) = read_table(tmp_path / how / "scores.csv")
        rows.append(row)
    single, half = (float(row["score"]) for row in rows)
    width = float(rows[0]["score_high"]) - float(rows[0]["score_low"])
    assert 0 < abs(single - half) < 0.02 * width
    size = {how: scratch(tmp_path / how)["extract"] for how in ("float32", "float16")}
    assert size["float16"] < 0.6 * size["float32"]


def test_inputs_are_found_wherever_they_are() -> None:
    a, b = StepId("x", "a", "1"), StepId("x", "b", "2")
    assert list(inputs({"one": (a, [b]), "two": "text"})) == [a, b]
