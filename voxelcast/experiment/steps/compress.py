"""The steps that compress each layer's features, and join all layers', for every training part a fold will need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, ClassVar

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.settings import NO_EFFECT
from voxelcast.execution.steps import Job, StepContext
from voxelcast.experiment.steps.extract import feature_name
from voxelcast.experiment.steps.trained import TrainedLayer
from voxelcast.features.compress import compress_folds
from voxelcast.features.delays import Delayed
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.settings import CompressionSettings
from voxelcast.models.card import layer_key
from voxelcast.search.joined import ALL_LAYERS, JoinedSpace
from voxelcast.search.training import is_inner
from voxelcast.store.result import ResultWriter
from voxelcast.store.steps import StepId, StepStore

Excluded = tuple[tuple[int, ...], ...]
"""The sets of folds that are left out of a fit."""


def excluded_folds(n_folds: int, *, nested: bool, refit: bool, inner: int | None = None) -> Excluded:
    """List the sets of folds that are left out of a fit: none, each one, and each two for nested cross-validation.

    ``inner``: see `voxelcast.search.settings.FoldSettings`.
    """
    if not refit:
        return ((),)
    pairs = [pair for pair in combinations(range(n_folds), 2) if is_inner(*pair, n_folds, inner)] if nested else ()
    return ((), *((fold,) for fold in range(n_folds)), *pairs)


@dataclass(frozen=True, eq=False)
class CompressJob(Job):
    """Compress a layer.

    ``pool`` is empty unless there are several, of whose files ``pool_index`` says which to read. ``shards`` extracted
    the layer; ``fold_ids`` has the shape (n_train,), -1 for what no fold holds;
    ``seed`` counts only where the method leaves something to chance;
    ``axis``: whether time steps are weighed by their first principal axis first (pool ``pc1``).
    """

    kind = "compress"
    version = 3
    network: Annotated[str, NO_EFFECT]
    layer: str
    pool: Annotated[str, NO_EFFECT]
    pool_index: int | None
    shards: tuple[StepId, ...]
    fold_ids: IntArray
    excluded: Excluded
    compression: CompressionSettings
    seed: int
    axis: bool
    device: Annotated[str, NO_EFFECT] = "cpu"

    @property
    def name(self) -> str:
        """Network, layer and pool."""
        return "-".join(filter(None, (self.network.replace("/", "-"), self.layer, self.pool.partition("(")[0])))

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write ``scores[_i[_j]]`` (n_stimuli, n_components) for each set of excluded folds, and ``facts``."""
        name = feature_name(self.layer, self.pool_index)
        matrix = FeatureMatrix([context.read(shard).stored(name) for shard in self.shards])
        subsets = [np.flatnonzero(~np.isin(self.fold_ids, (-1, *left_out))) for left_out in self.excluded]
        shown = " ".join(filter(None, (self.network, self.layer, self.pool)))
        compressed = compress_folds(
            matrix, subsets, self.compression, seed=self.seed, axis=self.axis, layer=shown, device=self.device
        )
        facts: dict[str, object] = {}
        for left_out, result in zip(self.excluded, compressed, strict=True):
            write_scores(writer, left_out, self.excluded, result.scores)
            if left_out == ():
                facts = {"n_components": result.scores.shape[1], "explained_variance": result.explained_variance}
        n_features = matrix.stored_shape[-1] if self.axis else matrix.shape[1]
        writer.json("facts", facts | {"layer": self.layer, "n_features": n_features})


def write_scores(writer: ResultWriter, left_out: tuple[int, ...], excluded: Excluded, scores: FloatArray) -> None:
    """Write the scores fitted without some folds.

    Those without two that are no neighbours serve the search alone, so they are scratch; the others are what saved
    models' distances of stimuli are learned from (`voxelcast.scoring.novelty.fit_novelty`).
    """
    n_folds = 1 + max((fold for some in excluded for fold in some), default=0)
    searched = len(left_out) == 2 and not is_inner(*left_out, n_folds, 2)
    (writer.scratch if searched else writer).array(scores_name(left_out), scores)


def scores_name(excluded: Sequence[int]) -> str:
    """Name of the scores fitted without some folds."""
    return "_".join(["scores", *map(str, excluded)])


@dataclass(frozen=True, eq=False)
class CompressedSpace:
    """The compressed features of a layer, read for each set of folds left out: a FeatureSpace for the search."""

    network: str
    layer: str
    fitted_in_folds: bool
    read: Callable[[tuple[int, ...]], FloatArray]
    pool: str = ""
    delayed: Delayed | None = None

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return features of all stimuli, ndarray of shape (n_train + n_test, n_components).

        Of time series each component at all delays, (n_train + n_test, n_components * n_delays).
        """
        scores = self.read(excluded if self.fitted_in_folds else ())
        return scores if self.delayed is None else self.delayed.of(scores)


@dataclass(frozen=True, eq=False)
class CompressedLayer:
    """A layer's compressed features: the step that has them, and what they are called in the results.

    ``pool`` is empty unless the experiment has several and the layer was pooled; ``delayed`` says which moments of a
    time series count for each volume, None where it is no time series, or they were counted before.
    """

    step: StepId
    network: str
    weights: str
    layer: str
    pool: str
    fitted_in_folds: bool
    delayed: Delayed | None = None
    trained_by: ClassVar[str] = ""

    def key(self, taken: Sequence[str] = ()) -> str:
        """Return its key in saved models, which is none of those taken."""
        return layer_key((self.network, self.layer, self.pool), taken)

    def components(self, store: StepStore, without: tuple[int, ...]) -> FloatArray:
        """Read the features fitted without some folds, or without as many of them as a run needs."""
        stored = store.read(self.step)
        while scores_name(without) not in stored:
            without = without[:-1]
        return stored.array(scores_name(without))

    def open(self, context: StepContext) -> CompressedSpace:
        """Return the features."""
        compressed = context.read(self.step)

        def read(excluded: tuple[int, ...]) -> FloatArray:
            return compressed.array(scores_name(excluded))

        return CompressedSpace(self.network, self.layer, self.fitted_in_folds, read, self.pool, self.delayed)


def layer_keys(layers: Sequence[CompressedLayer | TrainedLayer]) -> dict[tuple[str, str, str], str]:
    """Return the key in saved models of each layer, by network, layer and pool."""
    keys: dict[tuple[str, str, str], str] = {}
    for one in layers:
        keys[one.network, one.layer, one.pool] = one.key(list(keys.values()))
    return keys


@dataclass(frozen=True, eq=False)
class FoldedLayers:
    """A partition of the training stimuli into folds, ndarray of shape (n_train,), and the layers of its searches.

    They are compressed, or the predictions of trained encoders.
    """

    fold_ids: IntArray
    layers: tuple[CompressedLayer | TrainedLayer, ...]


def compressed(folded: FoldedLayers) -> tuple[CompressedLayer, ...]:
    """Return the layers of a partition that are compressed features, and not predictions."""
    return tuple(layer for layer in folded.layers if isinstance(layer, CompressedLayer))


@dataclass(frozen=True, eq=False)
class JoinJob(Job):
    """Join the compressed features of all layers."""

    kind = "join"
    version = 1
    folded: FoldedLayers
    excluded: Excluded

    @property
    def name(self) -> str:
        """What is joined."""
        return "all-layers"

    def run(self, writer: ResultWriter, context: StepContext) -> None:
        """Write ``scores[_i[_j]]`` (n_stimuli, rank) for each set of excluded folds, and ``facts``."""
        spaces = [layer.open(context) for layer in self.folded.layers]
        joined = JoinedSpace(spaces, self.folded.fold_ids)
        facts: dict[str, object] = {"layer": ALL_LAYERS, "explained_variance": None, "nested": True}
        for left_out in self.excluded:
            scores = joined.scores(left_out)
            write_scores(writer, left_out, self.excluded, scores)
            if left_out == ():
                n_features = sum(space.scores().shape[1] for space in spaces)
                facts |= {"n_features": n_features, "n_components": scores.shape[1]}
        writer.json("facts", facts)
