"""Fitted models as plain arrays and a few facts, from which they are rebuilt: what saved models are made of.

A kind of model enters by `register_form`; a package of your own names its module as an entry point of the group
``voxelcast.models``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError
from voxelcast.core.registry import Registry
from voxelcast.encoders.base import FittedModel, PickedModels
from voxelcast.encoders.kernel_ridge import KernelModel, KernelRidge
from voxelcast.encoders.learned.encoders import TrainedModel
from voxelcast.encoders.linear import LinearModel
from voxelcast.encoders.mlp import MLPModel
from voxelcast.encoders.readout import ReadoutModel
from voxelcast.encoders.registry import get_encoder

Facts = Mapping[str, Any]
"""What JSON can express."""
Shapes = dict[str, tuple[int, ...]]

TRAINED = "trained"
_MOST = 64  # layers of a perceptron, models to pick from, ...


class ModelForm(ABC):
    """How models of one kind are taken apart into arrays (their own ``arrays()``) and facts, and rebuilt."""

    name: ClassVar[str]
    model: ClassVar[type]
    """Its class."""

    def facts(self, model: Any) -> dict[str, Any]:
        """Return what the arrays do not say."""
        return {}

    def of_voxels(self, model: Any, voxels: IntArray) -> FittedModel | None:
        """Return a model of some voxels alone; None where that would not be smaller."""
        return None

    @abstractmethod
    def shapes(self, facts: Facts, n_features: int, n_voxels: int) -> Shapes:
        """Return the shapes that the arrays must have, by name.

        Raises DataError, or what wrong facts cause: KeyError, TypeError or ValueError.
        """

    @abstractmethod
    def rebuild(self, facts: Facts, arrays: Mapping[str, FloatArray]) -> FittedModel:
        """Make the model."""


FORMS: Registry[ModelForm] = Registry("kind of model", "voxelcast.models")
AnyForm = TypeVar("AnyForm", bound=type[ModelForm])


def register_form(form: AnyForm) -> AnyForm:
    """Enter a class of forms under its ``name``; a decorator. Raises OptionError if the name is taken."""
    FORMS.add(form.name, form())
    return form


def form_of(model: FittedModel) -> ModelForm:
    """Return the form of a model; raises DataError if it has none."""
    for name in FORMS:
        if isinstance(model, FORMS.get(name).model):
            return FORMS.get(name)
    raise DataError(
        f"models of {type(model).__name__} have no form as plain arrays, so they cannot be saved; "
        "set models=none, or leave that encoder out"
    )


@register_form
class LinearForm(ModelForm):
    """``coefficients`` (p, q) and ``intercept`` (q,)."""

    name = "linear"
    model = LinearModel

    def of_voxels(self, model: LinearModel, voxels: IntArray) -> FittedModel | None:
        """Take their columns."""
        return LinearModel(model.params, model.coefficients[:, voxels], model.intercept[voxels])

    def shapes(self, facts: Facts, n_features: int, n_voxels: int) -> Shapes:
        """Return (p, q) and (q,)."""
        return {"coefficients": (n_features, n_voxels), "intercept": (n_voxels,)}

    def rebuild(self, facts: Facts, arrays: Mapping[str, FloatArray]) -> FittedModel:
        """Make the model."""
        return LinearModel({}, arrays["coefficients"], arrays["intercept"])


@register_form
class TrainedForm(ModelForm):
    """Predictions of a trained encoder, which its layer gives: nothing is left to be done."""

    name = TRAINED
    model = TrainedModel

    def shapes(self, facts: Facts, n_features: int, n_voxels: int) -> Shapes:
        """Return none."""
        if n_features != n_voxels:
            raise DataError(f"predictions of {n_features} voxels are no model of {n_voxels}")
        return {}

    def rebuild(self, facts: Facts, arrays: Mapping[str, FloatArray]) -> FittedModel:
        """Make the model."""
        return TrainedModel(_count(facts["n_voxels"], 10**8))

    def facts(self, model: TrainedModel) -> dict[str, Any]:
        """Say how many voxels there are."""
        return {"n_voxels": model.n_voxels}


@register_form
class KernelForm(ModelForm):
    """Training features and dual coefficients; the kernel and its parameters are facts."""

    name = "kernel"
    model = KernelModel

    def facts(self, model: KernelModel) -> dict[str, Any]:
        """Name the kernel and say how many training stimuli there are."""
        return {"encoder": model.encoder.name, "params": dict(model.params), "n_train": len(model.X)}

    def shapes(self, facts: Facts, n_features: int, n_voxels: int) -> Shapes:
        """Return those of `KernelModel`."""
        n_train = _count(facts["n_train"], 10**7)
        return {
            "x_train": (n_train, n_features),
            "x_mean": (n_features,),
            "dual": (n_train, n_voxels),
            "intercept": (n_voxels,),
        }

    def rebuild(self, facts: Facts, arrays: Mapping[str, FloatArray]) -> FittedModel:
        """Make the model."""
        encoder = get_encoder(str(facts["encoder"]))
        if not isinstance(encoder, KernelRidge):
            raise DataError(f"{facts['encoder']} is no kernel ridge regression")
        params = {str(name): value for name, value in dict(facts["params"]).items()}
        if not all(isinstance(params[name], int | float) for name in encoder.parameters):
            raise DataError(f"parameters of {encoder.name} must be numbers; got {params}")
        x_train, x_mean = arrays["x_train"], arrays["x_mean"]
        return KernelModel(encoder, params, x_train, x_mean, arrays["dual"], arrays["intercept"])


@register_form
class PerceptronForm(ModelForm):
    """Weights and biases of each layer, and scales; the widths are facts."""

    name = "mlp"
    model = MLPModel

    def facts(self, model: MLPModel) -> dict[str, Any]:
        """Say how wide the hidden layers are."""
        return {"widths": [len(biases) for biases in model.biases[:-1]]}

    def shapes(self, facts: Facts, n_features: int, n_voxels: int) -> Shapes:
        """Return those of `MLPModel`."""
        hidden = [_count(width, 10**6) for width in list(facts["widths"])[:_MOST]]
        widths = [n_features, *hidden, n_voxels]
        shapes: Shapes = {"x_mean": (n_features,), "x_scale": (), "y_mean": (n_voxels,), "y_scale": (n_voxels,)}
        for k, (before, after) in enumerate(pairwise(widths)):
            shapes |= {f"weights_{k}": (after, before), f"biases_{k}": (after,)}
        return shapes

    def rebuild(self, facts: Facts, arrays: Mapping[str, FloatArray]) -> FittedModel:
        """Make the model."""
        n = len(facts["widths"]) + 1
        weights = tuple(arrays[f"weights_{k}"] for k in range(n))
        biases = tuple(arrays[f"biases_{k}"] for k in range(n))
        scale = float(arrays["x_scale"])
        return MLPModel({}, arrays["x_mean"], scale, weights, biases, arrays["y_mean"], arrays["y_scale"], np.empty(0))


@register_form
class PickedForm(ModelForm):
    """Several models, and which of them predicts each voxel."""

    name = "picked"
    model = PickedModels

    def facts(self, model: PickedModels) -> dict[str, Any]:
        """Say what they are."""
        forms = [(form_of(one), one) for one in model.models]
        return {"models": [{"kind": form.name, "facts": form.facts(one)} for form, one in forms]}

    def shapes(self, facts: Facts, n_features: int, n_voxels: int) -> Shapes:
        """Return those of all models."""
        shapes: Shapes = {"pick": (n_voxels,)}
        for k, one in enumerate(list(facts["models"])[:10_000]):
            found = _simple(one["kind"]).shapes(one["facts"], n_features, n_voxels)
            shapes |= {f"{k}_{name}": shape for name, shape in found.items()}
        return shapes

    def rebuild(self, facts: Facts, arrays: Mapping[str, FloatArray]) -> FittedModel:
        """Make the model."""
        models = [
            _simple(one["kind"]).rebuild(one["facts"], _beginning(arrays, f"{k}_"))
            for k, one in enumerate(facts["models"])
        ]
        pick = arrays["pick"].astype(np.int64)
        if (pick != arrays["pick"]).any() or not ((pick >= 0) & (pick < len(models))).all():
            raise DataError(f"each voxel must pick one of {len(models)} models")
        return PickedModels(tuple(models), pick)


@register_form
class ReadoutForm(ModelForm):
    """An expert's model and its readout."""

    name = "readout"
    model = ReadoutModel

    def facts(self, model: ReadoutModel) -> dict[str, Any]:
        """Say what the expert is."""
        form = form_of(model.expert)
        return {"kind": form.name, "facts": form.facts(model.expert), "n_voxels": len(model.mean)}

    def shapes(self, facts: Facts, n_features: int, n_voxels: int) -> Shapes:
        """Return those of the expert and of the readout."""
        n_there = _count(facts["n_voxels"], 10**8)
        expert = _simple(facts["kind"]).shapes(facts["facts"], n_features, n_there)
        readout = {"mean": (n_there,), "readout": (n_there, n_voxels), "offset": (n_voxels,)}
        return {f"expert_{name}": shape for name, shape in expert.items()} | readout

    def rebuild(self, facts: Facts, arrays: Mapping[str, FloatArray]) -> FittedModel:
        """Make the model."""
        expert = _simple(facts["kind"]).rebuild(facts["facts"], _beginning(arrays, "expert_"))
        return ReadoutModel(expert, arrays["mean"], arrays["readout"], arrays["offset"])


def _simple(kind: object) -> ModelForm:
    """Return the form of a part of another model, which is none of several parts itself but for picked ones."""
    form = FORMS.get(str(kind))
    if isinstance(form, ReadoutForm):
        raise DataError("a readout has no readout as its expert")
    return form


def _beginning(arrays: Mapping[str, FloatArray], prefix: str) -> dict[str, FloatArray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def _count(value: Any, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= most:
        raise DataError(f"a size must be a whole number from 1 to {most}; got {value!r}")
    return value
