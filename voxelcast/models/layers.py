"""From a layer's features to the components that models see: an explicit transform, of arrays and a few facts.

Features x (n, D) become ::

    s = ((x - mean) * gain) A',   components = (s - centre) * stretch

with ``mean``, ``gain`` (D,) and axes A (p, D); a random projection is drawn again from its seed; ``centre`` and
``stretch`` (p,) are there where components are whitened. Products of features are in single precision, block of columns
by block; their sums, and all that follows, in double precision.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray
from voxelcast.core.checks import check_shape
from voxelcast.core.errors import DataError
from voxelcast.features.linear import RandomProjection
from voxelcast.models.card import LayerCard, Shape
from voxelcast.models.device import Device
from voxelcast.store.readers.guard import reading

if TYPE_CHECKING:
    from voxelcast.encoders.learned.rebuilt import Backbone, TrainedMembers

_COLUMNS: Final = {"cpu": 4096, "gpu": 1 << 18}


def layer_shapes(card: LayerCard, n_members: Mapping[str, int]) -> dict[str, Shape]:
    """Return the shapes of the arrays that a layer's file must hold, by name; ``n_members``: components of members."""
    D, p = card.n_features, card.n_components
    shapes: dict[str, Shape] = {}
    if card.n_times is not None:
        shapes["time_weights"] = (card.n_times,)
    if card.kind == "trained":
        from voxelcast.encoders.learned.rebuilt import input_sizes, trained_shapes

        with reading(card.name, "a trained encoder by its card", "fetch the model again"):
            given = [n_members[member] for member in card.members]
            if input_sizes(card.facts) != given:
                raise DataError(f"{card.name} reads {input_sizes(card.facts)} numbers of layers that have {given}")
            return trained_shapes(card.facts, card.n_components)
    if card.kind == "joined":
        for k, member in enumerate(card.members):
            shapes |= {f"{k}.mean": (n_members[member],), f"{k}.axes": (p, n_members[member])}
    elif card.kind == "trunk":
        with reading(card.name, "a trunk by its card", "fetch the model again"):
            d = int(card.facts["width"])
        for k, member in enumerate(card.members):
            shapes |= {f"means_{k}": (n_members[member],), f"maps_{k}": (n_members[member], d)}
        shapes |= {"centre": (d,), "outputs": (d, p)} | ({"bias": (d,)} if card.facts.get("rectified") else {})
    elif card.kind == "axes":
        shapes |= {"mean": (D,), "axes": (p, D)} | ({"axes_scale": (p,)} if card.half else {})
    elif card.scaled:
        shapes |= {"mean": (D,), "gain": (D,)}
    if card.whitened and card.kind != "axes":
        shapes |= {"centre": (p,), "stretch": (p,)}
    return shapes


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer's transform, its arrays where ``device`` is."""

    key: str
    card: LayerCard
    arrays: Mapping[str, Any]
    device: Device
    backbone: Backbone | None = None

    @classmethod
    def of(
        cls,
        key: str,
        card: LayerCard,
        arrays: Mapping[str, NDArray[Any]],
        device: Device,
        backbone: Backbone | None = None,
    ) -> Layer:
        """Put arrays on a device; axes in half precision become single ones there.

        ``backbone`` gives the network that a trained encoder reads frames through.
        """
        if card.kind in ("none", "raw") and card.n_components != card.n_features:
            raise DataError(f"layer {key} is not compressed and must have as many components as features")
        if card.kind == "trained":
            return cls(key, card, arrays, device, backbone)
        put = {}
        for name, array in arrays.items():
            wide = name in ("mean", "gain", "axes") or name.endswith(".axes") or name.endswith(".mean")
            double = bool(card.members) or name in ("centre", "stretch", "axes_scale", "time_weights") or not wide
            put[name] = device.put(array.astype(np.float64) if double else array, half=array.dtype == np.float16)
        return cls(key, card, put, device)

    def components(self, features: Any) -> Any:
        """Return the components of stimuli, (n, p), in double precision, on the device.

        ``features`` are an ndarray or a tensor on the device, (n, D), float32 or float64; with time kept (n, n_times,
        n_units). Raises ShapeError for another number of features.
        """
        card, x = self.card, features
        if card.n_times is not None:
            sizes = (None, card.n_times, card.n_features)
            check_shape(f"features of {card.name}", x, ("n_stimuli", "n_times", "n_features"), sizes)
            x = self.device.over_time(self.arrays["time_weights"], x)
        x = x.reshape(len(x), -1)
        check_shape(f"features of {card.name}", x, ("n_stimuli", "n_features"), (None, card.n_features))
        if card.kind == "raw":
            return self.device.half(x) if card.half else x
        s = self._projected(x)
        if card.whitened and card.kind != "axes":
            s = (s - self.arrays["centre"]) * self.arrays["stretch"]
        return s

    def _projected(self, x: Any) -> Any:
        card, device, arrays = self.card, self.device, self.arrays
        if card.kind == "axes":
            total = None
            for start in range(0, card.n_features, _COLUMNS[device.kind]):
                columns = slice(start, start + _COLUMNS[device.kind])
                block = device.single(x[:, columns]) - arrays["mean"][columns]
                part = device.double(block @ arrays["axes"][:, columns].T)
                total = part if total is None else total + part
            return total * arrays["axes_scale"] if card.half else total
        scaled = device.double(x)
        if card.scaled:
            scaled = (scaled - device.double(arrays["mean"])) * device.double(arrays["gain"])
        if card.kind == "none":
            return scaled
        return device.put(np.asarray(device.numpy(scaled) @ self._projection))

    def pull_back(self, derivative: FloatArray) -> FloatArray:
        """Return the derivative by the features, (D,), of what has the ``derivative`` (p,) by the components."""
        card = self.card
        arrays = {name: self.device.numpy(array).astype(np.float64) for name, array in self.arrays.items()}
        if card.kind == "axes":
            return np.asarray((derivative * arrays.get("axes_scale", 1.0)) @ arrays["axes"])
        own = derivative * arrays.get("stretch", 1.0)
        own = own if card.kind == "none" else self._projection @ own
        return np.asarray(own * arrays.get("gain", 1.0))

    @cached_property
    def _projection(self) -> Any:
        return RandomProjection(self.card.n_components, self.card.seed or 0).draw(self.card.n_features)

    @cached_property
    def _trained(self) -> TrainedMembers:
        from voxelcast.encoders.learned.rebuilt import TrainedMembers

        with reading(self.card.name, "a trained encoder", "fetch the model again"):
            return TrainedMembers(self.arrays, self.card.facts, self.card.n_components, self.device.name, self.backbone)

    def joined(self, members: Mapping[str, Any]) -> Any:
        """Return the components of members' components, or what a trained encoder, or a trunk, makes of them."""
        if self.card.kind == "trained":
            return self.device.of_tensor(
                self._trained.predict([self.device.tensor(members[m]) for m in self.card.members])
            )
        total: Any = None
        if self.card.kind == "trunk":
            for k, member in enumerate(self.card.members):
                part = (members[member] - self.arrays[f"means_{k}"]) @ self.arrays[f"maps_{k}"]
                total = part if total is None else total + part
            if "bias" in self.arrays:
                total = total + self.arrays["bias"]
                total = total * (total > 0)
            return (total - self.arrays["centre"]) @ self.arrays["outputs"]
        for k, member in enumerate(self.card.members):
            part = (members[member] - self.arrays[f"{k}.mean"]) @ self.arrays[f"{k}.axes"].T
            total = part if total is None else total + part
        return total


def half_precision(axes: FloatArray) -> tuple[NDArray[np.float16], FloatArray]:
    """Return axes (p, D) in half precision, each scaled to a largest entry of about 1, and their scales (p,)."""
    largest = np.abs(axes).max(axis=1)
    scale = 2.0 ** np.ceil(np.log2(np.where(largest > 0, largest, 1.0)))
    return (axes / scale[:, None]).astype(np.float16), scale.astype(np.float32)
