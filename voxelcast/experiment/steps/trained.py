"""Trained encoders as layers: their predictions for the search, and what is kept of them for saved models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.settings import NO_EFFECT
from voxelcast.encoders.registry import get_encoder
from voxelcast.execution.steps import StepContext
from voxelcast.experiment.steps.extract import feature_name, network_of
from voxelcast.experiment.steps.kept import KeptLayer
from voxelcast.models.card import LayerCard, layer_key
from voxelcast.models.device import Device
from voxelcast.models.layers import Layer
from voxelcast.models.network_input import backbones
from voxelcast.networks.base import NetworkCard
from voxelcast.networks.settings import NetworkSettings
from voxelcast.results.schema import Pair
from voxelcast.store.keys import content_key
from voxelcast.store.steps import StepId, StepStore


@dataclass(frozen=True)
class Source:
    """What an encoder is trained on: a network and the shards that have its layers' maps, or frames.

    ``shapes`` are those of the layers' maps, ``n_times`` the axis of time that is kept, or None.
    """

    network: Annotated[NetworkSettings, NO_EFFECT]
    seed: Annotated[int, NO_EFFECT]
    card: NetworkCard
    layers: tuple[str, ...]
    shapes: tuple[tuple[int, int, int], ...]
    tokens: tuple[bool, ...]
    shards: tuple[StepId, ...]

    @property
    def shown(self) -> str:
        """Name in the results."""
        return self.network.shown


@dataclass(frozen=True)
class TrainedLayer:
    """The predictions of an encoder, as a layer for the search: of one variant, or the mean of some.

    ``steps`` are the trainings by the folds left out; ``place`` is the pair's among those trained together.
    """

    encoder: str
    network: str
    weights: str
    layer: str
    steps: tuple[tuple[tuple[int, ...], StepId], ...]
    place: int
    variants: tuple[int, ...]
    source: Annotated[Source, NO_EFFECT]
    side: Annotated[int | None, NO_EFFECT]
    pair: Pair
    pool: str = ""

    @property
    def trained_by(self) -> str:
        """Name of the encoder."""
        return self.encoder

    def apart(self) -> tuple[TrainedLayer, ...]:
        """Return a layer of each variant."""
        return tuple(replace(self, layer=f"{self.layer} ({v + 1})", variants=(v,)) for v in self.variants)

    @property
    def step(self) -> StepId:
        """The training on all folds."""
        return dict(self.steps)[()]

    def key(self, taken: Sequence[str] = ()) -> str:
        """Return its key in saved models, which no other pair's has."""
        made_by = content_key([self.step.key, self.place, list(self.variants)])[:8]
        return layer_key((self.encoder, *self.pair, made_by), taken)

    def open(self, context: StepContext) -> TrainedSpace:
        """Return the predictions."""
        known = dict(self.steps)

        def read(excluded: tuple[int, ...]) -> FloatArray:
            result = context.read(known[excluded])
            parts = [result.array(f"predictions/{self.place}_{v}") for v in self.variants]
            return np.asarray(np.mean(parts, axis=0, dtype=np.float64))

        return TrainedSpace(self.encoder, self.network, self.layer, read, self.pool)

    def kept(self) -> tuple[KeptLayer, ...]:
        """Return what is kept of it: the layers that it reads, as it reads them, and what it makes of them."""
        reads, shown = get_encoder(self.encoder).reads, self.source.shown
        features = {layer: feature_name(layer) for layer in self.source.layers}
        features = {"frames": "frames"} if reads == "pixels" else features
        raw = [
            RawLayer(layer_key((shown, layer, reads)), shown, layer, "", feature, self.step, k, (), reads)
            for k, (layer, feature) in enumerate(features.items())
        ]
        members = tuple(layer.key for layer in raw)
        own = self.key(), shown, self.layer, "", "", self.step, self.place, members, reads
        return (*raw, TrainedTransform(*own, self.variants, self.source, self.side))


@dataclass(frozen=True)
class RawLayer(KeptLayer):
    """A layer as a trained encoder reads it: in half precision, or frames; ``number`` is its place among those read."""

    reads: str = ""

    @property
    def source(self) -> str:
        """What its features were extracted as."""
        return f"{self.reads} of {self.network}"

    def card(self, store: StepStore, **more: Any) -> LayerCard:
        """Return what the model's card says of it."""
        from voxelcast.encoders.learned.rebuilt import input_sizes

        size = input_sizes(store.read(self.axes).json("trained"))[self.number]
        return self.made("raw", size, half=self.reads == "maps", **more)

    def made(self, kind: str, size: int, **more: Any) -> LayerCard:
        """Make a card; ``size`` is the number of components."""
        named = {"network": self.network, "layer": self.layer, "members": self.members}
        return LayerCard(**{"input": "", "n_features": size, "n_components": size, **named, "kind": kind, **more})

    def arrays(self, store: StepStore) -> dict[str, NDArray[Any]]:
        """Return none."""
        return {}


@dataclass(frozen=True)
class TrainedTransform(RawLayer):
    """A trained encoder, which predicts from the layers that it reads; ``number`` is the pair's place in its step."""

    variants: tuple[int, ...] = ()
    trained_on: Annotated[Source | None, NO_EFFECT] = None
    side: Annotated[int | None, NO_EFFECT] = None

    @property
    def alone(self) -> str:
        """Its key where it has a network of its own."""
        return self.key if self.reads == "pixels" else ""

    def card(self, store: StepStore, **more: Any) -> LayerCard:
        """Return what the model's card says of it."""
        told = store.read(self.axes).json("trained")
        n_voxels, members = told.pop("n_voxels")[self.number], told.pop("members")
        facts = told | {"members": [members[str(v)] for v in self.variants]}
        return self.made("trained", n_voxels, facts=facts, **more)

    def arrays(self, store: StepStore) -> dict[str, NDArray[Any]]:
        """Read the arrays of its variants, numbered."""
        result = store.read(self.axes)
        found = [result.arrays(f"model/{self.number}_{v}") for v in self.variants]
        return {f"{k}/{name}": array for k, some in enumerate(found) for name, array in some.items()}

    def open(self, store: StepStore, device: Device) -> Layer:
        """Rebuild it."""
        backbone, source = None, self.trained_on
        if self.reads == "pixels" and source is not None:
            backbone = backbones(network_of(source.network, source.seed, device.name), self.side, device.name)
        return Layer.of(self.key, self.card(store), self.arrays(store), device, backbone)


@dataclass(frozen=True, eq=False)
class TrainedSpace:
    """Predictions of all stimuli for each set of folds left out: a FeatureSpace that one encoder alone reads."""

    trained_by: str
    network: str
    layer: str
    read: Callable[[tuple[int, ...]], FloatArray]
    pool: str = ""
    fitted_in_folds: bool = True

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return predictions, ndarray of shape (n_train + n_test, q)."""
        return self.read(excluded)
