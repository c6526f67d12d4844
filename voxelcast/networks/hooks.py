"""Reading the layers of a torch module during one forward pass.

Three rules. *Outputs are used or copied at once*, because a later in-place operation (AlexNet's ReLUs) would overwrite
them. *A module that is called several times in one pass* (the ReLU inside a ResNet block) *counts with its last call*.
*A layer is a module whose output is one tensor with one entry per frame*; anything else is refused by name. A *view*
says how an output becomes such a tensor; for networks that take clips it has one entry per clip and time as its second
axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from voxelcast.core.errors import DataError

View = Callable[[nn.Module, object], torch.Tensor | str]
Consumer = Callable[[str, torch.Tensor], None]


class _AllCaptured(Exception):
    """Ends a forward pass after the last layer wanted; never leaves :func:`capture`."""


@contextmanager
def capture(
    module: nn.Module,
    layers: Sequence[str],
    calls: Mapping[str, int] | None = None,
    view: View | None = None,
) -> Iterator[dict[str, torch.Tensor]]:
    """Collect copies of the outputs of layers, by layer, while the block runs the module once; see `read_layers`."""
    captured: dict[str, torch.Tensor] = {}

    def keep(layer: str, output: torch.Tensor) -> None:
        captured[layer] = output.clone()

    with read_layers(module, layers, keep, calls, view):
        yield captured


@contextmanager
def read_layers(
    module: nn.Module,
    layers: Sequence[str],
    consume: Consumer,
    calls: Mapping[str, int] | None = None,
    view: View | None = None,
) -> Iterator[None]:
    """Hand the outputs of layers to a function as soon as they are there, while the block runs the module forward once.

    Hooks are gone when the block ends, also by an exception. Raises DataError if a layer puts out something else than a
    tensor, or is not reached.

    Layers are module paths, e.g. ``"layer4.1"``. An output may be overwritten later in the pass: ``consume`` copies
    what it keeps. ``calls`` says how often each of the layers is called in one pass (see :func:`trace`): only the last
    call of each is then handed over, and the pass stops after the last of these calls. Otherwise every call is handed
    over. The view gives the tensor to hand over, or what is wrong.
    """
    left = dict(calls) if calls is not None else dict.fromkeys(layers, 1)

    def read(layer: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(called: nn.Module, _inputs: Any, output: Any) -> None:
            left[layer] -= 1
            if calls is not None and left[layer] > 0:
                return
            output = output if view is None else view(called, output)
            if not isinstance(output, torch.Tensor):
                raise DataError(
                    f"layer {layer!r} must put out one tensor; got {type(output).__name__}; choose a layer inside it"
                )
            consume(layer, output)
            if calls is not None and not any(left.values()):
                raise _AllCaptured

        return hook

    with ExitStack() as hooks:
        for layer in layers:
            hooks.callback(module.get_submodule(layer).register_forward_hook(read(layer)).remove)
        with suppress(_AllCaptured):
            yield
    missed = [layer for layer in layers if left[layer] > 0]
    if missed:
        raise DataError(f"layer {missed[0]!r} is not called in a forward pass; choose another layer")


@dataclass(frozen=True)
class LayerTrace:
    """What one forward pass showed of a module: its path, its class and how often it is called; the last call counts.

    ``shape`` is that of its output for one frame, or one step of time, without the axes of frames, clips and time;
    ``n_times`` the steps of time in one clip, of a network that takes clips; ``problem`` why the layer cannot be asked
    for, empty where it can.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    calls: int
    problem: str = ""
    n_times: int | None = None


def trace(module: nn.Module, example: torch.Tensor, view: View | None = None) -> tuple[LayerTrace, ...]:
    """Run forward once and list all modules below this one, in the order in which their last calls end.

    The module is in eval mode; the example, of shape (n_frames, 3, height, width) or (n_clips, 3, n_frames, height,
    width), or a batch of sound or text, has at least two entries, or a layer that mixes them would not show.
    """
    clips = view is not None and example.ndim == 5
    seen: dict[str, LayerTrace] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(called: nn.Module, _inputs: Any, output: Any) -> None:
            earlier = seen.pop(name, None)
            shape: tuple[int, ...] = ()
            problem = ""
            n_times = None
            read = output if view is None else view(called, output)
            if isinstance(read, str):
                problem = read
            elif not isinstance(read, torch.Tensor):
                problem = f"puts out a {type(output).__name__} instead of one tensor"
            elif read.ndim == 0 or len(read) != len(example):
                problem = f"puts out something else than one entry per {'clip' if clips else 'frame'}"
            elif not clips:
                shape = tuple(read.shape[1:])
            else:
                n_times, shape = read.shape[1], tuple(read.shape[2:])
            n_calls = earlier.calls + 1 if earlier else 1
            seen[name] = LayerTrace(name, type(called).__name__, shape, n_calls, problem, n_times)

        return hook

    with ExitStack() as hooks, torch.inference_mode():
        for name, child in module.named_modules():
            if name:
                hooks.callback(child.register_forward_hook(watch(name)).remove)
        module(example)
    silent = [
        LayerTrace(name, type(child).__name__, (), 0, "is not called in a forward pass")
        for name, child in module.named_modules()
        if name and name not in seen
    ]
    return (*seen.values(), *silent)
