"""Encoders without a path and banded ridge, from the experiment file to the stored result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.experiment.miniature import ENERGY, read_table, run, settings
from voxelcast.core.errors import ConfigError, MissingPackageError
from voxelcast.experiment.planning.stages import FIT
from voxelcast.experiment.run import estimate_experiment
from voxelcast.experiment.settings_file import parse_config
from voxelcast.store.result import StepResult

pytestmark = pytest.mark.usefixtures("in_process")

SMALL: dict[str, Any] = {"folds": {"n": 3, "nested": True}, "significance": {"permutations": 0}}


def _model(output: Path) -> dict[str, Any]:
    (file,) = (output / "steps" / "fit").rglob("result.npz")
    return StepResult(file).arrays("model")


def test_a_searched_encoder_is_nested_and_its_model_is_stored_as_arrays(images: Path, tmp_path: Path) -> None:
    one_layer = [{"name": ENERGY, "layers": ["colour"], "input_size": 64}]
    search = {"method": "random", "trials": 1}
    plain = settings(images, networks=one_layer, encoders=["mlp"], search=search, **SMALL)
    output = tmp_path / "out"
    run(plain, output)
    (row,) = read_table(output / "scores.csv")
    assert row["encoder"] == "mlp"
    assert row["score_from"] == "nested_cv"
    assert float(row["score"]) > 0.3
    assert len(read_table(output / "search.csv")) == 1
    assert {"0.weights_0", "0.biases_0", "0.y_scale"} < set(_model(output))


def test_banded_ridge_over_layers_is_told_by_layer(images: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run(settings(images, encoders=["ridge"], ensemble={"method": "banded_ridge"}, **SMALL), output)
    (row,) = read_table(output / "scores.csv")
    assert row["encoder"] == "banded_ridge"
    assert float(row["score"]) > 0.3
    weights = read_table(output / "weights.csv")
    assert {line["layer"] for line in weights} == {"colour", "static.4"}


def test_what_is_missing_is_told_before_any_work(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXELCAST_AUTOSKLEARN", str(tmp_path / "nowhere"))
    with pytest.raises(MissingPackageError, match="install-autosklearn"):
        run(settings(images, encoders=["autosklearn"], **SMALL), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.npy"))


def test_an_exact_search_of_a_network_is_refused_with_the_way_out(images: Path) -> None:
    with pytest.raises(ConfigError, match=r"which mlp has too many of; set search\.method=bayes"):
        parse_config(settings(images, encoders=["ridge", "mlp"]), "miniature")


def test_the_estimate_counts_slow_encoders(images: Path, tmp_path: Path) -> None:
    def seconds(**changes: Any) -> float:
        config = parse_config(settings(images, **changes), "miniature")
        return estimate_experiment(config, tmp_path / "out").seconds[FIT]

    few = seconds(encoders=["boosted_trees"], search={"method": "bayes", "trials": 10})
    assert few > 50 * seconds(encoders=["ridge"])
    assert seconds(encoders=["boosted_trees"], search={"method": "bayes", "trials": 20}) == pytest.approx(
        2 * few, rel=0.2
    )
