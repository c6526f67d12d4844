"""Experiments from Python: any kind of settings, changes by dotted names, and no guard in a script."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import voxelcast as vc
from tests.api.conftest import EXPERIMENT
from tests.experiment.conftest import _Here
from voxelcast.api.experiment import experiment_settings
from voxelcast.core.errors import ConfigError, MissingFileError, StoreError
from voxelcast.experiment.settings_file import parse_config


def test_files_mappings_and_settings_are_the_same_experiment(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    Path("small.yaml").write_text(yaml.safe_dump(EXPERIMENT))
    settings = parse_config(dict(EXPERIMENT), "test")
    for experiment in ("small.yaml", Path("small.yaml"), EXPERIMENT, settings):
        assert experiment_settings(experiment, {}) == settings
        assert experiment_settings(experiment, {"folds.n": 4}).folds.n == 4


def test_results_have_a_labelled_view(study: Path) -> None:
    known = vc.read_results(study / "outputs" / "small")
    assert known.voxel_scores["pearson_r"].sizes == {"voxel": 4}
    assert set(known.voxel_scores["subject"].values) == {"sub01"}


def test_overrides_are_dotted_and_leave_the_mapping_alone(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    monkeypatch.setattr("voxelcast.execution.workers.ProcessPoolExecutor", _Here)
    before = yaml.safe_dump(EXPERIMENT)
    changes = {"name": "other", "folds.n": 4, "encoders": ["pls"], "compress.components": 4}
    results = vc.run(parse_config(dict(EXPERIMENT), "test"), overrides=changes, store="store", progress=False)
    assert yaml.safe_dump(EXPERIMENT) == before
    assert results.config["folds"]["n"] == 4
    assert results.scores["encoder"].tolist() == ["pls"]
    assert Path("outputs/other/report.html").is_file()
    assert not Path("outputs/other/steps").exists()
    with pytest.raises(StoreError, match="holds another experiment"):
        vc.run(EXPERIMENT, "outputs/other", progress=False)


def test_what_is_wrong_is_said_in_one_line(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study)
    with pytest.raises(ConfigError, match="the experiment: fold is not a setting; did you mean folds"):
        vc.run(EXPERIMENT | {"fold": {}}, progress=False)
    with pytest.raises(MissingFileError):
        vc.run("nowhere.yaml")
