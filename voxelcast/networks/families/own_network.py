"""The user's own network: a torch module that a callable of theirs gives, or that they hold in Python.

In an experiment file its name is ``module:PACKAGE.MODULE:CALLABLE``; the module is imported from what is installed or
from the folder in which voxelcast runs. How its input is normalised cannot be known and has to be said. Its results are
kept under the hash of its parameters and the version of its code (see :func:`code_version`).
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
from typing import Any

from torch import nn

from voxelcast.core.checks import check_known
from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.networks.clips import channels_first
from voxelcast.networks.family import Family, register_network
from voxelcast.networks.module_network import ModuleNetwork, check_device
from voxelcast.networks.recipe import ClipRule, Recipe, load_recipe
from voxelcast.networks.settings import NetworkSettings, network_settings
from voxelcast.networks.tokens import declared_axes

# Their versions are part of a result's provenance.
_PACKAGES = {"torch", "torchvision", "timm", "voxelcast"}


@register_network("module")
class OwnNetworks(Family):
    """Networks of the user's own code; what it takes has to be said.

    The callable of ``"module:PACKAGE.MODULE:CALLABLE"`` takes no argument and returns an ``nn.Module``; a module itself
    will do too.
    """

    prefix = "module:"

    def names(self) -> Sequence[str]:
        """List nothing: there is no telling."""
        return ()

    def takes(self, name: str) -> Sequence[str]:
        """Name what only the user can know."""
        return ("clip_axes", "clip_length", "clip_stride", "takes", "tokens", "version")

    def check(self, name: str) -> None:
        """Raise OptionError unless the name has its three parts."""
        module, _, attribute = name.removeprefix(self.prefix).partition(":")
        if not module or not attribute:
            raise OptionError(f"an own network must be named {self.prefix}PACKAGE.MODULE:CALLABLE; got {name!r}")

    def recipe(self, settings: NetworkSettings) -> Recipe:
        """Say how the user's own network is built.

        Raises UnknownNameError if there is no such Python module, or nothing of that name in it; OptionError if it
        gives no ``nn.Module``, or a setting is missing.
        """
        module, _, attribute = settings.name.removeprefix(self.prefix).partition(":")
        return _recipe(settings, _find(settings.name, module, attribute))


def network_from_module(
    module: nn.Module, settings: NetworkSettings | str, *, device: str = "cpu", **options: Any
) -> ModuleNetwork:
    """Make a network of a torch module that you hold; the module is copied and stays as it is.

    Parameters
    ----------
    module : nn.Module
        Takes float32 of shape (n_frames, 3, input_size, input_size), or (n_clips, 3, clip_length, input_size,
        input_size) if it takes clips, axes 1 and 2 swapped with ``clip_axes="BTCHW"``.
    settings : NetworkSettings or str
        Or what its results are called, with the other settings as ``options``: ``layers``, ``input_size``, ``mean`` and
        ``std`` must be given. Without ``weights`` the module keeps its own.

    Raises OptionError if it is no ``nn.Module``, or cannot take such frames; other errors are those of
    :func:`voxelcast.networks.registry.load_network`.

    Examples
    --------
    >>> from torch import nn
    >>> import voxelcast as vc
    >>> module = nn.Sequential(nn.Conv2d(3, 4, 5), nn.ReLU())
    >>> half = (0.5, 0.5, 0.5)
    >>> vc.network_from_module(module, "small", layers="all", input_size=32, mean=half, std=half).layers
    ('0', '1')
    """
    settings = network_settings(settings, **options)
    return load_recipe(_recipe(settings, module), settings, seed=0, device=check_device(device))


def _find(name: str, path: str, attribute: str) -> object:
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        found: Any = importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name and (path == error.name or path.startswith(f"{error.name}.")):
            raise UnknownNameError(
                f"network '{name}': there is no Python module {error.name!r}; "
                "install it, or run voxelcast in the folder that holds it"
            ) from error
        raise OptionError(f"network '{name}': {path} needs {error.name!r}, which is not installed") from error
    except (ImportError, SyntaxError) as error:
        raise OptionError(f"network '{name}': {path} cannot be imported ({error})") from error
    for part in attribute.split("."):
        public = [other for other in dir(found) if not other.startswith("_")]
        check_known("callable", part, [*public, *([part] if hasattr(found, part) else [])], where=f"in {path}")
        found = getattr(found, part)
    return found


def _recipe(settings: NetworkSettings, given: object) -> Recipe:
    name, size, mean, std, length = (getattr(settings, k) for k in ("name", "input_size", "mean", "std", "clip_length"))
    missing = [setting for setting in ("input_size", "mean", "std") if getattr(settings, setting) is None]
    if missing:
        raise OptionError(f"'{name}' is your own network: say its {', '.join(missing)}")
    if settings.takes in ("sound", "text"):
        raise OptionError(f"your own network '{name}' must take frames or clip; got takes={settings.takes}")
    clip, clips = None, settings.takes == "clip"
    view = None if settings.tokens is None else declared_axes(name, settings.tokens, clips=clips)
    if clips:
        if length is None:
            raise OptionError(f"'{name}' takes clips: say its clip_length, in frames")
        clip = ClipRule(length, settings.clip_stride or length, view or channels_first)
    elif length is not None or settings.clip_stride is not None or settings.clip_axes is not None:
        raise OptionError(
            f"clip_length, clip_stride and clip_axes of '{name}' are for takes=clip; leave them out, or set it"
        )
    return Recipe(
        name=name,
        build=partial(_build, name, given, settings.clip_axes),
        input_size=size,
        mean=mean,
        std=std,
        default=None,
        clip=clip,
        code=partial(_code, settings),
        view=view,
    )


def _code(settings: NetworkSettings, module: nn.Module) -> str:
    """Name the version of the code, the order of a clip's axes where it is not the usual one, and the tokens' axes."""
    parts = [code_version(settings.version, module)]
    parts += [f"clips {settings.clip_axes}"] if settings.clip_axes == "BTCHW" else []
    parts += [f"tokens {dict(settings.tokens)}"] if isinstance(settings.tokens, tuple) else []
    return ", ".join(filter(None, parts))


def _build(name: str, given: object, clip_axes: str | None, input_size: int, random: bool) -> nn.Module:
    module = _module(name, given, random)
    if clip_axes == "BTCHW":
        module.register_forward_pre_hook(lambda _, inputs: (inputs[0].transpose(1, 2), *inputs[1:]))
    return module


def _module(name: str, given: object, random: bool) -> nn.Module:
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
    """Name the version of a module's code, e.g. ``"version 2, source 0123456789ab"``.

    That is what the user calls it, and the hash of the source files in which its class and those of the modules inside
    it are written, without those of torch, torchvision and timm.
    """
    classes = {type(part) for part in module.modules() if type(part).__module__.split(".")[0] not in _PACKAGES}
    # A class that was typed into an interpreter has no file.
    files = {getattr(sys.modules.get(kind.__module__), "__file__", None) for kind in classes} - {None}
    digest = hashlib.blake2b(digest_size=6)
    for content in sorted(Path(file).read_bytes() for file in files if file):
        digest.update(hashlib.blake2b(content).digest())
    parts = [f"version {version}"] if version else []
    return ", ".join([*parts, *([f"source {digest.hexdigest()}"] if files else [])])
