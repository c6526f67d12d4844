"""A network of two layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from voxelcast.networks.family import Family, register_network
from voxelcast.networks.recipe import Recipe
from voxelcast.networks.settings import NetworkSettings


@register_network("lab")
class LabNetworks(Family):
    """One convolution, and its rectified output."""

    prefix = "lab/"

    def names(self) -> Sequence[str]:
        return ("lab/small",)

    def recipe(self, settings: NetworkSettings) -> Recipe:
        self.check(settings.name)
        return Recipe(
            name=settings.name,
            build=lambda size, random: nn.Sequential(nn.Conv2d(3, 4, 5, stride=4), nn.ReLU()),
            input_size=32,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            default="these weights are not released; set weights=random",
        )
