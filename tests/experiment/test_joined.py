"""All layers joined, from the experiment file to results and report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.experiment.miniature import ENERGY, contents, read_table, run, settings
from voxelcast.core.errors import ConfigError, OptionError
from voxelcast.experiment.planning.stages import JOIN
from voxelcast.experiment.run import estimate_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.report.depth import layer_order
from voxelcast.report.facts import weight_rows
from voxelcast.results.read import read_results
from voxelcast.store.result import StepResult

pytestmark = pytest.mark.usefixtures("in_process")

JOINED: dict[str, Any] = {
    "ensemble": {"method": "stacking", "joined": True},
    "encoders": ["ridge"],
    "significance": {"permutations": 0},
}


@pytest.mark.parametrize(
    "changes",
    [
        {"selection": {"per": "voxel"}},
        {"compress": {"method": "pca", "components": 8, "fit": "once"}},
        {"compress": {"method": "pca", "components": 8, "fit": "once"}, "folds": {"n": 4, "repeats": 2}},
    ],
)
def test_all_layers_joined_are_one_row_more(images: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    out = tmp_path / "out"
    run(settings(images, **JOINED, **changes), out)
    (row,) = read_table(out / "scores.csv")
    assert row["layer"] in ("colour", "static.4")
    assert float(row["gain_low"]) <= float(row["gain"]) <= float(row["gain_high"])
    layers = read_table(out / "layers.csv")
    assert [line["layer"] for line in layers] == ["colour", "static.4", "all layers"]
    assert layers[2]["network"] == "joined"
    assert layers[2]["n_features"] == layers[2]["n_components"] == "16"
    by_layer = np.load(out / "weights" / "ann_all.npy")
    assert by_layer.shape == (3, 5)
    final = [line for line in read_table(out / "weights.csv") if line["fold"] == "all"]
    of_joined = [float(line["weight"]) for line in final if line["network"] == "joined"]
    assert sum(of_joined) == pytest.approx(by_layer[2].mean())
    assert sum(of_joined) > 0
    tried = {(line["network"], line["weights"], line["layer"]) for line in read_table(out / "search.csv")}
    assert ("joined", "none", "all layers") in tried
    (fit,) = (out / "steps" / "fit").rglob("result.npz")
    assert "joined-all-layers" in {part["layer"] for part in StepResult(fit).json("parts")}
    assert "together with a model on all of them joined" in (out / "notes.json").read_text()


def test_the_report_shows_its_weight_and_no_depth(images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(settings(images, **JOINED), out)
    results = read_results(out)
    (layers,) = layer_order(results).layers.values()
    assert layers == ("colour", "static.4")
    assert "all layers" in {layer for _, _, layer, *_ in weight_rows(results)}
    assert "all layers" in (out / "report.html").read_text()


def test_the_store_is_shared_with_the_run_without(images: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    plain = settings(images, ensemble={"method": "stacking"}, encoders=["ridge"], significance={"permutations": 0})
    run(plain, tmp_path / "plain", store=store)
    summary = run(settings(images, **JOINED), tmp_path / "joined", store=store)
    assert summary.steps_run == 3  # join, its axes, and fit
    again = run(settings(images, **JOINED), tmp_path / "again", store=tmp_path / "other")
    assert again.mean_score == summary.mean_score
    for name in ("predictions", "weights"):
        assert contents(tmp_path / "joined" / name) == contents(tmp_path / "again" / name)
    (one,), (other,) = (read_table(tmp_path / name / "scores.csv") for name in ("plain", "joined"))
    assert one["single_score"] == other["single_score"]
    assert one["score"] != other["score"]


def test_the_estimate_counts_it(images: Path, tmp_path: Path) -> None:
    plain, joined = (
        estimate_experiment(parse_config(settings(images, **changes), "miniature"), tmp_path / "out")
        for changes in ({}, JOINED)
    )
    assert JOIN not in plain.seconds
    assert joined.seconds[JOIN] > 0
    assert joined.disk_bytes > plain.disk_bytes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ensemble": {"joined": True}}, "joined needs method stacking or average or mean or softmax, got method none"),
        ({"ensemble": {"method": "banded_ridge", "joined": True}}, "got method banded_ridge; set joined=false"),
        (JOINED | {"search": {"method": "random", "joint": True}}, "ensemble.joined must be false with search.joint"),
        ({"networks": [{"name": ENERGY, "layers": ["colour"], "label": "joined"}]}, "give another label"),
    ],
)
def test_settings_that_contradict_are_refused(images: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(settings(images, **changes), "miniature")


def test_one_layer_cannot_be_joined(images: Path, tmp_path: Path) -> None:
    one = [{"name": ENERGY, "layers": ["colour"], "input_size": 64}]
    with pytest.raises(OptionError, match=r"ensemble\.joined needs at least two layers; got 1"):
        run(settings(images, networks=one, **JOINED), tmp_path / "out")
