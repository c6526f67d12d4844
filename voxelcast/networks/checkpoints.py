"""Weights: read safely from a file, fitted strictly to a network, and known by their hash; and heads for them."""

from __future__ import annotations

import argparse
import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from torch import nn

from voxelcast.core.checks import optional_package
from voxelcast.core.errors import DataError, MissingFileError, OptionError, UnsafeFileError
from voxelcast.networks.families.tensor_bundle import find_bundle, read_bundle
from voxelcast.store.readers.guard import check_file, reading

StateDict = dict[str, torch.Tensor]
_HEAD_SD = 0.01  # of a new head's weights, as Barlow Twins' recipe for semi-supervised learning has it


def parameter_hash(module: nn.Module) -> str:
    """Hash every parameter and buffer with its name, type and shape (32 hex digits)."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class Checkpoint:
    """What a weights file holds: the state dict, its names freed of ``module.``, and flags.

    Flags are what else the file says of the network (``"flags"`` of released VOneNets); often empty.
    """

    state: StateDict
    flags: Mapping[str, object]


def read_checkpoint(path: Path) -> Checkpoint:
    """Read weights from a file, admitting tensors and plain containers only.

    A bare state dict, one under ``"state_dict"``, ``"model"`` or ``"resnet"``, names that all begin with ``module.``,
    safetensors files, and TensorFlow checkpoints (by the name before ``.index``) are understood. Raises
    MissingFileError if there is no such file, UnsafeFileError if it would run code, DataError if it is no checkpoint or
    holds no state dict, and MissingPackageError without the package that a safetensors file needs.
    """
    bundle = None if path.is_file() and path.suffix != ".index" else find_bundle(path)
    if bundle is not None:
        return Checkpoint(read_bundle(bundle), {})
    check_file(path, "weights file", "check the path, or set weights=random")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    flags: object = content.get("flags", {}) if isinstance(content, Mapping) else {}
    if isinstance(flags, argparse.Namespace):
        flags = vars(flags)
    for key in ("state_dict", "model", "resnet"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise DataError(
            f"weights file {path} must hold a state dict (tensors by name); got {type(content).__name__}; "
            "save the network's state_dict()"
        )
    names = [str(name) for name in content]
    prefix = "module." if names and all(name.startswith("module.") for name in names) else ""
    state = {name.removeprefix(prefix): tensor for name, tensor in zip(names, content.values(), strict=True)}
    return Checkpoint(state, flags if isinstance(flags, Mapping) else {})


def _read_torch(path: Path) -> Any:
    with reading(f"weights file {path}", "a torch checkpoint", "fetch it again, or save the network's state_dict()"):
        try:
            # A namespace of command-line options is a plain container too, and is found in released files.
            with torch.serialization.safe_globals([argparse.Namespace]):
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            # torch says the same of a file that is no pickle at all; its first bytes tell the two apart.
            with path.open("rb") as file:
                first = file.read(2)
            if first in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
                raise UnsafeFileError(
                    f"weights file {path} holds more than tensors and plain containers and was not loaded; "
                    "save the network's state_dict() and use that"
                ) from error
            raise DataError(f"weights file {path} is no torch checkpoint; save the network's state_dict()") from error


def _read_safetensors(path: Path) -> StateDict:
    needs = f"reading {path} needs the package safetensors ({{error}}); install it: pip install safetensors"
    library = optional_package("safetensors.torch", needs)
    with reading(f"weights file {path}", "safetensors", "fetch it again"):
        return dict(library.load_file(path))


def fit_state_dict(module: nn.Module, state: StateDict, network: str, source: str) -> None:
    """Load weights, every one and no other.

    Raises DataError, with the first of each kind, if tensors are missing, left over or of another shape.
    """
    wanted = module.state_dict()
    problems = {
        # Counters that files from before torch 0.4.1 lack and that only training uses.
        "missing": [k for k in wanted if k not in state and not k.endswith("num_batches_tracked")],
        "not in the network": [k for k in state if k not in wanted],
        "of another shape": [k for k in wanted if k in state and state[k].shape != wanted[k].shape],
    }
    if any(problems.values()):
        counts = [f"{len(keys)} {what} (first {keys[0]!r})" for what, keys in problems.items() if keys]
        raise DataError(
            f"weights of {source} must fit '{network}'; got {len(state)} tensors: {', '.join(counts)}; "
            "choose the network they were made for"
        )
    module.load_state_dict({**wanted, **state})


def default_state_dict(url: str, network: str) -> StateDict:
    """Read the weights released at ``url`` from torch's cache, downloading them into it first where they are absent.

    The hash in the file's name is checked either way. Raises MissingFileError, which says where to put which file, if
    they cannot be downloaded, and DataError if the content does not have the hash.
    """
    name = Path(urlparse(url).path).name
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / name
    digits = re.search(r"-([0-9a-f]{8,})\.", name)
    if not path.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), hash_prefix=digits and digits[1], progress=False)
        except (URLError, OSError, RuntimeError) as error:
            reason = getattr(error, "reason", None) or error
            raise MissingFileError(
                f"default weights of '{network}' ({name}) are not at {path} and cannot be downloaded ({reason}); "
                f"fetch {url} elsewhere and put it there, or set weights to a file or to random"
            ) from error
    if digits:
        check_sha256(path, digits[1], "fetch it again")
    return _with_present_names(read_checkpoint(path).state, network)


def check_sha256(path: Path, digits: str, remedy: str) -> None:
    """Raise DataError unless a file's sha256 begins with these hexadecimal digits."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(digits):
        more = "..." if len(digits) < len(found) else ""
        raise DataError(
            f"weights file {path} must have a sha256 of {digits}{more}; got {found[: len(digits)]}{more}; {remedy}"
        )


def _with_present_names(state: StateDict, network: str) -> StateDict:
    """Rename the tensors of DenseNets, whose released files keep names from before torch 0.4 (``norm.1.weight``)."""
    if not network.startswith("torchvision/densenet"):
        return state
    old = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.(\d\.\w+)$")
    return {old.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def find_head(module: nn.Module, network: str) -> str:
    """Name the layer that gives the classes' scores: the last linear map or 1 x 1 convolution of the module."""
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
    nn.init.normal_(new.weight, std=_HEAD_SD)
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
