"""A network on its way to fine-tuning: built, given weights and a head for the classes that it is to learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from voxelcast.core.errors import OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.networks.base import Triple
from voxelcast.networks.heads import find_head, replace_head
from voxelcast.networks.image_folder import LabelledImages
from voxelcast.networks.recipe import build_module
from voxelcast.networks.registry import find_recipe
from voxelcast.networks.settings import NetworkSettings


@dataclass(frozen=True)
class Trainee:
    """A network to be fine-tuned: the module with its head in place, and how its input is made."""

    name: str
    weights: str
    module: nn.Module
    input_size: int
    mean: Triple
    std: Triple


def load_trainee(
    settings: NetworkSettings, images: LabelledImages, *, seed: int = 0, keep_head: bool = False
) -> Trainee:
    """Load a network for fine-tuning.

    Parameters
    ----------
    settings : NetworkSettings
        As of :func:`voxelcast.networks.registry.load_network`, which has the errors, too; layers do not count.
    images : LabelledImages
        Whose classes it is to learn.
    seed : int
        Of random weights and of the new head.
    keep_head : bool
        Keep the last layer, whose classes must be those of the images, instead of putting a new one in its place.

    Raises
    ------
    OptionError
        If the network takes clips, or has no last layer to classify with.
    """
    recipe, name = find_recipe(settings), settings.name
    if recipe.clip:
        raise OptionError(f"'{name}' takes clips and cannot be fine-tuned on images; choose another")
    module, called, _ = build_module(recipe, settings, seed)
    if recipe.add_head and not keep_head:
        module = recipe.add_head(module)
    head = find_head(module, name)
    if not keep_head:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "finetune", "head"))
            replace_head(module, head, max(images.classes.values()) + 1)
    size = settings.input_size or recipe.input_size
    return Trainee(name, called, module, size, settings.mean or recipe.mean, settings.std or recipe.std)
