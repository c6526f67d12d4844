"""What a train config of 2021 says of its encoder, its search and its folds."""

from __future__ import annotations

from voxelcast.core.checks import check_option
from voxelcast.core.errors import ConfigError
from voxelcast.import_2021.draft import Section

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
_OPTIMISER = dict.fromkeys(
    ("acq_func", "n_initial_points", "acq_optimizer", "initial_point_generator"), "Optuna's sampler decides this"
)
_AUTOSKLEARN = dict.fromkeys(
    ("per_run_time_limit", "ensemble_size", "ensemble_nbest"), "auto-sklearn's own default is used"
)


def encoder_and_search(whole: Section, train: Section, as_in_2021: bool) -> None:
    """Set encoders, search, metric and folds; raise ConfigError or OptionError if the encoder is not known."""
    draft = whole.draft
    automl = train.part("autosklearn_config")
    model = whole.part(next((name for name in ("model_config", "net_config") if name in whole.values), "model_config"))
    encoder = model.values.get("encoding_model")
    if automl.values:
        _automl(automl)
        if encoder is not None:
            model.dropped("encoding_model", "the config is for auto-sklearn")
    elif encoder is None:
        raise ConfigError(f"{draft.source}: model_config.encoding_model is missing; add it, e.g. partial_ls")
    else:
        check_option(model.path("encoding_model"), encoder, sorted(_ENCODERS))
        draft.settings["encoders"] = [_ENCODERS[encoder]]
        model.became("encoding_model", f"encoders: {_ENCODERS[encoder]}")
        _search(train, _ENCODERS[encoder])
    model.rest()
    _metric_and_folds(train, as_in_2021)


def _automl(automl: Section) -> None:
    seconds = automl.values.get("time_left_for_this_task", _DEFAULT_SECONDS)
    memory = automl.values.get("memory_limit", 3072)
    draft = automl.draft
    draft.settings |= {"encoders": ["autosklearn"], "automl": {"seconds": seconds, "memory_mb": memory}}
    draft.comment(
        "encoders", "Needs, once: voxelcast encoders install-autosklearn. encoders: [flaml] needs nothing of the kind."
    )
    draft.comment(
        "automl",
        "Of one fit. There is one for each layer and fold, and again for each outer fold; 2021 fitted once and "
        "reported how well the model fitted the videos it was fitted to.",
    )
    automl.became("time_left_for_this_task", f"automl.seconds: {seconds}")
    automl.became("memory_limit", f"automl.memory_mb: {memory}")
    automl.rest(_AUTOSKLEARN)


def _search(train: Section, encoder: str) -> None:
    trials = train.get("bo_opt_iters", int, 25)
    smbo = train.part("smbo_config")
    if encoder == "ols":
        train.dropped("bo_opt_iters", "least squares has nothing to search (2021's penalty did nothing)")
        train.dropped("smbo_config", "likewise")
        return
    sampler = "gp" if smbo.values.get("base_estimator", "GP") == "GP" else "tpe"
    train.draft.settings["search"] = {"method": "bayes", "sampler": sampler, "trials": trials}
    train.became("bo_opt_iters", f"search: bayes, trials: {trials}")
    if encoder not in ("mlp", "boosted_trees"):
        train.draft.comment("search", "method: exact tries every setting, in less time, and is never worse.")
    smbo.became("base_estimator", f"search.sampler: {sampler}" + ("" if sampler == "gp" else ", the nearest there is"))
    smbo.rest(_OPTIMISER)


def _metric_and_folds(train: Section, as_in_2021: bool) -> None:
    draft = train.draft
    metric = train.get("bo_eval_metric", str)
    ours = "pooled_2021" if as_in_2021 and metric in (None, "corr_mean") else "pearson_r"
    draft.settings.setdefault("search", {})["metric"] = ours
    if metric is not None:
        check_option("train_config.bo_eval_metric", metric, ("corr_mean", "mse_mean", "mae_mean"))
        train.became("bo_eval_metric", f"search.metric: {ours}")
    draft.comment(
        "search",
        "2021's corr_mean is one correlation over videos x voxels (metric: pooled_2021). "
        + ("Here it only chooses; score is r per voxel." if as_in_2021 else "Here r is per voxel, then averaged."),
    )
    n = train.get("num_cv_folds", int, 10)
    draft.settings["folds"] = {"n": n, "nested": not as_in_2021}
    train.became("num_cv_folds", f"folds.n: {n}")
    draft.comment(
        "folds",
        "2021 reported the score by which it had chosen"
        + (", here selection_score." if as_in_2021 else "; nested: the score comes from folds that no choice saw."),
    )
