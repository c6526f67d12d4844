"""Layers by name, by shell pattern, by index or relative depth, or as a named set."""

from __future__ import annotations

import fnmatch
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from voxelcast.core.checks import nearest
from voxelcast.core.errors import OptionError, UnknownNameError

if TYPE_CHECKING:
    from torch import nn

_VONE = ("vone_block", "bottleneck")
# Networks, by shell patterns of which the first counts, and their layers, by shell patterns.
_OF_2021: dict[str, tuple[str, ...]] = {
    "torchvision/alexnet": (
        *(f"features.{k}" for k in (1, 4, 7, 9, 11)),
        *(f"classifier.{k}" for k in (2, 5, 6)),
    ),
    "torchvision/vgg19": (*(f"features.{k}" for k in (4, 9, 18, 27, 36)), *(f"classifier.{k}" for k in (1, 4, 6))),
    **dict.fromkeys((f"torchvision/resnet{depth}" for depth in (18, 34, 50, 101, 152)), ("layer[1-4]", "fc")),
    "barlow_twins/*": ("conv1", "relu", "maxpool", "layer[1-4].*", "avgpool", "fc"),
    "simclr/*": ("net.0.*", "net.[1-4].blocks.*", "avgpool", "fc"),
    "vonenet/alexnet": (
        *_VONE,
        *(f"model.features.{k}" for k in (1, 4, 6, 8)),
        *(f"model.classifier.{k}" for k in (2, 5, 6)),
    ),
    "vonenet/cornets": (*_VONE, "model.V2", "model.V4", "model.IT", "model.decoder.linear"),
    "vonenet/*": (*_VONE, "model.layer[1-4]", "model.fc"),
}


def expand_layers(
    asked: Sequence[str],
    known: Sequence[str],
    network: str,
    sets: Mapping[str, Sequence[str]] | None = None,
) -> tuple[str, ...]:
    """Resolve what was asked for to layers, of those known, in the order asked, each once.

    Each is the name of a set (``"all"`` is always one), ``"depth:0.5"`` or ``"0.5"`` (0: first, 1: last of the set
    ``hidden``, else of ``blocks``, else of all layers), an index in ``hidden`` (``"3"``, ``"-1"``), a layer, or a
    shell pattern (``"layer2.*"``). A set comes before a layer of its name, a layer before an index or a depth.
    Raises UnknownNameError for a name that no set or layer has, or a pattern that none matches; OptionError for a
    depth that is no number from 0 to 1.
    """
    there = {"all": tuple(known), **(sets or {})}
    chosen: dict[str, None] = {}
    for name in asked:
        if name in there:
            matches: Sequence[str] = there[name]
        elif name not in known and re.fullmatch(r"depth:.*|\d+\.\d*", name):
            matches = [_at_depth(name, there.get("hidden") or there.get("blocks") or known, network)]
        elif name not in known and "hidden" in there and re.fullmatch(r"-?\d+", name):
            hidden, index = there["hidden"], int(name)
            matches = [hidden[index]] if -len(hidden) <= index < len(hidden) else []
        else:
            matches = [name] if name in known else fnmatch.filter(known, name)
        matches = [match for match in matches if match]
        if not matches:
            raise _unknown(name, known, network, there)
        chosen.update(dict.fromkeys(matches))
    return tuple(chosen)


def _at_depth(name: str, layers: Sequence[str], network: str) -> str:
    try:
        depth = float(name.removeprefix("depth:"))
    except ValueError:
        depth = -1.0
    if not 0 <= depth <= 1:
        raise OptionError(
            f"a depth of '{network}' must be a number from 0 (first) to 1 (last), e.g. depth:0.5; got {name!r}"
        )
    return layers[round(depth * (len(layers) - 1))]


def _unknown(name: str, known: Sequence[str], network: str, sets: Mapping[str, Sequence[str]]) -> UnknownNameError:
    near = nearest(name, [*sets, *known])
    hint = f"did you mean {near}? " if near else ""
    return UnknownNameError(
        f"layer {name!r} does not exist in '{network}'; {hint}allowed: {', '.join(sets)}, depth:0 to depth:1, "
        f"a layer, or a pattern like 'layer2.*'. List them: voxelcast networks layers {network}"
    )


def layer_sets(network: str, module: nn.Module, known: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Name the sets of layers that a network has.

    ``all``: every layer. ``blocks``: see :func:`find_blocks`; absent where there are none. ``hidden``: what a
    network of transformers lists as its hidden states, embeddings first, "" where no layer puts one out; its blocks
    are those after the embeddings. ``algonauts2021``: what the fifth-placed entry to the Algonauts 2021 challenge
    [1]_ saved of its networks.

    - AlexNet: five convolutions and three fully connected layers; VGG-19: five max pools and the latter. All but the
      last were overwritten by the ReLU after them, so the ReLUs are named.
    - ResNets of torchvision: the four stages and the classifier.
    - Barlow Twins: convolution, ReLU (twice: once as the batch norm that it overwrote) and max pool of the stem, every
      block, the average pool, and the classifier where there is one. SimCLR-v2: the same, with all steps of the stem.
    - timm: the stages that it gives as features.
    - VOneNets: the V1 block, the bottleneck, and of the network behind them what was saved of the plain one. Its code
      for the latter was not published; its settings counted six layers of CORnet-S, as here.

    References
    ----------
    .. [1] Lange, R. T. (2021). The Algonauts Project 2021 challenge: 5th place solution (mini track).
       https://github.com/RobertTLange/algonauts-2021
    """
    of_2021 = _of_2021(network, getattr(module, "feature_info", None) or (), known)
    hidden = tuple(name if name in known else "" for name in getattr(module, "hidden_layers", ()))
    blocks = tuple(filter(None, hidden[1:])) or find_blocks(module, known)
    sets = {"all": tuple(known), "blocks": blocks, "hidden": hidden, "algonauts2021": of_2021}
    return {name: layers for name, layers in sets.items() if layers}


def _of_2021(network: str, stages: Iterable[Mapping[str, Any]], known: Sequence[str]) -> tuple[str, ...]:
    patterns = next((layers for name, layers in _OF_2021.items() if fnmatch.fnmatchcase(network, name)), ())
    if network.startswith("timm/"):
        patterns = tuple(stage["module"] for stage in stages)
    # A star also matches dots: what lies inside a block is left out by its depth.
    return tuple(
        layer
        for pattern in patterns
        for layer in fnmatch.filter(known, pattern)
        if layer.count(".") == pattern.count(".")
    )


def find_blocks(module: nn.Module, known: Sequence[str]) -> tuple[str, ...]:
    """Find a network's building blocks among its layers, in their order: the units that it repeats.

    A block is a module that is no plain container, holds at least two weighted operations (convolutions, linear maps,
    attention), and is of a class that occurs at least twice and never inside another block. A *stage*, whose children
    are such modules of one class and nothing else, or that has a container with several of them, is no block. There are
    none where nothing is repeated (AlexNet, VGG).
    """
    modules = dict(module.named_modules())
    units = {name: modules[name] for name in known if name in modules and _is_composite(modules[name])}
    repeated = {kind for kind, n in Counter(map(type, units.values())).items() if n > 1}
    stages = {type(unit) for unit in units.values() if _is_stage(unit, repeated)}
    blocks = {name: type(unit) for name, unit in units.items() if type(unit) in repeated - stages}
    # A class that anywhere is part of a block (squeeze-and-excitation, an MLP) is none.
    parts = {kind for name, kind in blocks.items() if any(name.startswith(f"{other}.") for other in blocks)}
    return tuple(name for name in known if name in blocks and blocks[name] not in parts)


def _is_container(module: nn.Module) -> bool:
    from torch import nn

    return isinstance(module, nn.Sequential | nn.ModuleList | nn.ModuleDict)


def _is_composite(module: nn.Module) -> bool:
    weighted = sum(any(p.ndim > 1 for p in part.parameters(recurse=False)) for part in module.modules())
    return not _is_container(module) and any(True for _ in module.children()) and weighted > 1


def _is_stage(module: nn.Module, repeated: set[type[nn.Module]]) -> bool:
    children = list(module.children())
    for group in (children, *(list(child.children()) for child in children if _is_container(child))):
        kinds = Counter(type(part) for part in group if type(part) in repeated and _is_composite(part))
        # Next to other children (norms), several of a class may well be parts of one block.
        if any(n > 1 and (group is not children or n == len(group)) for n in kinds.values()):
            return True
    return False
