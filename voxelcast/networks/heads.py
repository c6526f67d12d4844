"""The last layer of a classifier: found, and replaced where there are other classes."""

from __future__ import annotations

import torch
from torch import nn

from voxelcast.core.errors import OptionError
from voxelcast.networks.checkpoints import Checkpoint

_WEIGHT_SD = 0.01  # of a new head, as Barlow Twins' recipe for semi-supervised learning has it


def find_head(module: nn.Module, network: str) -> str:
    """Name the layer that gives the classes' scores: the last linear map or 1 x 1 convolution of the module.

    Raises
    ------
    OptionError
        If there is none.
    """
    heads: list[str] = [name for name, part in module.named_modules() if name and _is_head(part)]
    if not heads:
        raise OptionError(f"'{network}' has no last linear layer to classify with; choose another network")
    return heads[-1]


def _is_head(part: nn.Module) -> bool:
    return isinstance(part, nn.Linear) or (isinstance(part, nn.Conv2d) and set(part.kernel_size) == {1})


def replace_head(module: nn.Module, head: str, n_classes: int) -> None:
    """Replace the head by a layer for ``n_classes`` classes: weights of deviation 0.01, biases 0.

    Drawn from torch's random state.
    """
    old = module.get_submodule(head)
    new: nn.Linear | nn.Conv2d
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, n_classes, bias=old.bias is not None)
    else:
        assert isinstance(old, nn.Conv2d)
        new = nn.Conv2d(old.in_channels, n_classes, 1, bias=old.bias is not None)
    nn.init.normal_(new.weight, std=_WEIGHT_SD)
    if new.bias is not None:
        nn.init.zeros_(new.bias)
    module.set_submodule(head, new)


def fit_head(module: nn.Module, checkpoint: Checkpoint) -> None:
    """Give a module the head that a fine-tuned checkpoint has, for as many classes."""
    head = str(checkpoint.flags["head"])
    weight = checkpoint.state.get(f"{head}.weight")
    if weight is not None and head in dict(module.named_modules()) and _is_head(module.get_submodule(head)):
        with torch.random.fork_rng(devices=[]):
            replace_head(module, head, len(weight))
