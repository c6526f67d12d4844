"""Barlow Twins' ResNet-50.

Three kinds of files are understood: the released ``resnet50.pth`` (no classifier), the full checkpoint (backbone,
projector and batch norm, of which the backbone is taken), and networks fine-tuned to classify (with ``fc``). The layer
``fc`` exists for the last kind only.

References
----------
.. [1] Zbontar, J. et al. (2021). Barlow Twins: self-supervised learning via redundancy reduction. ICML.
   https://doi.org/10.48550/arXiv.2103.03230. Weights: https://github.com/facebookresearch/barlowtwins (MIT)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import torchvision
from torch import nn

from voxelcast.networks.checkpoints import Checkpoint, fit_state_dict
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.recipe import Recipe
from voxelcast.networks.settings import NetworkSettings


@register_network("barlow_twins")
class BarlowTwins(Family):
    """The released network."""

    prefix = "barlow_twins/"

    def names(self) -> Sequence[str]:
        """List the one name."""
        return ["barlow_twins/resnet50"]

    def recipe(self, settings: NetworkSettings) -> Recipe:
        """Say how the network is built, and what its weights expect."""
        return Recipe(
            name=settings.name,
            build=_build,
            input_size=224,
            mean=(0.485, 0.456, 0.406),
            std=(0.229, 0.224, 0.225),
            default=(
                f"the weights of '{settings.name}' were released without a hash to check a download by; "
                "fetch resnet50.pth from https://github.com/facebookresearch/barlowtwins and set weights to it, "
                "or set weights=random"
            ),
            fit=_fit,
            add_head=_add_head,
        )


def _build(_input_size: int, _random: bool) -> nn.Module:
    resnet = torchvision.models.resnet50(weights=None)
    # As released: everything up to the average pool.
    return nn.Sequential(OrderedDict((name, child) for name, child in resnet.named_children() if name != "fc"))


def _fit(module: nn.Module, checkpoint: Checkpoint, network: str, source: str) -> nn.Module:
    state = checkpoint.state
    if any(name.startswith("backbone.") for name in state):
        kept = {name: tensor for name, tensor in state.items() if not name.startswith(("projector.", "bn."))}
        state = {name.removeprefix("backbone."): tensor for name, tensor in kept.items()}
    if "fc.weight" in state:
        module = torchvision.models.resnet50(weights=None, num_classes=len(state["fc.weight"]))
    fit_state_dict(module, state, network, source)
    return module


def _add_head(module: nn.Module) -> nn.Module:
    """Give the released network the linear classifier with which it was evaluated; unchanged where it has one."""
    if "fc" in dict(module.named_children()):
        return module
    resnet: nn.Module = torchvision.models.resnet50(weights=None)
    resnet.load_state_dict({**resnet.state_dict(), **module.state_dict()})
    return resnet
