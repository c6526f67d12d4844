"""Torchvision's image classification networks, with released, own or random weights."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import torchvision
from torch import nn

from voxelcast.core.checks import check_known
from voxelcast.core.errors import UnknownNameError
from voxelcast.networks.checkpoints import default_state_dict
from voxelcast.networks.recipe import DefaultWeights, Recipe

PREFIX = "torchvision/"


def list_torchvision(pattern: str = "*") -> tuple[str, ...]:
    """List the networks whose name (``torchvision/resnet18``) matches a shell pattern, sorted."""
    names = [PREFIX + name for name in torchvision.models.list_models(module=torchvision.models)]
    return tuple(sorted(name for name in names if fnmatchcase(name, pattern)))


def torchvision_recipe(name: str) -> Recipe:
    """Say how a network of torchvision is built, and what its newest released weights expect.

    Raises
    ------
    UnknownNameError
        If there is none of that name, or it is no image classification network.
    """
    _check_name(name)
    short = name.removeprefix(PREFIX)
    released = torchvision.models.get_model_weights(short).DEFAULT
    expected = released.transforms()
    red, green, blue = map(float, expected.mean)
    red_spread, green_spread, blue_spread = map(float, expected.std)
    return Recipe(
        name=name,
        build=partial(_build, short),
        input_size=int(expected.crop_size[0]),
        mean=(red, green, blue),
        std=(red_spread, green_spread, blue_spread),
        default=DefaultWeights(released.name, partial(default_state_dict, released.url, name)),
    )


def _check_name(name: str) -> None:
    videos = torchvision.models.list_models(module=torchvision.models.video)
    known = [*list_torchvision(), *(PREFIX + video for video in videos)]
    others = [PREFIX + other for other in torchvision.models.list_models()]
    if name not in known and name in others:
        raise UnknownNameError(
            f"network {name!r} is no classification network of torchvision, and only these are offered. "
            "List them: voxelcast networks list 'torchvision/*'"
        )
    check_known("network", name, known, remedy="List them: voxelcast networks list 'torchvision/*'")


def _build(short: str, input_size: int, random: bool) -> nn.Module:
    options: dict[str, Any] = {}
    if short in ("googlenet", "inception_v3"):
        # As torchvision does: trained weights of these two expect inputs that they re-scale themselves.
        options = {"init_weights": random, "transform_input": not random}
    elif short.startswith("vit_"):
        options = {"image_size": input_size}
    module: nn.Module = torchvision.models.get_model(short, weights=None, **options)
    return module
