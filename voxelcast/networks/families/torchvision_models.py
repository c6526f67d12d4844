"""Torchvision's image and video classification networks, with released or random weights, or those of a file.

Video networks take clips. Their frames are resized without a crop, as for every other network, and normalised as their
Kinetics-400 weights expect. Layers of shape (n_clips, n_channels, n_times, height, width), and those of Swin, which
keep channels last, become (n_times, n_channels, height, width). The tokens of MViT are laid out in the same way, by
time and place; its class token, which has neither, is left out (``head`` is computed from it).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isqrt
from typing import Any

import torch
import torchvision
from torch import nn

from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.networks.base import Triple
from voxelcast.networks.checkpoints import default_state_dict
from voxelcast.networks.clips import channels_first
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.hooks import View
from voxelcast.networks.recipe import ClipRule, DefaultWeights, Recipe
from voxelcast.networks.settings import NetworkSettings

# Frames per clip with which torchvision evaluated the weights that it released.
_CLIP_LENGTHS = {"s3d": 128, "swin3d": 32}
_USUAL_CLIP_LENGTH = 16
_MVIT_CLIP_LENGTH, _MVIT_TIMES = 16, 8


@register_network("torchvision")
class Torchvision(Family):
    """The networks of torchvision, by torchvision's own names."""

    prefix = "torchvision/"

    def names(self) -> Sequence[str]:
        """List the image and the video classification networks."""
        return [*self._of(torchvision.models), *self._of(torchvision.models.video)]

    def takes(self, name: str) -> Sequence[str]:
        """Name the settings of clips, for video networks."""
        return ("clip_length", "clip_stride") if name in self._of(torchvision.models.video) else ()

    def check(self, name: str) -> None:
        """Raise UnknownNameError unless torchvision has it and it classifies."""
        if name not in self.names() and name in self._of(None):
            raise UnknownNameError(
                f"network {name!r} is no classification network of torchvision, and only these are offered. "
                "List them: voxelcast networks list 'torchvision/*'"
            )
        super().check(name)

    def recipe(self, settings: NetworkSettings) -> Recipe:
        """Say how a network is built, and what its newest released weights expect."""
        short = settings.name.removeprefix(self.prefix)
        released = torchvision.models.get_model_weights(short).DEFAULT
        expected = released.transforms()
        return Recipe(
            name=settings.name,
            build=partial(_build, short),
            input_size=int(expected.crop_size[0]),
            mean=_triple(expected.mean),
            std=_triple(expected.std),
            default=DefaultWeights(released.name, partial(default_state_dict, released.url, settings.name)),
            clip=_clip_rule(short, settings) if self.takes(settings.name) else None,
        )

    def _of(self, module: Any) -> list[str]:
        return [self.prefix + name for name in torchvision.models.list_models(module=module)]


def _triple(values: Sequence[float]) -> Triple:
    red, green, blue = map(float, values)
    return red, green, blue


def _build(short: str, input_size: int, random: bool) -> nn.Module:
    options: dict[str, Any] = {}
    if short in ("googlenet", "inception_v3"):
        # As torchvision does: trained weights of these two expect inputs that they re-scale themselves.
        options = {"init_weights": random, "transform_input": not random}
    elif short.startswith("vit_"):
        options = {"image_size": input_size}
    module: nn.Module = torchvision.models.get_model(short, weights=None, **options)
    return module


def _clip_rule(short: str, settings: NetworkSettings) -> ClipRule:
    usual = next((n for kind, n in _CLIP_LENGTHS.items() if short.startswith(kind)), _USUAL_CLIP_LENGTH)
    length = settings.clip_length or usual
    view: View = channels_first
    if short.startswith("swin3d"):
        view = _channels_last
    elif short.startswith("mvit"):
        view = partial(_tokens, _MVIT_TIMES)
        if length != _MVIT_CLIP_LENGTH:
            raise OptionError(
                f"clip_length of '{settings.name}' must be {_MVIT_CLIP_LENGTH}, for which it is made; got {length}"
            )
    return ClipRule(length, settings.clip_stride or length, view)


def _channels_last(module: nn.Module, output: object) -> torch.Tensor | str:
    """Read a layer of Swin: (n_clips, n_times, height, width, n_channels), but for convolution and pooling."""
    convolutional = isinstance(module, nn.Conv3d | nn.AdaptiveAvgPool3d)
    if isinstance(output, torch.Tensor) and output.ndim == 5 and not convolutional:
        return output.permute(0, 1, 4, 2, 3)
    return channels_first(module, output)


def _tokens(n_times: int, module: nn.Module, output: object) -> torch.Tensor | str:
    """Read a layer of MViT: tokens (n_clips, 1 + n_times * height * width, n_channels), alone or with their extent."""
    if isinstance(output, tuple) and len(output) == 2 and isinstance(output[0], torch.Tensor):
        output = output[0]
    if not isinstance(output, torch.Tensor) or output.ndim != 3:
        return channels_first(module, output)
    n_clips, n_tokens, n_channels = output.shape
    side = isqrt((n_tokens - 1) // n_times)
    if n_times * side**2 != n_tokens - 1:
        return f"puts out {n_tokens} tokens, whose positions are not known"
    return output[:, 1:].reshape(n_clips, n_times, side, side, n_channels).permute(0, 1, 4, 2, 3)
