"""The networks of timm (PyTorch Image Models), each with its own preprocessing and licence.

A name is an architecture (``timm/resnet50``: its first released weights) or an architecture with the tag of one set
of weights (``timm/resnet50.a1_in1k``). Input size, mean, std and licence are those that timm keeps with the weights;
frames are resized as for every other network.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from voxelcast.core.checks import optional_package
from voxelcast.core.errors import DataError, MissingFileError, OptionError
from voxelcast.networks.checkpoints import (
    Checkpoint,
    StateDict,
    check_sha256,
    default_state_dict,
    fit_state_dict,
    read_checkpoint,
)
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.recipe import DefaultWeights, Recipe
from voxelcast.networks.settings import NetworkSettings

PREFIX = "timm/"


@register_network("timm")
class Timm(Family):
    """The networks of timm, by timm's own names."""

    prefix = PREFIX
    many = True

    def names(self) -> Sequence[str]:
        """List architectures, and architectures with a tag."""
        timm = _timm()
        return [PREFIX + name for name in {*timm.list_models(), *timm.list_pretrained()}]

    def recipe(self, settings: NetworkSettings) -> Recipe:
        """Say how a network is built, and what its weights expect."""
        name, short = settings.name, settings.name.removeprefix(PREFIX)
        expected = _timm().get_pretrained_cfg(short)
        _, height, width = expected.input_size
        if height != width and settings.input_size is None:
            raise OptionError(f"'{name}' takes frames of {height} x {width} pixels, not square ones; set input_size")
        build = partial(_build, short, height, expected.fixed_input_size)
        return Recipe(
            name=name,
            build=build,
            input_size=height,
            mean=expected.mean,
            std=expected.std,
            default=_default(name, expected),
            fit=partial(_fit, partial(build, settings.input_size or height, False)),
        )


def _timm() -> Any:
    needs = "networks of timm need the package timm ({error}); install it: pip install 'voxelcast[timm]'"
    return optional_package("timm", needs)


def _build(short: str, own_size: int, fixed: bool, input_size: int, random: bool, **pretrained: Any) -> nn.Module:
    options = {"img_size": input_size} if fixed and input_size != own_size else {}
    try:
        module: nn.Module = _timm().create_model(short, **options, **pretrained)
    except TypeError as error:
        raise OptionError(
            f"'{PREFIX}{short}' takes frames of {own_size} pixels only; got input_size {input_size}; leave it out"
        ) from error
    return module


def _fit(build: partial[nn.Module], module: nn.Module, checkpoint: Checkpoint, network: str, source: str) -> nn.Module:
    """Load weights the way timm does: it renames tensors of older files and resizes position embeddings."""
    overlay = {"state_dict": checkpoint.state}
    try:
        with torch.random.fork_rng(devices=[]):
            return build(pretrained=True, pretrained_cfg_overlay=overlay)
    except (RuntimeError, KeyError, ValueError, AttributeError, IndexError, TypeError) as error:
        # Says which tensors are missing or left over.
        fit_state_dict(module, checkpoint.state, network, source)
        raise DataError(f"weights of {source} could not be fitted to '{network}' ({error})") from error


def _default(name: str, expected: Any) -> DefaultWeights | str:
    licence = expected.license or "unknown"
    label = f"{expected.architecture}.{expected.tag}" if expected.tag else name.removeprefix(PREFIX)
    # A hash in the file's name pins its content.
    if expected.url and re.search(r"-[0-9a-f]{8,}\.(pth|pt|bin)$", expected.url):
        return DefaultWeights(label, partial(default_state_dict, expected.url, name), licence)
    if expected.hf_hub_id:
        file = expected.hf_hub_filename or "model.safetensors"
        return DefaultWeights(label, partial(_from_hub, expected.hf_hub_id, file, name), licence)
    return (
        f"no weights with a known hash were released for '{name}'; "
        "choose a name with a tag, or set weights to a file or to random"
    )


def _from_hub(repository: str, file: str, network: str) -> StateDict:
    """Read released weights from the Hugging Face hub's cache, downloading them into it first where they are absent.

    The cache names a file by the sha256 that the hub gave for it; the content is checked against that.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError

    repository, _, revision = repository.partition("@")
    try:
        path = Path(huggingface_hub.hf_hub_download(repository, file, revision=revision or None))
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        cache = Path(huggingface_hub.constants.HF_HUB_CACHE)
        raise MissingFileError(
            f"default weights of '{network}' ({repository}, {file}) are not in {cache} and cannot be downloaded "
            f"({reason}); fetch {file} elsewhere and set weights to it, or copy the cache's folder "
            f"models--{repository.replace('/', '--')} of a machine that has them there, or set weights to random"
        ) from error
    check_sha256(path, path.resolve().name, "remove it, so that it is fetched again")
    return read_checkpoint(path).state
