"""What a user says of a network and of an extraction; torch is not imported here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge
from pydantic import BeforeValidator

from voxelcast.core.checks import home_expanded
from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT, settings
from voxelcast.features.pooling import check_pools, pool_key
from voxelcast.features.spatial_pool import parse_spatial_pool
from voxelcast.networks.base import Precision, Takes, Triple
from voxelcast.stimuli.sampling import FrameSampling, SoundSampling
from voxelcast.stimuli.words import Transcript


def several_names(value: Any) -> Any:
    """Make one name a tuple of one, a list a tuple, and numbers text."""
    listed = value if isinstance(value, list | tuple) else (value,) if isinstance(value, str | int | float) else None
    return value if listed is None else tuple(str(one) if isinstance(one, int | float) else one for one in listed)


Names = Annotated[tuple[str, ...], BeforeValidator(several_names)]


def named_lengths(value: Any) -> Any:
    """Make a mapping of axes to lengths a tuple of pairs, in its order."""
    return tuple(value.items()) if isinstance(value, Mapping) else value


Tokens = Annotated[str | tuple[tuple[str, int], ...] | None, BeforeValidator(named_lengths)]


@settings
class NetworkSettings:
    """A network, its weights and the layers wanted; None takes what the network has.

    In the key of a step a network counts by its card, which holds a hash of the weights (`NetworkCard`).

    Parameters
    ----------
    name : str
        One of `voxelcast.networks.registry.list_networks`, ``"module:PACKAGE.MODULE:CALLABLE"`` for your own
        (docs/own_network.md), or ``"hf:ORG/NAME"`` or ``"hf:FOLDER"`` for one of transformers.
    layers : str or tuple of str
        Module paths, shell patterns of them, relative depths (``0.5``, ``"depth:0.5"``), indices of transformers'
        hidden states (``3``) or sets (``"all"``, ``"blocks"``, ``"hidden"``, ``"algonauts2021"``), at least one.
    weights : str or None
        ``"default"``: the released ones, from torch's cache or the internet, or what your own callable gives;
        ``"random"``: by seed; a file; ``"none"`` for built-in filter banks. None takes the first or the last of these.
    input_size : int or None
        Height and width to which frames are resized, in pixels.
    mean, std : tuple of 3 floats or None
        Normalisation of RGB in [0, 1].
    label : str or None
        Its name in the results.
    noise_seed : int or None
        Of the noise of a VOneNet, which is the same for every frame; None leaves the noise out.
    padding : {"same", "port"} or None
        Of a SimCLR-v2 network's pools at borders: as TensorFlow, or as the PyTorch port of 2021, has it; None for same.
    clip_length, clip_stride : int or None
        Of networks that take clips: frames per clip, and from the beginning of one clip to that of the next. None
        takes the length with which the released weights were evaluated, and clips that do not overlap.
    takes : {"frames", "clip", "sound", "text"} or None
        What your own network takes, frames or a clip, None for frames; and which part of a network of transformers
        is meant that has several, e.g. CLIP's for frames or text.
    clip_axes : {"BCTHW", "BTCHW"} or None
        Of your own network that takes clips: the order of the axes of a batch of clips; None for BCTHW.
    tokens : {"all", "mean", "cls", "last"}, mapping of str to int, or None
        What is kept of the tokens of a network of transformers; of your own network the lengths of their axes
        (:mod:`voxelcast.networks.tokens`).
    sound : SoundSampling or None
        Of networks that take sound; None for two moments per second that look back 4 seconds.
    texts : str or None
        Of networks that take text: a table ``stimulus_id,text``.
    revision : str or None
        Of a network of transformers on the hub: a commit, branch or tag; None for the one in the cache.
    trust_remote_code : bool or None
        Whether code that comes with such a network may run; needs a revision.
    licence : str or None
        Of the weights, where you know it.
    version : str or None
        Of your own network's code; raise it when code outside its own file changes what it does.
    precision : {"float32", "tf32", "bfloat16"}
        See `voxelcast.networks.precision`; built-in networks compute in float32 only.
    """

    name: str
    layers: Names
    weights: str | None = None
    input_size: Annotated[int, Ge(1)] | None = None
    mean: Triple | None = None
    std: Triple | None = None
    label: Annotated[str | None, NO_EFFECT] = None
    noise_seed: Annotated[int, Ge(0)] | None = None
    padding: Literal["same", "port"] | None = None
    clip_length: Annotated[int, Ge(1)] | None = None
    clip_stride: Annotated[int, Ge(1)] | None = None
    takes: Takes | None = None
    clip_axes: Literal["BCTHW", "BTCHW"] | None = None
    tokens: Tokens = None
    sound: SoundSampling | None = None
    texts: Annotated[str | None, NO_EFFECT] = None
    revision: Annotated[str | None, NO_EFFECT] = None
    trust_remote_code: Annotated[bool | None, NO_EFFECT] = None
    licence: Annotated[str | None, NO_EFFECT] = None
    version: str | None = None
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        # From Python any sequence or path will do.
        object.__setattr__(self, "layers", tuple(several_names(self.layers)))
        object.__setattr__(self, "weights", str(self.weights) if isinstance(self.weights, Path) else self.weights)
        object.__setattr__(self, "tokens", named_lengths(self.tokens))
        for name in ("mean", "std"):
            object.__setattr__(self, name, tuple(given) if (given := getattr(self, name)) is not None else None)
        if not self.layers:
            raise OptionError(
                f"layers of '{self.name}' must name at least one; got none. List them: voxelcast networks layers "
                f"{self.name}"
            )
        if self.std is not None and min(self.std) <= 0:
            raise OptionError(f"std must be above 0 for each channel; got {self.std}")

    @property
    def shown(self) -> str:
        """Name in the results."""
        if self.name.startswith("hf:"):
            return self.label or shown_hf(self.name)
        return self.label or self.name.removeprefix("module:").replace(":", ".")

    @property
    def chosen_weights(self) -> str:
        """What ``weights`` means where it is left out."""
        return self.weights or ("none" if self.name.startswith("voxelcast/") else "default")


@settings
class WordNetwork(Transcript):
    """What a language model makes of each word of a transcript, as features of a time series.

    Parameters
    ----------
    network : NetworkSettings
        A network that takes text, with one layer; its ``tokens`` say which of a word's tokens count
        (:func:`voxelcast.networks.text.word_features`).
    context : int
        Words before each that it reads.
    ahead : int
        Words that come after each that it reads.

    The others are as of `Transcript`.
    """

    _: KW_ONLY
    network: Annotated[NetworkSettings, NO_EFFECT]  # its card counts
    context: Annotated[int, Ge(0)]
    ahead: Annotated[int, Ge(0)] = 0


@settings
class ExtractionSettings:
    """What becomes of stimuli before and after a network.

    Parameters
    ----------
    sampling : FrameSampling
        Which frames of a video the network sees.
    pools : str or tuple of str
        How frames become one feature vector; of ``voxelcast.features.pooling.list_pools()``. Of several, each gives
        features of its own, and stimuli are decoded and seen by the network once for all.
    spatial_pool : str
        What becomes of each channel's pixels first: ``"none"``, ``"mean"``, ``"grid(k)"`` or ``"pyramid(k, l, ...)"``;
        see `voxelcast.features.spatial_pool`.
    on_broken : {"stop", "skip"}
        Raise at the first stimulus that cannot be read, or leave such stimuli out.
    stored : {"float32", "float16"}
        How features lie on disk.
    """

    sampling: FrameSampling = FrameSampling(every=1)
    pools: Names = ("mean",)
    spatial_pool: str = "none"
    on_broken: Literal["stop", "skip"] = "stop"
    stored: Literal["float32", "float16"] = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pools", check_pools(several_names(self.pools)))
        parse_spatial_pool(self.spatial_pool)

    def content(self) -> dict[str, Any]:
        """Return what counts in a key: of a pool what determines its features, not the path of its table."""
        return {
            "sampling": self.sampling,
            "pools": [pool_key(pool) for pool in self.pools],
            "spatial_pool": self.spatial_pool,
            "on_broken": self.on_broken,
            **({} if self.stored == "float32" else {"stored": self.stored}),
        }


def shown_hf(name: str) -> str:
    """Name a network of transformers: ``hf/ORG/NAME``, or of a folder its last part, wherever it lies."""
    path = home_expanded(Path(name.removeprefix("hf:")))
    return f"hf/{path.resolve().name}" if path.is_dir() else name.replace(":", "/", 1)


def network_settings(settings: NetworkSettings | str, **options: Any) -> NetworkSettings:
    """Return settings with some of them changed, or those of a network by name."""
    if isinstance(settings, str):
        return NetworkSettings(settings, **options)
    return replace(settings, **options) if options else settings
