"""What a network is: frames in, the activations of chosen layers out, with a card that says what it is and expects.

Four kinds are covered by one contract. A network that ``takes = "frames"`` looks at each frame alone; a network that
``takes = "clip"`` looks at several frames at once: at all sampled frames of a stimulus, or, where its card has a
``clip_length``, at clips of so many of them (:mod:`voxelcast.networks.clips`). Both get float32 frames already resized
and normalised by :meth:`Network.prepare`. One that takes ``"sound"`` hears windows of a stimulus' sound
(:mod:`voxelcast.stimuli.sound`), one that takes ``"text"`` reads its text, each as one that takes frames sees these.
All return, for each layer, an array whose first axis is time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT

if TYPE_CHECKING:
    import torch

    from voxelcast.networks.hooks import LayerTrace
    from voxelcast.stimuli.sampling import SoundSampling

Precision = Literal["float32", "tf32", "bfloat16"]
Takes = Literal["frames", "clip", "sound", "text"]
Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Resize:
    """How frames get to ``input_size`` where they are not just resized to a square.

    The shorter ``edge`` is resized to so many pixels and the middle cropped (None: resized to the square), by
    ``interpolation`` with antialiasing, rounded to 8 bits.
    """

    edge: int | None
    interpolation: Literal["bilinear", "bicubic"]

    def __str__(self) -> str:
        to = "to a square" if self.edge is None else f"shorter edge to {self.edge}, cropped"
        return f"resized {to}, {self.interpolation}"


@dataclass(frozen=True)
class NetworkCard:
    """What a network is and what it expects.

    Other fields are as in `voxelcast.networks.settings.NetworkSettings`, with None for what a network does not have; a
    network that takes clips but has no ``clip_length`` looks at all of a stimulus at once.

    Parameters
    ----------
    takes : {"frames", "clip", "sound", "text"}
        Whether it looks at frames one by one or at several at once, hears sound, or reads text. The last two have no
        frames: ``input_size`` is 0.
    weights : str
        What is shown: ``"default"``, ``"random (seed 0)"``, ``"file NAME (blake2b 12 hex digits)"`` or
        ``"none (built in)"``.
    weights_hash : str
        Hash of every parameter and buffer; part of step keys and provenance.
    licence : str
        Licence of the weights, ``"unknown"`` where nobody said.
    code : str
        Of the user's own network: the version that they gave it and the hash of its source file. Of others what varies
        beside weights, e.g. ``padding=port`` or the order of a clip's axes. Part of step keys.
    """

    name: str
    takes: Takes
    input_size: int
    mean: Triple
    std: Triple
    weights: Annotated[str, NO_EFFECT]
    weights_hash: str
    licence: Annotated[str, NO_EFFECT] = "unknown"
    noise_seed: int | None = None
    clip_length: int | None = None
    clip_stride: int | None = None
    code: str = ""
    precision: Precision = "float32"


class Network(ABC):
    """A loaded network with its chosen layers."""

    card: NetworkCard
    layers: tuple[str, ...]
    device: torch.device
    resize: Resize | None = None
    """How frames are resized; None: bilinearly to a square, without rounding."""
    sound: SoundSampling | None = None
    """How sound is heard, of a network that takes it."""
    sound_rate: int = 0
    """In samples per second, of such a network."""

    @property
    def largest_activation(self) -> int | None:
        """Numbers in the largest activation for one frame; None where that is not known."""
        return None

    @abstractmethod
    def layer_traces(self) -> tuple[LayerTrace, ...]:
        """Name, kind and shape of all layers that can be asked for, in the order of the forward pass."""

    def layer_names(self) -> tuple[str, ...]:
        """All layers that can be asked for, in the order of the forward pass."""
        return tuple(layer.name for layer in self.layer_traces())

    def depths(self) -> Mapping[str, float]:
        """Return where each layer lies in the network, from 0 for the first that can be asked for to 1 for the last.

        Empty where layers do not follow one another, such as a bank of filters.
        """
        names = self.layer_names()
        return {name: k / max(len(names) - 1, 1) for k, name in enumerate(names)}

    def prepare(self, frames: Any) -> torch.Tensor:
        """Resize and normalise frames.

        Takes uint8 RGB at native size, an ndarray or tensor of shape (n_frames, height, width, 3); gives float32 of
        shape (n_frames, 3, input_size, input_size) on the network's device. A network that takes sound gets windows,
        ndarray of shape (n_windows, n_channels, n_samples), and one that takes text a list of texts.
        """
        from voxelcast.networks.prepare import prepare_frames  # needs torch, and settings are checked without it

        card = self.card
        return prepare_frames(frames, card.input_size, card.mean, card.std, self.device, self.resize)

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Join what was prepared for several stimuli to one batch."""
        import torch

        return torch.cat(list(parts)) if len(parts) > 1 else parts[0]

    @abstractmethod
    def activations(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Run one forward pass over prepared frames and return every chosen layer.

        Returns
        -------
        activations : mapping from layer to tensor of shape (n_times, ...)
            What the layer put out, before anything later overwrote it. ``n_times`` is ``n_frames`` for networks that
            take frames, and may be less for those that take clips (temporal strides).
        """

    def differentiable(self, prepared: torch.Tensor) -> Mapping[str, torch.Tensor]:
        """Return what `activations` does, for prepared frames that ask for a gradient, with all that it needs.

        Raises OptionError for a network that has no gradients of single frames.
        """
        raise OptionError(f"{self.card.name} gives no gradients of a picture; ask by occlusion alone")

    def stream(self, prepared: torch.Tensor, consume: Callable[[str, torch.Tensor], None]) -> None:
        """Run one forward pass and hand over every chosen layer, each as soon as it is there where that is possible.

        ``consume`` takes a layer and what :meth:`activations` would return for it, but not a copy: it may be
        overwritten later.
        """
        for layer, values in self.activations(prepared).items():
            consume(layer, values)
