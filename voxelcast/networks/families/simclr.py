"""SimCLR-v2's ResNets, wide and with selective kernels.

A name is ``simclr/r{depth}_{width}x_sk{0,1}``, e.g. ``simclr/r50_1x_sk0``; pretrained, fine-tuned and supervised
weights share an architecture and differ by their file. Input is RGB in [0, 1] and is never normalised further.

Against the usual ResNet: with selective kernels (``sk1``) the stem is three 3x3 convolutions, the middle of a block is
a selective kernel [2]_, and the shortcut averages 2x2 pixels instead of leaving some out [3]_.

With the setting ``padding: same`` pooling at the border is as in the original: the stem's max pool has its padding
after the last row and column, and the average pool of a block that keeps the resolution divides by the pixels that
exist. ``padding: port`` is as in the PyTorch port that the 2021 pipeline used: the max pool has its padding on all
sides, and the average pool takes the zeros beyond the border as pixels.

Tensors are named as in the converted checkpoints in circulation (``{"resnet": ..., "head": ...}``); the original
TensorFlow checkpoints are read as they are, by the name before ``.index``.

References
----------
.. [1] Chen, T. et al. (2020). Big self-supervised models are strong semi-supervised learners. NeurIPS 33.
   https://doi.org/10.48550/arXiv.2006.10029. Original: https://github.com/google-research/simclr (Apache-2.0)
.. [2] Li, X. et al. (2019). Selective kernel networks. CVPR. https://doi.org/10.1109/CVPR.2019.00060
.. [3] He, T. et al. (2019). Bag of tricks for image classification with convolutional neural networks. CVPR.
   https://doi.org/10.1109/CVPR.2019.00065
"""

from __future__ import annotations

import itertools
from collections import OrderedDict
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as functional
from torch import nn

from voxelcast.networks.checkpoints import Checkpoint, StateDict, fit_state_dict
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.recipe import Recipe
from voxelcast.networks.settings import NetworkSettings

_BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
_SK_RATIO = 0.0625
_SK_LEAST = 32  # channels of the mixing path, at least
_NORM_TENSORS = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}


class SimCLRNet(nn.Module):
    """A ResNet of SimCLR-v2 with its linear classifier; ``width`` multiplies all channels."""

    def __init__(self, depth: int, width: int, selective: bool) -> None:
        super().__init__()
        channels = 64 * width
        stages: list[nn.Module] = [_stem(channels, selective)]
        n_in = channels
        for k, n_blocks in enumerate(_BLOCKS[depth]):
            stages.append(Stage(n_in, channels * 2**k, n_blocks, 1 if k == 0 else 2, selective))
            n_in = 4 * channels * 2**k
        self.net = nn.Sequential(*stages)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(n_in, 1000)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Classify frames of shape (n_frames, 3, height, width); return (n_frames, 1000)."""
        pooled: torch.Tensor = self.avgpool(self.net(frames))
        logits: torch.Tensor = self.fc(pooled.flatten(1))
        return logits


class Stage(nn.Sequential):
    """Blocks of one resolution; the first has a projection in its shortcut."""

    def __init__(self, n_in: int, n_middle: int, n_blocks: int, stride: int, selective: bool) -> None:
        first = Bottleneck(n_in, n_middle, stride, selective, projection=True)
        rest = [Bottleneck(4 * n_middle, n_middle, 1, selective, projection=False) for _ in range(1, n_blocks)]
        super().__init__(OrderedDict(blocks=nn.Sequential(first, *rest)))


class Bottleneck(nn.Module):
    """1x1, 3x3 (or selective kernel) and 1x1 convolution, added to the shortcut."""

    def __init__(self, n_in: int, n_middle: int, stride: int, selective: bool, *, projection: bool) -> None:
        super().__init__()
        self.projection = Projection(n_in, 4 * n_middle, stride, selective) if projection else None
        middle: list[nn.Module] = (
            [SelectiveKernel(n_middle, stride)]
            if selective
            else [_convolution(n_middle, n_middle, 3, stride), _norm(n_middle, relu=True)]
        )
        first = [_convolution(n_in, n_middle, 1), _norm(n_middle, relu=True)]
        last = [_convolution(n_middle, 4 * n_middle, 1), _norm(4 * n_middle, relu=False, scale=0.25)]
        self.net = nn.Sequential(*first, *middle, *last)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (n_frames, n_in, height, width) to (n_frames, 4 n_middle, height / stride, width / stride)."""
        shortcut = inputs if self.projection is None else self.projection(inputs)
        return functional.relu(self.net(inputs) + shortcut)


class Projection(nn.Sequential):
    """The shortcut where channels or resolution change."""

    def __init__(self, n_in: int, n_out: int, stride: int, selective: bool) -> None:
        n_after = 1 if stride > 1 else 0  # zeros that strided windows need at odd sizes
        shortcut = (
            nn.Sequential(nn.ZeroPad2d((0, n_after, 0, n_after)), Average2x2(stride), _convolution(n_in, n_out, 1))
            if selective
            else _convolution(n_in, n_out, 1, stride)
        )
        super().__init__(OrderedDict(shortcut=shortcut, bn=_norm(n_out, relu=False)))


class Average2x2(nn.Module):
    """The mean of each pixel, its right, its lower and its lower right neighbour, of those that exist."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Average (n_frames, n_channels, height, width) with the stride; 1 keeps height and width."""
        if self.stride > 1:
            return functional.avg_pool2d(inputs, 2, self.stride)
        # Repeating the last row and column gives the mean of those that exist.
        return functional.avg_pool2d(functional.pad(inputs, (0, 1, 0, 1), mode="replicate"), 2, 1)


class SelectiveKernel(nn.Module):
    r"""Two 3x3 convolutions, mixed channel by channel by weights that depend on the whole picture.

    With U_1 and U_2 the two branches, each of shape (n_channels, height, width), and s the spatial mean of their sum,

        (a_1, a_2) = W_2 relu(bn(W_1 s)),    output = (exp(a_1) U_1 + exp(a_2) U_2) / (exp(a_1) + exp(a_2)).
    """

    def __init__(self, n_channels: int, stride: int) -> None:
        super().__init__()
        n_mixing = max(int(n_channels * _SK_RATIO), _SK_LEAST)
        self.main_conv = nn.Sequential(
            _convolution(n_channels, 2 * n_channels, 3, stride), _norm(2 * n_channels, relu=True)
        )
        self.mixing_conv = nn.Sequential(
            _convolution(n_channels, n_mixing, 1),
            _norm(n_mixing, relu=True),
            _convolution(n_mixing, 2 * n_channels, 1),
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (n_frames, n_channels, height, width) to (n_frames, n_channels, height / stride, width / stride)."""
        # (n_frames, 2, n_channels, height, width)
        branches = self.main_conv(inputs).unflatten(1, (2, -1))
        summary = branches.sum(1).mean((2, 3), keepdim=True)
        mixture = self.mixing_conv(summary).unflatten(1, (2, -1)).softmax(1)
        mixed: torch.Tensor = (branches * mixture).sum(1)
        return mixed


class MaxPoolAfter(nn.Module):
    """3x3 max pool of stride 2 whose padding, where any is needed, stands mostly after the last row and column."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Halve height and width (rounding up) of (n_frames, n_channels, height, width)."""
        pads: list[int] = []
        for size in (inputs.shape[3], inputs.shape[2]):
            missing = max(0, ((size + 1) // 2 - 1) * 2 + 3 - size)
            pads += [missing // 2, missing - missing // 2]
        return functional.max_pool2d(functional.pad(inputs, pads, value=float("-inf")), 3, 2)


def pad_as_port(network: SimCLRNet) -> SimCLRNet:
    """Give a network the pools of the PyTorch port; return it. Only values at borders, and what follows, change."""
    stem = cast(nn.Sequential, network.net[0])
    stem[-1] = nn.MaxPool2d(3, 2, padding=1)
    for projection in [part for part in network.modules() if isinstance(part, Projection)]:
        shortcut = projection.get_submodule("shortcut")
        if isinstance(shortcut, nn.Sequential):  # with selective kernels
            average = cast(Average2x2, shortcut[1])
            shortcut[0], shortcut[1] = nn.ZeroPad2d((0, 1, 0, 1)), nn.AvgPool2d(2, average.stride)
    return network


def _stem(channels: int, selective: bool) -> nn.Sequential:
    if not selective:
        return nn.Sequential(_convolution(3, channels, 7, 2), _norm(channels, relu=True), MaxPoolAfter())
    widths = (3, channels // 2, channels // 2, channels)
    steps: list[nn.Module] = []
    for k, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        steps += [_convolution(n_in, n_out, 3, 2 if k == 0 else 1), _norm(n_out, relu=True)]
    return nn.Sequential(*steps, MaxPoolAfter())


def _convolution(n_in: int, n_out: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(n_in, n_out, kernel, stride, padding=(kernel - 1) // 2, bias=False)


def _norm(n_channels: int, *, relu: bool, scale: float = 1.0) -> nn.Sequential:
    norm = nn.BatchNorm2d(n_channels, eps=1e-5)
    # Before sums with shortcuts training starts from 0; at 1 these sums explode and selective kernels saturate.
    nn.init.constant_(norm.weight, scale)
    return nn.Sequential(norm, nn.ReLU()) if relu else nn.Sequential(norm)


@register_network("simclr")
class SimCLR(Family):
    """The networks of three depths and widths, without and with selective kernels."""

    prefix = "simclr/"

    def names(self) -> Sequence[str]:
        """List names such as ``simclr/r50_1x_sk0``."""
        kinds = itertools.product(_BLOCKS, (1, 2, 3), (0, 1))
        return [f"{self.prefix}r{depth}_{width}x_sk{sk}" for depth, width, sk in kinds]

    def takes(self, name: str) -> Sequence[str]:
        """Name the setting of pooling at borders."""
        return ("padding",)

    def recipe(self, settings: NetworkSettings) -> Recipe:
        """Say how a network is built, and what its weights expect."""
        as_port = settings.padding == "port"
        depth, width, sk = settings.name.removeprefix(self.prefix).split("_")

        def build(_size: int, _random: bool) -> nn.Module:
            network = SimCLRNet(int(depth[1:]), int(width[:-1]), sk == "sk1")
            return pad_as_port(network) if as_port else network

        return Recipe(
            name=settings.name,
            build=build,
            input_size=224,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
            default=(
                f"the weights of '{settings.name}' were released without a hash to check a download by; "
                "fetch the checkpoint that https://github.com/google-research/simclr names and set weights to it "
                "(model.ckpt-NUMBER), or to a .pth converted from it, or to random"
            ),
            fit=_fit,
            # With the port's padding 2021 gave some of them normalised inputs.
            fixed_normalisation="" if as_port else "SimCLR takes RGB in [0, 1] as it is",
            code=(lambda _: "padding=port") if as_port else None,
        )


def _fit(module: nn.Module, checkpoint: Checkpoint, network: str, source: str) -> nn.Module:
    state = checkpoint.state
    if any(name.startswith("base_model/") for name in state):
        state = _from_tensorflow(module, state)
    fit_state_dict(module, state, network, source)
    return module


def _from_tensorflow(module: nn.Module, state: StateDict) -> StateDict:
    """Give a TensorFlow checkpoint's tensors our names and shapes.

    Its convolutions and batch norms are numbered in the order in which they were built, which is the order of ours.
    Heads other than the classifier's and moving averages of weights are left out.
    """
    left = {name: tensor for name, tensor in state.items() if name.startswith(("base_model/", "head_supervised/"))}
    named: StateDict = {}

    def move(old: str, new: str) -> None:
        if old in left:
            tensor = left.pop(old)
            # (height, width, n_in, n_out) and (n_in, n_out) become (n_out, n_in, ...).
            named[new] = tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor.T if tensor.ndim == 2 else tensor

    for kind, layer, tensors in (
        (nn.Conv2d, "conv2d", {"kernel": "weight"}),
        (nn.BatchNorm2d, "batch_normalization", _NORM_TENSORS),
    ):
        for k, path in enumerate(path for path, part in module.named_modules() if isinstance(part, kind)):
            for old, new in tensors.items():
                move(f"base_model/{layer}{f'_{k}' if k else ''}/{old}", f"{path}.{new}")
    for old, new in {"kernel": "weight", "bias": "bias"}.items():
        move(f"head_supervised/linear_layer/dense/{old}", f"fc.{new}")
    return {**named, **left}
