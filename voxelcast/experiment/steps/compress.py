"""The step that compresses one layer's features, once for every training part that a fold will need."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.features.compress import compress_folds
from voxelcast.features.delays import delay
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.settings import CompressionSettings

VERSION = 3


def excluded_folds(n_folds: int, *, nested: bool, refit: bool) -> list[tuple[int, ...]]:
    """List the sets of folds that are left out of a fit: none, each one, and each two for nested cross-validation."""
    if not refit:
        return [()]
    pairs = list(combinations(range(n_folds), 2)) if nested else []
    return [(), *((fold,) for fold in range(n_folds)), *pairs]


def compress_layer(
    folder: Path,
    *,
    shards: Sequence[Path],
    layer: str,
    fold_ids: IntArray,
    excluded: Sequence[tuple[int, ...]],
    compression: CompressionSettings,
    seed: int,
    axis: bool,
) -> None:
    """Write ``scores[_i[_j]].npy`` (n_stimuli, n_components) for each set of excluded folds, and ``facts.json``."""
    matrix = FeatureMatrix(shards)
    subsets = [np.flatnonzero(~np.isin(fold_ids, left_out)) for left_out in excluded]
    facts: dict[str, object] = {}
    results = compress_folds(matrix, subsets, compression, seed=seed, axis=axis, layer=layer)
    for left_out, result in zip(excluded, results, strict=True):
        np.save(scores_path(folder, left_out), result.scores)
        if left_out == ():
            facts = {"n_components": result.scores.shape[1], "explained_variance": result.explained_variance}
    n_features = matrix.stored_shape[-1] if axis else matrix.shape[1]
    facts |= {"layer": layer, "n_features": n_features}
    (folder / "facts.json").write_text(json.dumps(facts))


def scores_path(folder: Path, excluded: Sequence[int]) -> Path:
    """File of the scores fitted without some folds."""
    return folder / ("_".join(["scores", *map(str, excluded)]) + ".npy")


class StoredSpace:
    """The compressed features of a layer as a finished step left them: a FeatureSpace for the search."""

    def __init__(
        self,
        folder: Path,
        network: str,
        layer: str,
        *,
        fitted_in_folds: bool,
        pool: str = "",
        delayed_rows: IntArray | None = None,
    ) -> None:
        self.folder = folder
        self.network = network
        self.layer = layer
        self.pool = pool
        self.fitted_in_folds = fitted_in_folds
        self._delayed_rows = delayed_rows

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return features of all stimuli, ndarray of shape (n_train + n_test, n_components).

        Of time series each component at all delays, (n_train + n_test, n_components * n_delays).
        """
        scores: FloatArray = np.load(scores_path(self.folder, excluded if self.fitted_in_folds else ()))
        return scores if self._delayed_rows is None else delay(scores, self._delayed_rows)
