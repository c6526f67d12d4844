"""Configs of 2021: every shape of them becomes an experiment that is understood, and nothing is lost silently."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from voxelcast.core.errors import ConfigError, MissingFileError, OptionError
from voxelcast.execution.profile import GridEngineProfile, SlurmProfile, parse_profile
from voxelcast.experiment.settings import ExperimentSettings
from voxelcast.experiment.settings_file import parse_config
from voxelcast.experiment.sweep import combine
from voxelcast.import_2021.convert import import_2021
from voxelcast.networks.registry import list_networks

SMBO = {"base_estimator": "GP", "acq_func": "gp_hedge", "n_initial_points": 5}
TRAIN = {
    "roi_type": "V1",
    "subject_id": "sub01",
    "fmri_dir": "./data/participants_data_v2021",
    "feature_model": "resnet50",
    "filter_type": "mean",
    "dim_reduction": "pca_50",
    "bo_eval_metric": "corr_mean",
    "bo_opt_iters": 25,
    "num_cv_folds": 10,
    "smbo_config": SMBO,
}
AUTO = {"time_left_for_this_task": 1000, "per_run_time_limit": 100, "ensemble_size": 10, "memory_limit": 5000}
SEARCHED = ("bo_eval_metric", "bo_opt_iters", "num_cv_folds", "smbo_config")


def write_train(
    path: Path, changes: dict[str, Any] | None = None, *, without: tuple[str, ...] = (), **more: Any
) -> Path:
    """Write a config as 2021's are: JSON with comments, one of them right after a brace."""
    settings = {key: value for key, value in {**TRAIN, **(changes or {})}.items() if key not in without}
    whole = {"train_config": settings, "log_config": {"model_type": "sklearn"}, **more}
    if not changes or "autosklearn_config" not in changes:
        whole.setdefault("net_config", {"encoding_model": "partial_ls"})
    text = json.dumps(whole, indent=2).replace('"net_config": {', '"net_config": {# the encoder')
    path.write_text(text.replace('"feature_model"', '# Feature-specific data (NN model)\n    "feature_model"'))
    return path


def experiment(text: str) -> ExperimentSettings:
    return parse_config(yaml.safe_load(text), "imported")


@pytest.mark.parametrize(
    ("changes", "without", "more"),
    [
        ({}, (), {}),
        ({"feature_layers_to_consider": ["layer_1", "layer_2"]}, (), {}),
        ({"feature_layers_to_consider": ["layer_1"]}, ("filter_type",), {}),
        ({"sampling_rate": 2}, (), {"model_config": {"encoding_model": "partial_ls"}}),
        ({"sampling_rate": 2, "merge_layer_features": False, "autosklearn_config": AUTO}, SEARCHED, {}),
        ({"sampling_rate": 2, "merge_layer_features": True, "autosklearn_config": AUTO}, SEARCHED, {}),
        ({"sampling_rate": 1, "roi_type": "WB"}, (), {}),
        *(({"filter_type": name}, (), {}) for name in ("median", "1d-pca", "bold-kernel-1", "mean_sr_3", "raw")),
        *(({"dim_reduction": name}, (), {}) for name in ("umap_100", "mds_250", "autoencoder_50", "activations")),
        *(
            ({}, (), {"net_config": {"encoding_model": name}})
            for name in ("pls_canonical", "cca", "elastic_net", "linear_regression", "omp", "mlp_network", "gradboost")
        ),
    ],
)
@pytest.mark.parametrize("as_in_2021", [False, True])
def test_every_shape_becomes_an_experiment_and_every_key_is_spoken_of(
    changes: dict[str, Any], without: tuple[str, ...], more: dict[str, Any], as_in_2021: bool, tmp_path: Path
) -> None:
    path = write_train(tmp_path / "some.json", changes, without=without, **more)
    made = import_2021(path, as_in_2021=as_in_2021)
    config = experiment(made.experiment)
    assert config.name == "some"
    assert config.folds.nested is not as_in_2021
    raw = yaml.safe_load(path.read_text())
    spoken = " ".join(note.key for note in made.notes)
    assert all(f"train_config.{key}" in spoken for key in raw["train_config"])
    assert "log_config" in spoken
    assert not [note for note in made.notes if note.fate == "unknown"]


@pytest.mark.parametrize(
    ("name", "network", "weights"),
    [
        ("alexnet", "torchvision/alexnet", "default"),
        ("vgg", "torchvision/vgg19", "default"),
        ("resnet152", "torchvision/resnet152", "default"),
        ("vone-resnet50_at", "vonenet/resnet50_at", "weights/voneresnet50_at_e96.pth.tar"),
        ("simclr_r101_2x_sk0_100pct", "simclr/r101_2x_sk0", "r101_2x_sk0_finetuned_100pct.pth"),
        ("simclr_r50_1x_sk0_1pct", "simclr/r50_1x_sk0", "r50_1x_sk0_finetuned_1pct.pth"),
        ("barlow_twins_10p_20ep", "barlow_twins/resnet50", "semisup10/checkpoint.pth"),
    ],
)
def test_networks_of_2021_are_networks_of_ours(name: str, network: str, weights: str, tmp_path: Path) -> None:
    made = import_2021(write_train(tmp_path / "a.json", {"feature_model": name}))
    (settings,) = experiment(made.experiment).networks
    assert settings.name == network
    assert network in list_networks(network)
    assert str(settings.weights).endswith(weights)
    assert settings.layers == ("algonauts2021",)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_b3", "resnext50_32x4d"])
def test_timm_networks_give_the_stages_that_timm_gives(name: str, tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    made = import_2021(write_train(tmp_path / "a.json", {"feature_model": name}))
    (settings,) = experiment(made.experiment).networks
    stages = timm.create_model(name, features_only=True, pretrained=False).feature_info.get_dicts()
    assert list(settings.layers) == [stage["module"] for stage in stages]


def test_what_2021_did_otherwise_than_it_said_is_in_comments_and_repeated_on_demand(tmp_path: Path) -> None:
    path = write_train(tmp_path / "a.json", {"filter_type": "bold-kernel-2", "dim_reduction": "mds_50"})
    honest, repeated = import_2021(path), import_2021(path, as_in_2021=True)
    ours, theirs = experiment(honest.experiment), experiment(repeated.experiment)
    assert (ours.pool, theirs.pool) == ("bold_2021_2", "mean")
    assert (ours.compress.fit, theirs.compress.fit) == ("folds", "once")
    assert (ours.search.metric, theirs.search.metric) == ("pearson_r", "pooled_2021")
    assert (ours.folds.nested, theirs.folds.nested) == (True, False)
    for said in ("plain mean", "fit: once", "pooled_2021", "MDS even saw the test videos"):
        assert said in honest.experiment
    assert ours.search.trials == 25
    assert ours.search.sampler == "gp"
    assert (theirs.compress.whiten, theirs.compress.scale_apart, theirs.frames.first) == (True, True, 1)
    assert (theirs.encoders, theirs.search.method, theirs.folds.by) == (("pls_2021",), "exact", "stimulus_2021")


@pytest.mark.parametrize(
    ("variant", "normalised"), [("r50_1x_sk0", False), ("r101_1x_sk0", True), ("r152_2x_sk1", True)]
)
def test_simclr_is_fed_and_padded_as_in_2021_on_demand(variant: str, normalised: bool, tmp_path: Path) -> None:
    path = write_train(tmp_path / "a.json", {"feature_model": f"simclr_{variant}_100pct"})
    (ours,) = experiment(import_2021(path).experiment).networks
    (theirs,) = experiment(import_2021(path, as_in_2021=True).experiment).networks
    assert (ours.padding, ours.mean) == (None, None)
    assert theirs.padding == "port"
    assert theirs.mean == ((0.485, 0.456, 0.406) if normalised else None)


def cluster(path: Path, subjects: list[str], rois: list[str], **job: Any) -> Path:
    raw = {
        "meta_job_args": {"project_name": "algo", "base_train_fname": "run_bayes_opt.py"},
        "param_search_args": {
            "search_logging": {"reload_log": False},
            "search_resources": {"num_search_batches": 2, "num_evals_per_batch": 45, "num_seeds_per_eval": 1},
            "search_config": {
                "search_type": "grid",
                "search_params": {"categorical": {"roi_type": rois, "subject_id": subjects}},
            },
        },
        "single_job_args": {"num_gpus": 0, "num_logical_cores": 5, "time_per_job": "05:00:00", **job},
        "pre_processing_args": {
            "processing_fname": "run_features.py",
            "processing_job_args": {"num_logical_cores": 10, "num_gpus": 1, "time_per_job": "01:00:00"},
            "extra_cmd_line_input": {"model_type": "resnet50", "sampling_rate": 3},
        },
    }
    path.write_text(yaml.safe_dump(raw))
    return path


@pytest.mark.parametrize("scheduler", ["slurm", "grid-engine"])
def test_a_grid_becomes_the_experiments_subjects_and_rois_and_jobs_a_profile(scheduler: str, tmp_path: Path) -> None:
    path = write_train(tmp_path / "a.json")
    made = import_2021(
        path,
        cluster(tmp_path / "c.yaml", ["sub01", "sub04"], ["V1", "EBA"], exlcude_nodes=["node1", "node2"]),
        scheduler=scheduler,
    )
    config = experiment(made.experiment)
    assert config.dataset.subjects == ("sub01", "sub04")
    assert config.dataset.rois == ("V1", "EBA")
    assert config.frames.every == 3
    profile = parse_profile(yaml.safe_load(made.profile or ""), "imported")
    assert isinstance(profile, SlurmProfile | GridEngineProfile)
    assert (profile.workers.jobs, profile.workers.cores, profile.workers.time) == (45, 5, "05:00:00")
    assert "node1" in profile.workers.directives[0]
    assert "node1, node2 left out on 2021's cluster" in " ".join((made.profile or "").replace("\n# ", " ").split())
    assert profile.gpu_workers is not None
    assert profile.gpu_workers.gpus == 1


def test_a_grid_over_networks_and_encoders_is_a_sweep(tmp_path: Path) -> None:
    path = write_train(tmp_path / "a.json")
    grid = cluster(tmp_path / "c.yaml", ["sub01"], ["V1"])
    raw = yaml.safe_load(grid.read_text())
    lists = {
        "feature_model": ["alexnet", "resnet50"],
        "encoding_model": ["omp", "partial_ls"],
        "dim_reduction": ["pca_9"],
    }
    raw["param_search_args"]["search_config"]["search_params"]["categorical"] |= lists
    grid.write_text(yaml.safe_dump(raw))
    made = import_2021(path, grid)
    axes = {key: yaml.safe_load(values) for key, _, values in (text.partition("=") for text in made.swept)}
    found = combine(yaml.safe_load(made.experiment), axes, "imported")
    assert list(found) == ["alexnet_omp_pca+9", "alexnet_pls_pca+9", "resnet50_omp_pca+9", "resnet50_pls_pca+9"]
    for one, (model, encoder) in zip(
        found.values(), product(lists["feature_model"], lists["encoding_model"]), strict=True
    ):
        alone = write_train(
            tmp_path / "b.json",
            {"feature_model": model, "dim_reduction": "pca_9"},
            net_config={"encoding_model": encoder},
        )
        same = experiment(import_2021(alone, cluster(tmp_path / "d.yaml", ["sub01"], ["V1"])).experiment)
        assert one.model_dump(exclude={"name"}) == same.model_dump(exclude={"name"})


def test_the_whole_grid_is_all_and_the_whole_brain_the_full_track(tmp_path: Path) -> None:
    path = write_train(tmp_path / "a.json")
    subjects = [f"sub{number:02d}" for number in range(1, 11)]
    made = import_2021(path, cluster(tmp_path / "c.yaml", subjects, ["WB"]))
    dataset = experiment(made.experiment).dataset
    assert dataset.kind == "algonauts2021"
    assert (dataset.subjects, dataset.track, dataset.rois) == ("all", "full", "all")
    with pytest.raises(ConfigError, match="WB is the full track"):
        import_2021(path, cluster(tmp_path / "d.yaml", subjects, ["WB", "V1"]))


def test_keys_that_2021_did_not_have_are_named_and_left_out(tmp_path: Path) -> None:
    path = write_train(tmp_path / "a.json", {"learning_rate": 0.1}, extra={"x": 1})
    made = import_2021(path)
    assert {note.key for note in made.notes if note.fate == "unknown"} == {"train_config.learning_rate", "extra"}
    assert experiment(made.experiment)


@pytest.mark.parametrize(
    ("changes", "more", "error", "said"),
    [
        ({"filter_type": "gauss"}, {}, OptionError, "filter_type must be one of"),
        ({"dim_reduction": "pca"}, {}, ConfigError, "METHOD_COMPONENTS"),
        ({"dim_reduction": "ica_50"}, {}, ConfigError, "METHOD_COMPONENTS"),
        ({"feature_model": "simclr_r18"}, {}, ConfigError, "simclr_r18"),
        ({"bo_opt_iters": "many"}, {}, ConfigError, "bo_opt_iters must be int"),
        ({}, {"net_config": {"encoding_model": "svm"}}, OptionError, "encoding_model must be one of"),
        ({}, {"net_config": {"other": 1}}, ConfigError, "encoding_model is missing"),
        ({}, {"train_config": []}, ConfigError, "train_config must be a mapping"),
        ({}, {"train_config": {}}, ConfigError, "train_config is missing"),
    ],
)
def test_what_decides_the_result_must_be_known(
    changes: dict[str, Any], more: dict[str, Any], error: type[Exception], said: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=said) as caught:
        import_2021(write_train(tmp_path / "a.json", changes, **more))
    assert "\n" not in str(caught.value)


def test_files_that_are_absent_or_no_config_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="does not exist"):
        import_2021(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text('{"train_config": {')
    with pytest.raises(ConfigError, match="is not YAML"):
        import_2021(tmp_path / "broken.json")
