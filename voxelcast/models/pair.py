"""The models of one subject x ROI: components of layers in, responses of voxels out.

A voxel's prediction is ``rest + sum_k w_k p_k`` with the parts' predictions p_k, its weights w_k and ``rest``, what is
left of the mean response where weights do not sum to 1. A voxel that was left out of the analysis is predicted by its
mean response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import BoolArray, FloatArray
from voxelcast.core.errors import DataError
from voxelcast.encoders.base import FittedModel
from voxelcast.encoders.linear import LinearModel
from voxelcast.encoders.saved import FORMS, form_of
from voxelcast.models.card import PairCard, PartCard, Shape
from voxelcast.models.device import Device
from voxelcast.models.honesty import heaviest_part
from voxelcast.store.readers.guard import reading


@dataclass(frozen=True, eq=False)
class FittedPart:
    """A fitted model on a layer with each valid voxel's weight, (n_valid,); it sees the first ``n_features``."""

    layer: str
    encoder: str
    model: FittedModel
    weights: FloatArray
    n_features: int
    hyperparameters: str = ""


Taken = tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]
"""The cards of parts, as plain values, and arrays by name."""


def take_apart(parts: Sequence[FittedPart], valid: BoolArray, mean: FloatArray, fallback: FloatArray) -> Taken:
    """Write fitted models as arrays in single precision: the cards of the parts, and arrays by name.

    Parameters
    ----------
    parts : sequence of FittedPart
        One without any weight is left out.
    valid : ndarray of bool, shape (n_voxels,)
        Voxels that were analysed.
    mean : ndarray of shape (n_valid,)
        Mean response of each to the training stimuli.
    fallback : ndarray of shape (n_voxels,)
        Of a voxel that was left out, what it is predicted by.
    """
    total = np.sum([part.weights for part in parts], axis=0)
    arrays: dict[str, NDArray[Any]] = {
        "valid": valid,
        "rest": ((1.0 - total) * mean).astype(np.float32),
        "fallback": np.where(valid, 0.0, np.nan_to_num(fallback)).astype(np.float32),
    }
    cards: list[dict[str, Any]] = []
    for part in parts:
        voxels = np.flatnonzero(part.weights)
        if not len(voxels) and len(parts) > 1:
            continue
        form, k = form_of(part.model), len(cards)
        small = form.of_voxels(part.model, voxels) if 0 < len(voxels) < len(part.weights) else None
        model, weights = (part.model, part.weights) if small is None else (small, part.weights[voxels])
        voxels = np.arange(len(part.weights)) if small is None else voxels
        arrays |= {f"{k}.{name}": np.asarray(array, np.float32) for name, array in model.arrays().items()}
        arrays |= {f"{k}.weights": weights.astype(np.float32), f"{k}.voxels": voxels.astype(np.int32)}
        card = PartCard(
            layer=part.layer,
            encoder=part.encoder,
            form=form.name,
            facts=form.facts(model),
            hyperparameters=part.hyperparameters,
            n_features=part.n_features,
            n_voxels=len(voxels),
        )
        cards.append(card.model_dump(mode="json"))
    return cards, arrays


def pair_shapes(card: PairCard) -> dict[str, Shape]:
    """Return the shapes of the arrays that a pair's file must hold, by name; raises DataError for impossible facts."""
    n = card.n_voxels
    shapes: dict[str, Shape] = {"valid": (n,), "rest": (card.n_valid,), "fallback": (n,)}
    for k, part in enumerate(card.parts):
        with reading(card.file.name, "a model by its card", "fetch the model again"):
            found = FORMS.get(part.form).shapes(part.facts, part.n_features, part.n_voxels)
        shapes |= {f"{k}.{name}": shape for name, shape in found.items()}
        shapes |= {f"{k}.weights": (part.n_voxels,), f"{k}.voxels": (part.n_voxels,)}
    return shapes | place_shapes(card) | {f"extra.{name}": shape for name, shape in card.extras.items()}


def place_shapes(card: PairCard) -> dict[str, Shape]:
    """Return the shapes of the arrays that say where voxels lie; raises DataError if the card cannot be right."""
    where = card.where
    if where is None:
        return {}
    with reading(card.file.name, "the places of voxels by its card", "fetch the model again"):
        if where["kind"] == "volume":
            affine = {"where.affine": (4, 4)} if where["has_affine"] else {}
            return {"where.indices": (card.n_voxels, 3), **affine}
        left, right, elsewhere = (int(size) for size in where["n"])
        if where["kind"] != "surface" or min(left, right, elsewhere) < 0 or left + right + elsewhere != card.n_voxels:
            raise DataError(f"{card.file.name}: its voxels' places are not as many as its voxels; fetch it again")
        order = {"where.order": (left + right,)} if where["has_order"] else {}
        return {"where.left": (left,), "where.right": (right,), "where.elsewhere": (elsewhere,), **order}
    raise AssertionError


@dataclass(frozen=True, eq=False)
class _Part:
    card: PartCard
    model: FittedModel
    weights: Any
    voxels: Any
    everywhere: bool


@dataclass(frozen=True, eq=False)
class PairModel:
    """The models of one subject x ROI, rebuilt; linear ones compute where ``device`` is."""

    valid: BoolArray
    rest: Any
    fallback: FloatArray
    parts: tuple[_Part, ...]
    device: Device

    @classmethod
    def of(cls, cards: Sequence[PartCard], arrays: Mapping[str, NDArray[Any]], device: Device) -> PairModel:
        """Rebuild models from the parts' cards and arrays. Raises DataError for what cannot be right."""
        valid = np.asarray(arrays["valid"], dtype=np.bool_)
        n_valid = len(arrays["rest"])
        if int(valid.sum()) != n_valid:
            raise DataError(f"a model of {n_valid} voxels marks {int(valid.sum())} as valid; fetch it again")
        parts = []
        for k, card in enumerate(cards):
            voxels = arrays[f"{k}.voxels"]
            if len(voxels) and (voxels.min() < 0 or voxels.max() >= n_valid or (np.diff(voxels) <= 0).any()):
                raise DataError(f"voxels of part {k} must be rising numbers below {n_valid}; fetch the model again")
            own = {
                name.removeprefix(f"{k}."): array.astype(np.float64)
                for name, array in arrays.items()
                if name.startswith(f"{k}.") and name not in (f"{k}.weights", f"{k}.voxels")
            }
            with reading("a saved model", f"a model of {card.encoder}", "fetch it again"):
                model = FORMS.get(card.form).rebuild(card.facts, own)
            if isinstance(model, LinearModel):
                model = LinearModel({}, device.put(model.coefficients), device.put(model.intercept))
            weights = device.put(arrays[f"{k}.weights"].astype(np.float64))
            everywhere = len(voxels) == n_valid
            parts.append(_Part(card, model, weights, device.put(voxels.astype(np.int64)), everywhere))
        rest = device.put(arrays["rest"].astype(np.float64))
        return cls(valid, rest, np.asarray(arrays["fallback"], dtype=np.float64), tuple(parts), device)

    @property
    def n_voxels(self) -> int:
        """Number of voxels, whether they were analysed or not."""
        return len(self.valid)

    @property
    def heaviest(self) -> _Part:
        """The part that weighs most, by the sum of its weights: in its layer it is judged how new stimuli are."""
        weights = [(part.card.form, float(self.device.numpy(part.weights).sum())) for part in self.parts]
        return self.parts[heaviest_part(weights)]

    def respond(self, components: Mapping[str, Any]) -> FloatArray:
        """Predict responses, ndarray of shape (n_stimuli, n_voxels), float64; raises DataError if one is not finite.

        Parameters
        ----------
        components : mapping from a layer's key to array of shape (n_stimuli, n_components)
            On the device; of time series, those of each volume's moments.
        """
        total: Any = None
        for part in self.parts:
            x = components[part.card.layer]
            predicted = self._predicted(part, x[:, : part.card.n_features]) * part.weights
            if total is None:
                total = self.rest + 0.0 * predicted[:, :1]
            if part.everywhere:
                total = total + predicted
            else:
                total[:, part.voxels] += predicted
        found = self.device.numpy(total)
        if not np.isfinite(found.sum()):
            raise DataError(
                "predictions must be finite; got NaN or infinite ones; check the features, or fetch the model again"
            )
        if self.valid.all():
            return found
        full = np.tile(self.fallback, (len(found), 1))
        full[:, self.valid] = found
        return full

    def _predicted(self, part: _Part, x: Any) -> Any:
        if isinstance(part.model, LinearModel):
            return x @ part.model.coefficients + part.model.intercept
        return self.device.put(part.model.predict(self.device.numpy(x)))
