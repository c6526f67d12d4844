"""Torchvision's video classification networks, which take clips.

Their frames are resized without a crop, as for every other network, and normalised as their Kinetics-400 weights
expect. Layers of shape (n_clips, n_channels, n_times, height, width), and those of Swin, which keep channels last,
become (n_times, n_channels, height, width). The tokens of MViT are laid out in the same way, by time and place; its
class token, which has neither, is left out (``head`` is computed from it).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import partial
from math import isqrt

import torch
import torchvision
from torch import nn

from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError
from voxelcast.networks.checkpoints import default_state_dict
from voxelcast.networks.clip_network import channels_first
from voxelcast.networks.clips import check_clips
from voxelcast.networks.hooks import View
from voxelcast.networks.recipe import ClipRule, DefaultWeights, Recipe

PREFIX = "torchvision/"
# Frames per clip with which torchvision evaluated the weights that it released.
_CLIP_LENGTHS = {"s3d": 128, "swin3d": 32}
_USUAL_CLIP_LENGTH = 16
_MVIT_CLIP_LENGTH, _MVIT_TIMES = 16, 8


def list_torchvision_videos(pattern: str = "*") -> tuple[str, ...]:
    """List the networks whose name (``torchvision/r3d_18``) matches a shell pattern, sorted."""
    names = [PREFIX + name for name in torchvision.models.list_models(module=torchvision.models.video)]
    return tuple(sorted(name for name in names if fnmatchcase(name, pattern)))


def torchvision_video_recipe(name: str, clip_length: int | None = None, clip_stride: int | None = None) -> Recipe:
    """Say how a video network of torchvision is built, and what its newest released weights expect.

    Parameters
    ----------
    name : str
    clip_length : int or None
        Frames per clip; None takes that with which the released weights were evaluated.
    clip_stride : int or None
        Frames from clip to clip; None takes ``clip_length``.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    OptionError
        If the network cannot take such clips.
    """
    check_known("network", name, list_torchvision_videos(), remedy="List them: voxelcast networks list 'torchvision/*'")
    short = name.removeprefix(PREFIX)
    released = torchvision.models.get_model_weights(short).DEFAULT
    expected = released.transforms()
    usual = next((n for kind, n in _CLIP_LENGTHS.items() if short.startswith(kind)), _USUAL_CLIP_LENGTH)
    length = usual if clip_length is None else clip_length
    check_clips(name, length, length if clip_stride is None else clip_stride)
    if short.startswith("mvit") and length != _MVIT_CLIP_LENGTH:
        raise OptionError(f"clip_length of '{name}' must be {_MVIT_CLIP_LENGTH}, for which it is made; got {length}")
    red, green, blue = map(float, expected.mean)
    red_spread, green_spread, blue_spread = map(float, expected.std)
    return Recipe(
        name=name,
        build=partial(_build, short),
        input_size=int(expected.crop_size[0]),
        mean=(red, green, blue),
        std=(red_spread, green_spread, blue_spread),
        default=DefaultWeights(released.name, partial(default_state_dict, released.url, name)),
        clip=ClipRule(length, clip_stride or length, _view(short)),
    )


def _build(short: str, _input_size: int, _random: bool) -> nn.Module:
    module: nn.Module = torchvision.models.get_model(short, weights=None)
    return module


def _view(short: str) -> View:
    if short.startswith("swin3d"):
        return _channels_last
    if short.startswith("mvit"):
        return partial(_tokens, _MVIT_TIMES)
    return channels_first


def _channels_last(module: nn.Module, output: object) -> torch.Tensor | str:
    """Read a layer of Swin: (n_clips, n_times, height, width, n_channels), but for convolution and pooling."""
    if (
        isinstance(output, torch.Tensor)
        and output.ndim == 5
        and not isinstance(module, nn.Conv3d | nn.AdaptiveAvgPool3d)
    ):
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
        return f"puts out {n_tokens} tokens, whose places are not known"
    return output[:, 1:].reshape(n_clips, n_times, side, side, n_channels).permute(0, 1, 4, 2, 3)
