"""Torchvision's image classification networks, any of their layers, with released, own or random weights."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from voxelcast.core.arrays import ByteArray
from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.core.seeds import derive_seed
from voxelcast.networks.base import Network, NetworkCard, expand_layers
from voxelcast.networks.checkpoints import default_state_dict, fit_state_dict, parameter_hash, read_state_dict
from voxelcast.networks.hooks import LayerTrace, capture, trace
from voxelcast.networks.prepare import prepare_frames

PREFIX = "torchvision/"


class TorchvisionNetwork(Network):
    """An image classification network of torchvision, in eval mode.

    Parameters
    ----------
    card : NetworkCard
    module : nn.Module
    layers : sequence of str
        Module paths, or shell patterns of them; empty for none.
    device : torch.device

    Raises
    ------
    UnknownNameError
        If there is no such layer, or it cannot be asked for.
    OptionError
        If the network cannot take frames of the card's input size.
    """

    def __init__(self, card: NetworkCard, module: nn.Module, layers: Sequence[str], device: torch.device) -> None:
        self.card = card
        self._device = device
        # Measured on a CPU: twice as fast for depthwise convolutions, no slower elsewhere.
        self._module = module.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.traces = self._trace()
        self.layers = expand_layers(layers, self.layer_names(), card.name) if self._check_asked(layers) else ()
        self._calls = {seen.name: seen.calls for seen in self.traces if seen.name in self.layers}

    def layer_names(self) -> tuple[str, ...]:
        """All layers that can be asked for, in the order of the forward pass."""
        return tuple(seen.name for seen in self.traces if not seen.problem)

    def prepare(self, frames: ByteArray) -> torch.Tensor:
        """Resize and normalise frames of shape (n_frames, height, width, 3) for this network."""
        return prepare_frames(frames, self.card.input_size, self.card.mean, self.card.std, self._device)

    def activations(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run forward until the last chosen layer; return all of them, each of shape (n_frames, ...)."""
        full_precision = torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False)
        inputs = prepared.contiguous(memory_format=torch.channels_last)
        with torch.inference_mode(), full_precision, capture(self._module, self.layers, self._calls) as captured:
            self._module(inputs)
        return captured

    def _trace(self) -> tuple[LayerTrace, ...]:
        size = self.card.input_size
        try:
            return trace(self._module, torch.zeros(2, 3, size, size, device=self._device))
        except (RuntimeError, AssertionError, ValueError) as error:
            raise OptionError(
                f"'{self.card.name}' cannot take frames of input_size {size} ({' '.join(str(error).split())[:120]}); "
                "leave input_size out"
            ) from error

    def _check_asked(self, layers: Sequence[str]) -> bool:
        problems = {seen.name: seen.problem for seen in self.traces if seen.problem}
        for layer in layers:
            if layer in problems:
                raise UnknownNameError(
                    f"layer {layer!r} of '{self.card.name}' {problems[layer]}; "
                    f"choose another. List them: voxelcast networks layers {self.card.name}"
                )
        return bool(layers)


def list_torchvision(pattern: str = "*") -> tuple[str, ...]:
    """List the networks whose name (``torchvision/resnet18``) matches a shell pattern, sorted."""
    names = [PREFIX + name for name in torchvision.models.list_models(module=torchvision.models)]
    return tuple(sorted(name for name in names if fnmatchcase(name, pattern)))


def load_torchvision(
    name: str,
    *,
    weights: str | Path,
    layers: Sequence[str],
    seed: int,
    device: torch.device,
    input_size: int | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
) -> TorchvisionNetwork:
    """Load a network; see :func:`voxelcast.networks.registry.load_network` for the parameters and errors."""
    _check_name(name)
    released = torchvision.models.get_model_weights(name.removeprefix(PREFIX)).DEFAULT
    expected = released.transforms()
    size = input_size or int(expected.crop_size[0])
    module = _build(name, size, seed, random=weights == "random")
    said = f"random (seed {seed})"
    if weights == "default":
        fit_state_dict(module, default_state_dict(released.url, name), name, f"the default ({released.name})")
        said = f"default ({released.name})"
    elif weights != "random":
        path = Path(weights)
        fit_state_dict(module, read_state_dict(path), name, f"file {path}")
    digest = parameter_hash(module)
    if weights not in ("default", "random"):
        said = f"file {Path(weights).name} (blake2b {digest[:12]})"
    card = NetworkCard(
        name=name,
        takes="frames",
        input_size=size,
        mean=mean or _three(expected.mean),
        std=std or _three(expected.std),
        weights=said,
        weights_hash=digest,
        licence="none (random)" if weights == "random" else "unknown",
    )
    return TorchvisionNetwork(card, module, layers, device)


def _check_name(name: str) -> None:
    known = list_torchvision()
    others = [PREFIX + other for other in torchvision.models.list_models()]
    if name not in known and name in others:
        raise UnknownNameError(
            f"network {name!r} is no image classification network of torchvision, and only these are offered. "
            "List them: voxelcast networks list 'torchvision/*'"
        )
    check_known("network", name, known, remedy="List them: voxelcast networks list 'torchvision/*'")


def _build(name: str, input_size: int, seed: int, *, random: bool) -> nn.Module:
    """Build the architecture with random weights that depend on the seed and the name only."""
    short = name.removeprefix(PREFIX)
    options: dict[str, Any] = {}
    if short in ("googlenet", "inception_v3"):
        # As torchvision does: trained weights of these two expect inputs that they re-scale themselves.
        options = {"init_weights": random, "transform_input": not random}
    elif short.startswith("vit_"):
        options = {"image_size": input_size}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(derive_seed(seed, "networks", name))
        try:
            module: nn.Module = torchvision.models.get_model(short, weights=None, **options)
        except (AssertionError, ValueError) as error:
            raise OptionError(f"'{name}' cannot take input_size {input_size} ({error}); leave it out") from error
    return module


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return float(red), float(green), float(blue)
