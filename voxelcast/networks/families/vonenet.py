"""VOneNets: a fixed model of V1, a bottleneck, and a trained network behind them.

The released checkpoints are understood as they are (``{"flags": ..., "state_dict": ...}``, names with or without
``module.``). Input mean and std are 0.5. Noise is left out, unless a seed for it is given.

References
----------
.. [1] Dapello, J., Marques, T. et al. (2020). Simulating a primary visual cortex at the front of CNNs improves
   robustness to image perturbations. NeurIPS 33. https://doi.org/10.1101/2020.06.16.154542
.. [2] Kubilius, J., Schrimpf, M. et al. (2019). Brain-like object recognition with high-performing shallow recurrent
   ANNs. NeurIPS 32. https://doi.org/10.48550/arXiv.1909.06161
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as functional
import torchvision
from torch import nn

from voxelcast.core.errors import DataError, OptionError
from voxelcast.networks.checkpoints import Checkpoint, fit_state_dict
from voxelcast.networks.families import vone_block as v1
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.recipe import Recipe
from voxelcast.networks.settings import NetworkSettings

_BOTTLENECK = 64
_WIDENING = 4
# Flags of a checkpoint that say how the V1 stage computes, and what they must be.
_FLAGS = {"stride": v1.STRIDE, "k_exc": v1.EXCITATION, "simple_channels": v1.N_SIMPLE, "complex_channels": v1.N_COMPLEX}
_NOISE_FLAGS = {"noise_scale": v1.NOISE_SCALE, "noise_level": v1.NOISE_LEVEL}
# Tensors that the adversarially trained network's file holds and no network uses.
_UNUSED_AT = ("vone_block.div_u.weight", "vone_block.div_t.weight")


class VOneNet(nn.Sequential):
    """The V1 stage, a 1x1 convolution to 64 channels, and the network behind (n_frames, 64, height / 4, width / 4)."""

    def __init__(self, model: nn.Module, noise_seed: int | None) -> None:
        block = v1.VOneBlock(noise_seed)
        bottleneck = nn.Conv2d(v1.N_SIMPLE + v1.N_COMPLEX, _BOTTLENECK, 1, bias=False)
        super().__init__(OrderedDict(vone_block=block, bottleneck=bottleneck, model=model))


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


class Area(nn.Module):
    """A recurrent area of CORnet-S [2]_: the same bottleneck ``n_times`` times over, with a batch norm for each time.

    At the first time the middle convolution halves the resolution, and so does the shortcut's; later the area's own
    output is its input and shortcut.
    """

    def __init__(self, n_in: int, n_out: int, n_times: int) -> None:
        super().__init__()
        wide = n_out * _WIDENING
        self.conv_input = nn.Conv2d(n_in, n_out, 1, bias=False)
        self.skip = nn.Conv2d(n_out, n_out, 1, stride=2, bias=False)
        self.norm_skip = nn.BatchNorm2d(n_out)
        self.conv1 = nn.Conv2d(n_out, wide, 1, bias=False)
        self.conv2 = nn.Conv2d(wide, wide, 3, padding=1, bias=False)
        self.conv3 = nn.Conv2d(wide, n_out, 1, bias=False)
        for time in range(n_times):
            for k, n_channels in ((1, wide), (2, wide), (3, n_out)):
                self.add_module(f"norm{k}_{time}", nn.BatchNorm2d(n_channels))
        self._n_times = n_times

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Map (n_frames, n_in, height, width) to (n_frames, n_out, height / 2, width / 2)."""
        state: torch.Tensor = self.conv_input(inputs)
        for time in range(self._n_times):
            norms = [self.get_submodule(f"norm{k}_{time}") for k in (1, 2, 3)]
            shortcut = self.norm_skip(self.skip(state)) if time == 0 else state
            wide = functional.relu(norms[0](self.conv1(state)))
            # The same weights at both strides.
            wide = functional.conv2d(wide, self.conv2.weight, stride=2, padding=1) if time == 0 else self.conv2(wide)
            wide = functional.relu(norms[1](wide))
            state = functional.relu(norms[2](self.conv3(wide)) + shortcut)
        return state


def _cornet_s() -> nn.Sequential:
    """CORnet-S behind its first area: V2, V4, IT and the decoder."""
    decoder = OrderedDict(avgpool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten(), linear=nn.Linear(512, 1000))
    areas = OrderedDict[str, nn.Module](
        V2=Area(_BOTTLENECK, 128, 2), V4=Area(128, 256, 4), IT=Area(256, 512, 2), decoder=nn.Sequential(decoder)
    )
    return nn.Sequential(areas)


_BACKS: dict[str, Callable[[], nn.Module]] = {
    "alexnet": _alexnet,
    "resnet50": _resnet50,
    "resnet50_at": _resnet50,
    "resnet50_ns": _resnet50,
    "cornets": _cornet_s,
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
        return ("noise_seed",)

    def recipe(self, settings: NetworkSettings) -> Recipe:
        """Say how a network is built, and what its weights expect."""
        short, noise_seed = settings.name.removeprefix(self.prefix), settings.noise_seed
        if noise_seed is not None and short == "resnet50_ns":
            raise OptionError(f"noise_seed of '{settings.name}' must be left out (it has no noise); got {noise_seed}")
        return Recipe(
            name=settings.name,
            build=lambda _size, _random: VOneNet(_BACKS[short](), noise_seed),
            input_size=224,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            default=(
                f"the weights of '{settings.name}' were released without a hash to check a download by; "
                "fetch the .pth.tar that https://github.com/dicarlolab/vonenet names and set weights to it, "
                "or set weights=random"
            ),
            fit=_fit,
            noise_seed=noise_seed,
        )


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
