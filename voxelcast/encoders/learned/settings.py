"""Settings of encoders that are trained; torch is not imported here."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Annotated, Any, Literal, TypeVar

from annotated_types import Ge, Gt, Lt

from voxelcast.core.errors import OptionError
from voxelcast.core.settings import NO_EFFECT, settings

T = TypeVar("T", bound="ReadoutSettings")
_OF_ALL = ("seeds", "variants", "apart", "side", "graphs")


@settings
class ReadoutSettings:
    """How a factorised readout is trained: where each voxel reads, and how much of each channel.

    Parameters
    ----------
    places : {"softmax", "point"}
        Per voxel a distribution over places, or one point between four of them (bilinear).
    select_layers : bool
        Whether each voxel has a distribution over layers, too.
    time : {"mean", "learned"}
        Steps of time are averaged, or weighed by a distribution that is learned for each layer.
    side : int, optional
        Maps are averaged to so many places a side (`voxelcast.features.spatial_pool`, ``grid``); None: as they are.
    epochs, batch : int
    rate : float
        Of AdamW, at the top of a one-cycle schedule.
    places_rate : float
        Times ``rate``: that of the places.
    decay : float
        Weight decay.
    channel_dropout : float
        Share of channels that are left out, of each stimulus anew.
    loss : {"mse", "pearson", "noise_weighted"}
        Mean squared error of standardised responses; 1 - r over a batch; the first, voxels weighed by reliability.
    average : {"none", "tail", "soup"}
        Of the weights after each epoch of the last fifth: the last, their mean, or the mean of those that, added one by
        one from the best, raise the score on a tenth of the training stimuli that is set aside.
    patience : int
        Epochs without a better score on that tenth until training stops at the best one; 0: it does not stop early.
    seeds : int
        Trainings that are alike but for chance.
    variants : list of settings
        Each changes some of these; predictions of all variants and seeds are averaged.
    apart : bool
        Whether variants and seeds are models of their own instead, for the ensemble to weigh.
    graphs : bool
        Whether a GPU replays a recorded step; changes no result.
    """

    places: Literal["softmax", "point"] = "softmax"
    select_layers: bool = False
    time: Literal["mean", "learned"] = "mean"
    side: Annotated[int, Ge(1)] | None = 10
    epochs: Annotated[int, Ge(1)] = 45
    batch: Annotated[int, Ge(2)] = 32
    rate: Annotated[float, Gt(0)] = 3e-3
    places_rate: Annotated[float, Gt(0)] = 10.0
    decay: Annotated[float, Ge(0)] = 0.1
    channel_dropout: Annotated[float, Ge(0), Lt(1)] = 0.1
    loss: Literal["mse", "pearson", "noise_weighted"] = "mse"
    average: Literal["none", "tail", "soup"] = "none"
    patience: Annotated[int, Ge(0)] = 0
    seeds: Annotated[int, Ge(1)] = 3
    variants: tuple[dict[str, Any], ...] = ()
    apart: bool = False
    graphs: Annotated[bool, NO_EFFECT] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "variants", tuple(self.variants))
        release = getattr(self, "release", 0)
        if isinstance(release, str) and release != "half":
            raise OptionError(f"release must be a number of epochs, or half; got {release!r}")
        self.trainings()

    @property
    def sets_aside(self) -> bool:
        """Whether a tenth of the training stimuli judges instead of being trained on."""
        return self.average == "soup" or self.patience > 0

    def trainings(self: T) -> tuple[T, ...]:
        """Return the settings of each training: every variant; raises OptionError for one that cannot be."""
        allowed = [field.name for field in fields(self) if field.name not in _OF_ALL]
        for variant in self.variants:
            for name in variant:
                if name not in allowed:
                    raise OptionError(f"variants have no setting {name!r}; allowed: {', '.join(allowed)}; leave it out")
        plain = replace(self, variants=()) if self.variants else self
        return tuple(replace(plain, **variant) for variant in self.variants) or (self,)

    @property
    def n_trainings(self) -> int:
        """How many variants and seeds there are."""
        return max(len(self.variants), 1) * self.seeds


@settings
class FinetunedSettings(ReadoutSettings):
    """How a network is trained with a readout, end to end, in every fold; others as of `ReadoutSettings`.

    Parameters
    ----------
    release : int or "half"
        Epochs for which the network is frozen; ``"half"``: until the score on a tenth of the training stimuli, set
        aside, is half of the best that a training with a frozen network reaches.
    backbone_rate : float
        Learning rate of the network, at the top of the schedule.
    layer_decay : float
        Each chosen layer's part of the network learns so many times as fast as that of the next one.
    lora : int
        Rank of what is added to the weights of linear maps and 1 x 1 convolutions, which alone learns; 0: all learns.
    shift : int
        Pixels, of the network's input, by which pictures are shifted at random at most, in each direction.
    shift_per : {"picture", "batch"}
    light : float
        Standard deviation of random factors of contrast and, in units of the pixels' range, of added brightness.
    bfloat16 : bool
        Whether the network computes in bfloat16 on a GPU.
    """

    seeds: Annotated[int, Ge(1)] = 1
    release: Annotated[int, Ge(0)] | Literal["half"] = 15
    backbone_rate: Annotated[float, Gt(0)] = 1e-4
    layer_decay: Annotated[float, Gt(0)] = 1.0
    lora: Annotated[int, Ge(0)] = 0
    shift: Annotated[int, Ge(0)] = 8
    shift_per: Literal["picture", "batch"] = "picture"
    light: Annotated[float, Ge(0)] = 0.0
    bfloat16: bool = True

    @property
    def sets_aside(self) -> bool:
        """Whether a tenth of the training stimuli judges instead of being trained on."""
        return super().sets_aside or self.release == "half"
