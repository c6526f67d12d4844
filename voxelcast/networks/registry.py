"""The networks by name."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import torch

from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError
from voxelcast.networks import motion_energy
from voxelcast.networks.base import Network
from voxelcast.networks.hooks import LayerTrace
from voxelcast.networks.motion_energy import MotionEnergy
from voxelcast.networks.torchvision_models import PREFIX, TorchvisionNetwork, list_torchvision, load_torchvision

Triple = tuple[float, float, float]


def list_networks(pattern: str = "*") -> tuple[str, ...]:
    """List the names of the networks that match a shell pattern (``*resnet*``), sorted."""
    built_in = (motion_energy.NAME,) if fnmatchcase(motion_energy.NAME, pattern) else ()
    return tuple(sorted((*list_torchvision(pattern), *built_in)))


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
        Module paths or shell patterns of them, at least one.
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

    Raises
    ------
    UnknownNameError
        If there is no such network or layer.
    OptionError
        If a setting is not allowed, or the device is not there.
    MissingFileError, UnsafeFileError, DataError
        If the weights are absent, refused, or do not fit.
    """
    if not layers:
        raise OptionError(
            f"layers of '{name}' must name at least one; got none. List them: voxelcast networks layers {name}"
        )
    return _load(name, weights, layers, seed, device, input_size, mean, std)


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
    network = _load(name, None if name == motion_energy.NAME else "random", (), 0, "cpu", input_size, None, None)
    if isinstance(network, TorchvisionNetwork):
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
) -> Network:
    if not name.startswith(PREFIX):
        check_known("network", name, list_networks(), remedy="List them: voxelcast networks list")
    if input_size is not None and input_size < 1:
        raise OptionError(f"input_size must be at least 1 pixel; got {input_size}")
    if std is not None and min(std) <= 0:
        raise OptionError(f"std must be above 0 for each channel; got {std}")
    place = check_device(device)
    if name == motion_energy.NAME:
        if weights not in (None, "none"):
            raise OptionError(f"weights of '{name}' must be none (it is built in); got {str(weights)!r}; leave it out")
        if mean is not None or std is not None:
            raise OptionError(f"mean and std of '{name}' are fixed; got mean={mean}, std={std}; leave them out")
        return MotionEnergy(layers, place, input_size or motion_energy.INPUT_SIZE)
    if weights in (None, "none"):
        raise OptionError(f"weights of '{name}' must be default, random or a file; got {weights}")
    return load_torchvision(
        name,
        weights=weights,
        layers=layers,
        seed=seed,
        device=place,
        input_size=input_size,
        mean=mean,
        std=std,
    )


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
