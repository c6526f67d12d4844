"""How a network that is a torch module comes about: built, given weights, and described by its card."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from voxelcast.core.errors import MissingFileError, OptionError, VoxelcastError
from voxelcast.core.seeds import derive_seed
from voxelcast.networks.base import NetworkCard, Triple
from voxelcast.networks.checkpoints import Checkpoint, StateDict, fit_state_dict, parameter_hash, read_checkpoint
from voxelcast.networks.clip_network import ClipNetwork
from voxelcast.networks.heads import fit_head
from voxelcast.networks.hooks import View
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.settings import NetworkSettings


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


@dataclass(frozen=True)
class ClipRule:
    """How a network that takes clips gets them and is read.

    Parameters
    ----------
    length, stride : int
        Frames per clip, and from the beginning of one to that of the next.
    view : callable
        Of :class:`voxelcast.networks.clip_network.ClipNetwork`.
    """

    length: int
    stride: int
    view: View


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
        Takes the input size and whether random weights are wanted; gives the module with random weights (your own
        network: with the weights that it comes with, where random ones are not wanted).
    input_size : int
        That of the released weights, in pixels.
    mean, std : tuple of 3 floats
        Normalisation of RGB in [0, 1] of the released weights.
    default : DefaultWeights or str
        The released weights, or one sentence that tells why they cannot be had by themselves and what to do; None
        where the module comes with them.
    fit : callable
        Takes module, checkpoint, the network's name and what the checkpoint is called; gives the module that has these
        weights.
    fixed_normalisation : str
        Why mean and std must not be changed; empty where they may.
    noise_seed : int or None
        Of the module's noise.
    clip : ClipRule or None
        Of a module that takes clips.
    add_head : callable or None
        Gives a module without a classifier one, for fine-tuning.
    code : callable or None
        Takes the module; names the version of its code where that is not part of voxelcast.
    """

    name: str
    build: Callable[[int, bool], nn.Module]
    input_size: int
    mean: Triple
    std: Triple
    default: DefaultWeights | str | None
    fit: Callable[[nn.Module, Checkpoint, str, str], nn.Module] = fit_exactly
    fixed_normalisation: str = ""
    noise_seed: int | None = None
    clip: ClipRule | None = None
    code: Callable[[nn.Module], str] | None = None
    add_head: Callable[[nn.Module], nn.Module] | None = None


def load_recipe(recipe: Recipe, settings: NetworkSettings, *, seed: int, device: torch.device) -> ModuleNetwork:
    """Load a network; errors as of :func:`voxelcast.networks.registry.load_network`."""
    mean, std, weights = settings.mean, settings.std, settings.chosen_weights
    if weights == "none":
        raise OptionError(f"weights of '{recipe.name}' must be default, random or a file; got none")
    if recipe.fixed_normalisation and (mean or std):
        raise OptionError(
            f"mean and std of '{recipe.name}' must stay {recipe.mean} and {recipe.std} ({recipe.fixed_normalisation}); "
            f"got mean={mean}, std={std}; leave them out"
        )
    size = settings.input_size or recipe.input_size
    module = build_module(recipe, size, seed, random=weights == "random")
    module, called, licence = with_weights(module, recipe, weights, seed)
    digest = parameter_hash(module)
    if not called.startswith(("random", "default")):
        called += f" (blake2b {digest[:12]})"
    if recipe.noise_seed is not None:
        called += f", noise seed {recipe.noise_seed}"
    card = NetworkCard(
        name=recipe.name,
        takes="clip" if recipe.clip else "frames",
        input_size=size,
        mean=mean or recipe.mean,
        std=std or recipe.std,
        weights=called,
        weights_hash=digest,
        licence=settings.licence or licence,
        noise_seed=recipe.noise_seed,
        clip_length=recipe.clip.length if recipe.clip else None,
        clip_stride=recipe.clip.stride if recipe.clip else None,
        code=recipe.code(module) if recipe.code else "",
        precision=settings.precision,
    )
    if recipe.clip:
        return ClipNetwork(card, module, settings.layers, device, recipe.clip.view)
    return ModuleNetwork(card, module, settings.layers, device)


def with_weights(module: nn.Module, recipe: Recipe, weights: str, seed: int) -> tuple[nn.Module, str, str]:
    """Give a module that was built by its recipe weights.

    Returns
    -------
    module : nn.Module
        The same, or another one that the weights are for.
    called, licence : str
        What the weights are called, and their licence.
    """
    if weights == "random":
        return module, f"random (seed {seed})", "none (random)"
    default = recipe.default
    if weights != "default":
        path = Path(weights)
        checkpoint = read_checkpoint(path)
        fit = recipe.fit
        if "head" in checkpoint.flags:  # written by voxelcast networks finetune
            module = recipe.add_head(module) if recipe.add_head else module
            fit_head(module, checkpoint)
            fit = fit_exactly
        return fit(module, checkpoint, recipe.name, f"file {path}"), f"file {path.name}", "unknown"
    if default is None:
        return module, "its own", "unknown"
    if isinstance(default, str):
        raise MissingFileError(default)
    module = recipe.fit(module, Checkpoint(default.read(), {}), recipe.name, f"the default ({default.label})")
    return module, f"default ({default.label})", default.licence


def build_module(recipe: Recipe, input_size: int, seed: int, *, random: bool) -> nn.Module:
    """Build the architecture with random weights that depend on the seed and the name only."""
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(derive_seed(seed, "networks", recipe.name))
        try:
            return recipe.build(input_size, random)
        except VoxelcastError:
            raise
        except (AssertionError, ValueError) as error:
            raise OptionError(f"'{recipe.name}' cannot take input_size {input_size} ({error}); leave it out") from error
