"""The steps that keep how layers are compressed, as an explicit transform, and apply it to held-out stimuli."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray

from voxelcast.core.arrays import FloatArray, IntArray, deviations, like, namespace, put, to_numpy
from voxelcast.core.checks import check_finite
from voxelcast.core.settings import NO_EFFECT
from voxelcast.encoders.moments import mean_squared_norm
from voxelcast.execution.steps import Job, Step, StepContext
from voxelcast.experiment.steps.compress import CompressedLayer, scores_name
from voxelcast.experiment.steps.extract import feature_name
from voxelcast.experiment.steps.kept import KeptLayer
from voxelcast.features.linear import RandomProjection
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import columns_at_once
from voxelcast.features.settings import CompressionSettings
from voxelcast.features.temporal_axis import temporal_axis
from voxelcast.models.card import LayerCard
from voxelcast.models.device import Device
from voxelcast.models.encoder import project
from voxelcast.models.layers import Layer, half_precision
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepId, StepStore

MOST_ROUNDING: Final = 1e-3
"""What half precision may change components by, in deviations of theirs."""
_SMALL = 2**20  # numbers: half of so few bytes is not worth any rounding
_JUDGED = 256  # training stimuli by which rounding is judged
_ROWS = 64  # stimuli that are projected at a time


@dataclass(frozen=True, eq=False)
class LayerCompression:
    """How a layer was compressed: what `CompressJob` says of it, and that step.

    ``rows`` of the features, (n_train,), are the training stimuli.
    """

    network: Annotated[str, NO_EFFECT]
    layer: str
    pool: Annotated[str, NO_EFFECT]
    pool_index: int | None
    shards: tuple[StepId, ...]
    rows: IntArray
    compressed: StepId
    compression: CompressionSettings
    seed: int
    axis: bool

    @classmethod
    def of(cls, step: Step) -> LayerCompression:
        """Take it from the step that compressed the layer."""
        job: Any = step.job
        rows = np.flatnonzero(job.fold_ids >= 0)
        what = job.network, job.layer, job.pool, job.pool_index, job.shards, rows
        return cls(*what, step.step_id, job.compression, job.seed, job.axis)

    def kept(self, context: StepContext, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what `voxelcast.models.card.LayerCard` says of the transform, and the arrays of `Layer`."""
        name = feature_name(self.layer, self.pool_index)
        matrix = FeatureMatrix([context.read(shard).stored(name) for shard in self.shards])
        rows, arrays = self.rows, dict[str, Any]()
        facts: dict[str, Any] = {"n_times": None}
        if self.axis:
            weights, _ = temporal_axis(matrix, rows)
            arrays["time_weights"], facts["n_times"] = weights.astype(np.float64), len(weights)
            matrix = matrix.over_time(weights)
        scores = context.read(self.compressed).array(scores_name(()))[rows]
        how = self.compression
        kinds = {"pca": "axes", "none": "none", RandomProjection.name: "random"}
        facts |= {"kind": kinds[how.method], "n_features": matrix.shape[1], "n_components": scores.shape[1]}
        facts |= {"scaled": how.scale, "whitened": how.whiten, "seed": self.seed if how.chance else None}
        if how.method == "pca":
            found, more = _axes(matrix, rows, scores, device, scale=how.scale)
            arrays, facts = arrays | found, facts | more
        else:
            if how.scale:
                arrays |= _scales(matrix, rows)
            if how.whiten:
                arrays |= self._whitening(matrix, facts, arrays)
        return facts, arrays

    def _whitening(self, matrix: FeatureMatrix, facts: dict[str, Any], arrays: dict[str, Any]) -> dict[str, FloatArray]:
        """Return the mean of each component over the training stimuli, and what it is multiplied by: 1 / deviation."""
        plain = {**facts, "n_times": None, "whitened": False}
        card = LayerCard(input="", network=self.network, layer=self.layer, **plain)
        own = {name: array for name, array in arrays.items() if name != "time_weights"}
        layer = Layer.of("", card, own, Device())
        parts = [layer.components(matrix.rows(start, start + _ROWS)) for start in range(0, len(self.rows), _ROWS)]
        train = np.concatenate(parts)
        return {"centre": train.mean(axis=0), "stretch": _gain(train)}


@dataclass(frozen=True, eq=False)
class AxesJob(Job):
    """Find the transforms that take layers' features to their components, fitted to all training stimuli.

    The first ``n_train`` rows of the features are the training stimuli. Of principal components T of training features
    X, centred (and scaled), the axes are X'T |T|^2 / |X'T|^2, column by column: X'T are the axes of length 1 times
    singular values and |T|. Several layers are one step, for few files.
    """

    kind = "axes"
    version = 1
    layers: tuple[LayerCompression, ...]
    device: Annotated[str, NO_EFFECT]

    @property
    def name(self) -> str:
        """That of the first layer."""
        return self.layers[0].compressed.name

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write, of layer k, ``<k>/card`` and the arrays of the group ``<k>``; see `LayerCompression.kept`."""
        for k, layer in enumerate(self.layers):
            facts, arrays = layer.kept(context, self.device)
            writer.json(f"{k}/card", facts)
            writer.arrays(str(k), arrays)


def _gain(train: FloatArray) -> FloatArray:
    """Return 1 / deviation of each column, 0 of a constant one."""
    # Compared exactly: the computed deviation of a constant feature may be rounding instead of 0.
    xp, constant = namespace(train), (train == train[:1]).all(0)
    gain: FloatArray = xp.where(constant, 0.0, 1.0 / xp.where(constant, 1.0, deviations(train)))
    return gain


def _scales(matrix: FeatureMatrix, rows: IntArray) -> dict[str, Any]:
    mean, gain = np.empty(matrix.shape[1], np.float32), np.empty(matrix.shape[1], np.float32)
    start = 0
    for columns in matrix.blocks(columns_at_once(matrix)):
        stop = start + columns.shape[1]
        mean[start:stop], gain[start:stop] = columns[rows].mean(axis=0), _gain(columns[rows])
        start = stop
    return {"mean": mean, "gain": gain}


def _axes(
    matrix: FeatureMatrix, rows: IntArray, scores: FloatArray, device: str, *, scale: bool
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return mean and axes of principal components, and what the card says of their precision."""
    n_features, p = matrix.shape[1], scores.shape[1]
    mean, axes = np.empty(n_features, np.float32), np.empty((p, n_features), np.float32)
    lengths, start, there = np.zeros(p), 0, put(scores, device)
    for columns in matrix.blocks(columns_at_once(matrix)):
        train = like(columns[rows], there)
        stop = start + train.shape[1]
        x_mean = train.mean(axis=0)
        mean[start:stop], centred = to_numpy(x_mean), train - x_mean
        gain = _gain(train) if scale else None
        products = there.T @ (centred if gain is None else centred * gain)
        lengths += to_numpy((products * products).sum(axis=1))
        axes[:, start:stop] = to_numpy(products if gain is None else products * gain)
        start = stop
    check_finite("axes", lengths, "extract the features again")
    factors = np.square(scores).sum(axis=0) / np.where(lengths > 0, lengths, 1.0)
    axes *= factors[:, None].astype(np.float32)
    if axes.size <= _SMALL:
        return {"mean": mean, "axes": axes}, {"half": False, "rounding": None}
    half, of_axes = half_precision(axes)
    change = _rounding(matrix, rows[:: max(1, len(rows) // _JUDGED)], mean, axes, (half, of_axes))
    rounding = float((change / scores.std(axis=0)).max())
    if rounding > MOST_ROUNDING:
        return {"mean": mean, "axes": axes}, {"half": False, "rounding": None}
    return {"mean": mean, "axes": half, "axes_scale": of_axes}, {"half": True, "rounding": rounding}


def _rounding(
    matrix: FeatureMatrix, rows: IntArray, mean: FloatArray, axes: FloatArray, kept: tuple[Any, Any]
) -> FloatArray:
    """Return the root mean squared difference, (p,), that half precision makes to the components of some stimuli."""
    half, scale = kept
    change, start = np.zeros((len(rows), len(axes))), 0
    for columns in matrix.blocks(columns_at_once(matrix)):
        stop = start + columns.shape[1]
        lost = half[:, start:stop].astype(np.float32) * scale[:, None] - axes[:, start:stop]
        change += (columns[rows] - mean[start:stop]) @ lost.T
        start = stop
    return np.asarray(np.sqrt(np.square(change).mean(axis=0)))


@dataclass(frozen=True, eq=False)
class JoinedAxesJob(Job):
    """Find the transform that takes layers' components to those of all layers joined (`JoinJob`, ``joined``)."""

    kind = "axes"
    version = 1
    layers: tuple[CompressedLayer, ...]
    joined: StepId
    n_train: int

    @property
    def name(self) -> str:
        """What is joined."""
        return "all-layers"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write ``0/card`` and the arrays of `Layer`, in a group ``0``; the members are numbered."""
        scores = context.read(self.joined).array(scores_name(()))[: self.n_train]
        products, arrays = list[FloatArray](), dict[str, Any]()
        for k, layer in enumerate(self.layers):
            train = layer.open(context).scores()[: self.n_train]
            centred = train - train.mean(axis=0)
            centred[:, (train == train[:1]).all(axis=0)] = 0.0
            size = mean_squared_norm(centred)
            products.append(scores.T @ centred / np.sqrt(size))
            arrays[f"{k}.mean"] = train.mean(axis=0)
            arrays[f"{k}.axes"] = products[-1] / np.sqrt(size)
        lengths = np.sum([np.square(one).sum(axis=1) for one in products], axis=0)
        factors = np.square(scores).sum(axis=0) / lengths
        for k in range(len(self.layers)):
            arrays[f"{k}.axes"] = (arrays[f"{k}.axes"] * factors[:, None]).astype(np.float64)
        writer.json("0/card", {"kind": "joined", "n_features": scores.shape[1], "n_components": scores.shape[1]})
        writer.arrays("0", arrays)


@dataclass(frozen=True, eq=False)
class ProjectJob(Job):
    """Give the components of a shard of held-out stimuli, as a saved model does; ``layers`` are of one extraction."""

    kind = "project"
    version = 1
    shard: StepId
    layers: tuple[KeptLayer, ...]
    device: Annotated[str, NO_EFFECT]

    @property
    def name(self) -> str:
        """That of the shard."""
        return self.shard.name

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write the components of each layer, (n_readable, n_components) float64, in the group ``components``.

        Those of layers that others of them read are left out.
        """
        device, stored = Device(self.device), context.read(self.shard)
        opened = _opened(self.layers, device, context.store.root)
        read = {member for layer in self.layers for member in layer.members}
        # A shard of which no stimulus could be read has no features.
        own = [layer for layer in self.layers if layer.feature in stored]
        features = {layer.key: device.put(_single(stored.array(layer.feature))) for layer in own}
        with device.alone():
            components = project(opened, features) if features else {}
        kept = {key: device.numpy(values) for key, values in components.items() if key not in read}
        writer.arrays("components", kept)


def _single(features: NDArray[Any]) -> NDArray[Any]:
    """Give features that were stored in half precision as the network would; others as they are."""
    return features.astype(np.float32) if features.dtype == np.float16 else np.array(features)


@lru_cache(maxsize=1)
def _opened(layers: tuple[KeptLayer, ...], device: Device, store: Path) -> dict[str, Layer]:
    """Read the transforms of a network's layers, once per process."""
    return {layer.key: layer.open(StepStore(store, read_only=True), device) for layer in layers}
