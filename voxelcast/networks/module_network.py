"""Any torch module that takes frames, as a network: its layers are its submodules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import nn

from voxelcast.core.errors import OptionError, UnknownNameError
from voxelcast.networks.base import Network, NetworkCard
from voxelcast.networks.hooks import Consumer, LayerTrace, View, capture, read_layers, trace
from voxelcast.networks.layer_sets import expand_layers, layer_sets
from voxelcast.networks.precision import computing_in, set_precision


class ModuleNetwork(Network):
    """A torch module in eval mode that takes frames of shape (n_frames, 3, input_size, input_size), or other batches.

    Layers are those of :func:`voxelcast.networks.layer_sets.expand_layers`; empty for none. A network that takes clips,
    or puts out tokens, has a view: how to read a layer's output (see :func:`voxelcast.networks.hooks.read_layers`).
    Raises UnknownNameError
    if there is no such layer, or it cannot be asked for; OptionError if the network cannot take frames of the card's
    input size.
    """

    def __init__(
        self,
        card: NetworkCard,
        module: nn.Module,
        layers: Sequence[str],
        device: torch.device,
        view: View | None = None,
    ) -> None:
        self.card = card
        self.device = device
        self._view = view
        # Measured on a CPU: twice as fast for depthwise convolutions, no slower elsewhere. There is none for 5 axes.
        flat = all(tensor.ndim < 5 for tensor in module.state_dict().values())
        layout = torch.channels_last if flat else torch.contiguous_format
        module = module.eval().requires_grad_(False)
        self.module: nn.Module = module.to(device, memory_format=layout)  # type: ignore[call-overload]
        try:
            self.traces = trace(self.module, self._example(), view)
        except (RuntimeError, AssertionError, ValueError) as error:
            raise OptionError(
                f"'{card.name}' cannot take {self._taken()} ({' '.join(str(error).split())[:120]}); "
                "leave that setting out"
            ) from error
        self._check_asked(layers)
        self.layers = expand_layers(layers, self.layer_names(), card.name, self.layer_sets()) if layers else ()
        self._calls = {seen.name: seen.calls for seen in self.traces if seen.name in self.layers}
        set_precision(self.module, card.precision, self.layers, device)

    @property
    def largest_activation(self) -> int | None:
        """Numbers in the largest output of a module for one frame."""
        return max((math.prod(seen.shape) for seen in self.layer_traces()), default=None)

    def layer_traces(self) -> tuple[LayerTrace, ...]:
        """Name, kind and shape of all layers that can be asked for, in the order of the forward pass."""
        return tuple(seen for seen in self.traces if not seen.problem)

    def layer_sets(self) -> dict[str, tuple[str, ...]]:
        """Name the sets of layers that can be asked for by one name."""
        return layer_sets(self.card.name, self.module, self.layer_names())

    def activations(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run forward until the last chosen layer; return all of them, each of shape (n_frames, ...)."""
        return self._forward(_laid_out(prepared))

    def output(self, prepared: torch.Tensor) -> object:
        """Run the whole network on frames; return what it puts out, of a classifier (n_frames, n_classes)."""
        with computing_in(self.card.precision, self.device):
            return self.module(_laid_out(prepared))

    def differentiable(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run forward until the last chosen layer, keeping what gradients need; see `Network.differentiable`."""
        if self.card.takes != "frames":
            return super().differentiable(prepared)
        reading = capture(self.module, self.layers, self._calls, self._view)
        half = torch.autocast(self.device.type, torch.bfloat16, enabled=self.card.precision == "bfloat16")
        with torch.enable_grad(), half, reading as captured:
            self.module(prepared.contiguous(memory_format=torch.channels_last))
        return captured

    def stream(self, prepared: torch.Tensor, consume: Consumer) -> None:
        """Run forward until the last chosen layer; hand over each as soon as it is there."""

        def hand_over(layer: str, values: torch.Tensor) -> None:
            # What is done with activations is not the network's: it keeps the precision it asks for.
            with torch.autocast(self.device.type, enabled=False):
                consume(layer, values)

        reading = read_layers(self.module, self.layers, hand_over, self._calls, self._view)
        with computing_in(self.card.precision, self.device), reading:
            self.module(_laid_out(prepared))

    def _forward(self, inputs: torch.Tensor) -> Mapping[str, torch.Tensor]:
        reading = capture(self.module, self.layers, self._calls, self._view)
        with computing_in(self.card.precision, self.device), reading as captured:
            self.module(inputs)
        return captured

    def _example(self) -> torch.Tensor:
        size = self.card.input_size
        return torch.zeros(2, 3, size, size, device=self.device)

    def _taken(self) -> str:
        return f"frames of input_size {self.card.input_size}"

    def _check_asked(self, layers: Sequence[str]) -> None:
        problems = {seen.name: seen.problem for seen in self.traces if seen.problem}
        for layer in layers:
            if layer in problems and layer not in self.layer_sets():
                raise UnknownNameError(
                    f"layer {layer!r} of '{self.card.name}' {problems[layer]}; "
                    f"choose another. List them: voxelcast networks layers {self.card.name}"
                )


def _laid_out(batch: torch.Tensor) -> torch.Tensor:
    return batch.contiguous(memory_format=torch.channels_last) if batch.ndim == 4 else batch


def check_device(device: str) -> torch.device:
    """Return the device of a name such as ``"cuda:0"``; raises OptionError where this machine does not have it."""
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise OptionError(f"device must be like cpu, cuda or cuda:1; got {device!r}") from error
    if chosen.type not in ("cpu", "cuda"):
        raise OptionError(f"device must be cpu or cuda; got {device!r}")
    found = torch.cuda.device_count() if chosen.type == "cuda" else 0
    if chosen.type == "cuda" and (chosen.index or 0) >= found:
        raise OptionError(f"device {device!r} is not there: torch finds {found} CUDA devices; set device to cpu")
    return chosen
