"""A sweep gives what separate runs give, does what they share once, and goes on where it was."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.conftest import Call, call
from tests.experiment.miniature import ENERGY, read_table, run, settings, stimulus_ids, write_dataset, write_settings
from voxelcast.app.discovery import find_experiments
from voxelcast.core.errors import ConfigError, DataError, ExecutionError, OptionError, StoreError
from voxelcast.execution.status import read_status
from voxelcast.experiment.costs import estimate
from voxelcast.experiment.plan import Plan
from voxelcast.experiment.planning.stages import COMPRESS, EXTRACT, FIT, READ
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.steps.compress import CompressJob
from voxelcast.experiment.sweep import combine, run_sweep, together
from voxelcast.store.steps import StepStore

__all__ = ["call"]

COLOUR = {"name": ENERGY, "layers": ["colour"], "input_size": 64, "label": "colour"}
CONTRAST = {"name": ENERGY, "layers": ["static.4"], "input_size": 64, "label": "contrast"}
COARSE = {"name": ENERGY, "layers": ["static.5"], "input_size": 64, "label": "coarse"}
AXES: dict[str, Any] = {"networks": None, "encoders": ["ridge", "pls"]}
NAMES = ["colour_ridge", "colour_pls", "contrast_ridge", "contrast_pls"]


def made(root: Path, axes: Mapping[str, Any] = AXES, **changes: Any) -> dict[str, ExperimentSettings]:
    """The combinations of a small experiment with two networks."""
    return combine(settings(root, networks=[COLOUR, CONTRAST], **changes), axes, "miniature")


def finished(output: Path) -> dict[str, int]:
    """Steps of the sweep, and when each was finished."""
    return {str(mark.parent): mark.stat().st_mtime_ns for mark in (output / "steps").glob("[!.]*/[!.]*/DONE")}


def test_every_combination_is_an_experiment(tmp_path: Path) -> None:
    found = made(tmp_path, AXES | {"compress.components": [3, 4], "seed": [1]})
    assert list(found) == [f"{name}_components-{n}_seed-1" for name, n in product(NAMES, (3, 4))]
    for name, experiment in found.items():
        network, encoder, components, seed = name.split("_")
        assert [one.shown for one in experiment.networks] == [network]
        assert (experiment.name, experiment.encoders, experiment.seed) == (name, (encoder,), int(seed[-1]))
        assert experiment.compress.components == int(components[-1])
        assert experiment.compress.method == "pca"  # as the file says
    both = made(tmp_path, {"networks": [["colour", "contrast"], COARSE], "encoders": [["ridge", "pls"], "omp"]})
    assert list(both) == ["colour+contrast_ridge+pls", "colour+contrast_omp", "coarse_ridge+pls", "coarse_omp"]
    assert len(both["colour+contrast_omp"].networks) == 2
    plain = made(tmp_path, {"compress": [{"method": "pca", "components": 5}, {"method": "none"}]})
    assert list(plain) == ["pca+5", "none"]


@pytest.mark.parametrize(
    ("axes", "error", "message"),
    [
        ({}, ConfigError, "needs a list of values"),
        ({"search": None}, ConfigError, "search must be a list to be swept"),
        ({"encoders": []}, ConfigError, r"give encoders=\[\.\.\.\]"),
        ({"networks": ["colours"]}, ConfigError, r"among those of the experiment \(colour, contrast\)"),
        ({"networks": [COLOUR, COLOUR | {"input_size": 32}]}, OptionError, "two combinations are called 'colour'"),
        ({"encoders": ["ridge", "rigde"]}, ConfigError, "miniature, rigde: encoders"),
    ],
)
def test_refused(tmp_path: Path, axes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        made(tmp_path, axes)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["encoders=ridge"], "a sweep needs a list of values"),
        (["networks", "encoders=[ridge]", "search.method=none"], "colour_ridge: search.method: must be 'exact'"),
        (["encoders=[ridge"], "is not YAML"),
    ],
)
def test_the_command_line(call: Call, tmp_path: Path, given: list[str], said: str) -> None:
    file = write_settings(tmp_path / "small.yaml", settings(tmp_path, networks=[COLOUR, CONTRAST]))
    done = call("sweep", file, *given, "--output", tmp_path / "out")
    assert done.code == 1
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(StoreError, match="not a sweep's"):
        run_sweep(made(tmp_path), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]


def test_where_nothing_can_be_planned_nothing_is_left(tmp_path: Path) -> None:
    with pytest.raises(ExecutionError, match="4 of 4 experiments failed: colour_ridge"):
        run_sweep(made(tmp_path / "none"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_what_is_shared_costs_once(tmp_path: Path) -> None:
    experiments = made(write_dataset(tmp_path / "images"), compute={"workers": 2})
    plans = [Plan(one, StepStore(tmp_path / "steps", read_only=True)) for one in experiments.values()]
    colour, contrast = (estimate(plan, 2) for plan in plans[::2])
    whole = together(list(zip(plans, (colour, colour, contrast, contrast), strict=True)))
    once = {stage: colour.seconds[stage] + contrast.seconds[stage] for stage in colour.seconds}
    assert whole.seconds[READ] == pytest.approx(colour.seconds[READ])
    assert whole.seconds[EXTRACT] == pytest.approx(once[EXTRACT])
    assert whole.seconds[COMPRESS] == pytest.approx(once[COMPRESS])
    assert whole.seconds[FIT] == pytest.approx(2 * once[FIT] / 2)  # four fits, two at a time; each alone has one worker
    assert [one.shown for one in whole.networks] == ["colour", "contrast"]
    counted_once = 2 * (colour.disk_bytes + contrast.disk_bytes) - whole.disk_bytes
    n, sizes = 48, [one.features[layer] for one in whole.networks for layer in one.features]
    assert counted_once == pytest.approx(
        sum(4 * n * size for size in sizes) + sum(plans[0].config.compress.cost(n, n, size, 11).disk for size in sizes),
        abs=2,
    )
    assert not (tmp_path / "steps").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_subjects_who_saw_different_stimuli_run_by_themselves(call: Call, tmp_path: Path) -> None:
    """Each with all stimuli of its own."""
    root, output = write_dataset(tmp_path / "images", subjects=("ann", "bob")), tmp_path / "out"
    ids = stimulus_ids(root)
    seen = {"ann": ids[:40], "bob": ids[10:]}
    for subject, own in seen.items():
        file = root / "responses" / f"{subject}.npy"
        np.save(file, np.load(file)[[ids.index(one) for one in own]])
        (root / "responses" / f"{subject}_stimuli.txt").write_text("\n".join(own))
    file = write_settings(tmp_path / "two.yaml", settings(root))
    done = call("run", file, "--output", tmp_path / "both")
    assert done.code == 1
    assert "leaves out 10 of ann's 40 stimuli, 8 of bob's 38 stimuli" in done.err
    advised = re.findall(r"dataset\.[\w=\[\],]+", done.err)
    done = call("sweep", file, *advised, "--output", output)
    assert done.code == 0, done.err
    for subject, own in seen.items():
        assert {row["subject"] for row in read_table(output / subject / "scores.csv")} == {subject}
        assert {row["stimulus_id"] for row in read_table(output / subject / "stimulus_scores.csv")} == set(own)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_equals_separate_runs_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, output = write_dataset(tmp_path / "images"), tmp_path / "out"
    monkeypatch.setattr("voxelcast.report.page.write_report", lambda _: None)  # it takes most of a small run's time
    compress = CompressJob.run

    def failing(job: CompressJob, *rest: Any) -> None:
        if job.network == "contrast":
            raise DataError("no contrast")
        compress(job, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CompressJob, "run", failing)
        with pytest.raises(ExecutionError, match="2 of 4 experiments failed: contrast_ridge: no contrast, and 1 more"):
            run_sweep(made(root), output)
    assert read_status(output / "colour_pls").state == "finished"
    assert read_status(output).state == "not running"
    failed = read_status(output / "contrast_pls")
    assert failed.state == "not running"
    assert "no contrast" in failed.troubles[0]
    assert {row["experiment"] for row in read_table(output / "leaderboard.csv")} == set(NAMES[:2])

    before = finished(output)  # goes on where it was, with a network more; what is done need not be named
    experiments = made(root, AXES | {"networks": ["contrast", COARSE]})
    done = run_sweep(experiments, output)
    assert done.names == (*NAMES, "coarse_ridge", "coarse_pls")
    assert read_status(output).state == "finished"
    assert {stage.what: stage.total for stage in read_status(output).stages}[FIT] == 4
    after = finished(output)
    assert before.items() <= after.items()
    assert done.steps_run == len(after) - len(before)
    kinds = [Path(step).parent.name for step in after]
    assert [kinds.count(kind) for kind in ("responses", "compress", "fit")] == [1, 3, 6]
    assert {found.folder.name for found in find_experiments([output])} == set(done.names)

    board = {row["experiment"]: row for row in read_table(output / "leaderboard.csv") if row["roi"] == "all"}
    scores = {name: float(row["score"]) for name, row in board.items()}
    assert sorted(scores, key=lambda name: -scores[name]) == sorted(board, key=lambda name: int(board[name]["place"]))
    for row in read_table(output / "differences.csv"):
        assert float(row["difference"]) == pytest.approx(scores[row["experiment"]] - scores[row["other"]])
        assert float(row["p_value"]) <= float(row["p_corrected"]) <= 1
    for name in ("contrast_pls", "coarse_ridge"):
        run(experiments[name].model_dump(mode="json"), tmp_path / name)
        for file in ("scores.csv", "search.csv", "jackknife.npz", "predictions/ann_all.npy", "config.yaml"):
            assert (output / name / file).read_bytes() == (tmp_path / name / file).read_bytes(), (name, file)
        assert read_table(tmp_path / name / "scores.csv")[0]["score"] == board[name]["score"]
