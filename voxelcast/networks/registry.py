"""The networks by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import torch

from voxelcast.core.checks import check_known, check_option
from voxelcast.core.errors import OptionError
from voxelcast.networks.base import Network, Precision
from voxelcast.networks.families import (
    barlow_twins,
    motion_energy,
    own_network,
    simclr,
    timm_models,
    torchvision_models,
    torchvision_videos,
    vonenet,
)
from voxelcast.networks.families.motion_energy import MotionEnergy
from voxelcast.networks.hooks import LayerTrace
from voxelcast.networks.module_network import ModuleNetwork, check_device
from voxelcast.networks.precision import PRECISIONS
from voxelcast.networks.recipe import Recipe, Triple, Wanted, load_recipe

_LISTS: tuple[Callable[[str], tuple[str, ...]], ...] = (
    torchvision_models.list_torchvision,
    torchvision_videos.list_torchvision_videos,
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
    clip_length: int | None = None,
    clip_stride: int | None = None,
    takes: Literal["frames", "clip"] | None = None,
    licence: str | None = None,
    version: str | None = None,
    precision: Precision = "float32",
) -> Network:
    """Load a network with its chosen layers.

    Parameters
    ----------
    name : str
        One of :func:`list_networks`, or ``"module:PACKAGE.MODULE:CALLABLE"`` for your own (docs/own_network.md).
    weights : str, Path or None
        ``"default"``: the released ones, from torch's cache or the network; ``"random"``: by ``seed``; a file; for
        built-in networks ``"none"`` or None. Of your own network, ``"default"`` is what the callable gives.
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
    clip_length, clip_stride : int or None
        Of networks that take clips: frames per clip, and from the beginning of one clip to that of the next. None
        takes the length with which the released weights were evaluated, and clips that do not overlap.
    takes : {"frames", "clip"} or None
        What your own network takes; None for frames.
    licence : str or None
        Of the weights, where you know it; None takes what was released with them.
    version : str or None
        Of your own network's code; raise it when code outside its own file changes what it does.
    precision : {"float32", "tf32", "bfloat16"}
        See :mod:`voxelcast.networks.precision`; built-in networks compute in float32 only.

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
    wanted = Wanted(input_size, mean, std, noise_seed, clip_length, clip_stride, takes, licence, version, precision)
    return _load(name, weights, layers, seed, device, wanted)


def describe_layers(name: str, *, seed: int = 0, **settings: Any) -> tuple[LayerTrace, ...]:
    """List the layers that a network offers, found by one forward pass with random weights.

    Parameters
    ----------
    name : str
        As of :func:`load_network`.
    seed : int
        Of the random weights.
    **settings
        ``input_size``, ``clip_length`` and what else of :func:`load_network` the layers' shapes depend on.

    Returns
    -------
    layers : tuple of LayerTrace
        Name, kind, shape of the output for one frame (or one step of a clip), and number of calls, in the order of the
        forward pass.
    """
    weights = None if name == motion_energy.NAME else "random"
    network = _load(name, weights, (), seed, "cpu", Wanted(**settings))
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
    name: str, weights: str | Path | None, layers: Sequence[str], seed: int, device: str, wanted: Wanted
) -> Network:
    _check_wanted(name, wanted)
    check_option("precision", wanted.precision, PRECISIONS)
    place = check_device(device)
    if name == motion_energy.NAME:
        if wanted.precision != "float32":
            raise OptionError(f"precision of '{name}' must be float32; got {wanted.precision!r}; leave it out")
        if weights not in (None, "none"):
            raise OptionError(f"weights of '{name}' must be none (it is built in); got {str(weights)!r}; leave it out")
        if wanted.mean is not None or wanted.std is not None:
            mean, std = wanted.mean, wanted.std
            raise OptionError(f"mean and std of '{name}' are fixed; got mean={mean}, std={std}; leave them out")
        return MotionEnergy(layers, place, wanted.input_size or motion_energy.INPUT_SIZE)
    recipe = find_recipe(name, wanted)
    if weights is None or weights == "none":
        raise OptionError(f"weights of '{name}' must be default, random or a file; got {weights}")
    return load_recipe(recipe, weights=weights, layers=layers, seed=seed, device=place, wanted=wanted)


def _check_wanted(name: str, wanted: Wanted) -> None:
    """Refuse settings that the network does not have."""
    if wanted.input_size is not None and wanted.input_size < 1:
        raise OptionError(f"input_size must be at least 1 pixel; got {wanted.input_size}")
    if wanted.std is not None and min(wanted.std) <= 0:
        raise OptionError(f"std must be above 0 for each channel; got {wanted.std}")
    own = name.startswith(own_network.PREFIX)
    clips = own or name in torchvision_videos.list_torchvision_videos()
    for setting, meant, allowed in (
        ("noise_seed", f"networks with noise ({vonenet.PREFIX}*)", name.startswith(vonenet.PREFIX)),
        ("clip_length", "networks that take clips", clips),
        ("clip_stride", "networks that take clips", clips),
        ("takes", f"your own networks ({own_network.PREFIX}...)", own),
        ("version", f"your own networks ({own_network.PREFIX}...)", own),
    ):
        if getattr(wanted, setting) is not None and not allowed:
            raise OptionError(f"{setting} is for {meant}; got {name!r}; leave it out")


def find_recipe(name: str, wanted: Wanted) -> Recipe:
    """Say how a network that is a torch module is built.

    Raises
    ------
    UnknownNameError
        If there is no such network.
    """
    if name in torchvision_videos.list_torchvision_videos():
        return torchvision_videos.torchvision_video_recipe(name, wanted.clip_length, wanted.clip_stride)
    if name.startswith(torchvision_models.PREFIX):
        return torchvision_models.torchvision_recipe(name)
    if name.startswith(timm_models.PREFIX):
        return timm_models.timm_recipe(name, wanted.input_size)
    if name.startswith(simclr.PREFIX):
        return simclr.simclr_recipe(name)
    if name.startswith(vonenet.PREFIX):
        return vonenet.vonenet_recipe(name, wanted.noise_seed)
    if name.startswith(barlow_twins.PREFIX):
        return barlow_twins.barlow_twins_recipe(name)
    if name.startswith(own_network.PREFIX):
        return own_network.own_recipe(name, wanted)
    # Without timm's many: they are found by their prefix.
    known = [other for family in _LISTS if family is not timm_models.list_timm for other in family("*")]
    check_known("network", name, [motion_energy.NAME, *known], remedy="List them: voxelcast networks list")
    raise OptionError(f"'{name}' is no torch module, and that is what is needed here; choose another network")
