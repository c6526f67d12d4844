"""The train config of 2021 as an experiment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from voxelcast.core.checks import check_option
from voxelcast.core.errors import ConfigError
from voxelcast.import_2021.draft import Draft, Section
from voxelcast.import_2021.networks import network_2021
from voxelcast.import_2021.search import encoder_and_search

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


def import_train(raw: dict[str, Any], source: str, grid: dict[str, list[str]], as_in_2021: bool) -> Draft:
    """Turn a train config into the settings of an experiment.

    Parameters
    ----------
    raw : dict
        With ``train_config`` and perhaps ``model_config`` (or ``net_config``) and ``log_config``.
    source : str
        The file's name, for messages.
    grid : dict from str to list of str
        ``subject_id`` and ``roi_type`` of a cluster config's grid, which replace those of the train config, and perhaps
        ``sampling_rate``.
    as_in_2021 : bool
        Repeat what the 2021 code did where that is possible, also where it did something else than its settings said.

    Raises
    ------
    ConfigError, OptionError
        If something that decides the result is missing or not known.
    """
    draft = Draft(source)
    whole = Section(draft, raw)
    train = whole.part("train_config")
    if not train.values:
        raise ConfigError(f"{source}: train_config is missing; name a file like configs/train/base_config.json")
    _dataset(train, grid)
    _network(train)
    _frames_and_pool(train, grid, as_in_2021)
    _compression(train, as_in_2021)
    encoder_and_search(whole, train, as_in_2021)
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
    draft = train.draft
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
    subjects = _all_or(chosen["subject_id"], 10)
    settings: dict[str, Any] = {"kind": "algonauts2021", "root": root, "track": track, "subjects": subjects}
    if track == "mini":
        settings["rois"] = _all_or(rois, 9)
    draft.settings["dataset"] = settings
    draft.comment(
        "dataset",
        "The folder with AlgonautsVideos268_All_30fpsmax/ and participants_data_v2021/. One run takes all subjects "
        "and ROIs named here; in 2021 each was a run.",
    )
    train.became("fmri_dir", f"dataset.root: {root}")
    if "subject_id" not in grid:
        train.became("subject_id", f"dataset.subjects: {subjects}")
    if "roi_type" not in grid:
        train.became("roi_type", "dataset.track: full" if track == "full" else f"dataset.rois: {settings['rois']}")


def _all_or(names: list[str], n_all: int) -> str | list[str]:
    return "all" if len(set(names)) == n_all else names


def _network(train: Section) -> None:
    settings, comments = network_2021(_required(train, "feature_model", "resnet50"))
    train.draft.settings["networks"] = [settings]
    for text in comments:
        train.draft.comment("networks", text)
    weights = f", weights {settings['weights']}" if settings["weights"] != "default" else ""
    train.became("feature_model", f"networks: {settings['name']}{weights}")
    if "feature_layers_to_consider" in train.values:
        train.dropped(
            "feature_layers_to_consider",
            f"2021's code took all layers that it had stored, whatever this said; so does layers: {settings['layers']}",
        )


def _frames_and_pool(train: Section, grid: dict[str, list[str]], as_in_2021: bool) -> None:
    draft = train.draft
    name, _, suffix = train.get("filter_type", str, "mean").partition("_sr_")
    check_option("train_config.filter_type", name, sorted(_POOLS))
    rate = train.get("sampling_rate", int)
    if rate is None:
        rate = int(suffix if suffix.isdigit() else grid.get("sampling_rate", [_DEFAULT_RATE])[0])
    train.became("sampling_rate", f"frames.every: {rate}")
    pool = _POOLS[name]
    if pool in ("pc1", "none"):
        draft.settings["frames"] = {"n": max(1, round(_FRAMES_OF_A_CLIP / rate))}
        draft.comment("frames", f"pool: {pool} needs as many frames of every video: about every {rate}. of 90.")
    else:
        draft.settings["frames"] = {"every": rate}
        if rate > 1:
            draft.comment("frames", f"Frames 0, {rate}, {2 * rate}, ...; 2021 began with frame {rate - 1}.")
    if pool.startswith("bold"):
        what = "2021's code convolved with its BOLD kernels and then returned the plain mean, whatever the kernel"
        if as_in_2021:
            pool = "mean"
            draft.comment("pool", f"{what}; so does this.")
        else:
            draft.comment(
                "pool", f"{what}. This is the kernel that it meant, in real seconds; pool: mean repeats 2021."
            )
    elif pool == "pc1":
        draft.comment("pool", "One component for each layer; 2021 fitted one for each video, of arbitrary sign.")
    draft.settings["pool"] = pool
    train.became("filter_type", f"pool: {pool}")


def _compression(train: Section, as_in_2021: bool) -> None:
    draft = train.draft
    given = _required(train, "dim_reduction", "pca_50")
    match = re.fullmatch(r"([a-z]+)_(\d+)", given)
    if given == "activations":
        draft.settings["compress"] = {"method": "none", "scale": True}
        train.became("dim_reduction", "compress.method: none")
        return
    if not match or match[1] not in _COMPRESSIONS or int(match[2]) == 0:
        raise ConfigError(
            f"train_config.dim_reduction must be METHOD_COMPONENTS with a method of {', '.join(_COMPRESSIONS)}, e.g. "
            f"pca_50, or activations; got {given!r}"
        )
    method, components, fit = match[1], int(match[2]), "once" if as_in_2021 else "folds"
    draft.settings["compress"] = {"method": method, "components": components, "fit": fit, "scale": True}
    draft.comment(
        "compress",
        "2021 fitted its compression once on all training videos, so that validation folds took part in it"
        + ("; so does this." if as_in_2021 else " (fit: once). Here it is fitted again in each training part.")
        + (" MDS even saw the test videos; here never." if method == "mds" else ""),
    )
    draft.comment("compress", "2021 then scaled every component to variance 1, the test videos by their own; here not.")
    if method != "pca" and fit == "folds":
        draft.comment("compress", f"{method} takes a while in each of 56 training parts: fit: once, or fewer folds.")
    train.became("dim_reduction", f"compress.method: {method}, components: {components}")


def _layers_together(train: Section) -> None:
    merged = train.get("merge_layer_features", bool)
    if merged is None:
        return
    if merged:
        train.draft.settings["ensemble"] = {"method": "stacking"}
        train.draft.comment("ensemble", "The nearest there is: 2021 put the features of all layers side by side.")
    train.became("merge_layer_features", f"ensemble.method: {'stacking' if merged else 'none'}")
