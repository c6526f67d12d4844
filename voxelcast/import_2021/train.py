"""The train config of 2021 as an experiment."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from voxelcast.core.checks import check_option
from voxelcast.core.errors import ConfigError
from voxelcast.import_2021.draft import Draft, part, take
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
    train = dict(part(raw, "train_config", source))
    if not train:
        raise ConfigError(f"{source}: train_config is missing; name a file like configs/train/base_config.json")
    draft = Draft()
    _dataset(draft, train, grid)
    _network(draft, train, source)
    _frames_and_pool(draft, train, grid, as_in_2021)
    _compression(draft, train, as_in_2021)
    encoder_and_search(draft, raw, train, source, as_in_2021)
    _layers_together(draft, train)
    for key, value in train.items():
        draft.unknown(f"train_config.{key}", value)
    for key in raw:
        if key == "log_config":
            draft.dropped(key, raw[key], "what is recorded is always the same: docs/results.md")
        elif key not in ("train_config", "model_config", "net_config"):
            draft.unknown(key, raw[key])
    return draft


def _dataset(draft: Draft, train: dict[str, Any], grid: dict[str, list[str]]) -> None:
    said = take(train, "fmri_dir", str, "./data/participants_data_v2021")
    root = str(Path(said).parent)
    chosen = {}
    for key in ("subject_id", "roi_type"):
        own = take(train, key, str)
        if key in grid:
            chosen[key] = grid[key]
            draft.dropped(f"train_config.{key}", own, f"the cluster config goes through {', '.join(grid[key])}")
        elif own is None:
            raise ConfigError(f"train_config.{key} is missing; add it, or name the cluster config too")
        else:
            chosen[key] = [own]
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
    draft.became("train_config.fmri_dir", said, f"dataset.root: {root}")
    if "subject_id" not in grid:
        draft.became("train_config.subject_id", chosen["subject_id"][0], f"dataset.subjects: {subjects}")
    if "roi_type" not in grid:
        text = "dataset.track: full" if track == "full" else f"dataset.rois: {settings['rois']}"
        draft.became("train_config.roi_type", rois[0], text)


def _all_or(names: list[str], n_all: int) -> str | list[str]:
    return "all" if len(set(names)) == n_all else names


def _network(draft: Draft, train: dict[str, Any], source: str) -> None:
    name = take(train, "feature_model", str)
    if name is None:
        raise ConfigError(f"{source}: train_config.feature_model is missing; add it, e.g. resnet50")
    settings, comments = network_2021(name)
    draft.settings["networks"] = [settings]
    for text in comments:
        draft.comment("networks", text)
    weights = f", weights {settings['weights']}" if settings["weights"] != "default" else ""
    draft.became("train_config.feature_model", name, f"networks: {settings['name']}{weights}")
    layers = train.pop("feature_layers_to_consider", None)
    if layers is not None:
        draft.dropped(
            "train_config.feature_layers_to_consider",
            layers,
            f"2021's code took all layers that it had stored, whatever this said; so does layers: {settings['layers']}",
        )


def _frames_and_pool(draft: Draft, train: dict[str, Any], grid: dict[str, list[str]], as_in_2021: bool) -> None:
    said = take(train, "filter_type", str, "mean")
    name, _, suffix = said.partition("_sr_")
    check_option("train_config.filter_type", name, sorted(_POOLS))
    rate = take(train, "sampling_rate", int)
    if rate is not None:
        text = f"frames.every: {rate}"
        draft.became("train_config.sampling_rate", rate, text)
    else:
        rate = (
            int(suffix)
            if suffix.isdigit()
            else int(grid["sampling_rate"][0])
            if "sampling_rate" in grid
            else _DEFAULT_RATE
        )
        draft.became("train_config.sampling_rate", "left out", f"frames.every: {rate}")
    pool = _POOLS[name]
    if pool in ("pc1", "none"):
        n = max(1, round(_FRAMES_OF_A_CLIP / rate))
        draft.settings["frames"] = {"n": n}
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
    draft.became("train_config.filter_type", said, f"pool: {pool}")


def _compression(draft: Draft, train: dict[str, Any], as_in_2021: bool) -> None:
    said = take(train, "dim_reduction", str)
    if said is None:
        raise ConfigError("train_config.dim_reduction is missing; add it, e.g. pca_50")
    match = re.fullmatch(r"([a-z]+)_(\d+)", said)
    if said == "activations":
        draft.settings["compress"] = {"method": "none", "scale": True}
    elif match and match[1] in _COMPRESSIONS and int(match[2]) > 0:
        fit = "once" if as_in_2021 else "folds"
        draft.settings["compress"] = {"method": match[1], "components": int(match[2]), "fit": fit, "scale": True}
        draft.comment(
            "compress",
            "2021 fitted its compression once on all training videos, so that validation folds took part in it"
            + ("; so does this." if as_in_2021 else " (fit: once). Here it is fitted again in each training part.")
            + (" MDS even saw the test videos; here never." if match[1] == "mds" else ""),
        )
        draft.comment(
            "compress", "2021 then scaled every component to variance 1, the test videos by their own; here not."
        )
        if match[1] != "pca" and fit == "folds":
            draft.comment(
                "compress", f"{match[1]} takes a while in each of 56 training parts: fit: once, or fewer folds."
            )
    else:
        raise ConfigError(
            f"train_config.dim_reduction must be METHOD_COMPONENTS with a method of {', '.join(_COMPRESSIONS)}, e.g. "
            f"pca_50, or activations; got {said!r}"
        )
    compress = draft.settings["compress"]
    shown = f"{compress['method']}, components: {compress['components']}" if match else "none"
    draft.became("train_config.dim_reduction", said, f"compress.method: {shown}")


def _layers_together(draft: Draft, train: dict[str, Any]) -> None:
    merged = take(train, "merge_layer_features", bool)
    if merged is None:
        return
    if merged:
        draft.settings["ensemble"] = {"method": "stacking"}
        draft.comment("ensemble", "The nearest there is: 2021 put the features of all layers side by side.")
    draft.became("train_config.merge_layer_features", merged, f"ensemble.method: {'stacking' if merged else 'none'}")
