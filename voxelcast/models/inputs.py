"""Where the features that a saved model weighs come from: kinds of input, each of which turns stimuli into features.

A kind enters by `register_input`; a package of your own names its module as an entry point of the group
``voxelcast.inputs``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from voxelcast.core.errors import DataError, OptionError
from voxelcast.core.registry import Registry
from voxelcast.core.settings import content
from voxelcast.models.card import LayerCard

if TYPE_CHECKING:
    from voxelcast.encoders.learned.rebuilt import Backbone
    from voxelcast.models.stimuli import Shown


@dataclass(frozen=True)
class Needs:
    """What a user gives beside the model.

    Parameters
    ----------
    device : str
        Where networks and models compute.
    weights : mapping of str to str
        Files of weights, by the network's name in the results.
    own_code : bool
        Whether a network of the user's own code (``module:...``) may be imported.
    """

    device: str = "cpu"
    weights: Mapping[str, str] = field(default_factory=dict)
    own_code: bool = False


class ModelInput(ABC):
    """One source of features, opened from the facts in the card.

    Parameters
    ----------
    key : str
        In the card.
    facts : mapping
        Plain values of the card. Raises DataError, or what wrong facts cause, where they cannot be right.
    layers : mapping of str to LayerCard
        The layers wanted of it, by key.
    """

    kind: ClassVar[str]

    @abstractmethod
    def __init__(self, key: str, facts: Mapping[str, Any], layers: Mapping[str, LayerCard], needs: Needs) -> None: ...

    @property
    def backbone(self) -> Backbone | None:
        """What gives the network that trained encoders read frames through; None where there is none."""
        return None

    @abstractmethod
    def features(self, shown: Shown, shards: Sequence[Sequence[int]]) -> Iterator[Mapping[str, Any]]:
        """Give the features of stimuli, shard by shard, by the layers' keys.

        Parameters
        ----------
        shown : Shown
            The stimuli.
        shards : sequence of sequences of int
            Their positions, as they are looked at together.

        Yields
        ------
        features : mapping of str to array of shape (n_shard, ...), float32
            On the device.
        """


INPUTS: Registry[type[ModelInput]] = Registry("kind of input", "voxelcast.inputs", ["voxelcast.models.network_input"])
InputT = TypeVar("InputT", bound=type[ModelInput])


def register_input(kind: InputT) -> InputT:
    """Enter a class of inputs under its ``kind``; a decorator. Raises OptionError if the name is taken."""
    INPUTS.add(kind.kind, kind)
    return kind


def check_same_card(name: str, wanted: Mapping[str, Any], there: Any) -> None:
    """Raise DataError unless a network's card is the one that a model was fitted with, weights and all."""
    found = content(there)
    differing = [key for key in found if found[key] != wanted.get(key)]
    if differing:
        key = differing[0]
        raise DataError(
            f"{name} is not the network that the model was fitted with: {key} is {found[key]!r} here and "
            f"{wanted.get(key)!r} there; give its weights with --weights {name}=FILE, and the versions of the card"
        )


def refuse_code(name: str) -> None:
    """Raise OptionError for a network that would import the user's code."""
    raise OptionError(
        f"{name} is a network of somebody's own code, which loading a model does not run; if you trust it, set "
        "own_code (--own-code)"
    )


@register_input
class TableInput(ModelInput):
    """Tables of features: there is no way from stimuli to them."""

    kind = "table"

    def __init__(self, key: str, facts: Mapping[str, Any], layers: Mapping[str, LayerCard], needs: Needs) -> None:
        self._names = [one.layer for one in layers.values()]

    def features(self, shown: Shown, shards: Sequence[Sequence[int]]) -> Iterator[Mapping[str, Any]]:
        """Say that they must be given."""
        raise OptionError(
            f"the model weighs features of your own ({', '.join(self._names)}); give those of the stimuli, as an "
            ".npz or a dict with an array of each"
        )
