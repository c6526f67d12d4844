"""What a train config of 2021 says of its encoder, its search and its folds."""

from __future__ import annotations

from typing import Any

from voxelcast.core.checks import check_option
from voxelcast.core.errors import ConfigError
from voxelcast.import_2021.draft import Draft, part, take

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
_DEFAULT_SECONDS = 3600


def encoder_and_search(draft: Draft, raw: dict[str, Any], train: dict[str, Any], source: str, as_in_2021: bool) -> None:
    """Set encoders, search, metric and folds; raise ConfigError or OptionError if the encoder is not known."""
    automl = part(train, "autosklearn_config", f"{source}: train_config")
    train.pop("autosklearn_config", None)
    section = next((name for name in ("model_config", "net_config") if name in raw), "model_config")
    model = dict(part(raw, section, source))
    encoder = model.pop("encoding_model", None)
    for key, value in model.items():
        draft.unknown(f"{section}.{key}", value)
    if automl:
        _automl(draft, automl)
        if encoder is not None:
            draft.dropped(f"{section}.encoding_model", encoder, "the config is for auto-sklearn")
    elif encoder is None:
        raise ConfigError(f"{source}: model_config.encoding_model is missing; add it, e.g. partial_ls")
    else:
        check_option(f"{section}.encoding_model", encoder, sorted(_ENCODERS))
        draft.settings["encoders"] = [_ENCODERS[encoder]]
        draft.became(f"{section}.encoding_model", encoder, f"encoders: {_ENCODERS[encoder]}")
        _search(draft, train, _ENCODERS[encoder])
    _metric_and_folds(draft, train, as_in_2021)


def _automl(draft: Draft, automl: dict[str, Any]) -> None:
    seconds, memory = automl.get("time_left_for_this_task", _DEFAULT_SECONDS), automl.get("memory_limit", 3072)
    draft.settings["encoders"] = ["autosklearn"]
    draft.settings["automl"] = {"seconds": seconds, "memory_mb": memory}
    draft.comment(
        "encoders", "Needs, once: voxelcast encoders install-autosklearn. encoders: [flaml] needs nothing of the kind."
    )
    draft.comment(
        "automl",
        "Of one fit. There is one for each layer and fold, and again for each outer fold; 2021 fitted once and "
        "reported how well the model fitted the videos it was fitted to.",
    )
    names = {"time_left_for_this_task": ("automl.seconds", seconds), "memory_limit": ("automl.memory_mb", memory)}
    for key, value in automl.items():
        full = f"train_config.autosklearn_config.{key}"
        if key in names:
            draft.became(full, value, f"{names[key][0]}: {names[key][1]}")
        elif key in ("per_run_time_limit", "ensemble_size", "ensemble_nbest"):
            draft.dropped(full, value, "auto-sklearn's own default is used")
        else:
            draft.unknown(full, value)


def _search(draft: Draft, train: dict[str, Any], encoder: str) -> None:
    trials = take(train, "bo_opt_iters", int, 25)
    smbo = part(train, "smbo_config", "train_config")
    train.pop("smbo_config", None)
    estimator = smbo.get("base_estimator", "GP")
    if encoder == "ols":
        draft.dropped(
            "train_config.bo_opt_iters", trials, "least squares has nothing to search (2021's penalty did nothing)"
        )
        draft.dropped("train_config.smbo_config", smbo, "likewise")
        return
    sampler = "gp" if estimator == "GP" else "tpe"
    draft.settings["search"] = {"method": "bayes", "sampler": sampler, "trials": trials}
    draft.became("train_config.bo_opt_iters", trials, f"search: bayes, trials: {trials}")
    if encoder not in ("mlp", "boosted_trees"):
        draft.comment("search", "method: exact tries every setting, in less time, and is never worse.")
    for key, value in smbo.items():
        full = f"train_config.smbo_config.{key}"
        if key == "base_estimator":
            draft.became(
                full, value, f"search.sampler: {sampler}" + ("" if value == "GP" else ", the nearest there is")
            )
        elif key in ("acq_func", "n_initial_points", "acq_optimizer", "initial_point_generator"):
            draft.dropped(full, value, "Optuna's sampler decides this")
        else:
            draft.unknown(full, value)


def _metric_and_folds(draft: Draft, train: dict[str, Any], as_in_2021: bool) -> None:
    metric = take(train, "bo_eval_metric", str)
    ours = "pooled_2021" if as_in_2021 and metric in (None, "corr_mean") else "pearson_r"
    draft.settings.setdefault("search", {})["metric"] = ours
    if metric is not None:
        check_option("train_config.bo_eval_metric", metric, ("corr_mean", "mse_mean", "mae_mean"))
        draft.became("train_config.bo_eval_metric", metric, f"search.metric: {ours}")
    draft.comment(
        "search",
        "2021's corr_mean is one correlation over videos x voxels (metric: pooled_2021). "
        + ("Here it only chooses; score is r per voxel." if as_in_2021 else "Here r is per voxel, then averaged."),
    )
    n = take(train, "num_cv_folds", int, 10)
    draft.settings["folds"] = {"n": n, "nested": not as_in_2021}
    draft.became("train_config.num_cv_folds", n, f"folds.n: {n}")
    draft.comment(
        "folds",
        "2021 reported the score by which it had chosen"
        + (", here selection_score." if as_in_2021 else "; nested: the score comes from folds that no choice saw."),
    )
