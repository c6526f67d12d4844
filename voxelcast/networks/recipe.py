"""How a network that is a torch module comes about: built, given weights, and described by its card."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from voxelcast.core.errors import MissingFileError, OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.networks.base import NetworkCard
from voxelcast.networks.checkpoints import Checkpoint, StateDict, fit_state_dict, parameter_hash, read_checkpoint
from voxelcast.networks.module_network import ModuleNetwork

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class DefaultWeights:
    """Weights that were released for a network.

    Parameters
    ----------
    label : str
        What they are called.
    read : callable
        Gives the state dict, from a cache or a download whose hash is checked.
    licence : str
    """

    label: str
    read: Callable[[], StateDict]
    licence: str = "unknown"


def fit_exactly(module: nn.Module, checkpoint: Checkpoint, network: str, source: str) -> nn.Module:
    """Load a checkpoint's weights, every one and no other; the usual :attr:`Recipe.fit`."""
    fit_state_dict(module, checkpoint.state, network, source)
    return module


@dataclass(frozen=True)
class Recipe:
    """What a family of networks says of one of its members.

    Parameters
    ----------
    name : str
        In the registry, e.g. ``"simclr/r50_1x_sk0"``.
    build : callable
        Takes the input size and whether random weights are wanted; gives the module with random weights.
    input_size : int
        That of the released weights, in pixels.
    mean, std : tuple of 3 floats
        Normalisation of RGB in [0, 1] of the released weights.
    default : DefaultWeights or str
        The released weights, or one sentence that tells why they cannot be had by themselves and what to do.
    fit : callable
        Takes module, checkpoint, the network's name and what the checkpoint is called; gives the module that has these
        weights.
    fixed_normalisation : str
        Why mean and std must not be changed; empty where they may.
    noise_seed : int or None
        Of the module's noise.
    """

    name: str
    build: Callable[[int, bool], nn.Module]
    input_size: int
    mean: Triple
    std: Triple
    default: DefaultWeights | str
    fit: Callable[[nn.Module, Checkpoint, str, str], nn.Module] = fit_exactly
    fixed_normalisation: str = ""
    noise_seed: int | None = None


def load_recipe(
    recipe: Recipe,
    *,
    weights: str | Path,
    layers: Sequence[str],
    seed: int,
    device: torch.device,
    input_size: int | None = None,
    mean: Triple | None = None,
    std: Triple | None = None,
) -> ModuleNetwork:
    """Load a network; see :func:`voxelcast.networks.registry.load_network` for the parameters and errors."""
    if recipe.fixed_normalisation and (mean or std):
        raise OptionError(
            f"mean and std of '{recipe.name}' must stay {recipe.mean} and {recipe.std} ({recipe.fixed_normalisation}); "
            f"got mean={mean}, std={std}; leave them out"
        )
    size = input_size or recipe.input_size
    module = _build(recipe, size, seed, random=weights == "random")
    licence = "unknown"
    if weights == "random":
        said, licence = f"random (seed {seed})", "none (random)"
    elif weights == "default":
        default = recipe.default
        if isinstance(default, str):
            raise MissingFileError(default)
        checkpoint = Checkpoint(default.read(), {})
        module = recipe.fit(module, checkpoint, recipe.name, f"the default ({default.label})")
        said, licence = f"default ({default.label})", default.licence
    else:
        path = Path(weights)
        module = recipe.fit(module, read_checkpoint(path), recipe.name, f"file {path}")
        said = f"file {path.name}"
    digest = parameter_hash(module)
    if weights not in ("random", "default"):
        said += f" (blake2b {digest[:12]})"
    if recipe.noise_seed is not None:
        said += f", noise seed {recipe.noise_seed}"
    card = NetworkCard(
        name=recipe.name,
        takes="frames",
        input_size=size,
        mean=mean or recipe.mean,
        std=std or recipe.std,
        weights=said,
        weights_hash=digest,
        licence=licence,
        noise_seed=recipe.noise_seed,
    )
    return ModuleNetwork(card, module, layers, device)


def _build(recipe: Recipe, input_size: int, seed: int, *, random: bool) -> nn.Module:
    """Build the architecture with random weights that depend on the seed and the name only."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(derive_seed(seed, "networks", recipe.name))
        try:
            return recipe.build(input_size, random)
        except (AssertionError, ValueError) as error:
            raise OptionError(f"'{recipe.name}' cannot take input_size {input_size} ({error}); leave it out") from error
