"""``voxelcast import-2021`` writes files that the next command takes, and overwrites none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Call
from tests.import_2021.test_convert import cluster, write_train
from voxelcast.execution.profile import load_profile
from voxelcast.experiment.settings_file import load_config


def test_it_writes_what_run_takes_and_says_what_became_of_each_key(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_train(Path("pls.json"))
    cluster(Path("roi.yaml"), ["sub01"], ["V1"])
    done = call("import-2021", "pls.json", "roi.yaml")
    assert done.code == 0, done.err
    assert load_config(Path("pls.yaml")).encoders == ("pls",)
    assert load_profile(Path("slurm.yaml")).scheduler == "slurm"
    assert "train_config.feature_model: resnet50\n    -> networks: torchvision/resnet50" in done.out
    assert "no meaning: " in done.out
    assert done.out.endswith("next: voxelcast run pls.yaml --on slurm.yaml --dry-run\n")
    before = Path("pls.yaml").read_text()
    again = call("import-2021", "pls.json", "--as-in-2021")
    assert again.code == 1
    assert again.err == "voxelcast: pls.yaml is there already; choose another --output\n"
    assert Path("pls.yaml").read_text() == before


def test_a_profile_needs_a_cluster_config(call: Call, tmp_path: Path) -> None:
    done = call("import-2021", write_train(tmp_path / "a.json"), "--profile", tmp_path / "p.yaml")
    assert done.code == 2
    assert "--profile needs CLUSTER" in done.err
