"""A layer whose transform is kept for saved models: where it is, and what the model's card says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from numpy.typing import NDArray

from voxelcast.core.settings import NO_EFFECT
from voxelcast.models.card import LayerCard
from voxelcast.models.device import Device
from voxelcast.models.layers import Layer
from voxelcast.store.steps import StepId, StepStore


@dataclass(frozen=True)
class KeptLayer:
    """A layer whose transform is kept: its key, what it is called, the step that has the transform, and where in it.

    ``members`` are the keys of the layers that a joined one joins; ``feature`` is the name of its features in the
    extraction's result.
    """

    key: str
    network: Annotated[str, NO_EFFECT]
    layer: Annotated[str, NO_EFFECT]
    pool: Annotated[str, NO_EFFECT]
    feature: str
    axes: StepId
    number: int
    members: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """What its features were extracted as: the network's name in the results, or what trained encoders read."""
        return self.network

    @property
    def alone(self) -> str:
        """Its key where it is made in a step of its own; empty where it shares one with others of its source."""
        return ""

    def card(self, store: StepStore, **more: Any) -> LayerCard:
        """Return what the model's card says of it."""
        facts = store.read(self.axes).json(f"{self.number}/card")
        named = {"network": self.network, "layer": self.layer, "pool": self.pool, "members": self.members}
        return LayerCard(**{"input": "", **named, **facts, **more})

    def open(self, store: StepStore, device: Device) -> Layer:
        """Read the transform."""
        return Layer.of(self.key, self.card(store), self.arrays(store), device)

    def arrays(self, store: StepStore) -> dict[str, NDArray[Any]]:
        """Read the arrays of the transform."""
        return store.read(self.axes).arrays(str(self.number))
