"""The user's own network: a torch module that a callable of theirs gives, or that they hold in Python.

In an experiment file its name is ``module:PACKAGE.MODULE:CALLABLE``; the module is imported from what is installed or
from the folder in which voxelcast runs. What it takes and how its input is normalised cannot be known and has to be
said. Its results are kept under the hash of its parameters, the ``version`` that the user gives it and the hash of the
source files in which the classes of its modules are written.
"""

from __future__ import annotations

import copy
import hashlib
import importlib
import inspect
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torch import nn

from voxelcast.core.checks import check_known, check_option
from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.networks.clip_network import channels_first
from voxelcast.networks.clips import check_clips
from voxelcast.networks.module_network import ModuleNetwork, check_device
from voxelcast.networks.recipe import ClipRule, Recipe, Triple, Wanted, load_recipe

PREFIX = "module:"
# Their versions are part of a result's provenance.
_PACKAGES = {"torch", "torchvision", "timm", "voxelcast"}


def own_recipe(name: str, wanted: Wanted) -> Recipe:
    """Say how the user's own network is built.

    Parameters
    ----------
    name : str
        ``"module:PACKAGE.MODULE:CALLABLE"``. The callable takes no argument and returns an ``nn.Module``; a module
        itself will do too.
    wanted : Wanted
        With ``input_size``, ``mean`` and ``std``, and for clips with ``takes`` and ``clip_length``.

    Raises
    ------
    UnknownNameError
        If there is no such Python module, or nothing of that name in it.
    OptionError
        If it gives no ``nn.Module``, or a setting is missing.
    """
    place, _, attribute = name.removeprefix(PREFIX).partition(":")
    if not place or not attribute:
        raise OptionError(f"an own network must be named {PREFIX}PACKAGE.MODULE:CALLABLE; got {name!r}")
    return _recipe(name, _find(name, place, attribute), wanted)


def network_from_module(
    module: nn.Module,
    *,
    name: str,
    layers: Sequence[str],
    input_size: int,
    mean: Triple,
    std: Triple,
    licence: str = "unknown",
    weights: str | Path | None = None,
    takes: Literal["frames", "clip"] = "frames",
    clip_length: int | None = None,
    clip_stride: int | None = None,
    version: str | None = None,
    device: str = "cpu",
) -> ModuleNetwork:
    """Make a network of a torch module that you hold; the module is copied and stays as it is.

    Parameters
    ----------
    module : nn.Module
        Takes float32 of shape (n_frames, 3, input_size, input_size), or (n_clips, 3, clip_length, input_size,
        input_size) if it takes clips.
    name : str
        What its results are called.
    layers : sequence of str
        Module paths, patterns, ``"all"``, ``"blocks"`` or ``"depth:0.5"``.
    input_size : int
        Height and width to which frames are resized.
    mean, std : tuple of 3 floats
        Normalisation of RGB in [0, 1].
    licence : str
        Of the weights.
    weights : str, Path or None
        A file to load with ``weights_only=True``; None keeps what the module has.
    takes : {"frames", "clip"}
    clip_length, clip_stride : int or None
        Of clips: frames per clip, and from one to the next (None: ``clip_length``).
    version : str or None
        Of your code.
    device : str

    Raises
    ------
    OptionError
        If it is no ``nn.Module``, or cannot take such frames.
    UnknownNameError
        If it has no such layer.
    MissingFileError, UnsafeFileError, DataError
        If the weights are absent, refused, or do not fit.
    """
    if not layers:
        raise OptionError(f"layers of '{name}' must name at least one; got none")
    wanted = Wanted(input_size, mean, std, None, clip_length, clip_stride, takes, licence, version)
    recipe = _recipe(name, module, wanted)
    return load_recipe(
        recipe, weights=weights or "default", layers=layers, seed=0, device=check_device(device), wanted=wanted
    )


def _find(name: str, place: str, attribute: str) -> object:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found: Any = importlib.import_module(place)
    except ModuleNotFoundError as error:
        if error.name and (place == error.name or place.startswith(f"{error.name}.")):
            raise UnknownNameError(
                f"network '{name}': there is no Python module {error.name!r}; "
                "install it, or run voxelcast in the folder that holds it"
            ) from error
        raise OptionError(f"network '{name}': {place} needs {error.name!r}, which is not installed") from error
    except (ImportError, SyntaxError) as error:
        raise OptionError(f"network '{name}': {place} cannot be imported ({error})") from error
    for part in attribute.split("."):
        public = [other for other in dir(found) if not other.startswith("_")]
        check_known("callable", part, [*public, *([part] if hasattr(found, part) else [])], where=f"in {place}")
        found = getattr(found, part)
    return found


def _recipe(name: str, given: object, wanted: Wanted) -> Recipe:
    size, mean, std = wanted.input_size, wanted.mean, wanted.std
    if size is None or mean is None or std is None:
        missing = [setting for setting in ("input_size", "mean", "std") if getattr(wanted, setting) is None]
        raise OptionError(f"'{name}' is your own network: say its {', '.join(missing)}")
    check_option(f"takes of '{name}'", wanted.takes or "frames", ("frames", "clip"))
    clip = None
    if wanted.takes == "clip":
        if wanted.clip_length is None:
            raise OptionError(f"'{name}' takes clips: say its clip_length, in frames")
        stride = wanted.clip_length if wanted.clip_stride is None else wanted.clip_stride
        check_clips(name, wanted.clip_length, stride)
        clip = ClipRule(wanted.clip_length, stride, channels_first)
    elif wanted.clip_length is not None or wanted.clip_stride is not None:
        raise OptionError(f"clip_length and clip_stride of '{name}' are for takes=clip; leave them out, or set it")
    return Recipe(
        name=name,
        build=partial(_build, name, given),
        input_size=size,
        mean=mean,
        std=std,
        default=None,
        clip=clip,
        code=partial(code_version, wanted.version),
    )


def _build(name: str, given: object, _input_size: int, random: bool) -> nn.Module:
    if isinstance(given, nn.Module):
        if random:
            raise OptionError(f"weights of '{name}' cannot be random: it is a module, not a callable that makes one")
        return copy.deepcopy(given)
    if not callable(given):
        raise OptionError(f"'{name}' must be a callable that returns an nn.Module; got a {type(given).__name__}")
    try:
        inspect.signature(given).bind()
    except TypeError as error:
        raise OptionError(f"'{name}' must be callable without arguments ({error}); wrap it in a function") from error
    module = given()
    if not isinstance(module, nn.Module):
        raise OptionError(f"'{name}' must return an nn.Module; got a {type(module).__name__}")
    return module


def code_version(version: str | None, module: nn.Module) -> str:
    """Name the version of a module's code: what the user calls it, and the hash of its source files.

    Parameters
    ----------
    version : str or None
    module : nn.Module
        The files are those in which its class and those of the modules inside it are written, without those of torch,
        torchvision and timm.

    Returns
    -------
    code : str
        E.g. ``"version 2, source 0123456789ab"``.
    """
    classes = {type(part) for part in module.modules() if type(part).__module__.split(".")[0] not in _PACKAGES}
    files = set()
    for kind in classes:
        # A class that was typed into an interpreter has no file.
        source = getattr(sys.modules.get(kind.__module__), "__file__", None)
        if source:
            files.add(Path(source))
    digest = hashlib.blake2b(digest_size=6)
    for content in sorted(path.read_bytes() for path in files):
        digest.update(hashlib.blake2b(content).digest())
    said = [f"version {version}"] if version else []
    return ", ".join([*said, *([f"source {digest.hexdigest()}"] if files else [])])
