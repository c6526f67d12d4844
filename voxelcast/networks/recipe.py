"""How a network that is a torch module comes about: built, given weights, and described by its card."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from voxelcast.core.checks import home_expanded
from voxelcast.core.errors import MissingFileError, OptionError, VoxelcastError
from voxelcast.core.seeds import derive_seed
from voxelcast.networks.base import NetworkCard, Triple
from voxelcast.networks.checkpoints import (
    Checkpoint,
    StateDict,
    fit_head,
    fit_state_dict,
    parameter_hash,
    read_checkpoint,
)
from voxelcast.networks.clips import ClipNetwork, check_clips
from voxelcast.networks.hooks import View
from voxelcast.networks.module_network import ModuleNetwork
from voxelcast.networks.settings import NetworkSettings


@dataclass(frozen=True)
class DefaultWeights:
    """Released weights: what they are called, how they are read (from a cache or a checked download), their licence."""

    label: str
    read: Callable[[], StateDict]
    licence: str = "unknown"


@dataclass(frozen=True)
class ClipRule:
    """How a network gets clips (length and stride in frames) and how its layers are read; see `ClipNetwork`."""

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
    build : callable
        Takes the input size and whether random weights are asked for; gives the module with random weights (your own
        network: with the weights that it comes with, where random ones are not asked for).
    input_size, mean, std
        Of the released weights: pixels, and normalisation of RGB in [0, 1].
    default : DefaultWeights, str or None
        The released weights, or one sentence that tells why they cannot be had by themselves and what to do; None
        where the module comes with them.
    fit : callable
        Takes module, checkpoint, the network's name and what the checkpoint is called; gives the module that has these
        weights.
    fixed_normalisation : str
        Why mean and std must not be changed; empty where they may.
    code : callable or None
        Takes the module; names the version of its code where that is not part of voxelcast, or what varies in it.
    add_head : callable or None
        Gives a module without a classifier one, for fine-tuning.
    view : callable or None
        How the layers of a network that takes frames are read, where they put out tokens.
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
    view: View | None = None


def load_recipe(recipe: Recipe, settings: NetworkSettings, *, seed: int, device: torch.device) -> ModuleNetwork:
    """Load a network; errors as of :func:`voxelcast.networks.registry.load_network`."""
    mean, std = settings.mean, settings.std
    if recipe.fixed_normalisation and (mean or std):
        raise OptionError(
            f"mean and std of '{recipe.name}' must stay {recipe.mean} and {recipe.std} ({recipe.fixed_normalisation}); "
            f"got mean={mean}, std={std}; leave them out"
        )
    if recipe.clip:
        check_clips(recipe.name, recipe.clip.length, recipe.clip.stride)
    module, called, licence = build_module(recipe, settings, seed)
    digest = parameter_hash(module)
    if not called.startswith(("random", "default")):
        called += f" (blake2b {digest[:12]})"
    if recipe.noise_seed is not None:
        called += f", noise seed {recipe.noise_seed}"
    card = NetworkCard(
        name=recipe.name,
        takes="clip" if recipe.clip else "frames",
        input_size=settings.input_size or recipe.input_size,
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
    return ModuleNetwork(card, module, settings.layers, device, recipe.view)


def build_module(recipe: Recipe, settings: NetworkSettings, seed: int) -> tuple[nn.Module, str, str]:
    """Build a module and give it the weights asked for; random ones depend on the seed and the name only.

    Returns the module, what its weights are called, and their licence.
    """
    weights, default = settings.chosen_weights, recipe.default
    path = None if weights in ("default", "random") else home_expanded(Path(weights))
    # What is wrong with the weights is said before a large network is built.
    if weights == "none":
        raise OptionError(f"weights of '{recipe.name}' must be default, random or a file; got none")
    if weights == "default" and isinstance(default, str):
        raise MissingFileError(default)
    checkpoint = read_checkpoint(path) if path else Checkpoint({}, {})
    module = _architecture(recipe, settings.input_size or recipe.input_size, seed, random=weights == "random")
    if weights == "random":
        return module, f"random (seed {seed})", "none (random)"
    if path is not None:
        fit = recipe.fit
        if "head" in checkpoint.flags:  # written by voxelcast networks finetune
            module = recipe.add_head(module) if recipe.add_head else module
            fit_head(module, checkpoint)
            fit = fit_exactly
        return fit(module, checkpoint, recipe.name, f"file {path}"), f"file {path.name}", "unknown"
    if not isinstance(default, DefaultWeights):
        return module, "its own", "unknown"
    module = recipe.fit(module, Checkpoint(default.read(), {}), recipe.name, f"the default ({default.label})")
    return module, f"default ({default.label})", default.licence


def _architecture(recipe: Recipe, input_size: int, seed: int, *, random: bool) -> nn.Module:
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        torch.manual_seed(derive_seed(seed, "networks", recipe.name))
        try:
            return recipe.build(input_size, random)
        except VoxelcastError:
            raise
        except (AssertionError, ValueError) as error:
            raise OptionError(f"'{recipe.name}' cannot take input_size {input_size} ({error}); leave it out") from error
