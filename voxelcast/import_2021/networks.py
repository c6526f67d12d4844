"""The names that the 2021 repository gave to networks, and what they are here."""

from __future__ import annotations

import re
from typing import Any

from voxelcast.core.errors import ConfigError

_RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
_TORCHVISION = {"alexnet": "alexnet", "vgg": "vgg19", **{name: name for name in _RESNETS}}
_BARLOW = {
    "barlow_twins_no_tuning": "resnet50.pth",
    "barlow_twins_1p_20ep": "feature_extraction/barlowtwins_model/checkpoint/semisup/checkpoint.pth",
    "barlow_twins_10p_20ep": "feature_extraction/barlowtwins_model/checkpoint/semisup10/checkpoint.pth",
    "barlow_twins_10p_50ep": "feature_extraction/barlowtwins_model/checkpoint/semisup10_ep50/checkpoint.pth",
}
_VONE = {
    "vone-alexnet": "vonealexnet_e70.pth.tar",
    "vone-resnet50": "voneresnet50_e70.pth.tar",
    "vone-resnet50_at": "voneresnet50_at_e96.pth.tar",
    "vone-resnet50_ns": "voneresnet50_ns_e70.pth.tar",
    "vone-cornets": "vonecornets_e70.pth.tar",
}
_SIMCLR_FOLDER = "feature_extraction/simclr_v2_model/torch_ckpt"
_NOT_NORMALISED_2021 = ("r50_1x_sk0", "r50_2x_sk1", "r152_3x_sk1")
# The five stages that timm's features_only gives, which is what 2021 took of timm's networks.
_TIMM_STAGES = {
    "efficientnet_b3": ["blocks.0", "blocks.1", "blocks.2", "blocks.4", "blocks.6"],
    "resnext50_32x4d": ["act1", "layer1", "layer2", "layer3", "layer4"],
}
_FILE = "The weights are a file of the 2021 folder: run from there, or name another place."


_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def network_2021(name: str, as_in_2021: bool) -> tuple[dict[str, Any], list[str]]:
    """Return a network's settings and what a reader must know of it.

    ``as_in_2021``: SimCLR networks are padded, and some normalised, as they were then. Raises ConfigError for a SimCLR,
    VOneNet or Barlow Twins name that the 2021 repository did not have.
    """
    simclr = re.fullmatch(r"simclr_(r(?:50|101|152)_[123]x_sk[01])_(1|10|100)pct", name)
    comments, more = [], dict[str, Any]()
    if name in _TORCHVISION:
        network, weights = f"torchvision/{_TORCHVISION[name]}", "default"
    elif name in _VONE:
        network, weights = f"vonenet/{name.removeprefix('vone-')}", f"weights/{_VONE[name]}"
        comments.append(
            "The weights of VOneNets are not in the 2021 repository; put the authors' file where weights says, or name "
            "another place."
        )
        if not name.endswith("_ns"):
            comments.append(
                "The authors' network adds noise to its V1 block, unseeded in 2021. Here there is none unless "
                "noise_seed is set."
            )
    elif name in _BARLOW:
        network, weights = "barlow_twins/resnet50", _BARLOW[name]
        comments += [_FILE, "2021 listed its bn1 and relu as two layers that were the same numbers."]
    elif simclr:
        variant, percent = simclr.groups()
        network, weights = f"simclr/{variant}", f"{_SIMCLR_FOLDER}/{variant}_finetuned_{percent}pct.pth"
        comments.append(_FILE)
        if as_in_2021:
            more = {"padding": "port"}
        if variant not in _NOT_NORMALISED_2021:
            more |= _IMAGENET if as_in_2021 else {}
            comments.append(
                "2021 gave this network inputs normalised for ImageNet, which it was not trained with"
                + ("; so does this." if as_in_2021 else ". Here it gets RGB in [0, 1], as it should.")
            )
    elif name.startswith(("simclr", "vone", "barlow_twins")):
        raise ConfigError(
            f"feature_model must be a network of the 2021 repository, e.g. {', '.join(_VONE)}, {', '.join(_BARLOW)} or "
            f"simclr_r50_1x_sk0_100pct; got {name!r}"
        )
    else:
        return _timm(name)
    return {"name": network, "weights": weights, "layers": ["algonauts2021"], **more}, comments


def _timm(name: str) -> tuple[dict[str, Any], list[str]]:
    comments = ["Released weights as timm names them today; they may be newer than those of 2021."]
    if name not in _TIMM_STAGES:
        comments.append(
            f"2021 took the stages that timm gives as features; here all blocks. Choose others: voxelcast networks "
            f"layers timm/{name}"
        )
    settings = {"name": f"timm/{name}", "weights": "default", "layers": _TIMM_STAGES.get(name, ["blocks"])}
    return {**settings, "input_size": 224, **_IMAGENET}, comments
