"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError
from voxelcast.networks import barlow_twins, motion_energy, simclr, timm_models, torchvision_models, vonenet
from voxelcast.networks.base import Network
from voxelcast.networks.hooks import LayerTrace
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.motion_energy import MotionEnergy
from voxelcast.networks.recipe import Recipe, Triple, load_recipe

_LISTS: tuple[Callable[[str], tuple[str, ...]], ...] = (
    torchvision_models.list_torchvision,
    timm_models.list_timm,
    simclr.list_simclr,
    vonenet.list_vonenet,
    barlow_twins.list_barlow_twins,
)


def list_networks(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the networks that match a shell pattern (``*resnet*``), sorted."""
    built_in = (motion_energy.NAME,) if fnmatchcase(motion_energy.NAME, pattern) else ()
    return tuple(sorted((*built_in, *(name for family in _LISTS for name in family(pattern)))))


def load_network(
    name: str,
    *,
    weights: str | Path | None = "default",
    layers: Sequence[str],
    seed: int = 0,
    device: str = "cpu",
    input_size: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
    noise_seed: int | None = None,
) -> Network:
    """Load a network with its chosen layers.

    Parameters
    ----------
    name : str
        One of :func:`list_networks`.
    weights : str, Path or None
        ``"default"``: the released ones, from torch's cache or the network; ``"random"``: by ``seed``; a file; for
        built-in networks ``"none"`` or None.
    layers : sequence of str
        Module paths, shell patterns of them, relative depths (``"depth:0.5"``) or sets (``"all"``, ``"blocks"``,
        ``"algonauts2021"``), at least one.
    seed : int
        Of random weights: the same seed and name give the same weights, and torch's own random state is left alone.
        Networks that draw from truncated normals (ViT, Swin, ConvNeXt, GoogLeNet, Inception) may differ in last digits
        between processors and versions of torch; the card's hash tells.
    device : str
        ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ...
    input_size : int or None
        Height and width to which frames are resized; None takes that of the released weights.
    mean, std : tuple of 3 floats or None
        Normalisation of RGB in [0, 1]; None takes that of the released weights.
    noise_seed : int or None
        Of the noise of a VOneNet, which is the same for every frame; None leaves the noise out.

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
    """
    if not layers:
        raise OptionError(
            f"layers of '{name}' must name at least one; got none. List them: voxelcast networks layers {name}"
        )
    return _load(name, weights, layers, seed, device, input_size, mean, std, noise_seed)


def describe_layers(name: str, *, input_size: int | None = None) -> tuple[LayerTrace, ...]:
    """List the layers that a network offers, found by one forward pass with random weights.

    Parameters
    ----------
    name : str
        One of :func:`list_networks`.
    input_size : int or None
        As of :func:`load_network`.

    Returns
    -------
    layers : tuple of LayerTrace
        Name, kind, shape of the output for one frame, and number of calls, in the order of the forward pass.
    """
    weights = None if name == motion_energy.NAME else "random"
    network = _load(name, weights, (), 0, "cpu", input_size, None, None, None)
    if isinstance(network, ModuleNetwork):
        return tuple(seen for seen in network.traces if not seen.problem)
    size = network.card.input_size
    network = MotionEnergy(network.layer_names(), torch.device("cpu"), size)
    outputs = network.activations(torch.zeros(1, 3, size, size))
    kinds = {"static": "spatial energy", "motion": "motion energy", "colour": "mean colour"}
    return tuple(
        LayerTrace(layer, kinds[layer.split(".")[0]], tuple(output.shape[1:]), 1) for layer, output in outputs.items()
    )


def _load(
    name: str,
    weights: str | Path | None,
    layers: Sequence[str],
    seed: int,
    device: str,
    input_size: int | None,
    mean: Triple | None,
    std: Triple | None,
    noise_seed: int | None,
) -> Network:
    if input_size is not None and input_size < 1:
        raise OptionError(f"input_size must be at least 1 pixel; got {input_size}")
    if std is not None and min(std) <= 0:
        raise OptionError(f"std must be above 0 for each channel; got {std}")
    if noise_seed is not None and not name.startswith(vonenet.PREFIX):
        raise OptionError(f"noise_seed is for networks with noise ({vonenet.PREFIX}*); got {name!r}; leave it out")
    place = check_device(device)
    if name == motion_energy.NAME:
        if weights not in (None, "none"):
            raise OptionError(f"weights of '{name}' must be none (it is built in); got {str(weights)!r}; leave it out")
        if mean is not None or std is not None:
            raise OptionError(f"mean and std of '{name}' are fixed; got mean={mean}, std={std}; leave them out")
        return MotionEnergy(layers, place, input_size or motion_energy.INPUT_SIZE)
    recipe = _recipe(name, input_size, noise_seed)
    if weights is None or weights == "none":
        raise OptionError(f"weights of '{name}' must be default, random or a file; got {weights}")
    return load_recipe(
        recipe,
        weights=weights,
        layers=layers,
        seed=seed,
        device=place,
        input_size=input_size,
        mean=mean,
        std=std,
    )


def _recipe(name: str, input_size: int | None, noise_seed: int | None) -> Recipe:
    if name.startswith(torchvision_models.PREFIX):
        return torchvision_models.torchvision_recipe(name)
    if name.startswith(timm_models.PREFIX):
        return timm_models.timm_recipe(name, input_size)
    if name.startswith(simclr.PREFIX):
        return simclr.simclr_recipe(name)
    if name.startswith(vonenet.PREFIX):
        return vonenet.vonenet_recipe(name, noise_seed)
    if name.startswith(barlow_twins.PREFIX):
        return barlow_twins.barlow_twins_recipe(name)
    # Without timm's many: they are found by their prefix.
    known = [other for family in _LISTS if family is not timm_models.list_timm for other in family("*")]
    check_known("network", name, [motion_energy.NAME, *known], remedy="List them: voxelcast networks list")
    raise AssertionError(f"{name} is listed but has no recipe")


def check_device(device: str) -> torch.device:
    """Return the device of that name, raising OptionError where this machine does not have it.

    Parameters
    ----------
    device : str
        E.g. ``"cuda:0"``.
    """
    try:
        place = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"device must be like cpu, cuda or cuda:1; got {device!r}") from error
    if place.type not in ("cpu", "cuda"):
        raise OptionError(f"device must be cpu or cuda; got {device!r}")
    found = torch.cuda.device_count() if place.type == "cuda" else 0
    if place.type == "cuda" and (place.index or 0) >= found:
        raise OptionError(f"device {device!r} is not there: torch finds {found} CUDA devices; set device to cpu")
    return place
