"""VOneNets: a fixed model of V1, a bottleneck, and a trained network behind them.

The released checkpoints are understood as they are (``{"flags": ..., "state_dict": ...}``, names with or without
``module.``). Input mean and std are 0.5. Noise is left out, unless a seed for it is given.

References
----------
.. [1] Dapello, J., Marques, T. et al. (2020). Simulating a primary visual cortex at the front of CNNs improves
   robustness to image perturbations. NeurIPS 33. https://doi.org/10.1101/2020.06.16.154542
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import torch
import torchvision
from torch import nn

from voxelcast.core.errors import DataError, OptionError
from voxelcast.networks.checkpoints import Checkpoint, fit_state_dict
from voxelcast.networks.families.cornet import cornet_s_behind_v1
from voxelcast.networks.families.vone_block import (
    EXCITATION,
    N_COMPLEX,
    N_SIMPLE,
    NOISE_LEVEL,
    NOISE_SCALE,
    STRIDE,
    VOneBlock,
)
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.recipe import Recipe
from voxelcast.networks.settings import NetworkSettings

_BOTTLENECK = 64
# Flags of a checkpoint that say how the V1 stage computes, and what they must be.
_FLAGS = {"stride": STRIDE, "simple_channels": N_SIMPLE, "complex_channels": N_COMPLEX, "k_exc": EXCITATION}
_NOISE_FLAGS = {"noise_scale": NOISE_SCALE, "noise_level": NOISE_LEVEL}
# Tensors that the adversarially trained network's file holds and no network uses.
_UNUSED_AT = ("vone_block.div_u.weight", "vone_block.div_t.weight")


class VOneNet(nn.Module):
    """The V1 stage, a 1x1 convolution to 64 channels, and the network behind (n_frames, 64, height / 4, width / 4)."""

    def __init__(self, model: nn.Module, noise_seed: int | None) -> None:
        super().__init__()
        self.vone_block = VOneBlock(noise_seed)
        self.bottleneck = nn.Conv2d(N_SIMPLE + N_COMPLEX, _BOTTLENECK, 1, bias=False)
        self.model = model

    def forward(self, frames: torch.Tensor) -> torch.Tensor:
        """Classify frames of shape (n_frames, 3, height, width); return (n_frames, 1000)."""
        logits: torch.Tensor = self.model(self.bottleneck(self.vone_block(frames)))
        return logits


def _alexnet() -> nn.Sequential:
    """AlexNet behind its first convolution, the stride of which the 56 pixels of the V1 stage are still to make up."""
    features = nn.Sequential(
        nn.Conv2d(_BOTTLENECK, 192, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.Conv2d(192, 384, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(3, stride=2, padding=1),
    )
    classifier = nn.Sequential(
        nn.Dropout(),
        nn.Linear(256 * 7 * 7, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Linear(4096, 1000),
    )
    # At 224 pixels the average pool changes nothing.
    parts = OrderedDict(features=features, avgpool=nn.AdaptiveAvgPool2d(7), flatten=nn.Flatten(), classifier=classifier)
    return nn.Sequential(parts)


def _resnet50() -> nn.Sequential:
    """ResNet-50 behind its stem."""
    resnet = torchvision.models.resnet50(weights=None)
    kept = {name: resnet.get_submodule(name) for name in ("layer1", "layer2", "layer3", "layer4", "avgpool")}
    return nn.Sequential(OrderedDict(**kept, flatten=nn.Flatten(), fc=resnet.fc))


_BACKS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": _alexnet,
    "resnet50": _resnet50,
    "resnet50_at": _resnet50,
    "resnet50_ns": _resnet50,
    "cornets": cornet_s_behind_v1,
}


@register_network("vonenet")
class VOneNets(Family):
    """The released architectures."""

    prefix = "vonenet/"

    def names(self) -> Sequence[str]:
        """List names such as ``vonenet/resnet50``."""
        return [self.prefix + short for short in _BACKS]

    def takes(self, name: str) -> Sequence[str]:
        """Name the seed of the V1 stage's noise."""
        del name
        return ("noise_seed",)

    def recipe(self, settings: NetworkSettings) -> Recipe:
        """Say how a network is built, and what its weights expect."""
        short, noise_seed = settings.name.removeprefix(self.prefix), settings.noise_seed
        if noise_seed is not None and short == "resnet50_ns":
            raise OptionError(f"noise_seed of '{settings.name}' must be left out (it has no noise); got {noise_seed}")
        return Recipe(
            name=settings.name,
            build=partial(_build, short, noise_seed),
            input_size=224,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            default=(
                f"the weights of '{settings.name}' were released without a hash to check a download by; "
                "fetch the .pth.tar that "
                "https://github.com/dicarlolab/vonenet names and set weights to it, or set weights=random"
            ),
            fit=_fit,
            noise_seed=noise_seed,
        )


def _build(short: str, noise_seed: int | None, _input_size: int, _random: bool) -> nn.Module:
    return VOneNet(_BACKS[short](), noise_seed)


def _fit(module: nn.Module, checkpoint: Checkpoint, network: str, source: str) -> nn.Module:
    wanted = {**_FLAGS, **(_NOISE_FLAGS if checkpoint.flags.get("noise_mode") == "neuronal" else {})}
    for flag, value in wanted.items():
        if checkpoint.flags.get(flag, value) != value:
            raise DataError(
                f"weights of {source} must be of a VOneNet with {flag}={value}; got {checkpoint.flags[flag]}; "
                "choose a released one"
            )
    unused = _UNUSED_AT if network.endswith("_at") else ()
    state = {name: tensor for name, tensor in checkpoint.state.items() if name not in unused}
    fit_state_dict(module, state, network, source)
    return module
