from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import yaml

from voxelcast.core.errors import ConfigError, MissingFileError, StoreError
from voxelcast.datasets.registry import DATASETS
from voxelcast.experiment.rsa import load_rsa_settings
from voxelcast.experiment.run import check_output, config_text
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import load_config, parse_config

MINIMAL: dict[str, Any] = {
    "name": "x",
    "dataset": {"kind": "simulated", "root": "sim"},
    "networks": [{"name": "torchvision/resnet18", "layers": ["layer1"]}],
}


def with_(**changes: Any) -> dict[str, Any]:
    return {**MINIMAL, **changes}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (with_(fold={"n": 3}), "fold is not a setting; did you mean folds"),
        (with_(folds={"m": 3}), "folds.m is not a setting; allowed here: n, nested"),
        (with_(dataset={"kind": "simulated", "rot": "x"}), "dataset.rot is not a setting; did you mean root"),
        (with_(dataset={"kind": "foldr"}), f"dataset.kind must be one of {', '.join(sorted(DATASETS))}; got 'foldr'"),
        (with_(networks=[{"name": "a", "layer": "x"}]), "networks.0.layer is not a setting; did you mean"),
        (with_(networks=[]), "networks: "),
        (with_(networks=MINIMAL["networks"] * 2), "torchvision/resnet18 is there twice"),
        (with_(folds={"n": 1}), "folds.n: must be greater than or equal to 2; got 1"),
        (with_(frames={"every": 2, "n": 3}), "set exactly one of every"),
        (with_(pool="maen"), "pool 'maen' does not exist; did you mean mean"),
        (with_(encoders=["plss"]), "; got 'plss'"),
        (with_(encoders=["ridge", "pls", "ridge"]), "encoders: must name different encoders; ridge is there twice"),
        (with_(search={"method": "exact"}, encoders=["mlp"]), "set search.method=bayes"),
        (with_(compress={"components": 0}), "compress.components must be a whole number of at least 1, or max; got 0"),
        (with_(search={"metric": "r2"}), "search.metric: must be 'pearson_r' or 'pooled_2021'; got 'r2'"),
        (with_(name="a/b"), "cannot be a file name"),
        ({k: v for k, v in MINIMAL.items() if k != "name"}, "name is missing"),
    ],
)
def test_a_wrong_setting_is_said_in_one_line(raw: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config(raw, "x.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "{'" not in str(caught.value)  # what was got is named where it is one value, not where it is a section


@pytest.mark.parametrize(("changes", "said"), [({}, None), ({"seed": 1}, "seed is 0 there and 1 here")])
def test_an_output_begun_before_a_setting_existed_is_gone_on_with(
    tmp_path: Path, changes: dict[str, Any], said: str | None
) -> None:
    before = yaml.safe_load(config_text(parse_config(with_(), "x")))
    for later in ("variance_partitioning", "share"):
        del before[later]
    del before["ensemble"]["joined"], before["networks"][0]["precision"]
    (tmp_path / "config.yaml").write_text(json.dumps(before))
    with pytest.raises(StoreError, match=said) if said else nullcontext():
        check_output(parse_config(with_(**changes), "x"), tmp_path)


def test_an_output_whose_settings_are_unknown_now_is_still_compared(tmp_path: Path) -> None:
    before = yaml.safe_load(config_text(parse_config(with_(compute={"workers": 3}), "x")))
    (tmp_path / "config.yaml").write_text(json.dumps(before | {"shuffle": True}))
    with pytest.raises(StoreError, match="holds another experiment: shuffle is True there and None here"):
        check_output(parse_config(with_(), "x"), tmp_path)


def test_settings_survive_the_way_to_disk_and_back() -> None:
    config = parse_config(with_(encoders="pls", compress={"components": "max"}), "x.yaml")
    assert config.encoders == ("pls",)
    assert ExperimentSettings.model_validate(json.loads(config.model_dump_json())) == config


def test_compute_is_no_part_of_the_results() -> None:
    one = parse_config(with_(compute={"workers": 1}), "x")
    two = parse_config(with_(compute={"workers": 2}), "x")
    assert one.results_config() == two.results_config()
    assert "compute" not in one.results_config()


def test_overrides_reach_lists_and_new_keys(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(MINIMAL))
    overrides = ["networks.0.weights=random", "search.method=bayes", "folds.n=5", "frames={n: 4}"]
    config = load_config(path, overrides)
    assert config.networks[0].weights == "random"
    assert (config.search.method, config.folds.n, config.frames.n) == ("bayes", 5, 4)


def test_another_kind_of_dataset_keeps_what_both_have(tmp_path: Path) -> None:
    raw = MINIMAL | {"dataset": {"kind": "algonauts2021", "root": "there", "track": "mini", "subjects": ["sub01"]}}
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump(raw))
    for overrides in (["dataset.root=here", "dataset.kind=simulated"], ["dataset.kind=simulated", "dataset.root=here"]):
        dataset = load_config(path, overrides).dataset
        assert (dataset.kind, dataset.root, dataset.subjects) == ("simulated", Path("here"), ("sub01",))
    with pytest.raises(ConfigError, match=r"dataset.track is not a setting; allowed here: root, kind, rois,"):
        load_config(path, ["dataset.kind=simulated", "dataset.track=mini"])


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("folds.n", "must be key=value"),
        ("networks.7.weights=random", "the list has indices 0 to 0"),
        ("networks.x.weights=random", "the list has indices 0 to 0"),
        ("name=[", "not YAML"),
        ("flods.n=3", "flods is not a setting; did you mean folds"),
    ],
)
def test_a_wrong_override_is_said_in_one_line(tmp_path: Path, override: str, said: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(json.dumps(MINIMAL))
    with pytest.raises(ConfigError, match=said.replace("[", r"\[")):
        load_config(path, [override])


@pytest.mark.parametrize("text", ["- a list", "a: [", "just words"])
def test_a_file_that_is_no_experiment(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_config(path)
    with pytest.raises(MissingFileError):
        load_config(tmp_path / "none.yaml")


@pytest.mark.parametrize("path", sorted(Path("examples").glob("*.yaml")), ids=lambda p: p.name)
def test_every_example_is_understood(path: Path) -> None:
    load = load_rsa_settings if "voxelcast rsa" in path.read_text() else load_config
    assert load(path).name
