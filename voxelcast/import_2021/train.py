"""The train config of 2021 as an experiment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from voxelcast.core.checks import check_option
from voxelcast.core.errors import ConfigError
from voxelcast.import_2021.draft import Draft, Section
from voxelcast.import_2021.networks import network_2021

_POOLS = {
    "mean": "mean",
    "median": "median",
    "raw": "none",
    "1d-pca": "pc1",
    "bold-kernel-1": "bold_2021_1",
    "bold-kernel-2": "bold_2021_2",
    "bold-kernel-3": "bold_2021_3",
}
_WHOLE = {
    "log_config": "what is recorded is always the same: docs/results.md",
    "net_config": "model_config is there too and says it",
}
_COMPRESSIONS = ("pca", "umap", "mds", "autoencoder")
_DEFAULT_RATE = 2
_FRAMES_OF_A_CLIP = 90
_ENCODERS = {
    "partial_ls": "pls",
    "pls_canonical": "pls_canonical",
    "cca": "cca",
    "elastic_net": "elastic_net",
    "linear_regression": "ols",
    "omp": "omp",
    "mlp_network": "mlp",
    "gradboost": "boosted_trees",
    "xgboost": "boosted_trees",
}
_REPEATED = ("partial_ls", "pls_canonical", "cca", "elastic_net")
"""Encoders that scikit-learn's defaults made others: features and responses scaled, or penalties without a unit."""
_DEFAULT_SECONDS = 3600
_COUNTS = ("pls", "pls_canonical", "cca", "omp")
_OPTIMISER = dict.fromkeys(
    ("acq_func", "n_initial_points", "acq_optimizer", "initial_point_generator"), "Optuna's sampler decides this"
)
_AUTOSKLEARN = dict.fromkeys(
    ("per_run_time_limit", "ensemble_size", "ensemble_nbest"), "auto-sklearn's own default is used"
)


def import_train(raw: dict[str, Any], source: str, grid: dict[str, list[str]], as_in_2021: bool) -> Draft:
    """Turn a train config, read from the file ``source``, into the settings of an experiment.

    ``grid`` as :func:`voxelcast.import_2021.cluster.import_cluster` returns it replaces what the train config says.
    Raises ConfigError or OptionError if something that decides the result is missing or not known.
    """
    draft = Draft(source)
    whole = Section(draft, raw)
    train = whole.part("train_config")
    if not train.values:
        raise ConfigError(f"{source}: train_config is missing; name a file like configs/train/base_config.json")
    _dataset(train, grid)
    _network(train, as_in_2021)
    _frames_and_pool(train, grid, as_in_2021)
    _compression(train, as_in_2021)
    _encoder_and_search(whole, train, as_in_2021)
    _layers_together(train)
    train.rest()
    whole.rest(_WHOLE)
    return draft


def _required(train: Section, key: str, example: str) -> str:
    value: str | None = train.get(key, str)
    if value is None:
        raise ConfigError(f"{train.draft.source}: train_config.{key} is missing; add it, e.g. {example}")
    return value


def _dataset(train: Section, grid: dict[str, list[str]]) -> None:
    root = str(Path(train.get("fmri_dir", str, "./data/participants_data_v2021")).parent)
    chosen = {}
    for key in ("subject_id", "roi_type"):
        value = train.get(key, str)
        if key in grid:
            chosen[key] = grid[key]
            train.dropped(key, f"the cluster config goes through {', '.join(grid[key])}")
        elif value is None:
            raise ConfigError(f"train_config.{key} is missing; add it, or name the cluster config too")
        else:
            chosen[key] = [value]
    rois = chosen["roi_type"]
    if "WB" in rois and len(rois) > 1:
        raise ConfigError(
            f"roi_type WB is the full track, the others the mini track; got {', '.join(rois)}; import them apart"
        )
    track = "full" if rois == ["WB"] else "mini"
    subjects = "all" if len(set(chosen["subject_id"])) == 10 else chosen["subject_id"]
    settings: dict[str, Any] = {"kind": "algonauts2021", "root": root, "track": track, "subjects": subjects}
    if track == "mini":
        settings["rois"] = "all" if len(set(rois)) == 9 else rois
    train.draft.settings["dataset"] = settings
    train.comment(
        "dataset",
        "The folder with AlgonautsVideos268_All_30fpsmax/ and participants_data_v2021/. One run takes all subjects "
        "and ROIs named here; in 2021 each was a run.",
    )
    train.became("fmri_dir", f"dataset.root: {root}")
    if "subject_id" not in grid:
        train.became("subject_id", f"dataset.subjects: {subjects}")
    if "roi_type" not in grid:
        train.became("roi_type", "dataset.track: full" if track == "full" else f"dataset.rois: {settings['rois']}")


def _network(train: Section, as_in_2021: bool) -> None:
    settings, comments = network_2021(_required(train, "feature_model", "resnet50"), as_in_2021)
    train.draft.settings["networks"] = [settings]
    for text in comments:
        train.comment("networks", text)
    weights = f", weights {settings['weights']}" if settings["weights"] != "default" else ""
    train.became("feature_model", f"networks: {settings['name']}{weights}")
    if "feature_layers_to_consider" in train.values:
        train.dropped(
            "feature_layers_to_consider",
            f"2021's code took all layers that it had stored, whatever this said; so does layers: {settings['layers']}",
        )


def _frames_and_pool(train: Section, grid: dict[str, list[str]], as_in_2021: bool) -> None:
    settings = train.draft.settings
    name, _, suffix = train.get("filter_type", str, "mean").partition("_sr_")
    check_option("train_config.filter_type", name, sorted(_POOLS))
    rate = train.get("sampling_rate", int)
    if rate is None:
        rate = int(suffix if suffix.isdigit() else grid.get("sampling_rate", [_DEFAULT_RATE])[0])
    pool = _POOLS[name]
    if pool in ("pc1", "none"):
        settings["frames"] = {"n": max(1, round(_FRAMES_OF_A_CLIP / rate))}
        train.became("sampling_rate", f"frames.n: {settings['frames']['n']}")
        train.comment("frames", f"pool: {pool} needs as many frames of every video: about every {rate}. of 90.")
    else:
        first = rate - 1 if as_in_2021 else 0
        settings["frames"] = {"every": rate, **({"first": first} if first else {})}
        train.became("sampling_rate", f"frames.every: {rate}")
        if rate > 1:
            train.comment("frames", f"Frames {first}, {first + rate}, ...; 2021 began with frame {rate - 1}.")
    if pool.startswith("bold"):
        what = "2021's code convolved with its BOLD kernels and then returned the plain mean, whatever the kernel"
        if as_in_2021:
            pool = "mean"
            train.comment("pool", f"{what}; so does this.")
        else:
            train.comment(
                "pool", f"{what}. This is the kernel that it meant, in real seconds; pool: mean repeats 2021."
            )
    elif pool == "pc1":
        train.comment("pool", "One component for each layer; 2021 fitted one for each video, of arbitrary sign.")
    settings["pool"] = pool
    train.became("filter_type", f"pool: {pool}")


def _compression(train: Section, as_in_2021: bool) -> None:
    settings = train.draft.settings
    given = _required(train, "dim_reduction", "pca_50")
    match = re.fullmatch(r"([a-z]+)_(\d+)", given)
    once = {"fit": "once", "scale_apart": True} if as_in_2021 else {}
    if given == "activations":
        settings["compress"] = {"method": "none", "scale": True, **once}
        train.became("dim_reduction", "compress.method: none")
        return
    if not match or match[1] not in _COMPRESSIONS or int(match[2]) == 0:
        raise ConfigError(
            f"train_config.dim_reduction must be METHOD_COMPONENTS with a method of {', '.join(_COMPRESSIONS)}, e.g. "
            f"pca_50, or activations; got {given!r}"
        )
    method, components = match[1], int(match[2])
    whiten = {"whiten": True} if as_in_2021 else {}
    settings["compress"] = {"method": method, "components": components, "scale": True, **once, **whiten}
    train.comment(
        "compress",
        "2021 fitted its compression once on all training videos, so that validation folds took part in it"
        + ("; so does this." if as_in_2021 else " (fit: once). Here it is fitted again in each training part.")
        + (" MDS even saw the test videos; here never." if method == "mds" else ""),
    )
    train.comment(
        "compress",
        "2021 then scaled every component to variance 1 (whiten), the test videos by their own (scale_apart); "
        + ("so does this." if as_in_2021 else "here not."),
    )
    if method != "pca" and not as_in_2021:
        train.comment("compress", f"{method} takes a while in each of 56 training parts: fit: once, or fewer folds.")
    train.became("dim_reduction", f"compress.method: {method}, components: {components}")


def _layers_together(train: Section) -> None:
    merged = train.get("merge_layer_features", bool)
    if merged is None:
        return
    if merged:
        train.draft.settings["ensemble"] = {"method": "stacking"}
        train.comment("ensemble", "The nearest there is: 2021 put the features of all layers side by side.")
    train.became("merge_layer_features", f"ensemble.method: {'stacking' if merged else 'none'}")


def _encoder_and_search(whole: Section, train: Section, as_in_2021: bool) -> None:
    automl = train.part("autosklearn_config")
    model = whole.part(next((name for name in ("model_config", "net_config") if name in whole.values), "model_config"))
    encoder = model.values.get("encoding_model")
    if automl.values:
        _automl(automl)
        if encoder is not None:
            model.dropped("encoding_model", "the config is for auto-sklearn")
    elif encoder is None:
        raise ConfigError(f"{whole.draft.source}: model_config.encoding_model is missing; add it, e.g. partial_ls")
    else:
        check_option(model.path("encoding_model"), encoder, sorted(_ENCODERS))
        ours = f"{_ENCODERS[encoder]}_2021" if as_in_2021 and encoder in _REPEATED else _ENCODERS[encoder]
        whole.draft.settings["encoders"] = [ours]
        model.became("encoding_model", f"encoders: {ours}")
        _search(train, _ENCODERS[encoder], as_in_2021)
    model.rest()
    _metric_and_folds(train, as_in_2021)


def _automl(automl: Section) -> None:
    seconds = automl.values.get("time_left_for_this_task", _DEFAULT_SECONDS)
    memory = automl.values.get("memory_limit", 3072)
    automl.draft.settings |= {"encoders": ["autosklearn"], "automl": {"seconds": seconds, "memory_mb": memory}}
    automl.comment(
        "encoders", "Needs, once: voxelcast encoders install-autosklearn. encoders: [flaml] needs nothing of the kind."
    )
    automl.comment(
        "automl",
        "Of one fit. There is one for each layer and fold, and again for each outer fold; 2021 fitted once and "
        "reported how well the model fitted the videos it was fitted to.",
    )
    automl.became("time_left_for_this_task", f"automl.seconds: {seconds}")
    automl.became("memory_limit", f"automl.memory_mb: {memory}")
    automl.rest(_AUTOSKLEARN)


def _search(train: Section, encoder: str, as_in_2021: bool) -> None:
    trials = train.get("bo_opt_iters", int, 25)
    smbo = train.part("smbo_config")
    if encoder == "ols":
        train.dropped("bo_opt_iters", "least squares has nothing to search (2021's penalty did nothing)")
        train.dropped("smbo_config", "likewise")
        return
    if as_in_2021 and encoder in _COUNTS:
        train.draft.settings["search"] = {"method": "exact"}
        train.comment(
            "search",
            f"2021 tried {trials} numbers at most; here all of its range are tried, so the best may be higher.",
        )
        train.became("bo_opt_iters", "search.method: exact, which tries all")
        train.dropped("smbo_config", "likewise")
        return
    sampler = "gp" if smbo.values.get("base_estimator", "GP") == "GP" else "tpe"
    train.draft.settings["search"] = {"method": "bayes", "sampler": sampler, "trials": trials}
    train.became("bo_opt_iters", f"search: bayes, trials: {trials}")
    if encoder not in ("mlp", "boosted_trees"):
        train.comment("search", "method: exact tries every setting, in less time, and is never worse.")
    smbo.became("base_estimator", f"search.sampler: {sampler}" + ("" if sampler == "gp" else ", the nearest there is"))
    smbo.rest(_OPTIMISER)


def _metric_and_folds(train: Section, as_in_2021: bool) -> None:
    settings = train.draft.settings
    metric = train.get("bo_eval_metric", str)
    ours = "pooled_2021" if as_in_2021 and metric in (None, "corr_mean") else "pearson_r"
    settings.setdefault("search", {})["metric"] = ours
    if metric is not None:
        check_option("train_config.bo_eval_metric", metric, ("corr_mean", "mse_mean", "mae_mean"))
        train.became("bo_eval_metric", f"search.metric: {ours}")
    train.comment(
        "search",
        "2021's corr_mean is one correlation over videos x voxels (metric: pooled_2021). "
        + ("Here it only chooses; score is r per voxel." if as_in_2021 else "Here r is per voxel, then averaged."),
    )
    n = train.get("num_cv_folds", int, 10)
    settings["folds"] = {"n": n, "nested": not as_in_2021, **({"by": "stimulus_2021"} if as_in_2021 else {})}
    train.became("num_cv_folds", f"folds.n: {n}")
    train.comment(
        "folds",
        "2021 reported the score by which it had chosen"
        + (", here selection_score." if as_in_2021 else "; nested: the score comes from folds that no choice saw."),
    )
