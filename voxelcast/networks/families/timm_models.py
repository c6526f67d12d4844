"""The networks of timm (PyTorch Image Models), each with its own preprocessing and licence.

A name is an architecture (``timm/resnet50``: its first released weights) or an architecture with the tag of one set
of weights (``timm/resnet50.a1_in1k``). Input size, mean, std and licence are those that timm keeps with the weights;
frames are resized as for every other network.
"""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from voxelcast.core.checks import check_known
from voxelcast.core.errors import DataError, MissingFileError, MissingPackageError, OptionError
from voxelcast.networks.checkpoints import (
    Checkpoint,
    StateDict,
    default_state_dict,
    fit_state_dict,
    read_checkpoint,
)
from voxelcast.networks.recipe import DefaultWeights, Recipe

PREFIX = "timm/"
_LIST = "List them: voxelcast networks list 'timm/*'"


def list_timm(pattern: str = "*") -> tuple[str, ...]:
    """List the networks whose name (``timm/vit_tiny_patch16_224``) matches a shell pattern, sorted.

    Where timm is not installed, a pattern that does not begin with ``timm/`` lists none.

    Raises
    ------
    MissingPackageError
        If the pattern asks for timm's networks by name and timm is not installed.
    """
    literal = re.split(r"[*?\[]", pattern)[0]
    if not (literal.startswith(PREFIX) or PREFIX.startswith(literal)):
        return ()
    try:
        timm = _timm()
    except MissingPackageError:
        if literal.startswith(PREFIX):
            raise
        return ()
    names = {PREFIX + name for name in (*timm.list_models(), *timm.list_pretrained())}
    return tuple(sorted(name for name in names if fnmatchcase(name, pattern)))


def timm_recipe(name: str, input_size: int | None = None) -> Recipe:
    """Say how a network of timm is built, and what its weights expect.

    Parameters
    ----------
    name : str
    input_size : int or None
        What the user asked for.

    Raises
    ------
    MissingPackageError
        If timm is not installed.
    UnknownNameError
        If timm has none of that name.
    OptionError
        If the network was made for frames that are not square and no ``input_size`` is given.
    """
    timm = _timm()
    if not timm.is_model(name.removeprefix(PREFIX).split(".")[0]) or name not in list_timm(f"{name}*"):
        check_known("network", name, list_timm(), remedy=_LIST)
    short = name.removeprefix(PREFIX)
    expected = timm.get_pretrained_cfg(short)
    _, height, width = expected.input_size
    if height != width and input_size is None:
        raise OptionError(f"'{name}' takes frames of {height} x {width} pixels, not square ones; set input_size")
    build = partial(_build, short, height, expected.fixed_input_size)
    return Recipe(
        name=name,
        build=build,
        input_size=height,
        mean=expected.mean,
        std=expected.std,
        default=_default(name, expected),
        fit=partial(_fit, partial(build, input_size or height, False)),
    )


def _timm() -> ModuleType:
    try:
        import timm
    except ImportError as error:
        raise MissingPackageError(
            f"networks of timm need the package timm ({error}); install it: pip install 'voxelcast[timm]'"
        ) from error
    return timm


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
    wanted = path.resolve().name
    with path.open("rb") as opened:
        found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != wanted:
        raise DataError(
            f"weights file {path} must have a sha256 of {wanted}; got {found}; remove it, so that it is fetched again"
        )
    return read_checkpoint(path).state
