"""A network on its way to fine-tuning: built, given weights and a head for the classes that it is to learn."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from voxelcast.core.errors import OptionError
from voxelcast.core.seeds import derive_seed
from voxelcast.networks.heads import find_head, replace_head
from voxelcast.networks.image_folder import LabelledImages
from voxelcast.networks.recipe import Triple, Wanted, build_module, with_weights
from voxelcast.networks.registry import find_recipe


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
    name: str,
    images: LabelledImages,
    *,
    weights: str | Path = "default",
    seed: int = 0,
    keep_head: bool = False,
    wanted: Wanted | None = None,
) -> Trainee:
    """Load a network for fine-tuning.

    Parameters
    ----------
    name : str
        As of :func:`voxelcast.networks.registry.load_network`, which has the errors, too.
    images : LabelledImages
        Whose classes it is to learn.
    weights : str or Path
    seed : int
        Of random weights and of the new head.
    keep_head : bool
        Keep the last layer, whose classes must be those of the images, instead of putting a new one in its place.
    wanted : Wanted or None
        What else the user asked for.

    Raises
    ------
    OptionError
        If the network takes clips, or has no last layer to classify with.
    """
    wanted = wanted or Wanted()
    recipe = find_recipe(name, wanted)
    if recipe.clip:
        raise OptionError(f"'{name}' takes clips and cannot be fine-tuned on images; choose another")
    size = wanted.input_size or recipe.input_size
    module = build_module(recipe, size, seed, random=weights == "random")
    module, said, _ = with_weights(module, recipe, weights, seed)
    if recipe.add_head and not keep_head:
        module = recipe.add_head(module)
    head = find_head(module, name)
    if not keep_head:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed(seed, "finetune", "head"))
            replace_head(module, head, max(images.classes.values()) + 1)
    return Trainee(name, said, module, size, wanted.mean or recipe.mean, wanted.std or recipe.std)
