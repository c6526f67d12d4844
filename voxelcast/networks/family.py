"""What a family of networks is, and how one is added: one module that registers a `Family`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, TypeVar

import torch

from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError
from voxelcast.core.registry import Registry
from voxelcast.networks.base import Network
from voxelcast.networks.recipe import Recipe, load_recipe
from voxelcast.networks.settings import NetworkSettings

FamilyT = TypeVar("FamilyT", bound="type[Family]")


class Family(ABC):
    """Networks that are built in one way and whose names begin alike.

    A subclass gives the names and, for each, a `Recipe` that makes a torch module; what is no torch module overrides
    `load` instead.
    """

    prefix: ClassVar[str]
    """What all names begin with, e.g. ``"simclr/"``."""
    many: ClassVar[bool] = False
    """Whether there are too many to offer them where a name has no known prefix."""

    @abstractmethod
    def names(self) -> Sequence[str]:
        """List all names, in any order; empty where they cannot be listed."""

    def takes(self, name: str) -> Sequence[str]:
        """Name the settings that this network has and most have not; the keys of `SPECIAL_SETTINGS`."""
        return ()

    def check(self, name: str) -> None:
        """Raise UnknownNameError unless there is a network of that name."""
        remedy = f"List them: voxelcast networks list '{self.prefix}*'"
        check_known("network", name, sorted(self.names()), remedy=remedy)

    def recipe(self, settings: NetworkSettings) -> Recipe:
        """Say how a network is built, and what its weights expect.

        Raises OptionError if a setting is not allowed, or the network is no torch module.
        """
        raise OptionError(
            f"'{settings.name}' is no torch module, and that is what is needed here; choose another network"
        )

    def load(self, settings: NetworkSettings, seed: int, device: torch.device) -> Network:
        """Load a network with its chosen layers."""
        return load_recipe(self.recipe(settings), settings, seed=seed, device=device)


SPECIAL_SETTINGS = {
    "noise_seed": "networks with noise (vonenet/*)",
    "padding": "SimCLR-v2 networks (simclr/*)",
    "clip_length": "networks that take clips",
    "clip_stride": "networks that take clips",
    "takes": "your own networks (module:...) and those of transformers (hf:...)",
    "clip_axes": "your own networks (module:...)",
    "tokens": "your own networks (module:...) and those of transformers (hf:...)",
    "sound": "networks that take sound",
    "texts": "networks that take text",
    "revision": "networks of transformers (hf:...)",
    "trust_remote_code": "networks of transformers (hf:...)",
    "version": "your own networks (module:...)",
}
"""Settings that only some networks have, and which."""

_MODULES = [
    "barlow_twins",
    "mel",
    "motion_energy",
    "own_network",
    "simclr",
    "timm_models",
    "torchvision_models",
    "transformers_models",
    "vonenet",
]
FAMILIES: Registry[type[Family]] = Registry(
    "family of networks", "voxelcast.networks", [f"voxelcast.networks.families.{module}" for module in _MODULES]
)


def register_network(name: str) -> Callable[[FamilyT], FamilyT]:
    """Return a decorator that enters a family of networks by its name; raises OptionError if that is taken.

    Examples
    --------
    >>> import voxelcast as vc
    >>> from voxelcast.networks.family import Family
    >>> @vc.register_network("our_lab")
    ... class OurNetworks(Family):
    ...     prefix = "our_lab/"
    ...
    ...     def names(self):
    ...         return ("our_lab/small",)
    >>> vc.list_networks("our_lab/*")
    ('our_lab/small',)
    """
    return FAMILIES.register(name)
