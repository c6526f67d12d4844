"""Tokens: the axes on which a transformer's tokens lie, and what is kept of them.

A layer that puts out (n, n_tokens, n_channels) says nothing of where in a picture, when in a clip or in a sound its
tokens lie. Once their axes are declared, tokens become what pooling over space and time understands: (n, n_channels,
height, width) of pictures, (n, n_times, n_channels, height, width) of clips.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from voxelcast.core.errors import OptionError
from voxelcast.networks.clips import channels_first

Keep = Literal["all", "mean", "cls", "last"]
AXES = ("time", "height", "width")


@dataclass(frozen=True)
class TokenAxes:
    """The lengths of the axes of a layer's tokens, by name, in the order in which tokens lie, the last axis fastest.

    ``special`` tokens (class, distillation, registers) come before them, the class token first. ``keep`` is ``"all"``:
    tokens on their axes, without the special ones; ``"mean"`` of these (at each time, of clips); or ``"cls"``. An
    object of this class is a view (:mod:`voxelcast.networks.hooks`).
    """

    axes: Mapping[str, int]
    special: int = 0
    keep: Keep = "all"

    @property
    def n_tokens(self) -> int:
        """How many tokens there are, special ones among them."""
        return self.special + math.prod(self.axes.values())

    def __call__(self, module: nn.Module, output: object) -> torch.Tensor | str:
        """Lay a layer's tokens out, or say what is wrong; what has other axes is left to :func:`channels_first`."""
        tokens = first_tensor(output)
        if isinstance(tokens, str):
            return tokens
        if tokens.ndim != 3:
            return channels_first(module, tokens) if "time" in self.axes else tokens
        axes = self._axes_of(tokens.shape[1])
        if axes is None:
            on = " x ".join(f"{name} {length}" for name, length in self.axes.items())
            return f"puts out {tokens.shape[1]} tokens, not those of {on} and {self.special} special ones"
        timed = "time" in axes
        if self.keep == "cls":
            return tokens[:, :1] if timed else tokens[:, 0]
        grid = tokens[:, tokens.shape[1] - math.prod(axes.values()) :]
        grid = grid.reshape(len(tokens), *axes.values(), -1)
        at = {name: position for position, name in enumerate(axes, 1)}
        space = [at[name] for name in ("height", "width") if name in at]
        first = [0, *([at["time"]] if timed else [])]
        laid = grid.permute(*first, grid.ndim - 1, *space)
        return laid.flatten(len(first) + 1).mean(-1) if self.keep == "mean" and space else laid

    def _axes_of(self, n_tokens: int) -> dict[str, int] | None:
        """Give the axes of a layer with so many tokens: those declared, or both of a picture divided by 2, 4, ..."""
        if n_tokens == self.n_tokens:
            return dict(self.axes)
        if self.special or set(self.axes) != {"height", "width"}:
            return None
        for factor in (2, 4, 8, 16):
            if math.prod(length // factor for length in self.axes.values()) == n_tokens:
                return {name: length // factor for name, length in self.axes.items()}
        return None


def first_tensor(output: object) -> torch.Tensor | str:
    """Return a layer's tensor, alone or the first of a tuple, or say what it is instead."""
    found = output[0] if type(output) is tuple and output else output
    return found if isinstance(found, torch.Tensor) else f"puts out a {type(output).__name__} instead of one tensor"


def declared_axes(network: str, tokens: object, *, clips: bool) -> TokenAxes:
    """Check the axes that a user declares, e.g. ``{special: 1, time: 8, height: 14, width: 14}``.

    Raises OptionError for others than time (of clips, and there it must be), height and width.
    """
    given = dict(tokens) if isinstance(tokens, tuple) else {}
    axes = {name: length for name, length in given.items() if name != "special"}
    allowed = AXES if clips else AXES[1:]
    whole = set(axes) == set(allowed) or (clips and set(axes) == {"time"})
    if not whole or min(axes.values()) < 1 or given.get("special", 0) < 0:
        raise OptionError(
            f"tokens of '{network}' must be the lengths of {', '.join(allowed)}, in the order in which tokens lie, and "
            f"of special ones before them, e.g. {{special: 1, height: 14, width: 14}}; got {given or tokens}"
        )
    return TokenAxes(axes, given.get("special", 0))


def kept(network: str, tokens: object, allowed: tuple[Keep, ...]) -> Keep:
    """Return what is kept of tokens, the first allowed where nothing is said; raises OptionError for anything else."""
    if tokens is None:
        return allowed[0]
    for one in allowed:
        if one == tokens:
            return one
    raise OptionError(f"tokens of '{network}' must be {' or '.join(allowed)}; got {tokens!r}")
