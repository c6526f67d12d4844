"""The networks by name."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

from voxelcast.core.checks import check_known
from voxelcast.core.errors import MissingPackageError, OptionError
from voxelcast.networks.base import Network
from voxelcast.networks.family import FAMILIES, SPECIAL_SETTINGS, Family
from voxelcast.networks.hooks import LayerTrace
from voxelcast.networks.module_network import check_device
from voxelcast.networks.settings import NetworkSettings, network_settings


def list_networks(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the networks that match a shell pattern (``*resnet*``), sorted.

    Networks of a package that is not installed are left out.

    Raises
    ------
    MissingPackageError
        If the pattern asks for the networks of such a package by their prefix.

    Examples
    --------
    >>> import voxelcast as vc
    >>> vc.list_networks("torchvision/resnet*")
    ('torchvision/resnet101', 'torchvision/resnet152', 'torchvision/resnet18', 'torchvision/resnet34', \
'torchvision/resnet50')
    """
    literal = re.split(r"[*?\[]", pattern)[0]
    found: set[str] = set()
    for family in _families():
        by_prefix = literal.startswith(family.prefix)
        if by_prefix or family.prefix.startswith(literal):
            try:
                found.update(name for name in family.names() if fnmatchcase(name, pattern))
            except MissingPackageError:
                if by_prefix:
                    raise
    return tuple(sorted(found))


def load_network(settings: NetworkSettings | str, *, seed: int = 0, device: str = "cpu", **options: Any) -> Network:
    """Load a network with its chosen layers.

    Parameters
    ----------
    settings : NetworkSettings or str
        Or its name, with the other settings as ``options``, of which ``layers`` must be given.
    seed : int
        Of random weights: the same seed and name give the same weights, and torch's own random state is left alone.
        Networks that draw from truncated normals (ViT, Swin, ConvNeXt, GoogLeNet, Inception) may differ in last digits
        between processors and versions of torch; the card's hash tells.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...

    Raises
    ------
    UnknownNameError
        If there is no such network or layer.
    OptionError
        If a setting is not allowed, or the device is not there.
    MissingFileError, UnsafeFileError, DataError
        If the weights are absent, refused, or do not fit.
    MissingPackageError
        If the network comes from a package that is not installed.

    Examples
    --------
    >>> import voxelcast as vc
    >>> network = vc.load_network("torchvision/resnet18", layers=["layer1", "layer4"], weights="random")
    >>> network.layers, network.card.input_size
    (('layer1', 'layer4'), 224)
    """
    settings = network_settings(settings, **options)
    return find_family(settings).load(settings, seed, check_device(device))


def describe_layers(settings: NetworkSettings | str, *, seed: int = 0, **options: Any) -> tuple[LayerTrace, ...]:
    """List the layers that a network offers, found by one forward pass with random weights.

    Parameters are those of :func:`load_network`; layers and weights do not count. Each layer has its name, kind, shape
    of the output for one frame (or one step of a clip), and number of calls, in the order of the forward pass.
    """
    chosen = network_settings(settings, **options, layers="all", weights=None)
    weights = "none" if chosen.chosen_weights == "none" else "random"
    return load_network(chosen, seed=seed, weights=weights).layer_traces()


def find_family(settings: NetworkSettings) -> Family:
    """Return the family of a network; errors as of :func:`load_network`."""
    name = settings.name
    families = _families()
    family = next((family for family in families if name.startswith(family.prefix)), None)
    if family is None:
        known = [other for family in families if not family.many for other in family.names()]
        check_known("network", name, known, remedy="List them: voxelcast networks list")
        raise AssertionError(name)
    family.check(name)
    for setting, meant in SPECIAL_SETTINGS.items():
        if getattr(settings, setting) is not None and setting not in family.takes(name):
            raise OptionError(f"{setting} is for {meant}; got {name!r}; leave it out")
    return family


def _families() -> list[Family]:
    """Make one of each family, the longest prefixes first."""
    return sorted((FAMILIES.get(name)() for name in FAMILIES), key=lambda family: -len(family.prefix))
