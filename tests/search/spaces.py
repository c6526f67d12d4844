"""Feature spaces and simulated pairs for the tests of the search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.registry import ENCODERS, list_encoders
from voxelcast.search.base import FeatureSpace, PairContext, PairResult
from voxelcast.search.evaluation_log import EvaluationLog
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings, SearchSettings

LINEAR = [name for name in list_encoders() if issubclass(ENCODERS.get(name), LinearEncoder)]
"""Encoders with a path."""


@dataclass
class Fixed:
    """Features that are the same in all folds."""

    X: FloatArray
    layer: str = "layer"
    network: str = "network"
    fitted_in_folds: bool = False
    pool: str = ""

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return the features."""
        return self.X


@dataclass
class Refitted:
    """Principal components fitted to the training stimuli outside the folds left out, by plain SVD."""

    raw: FloatArray
    fold_ids: IntArray
    n_components: int
    layer: str = "layer"
    network: str = "network"
    fitted_in_folds: bool = True
    asked: list[tuple[int, ...]] = field(default_factory=list)
    pool: str = ""

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return the scores of all stimuli."""
        self.asked.append(excluded)
        train = self.raw[: len(self.fold_ids)][~np.isin(self.fold_ids, excluded)]
        centre = train.mean(axis=0)
        directions = np.linalg.svd(train - centre, full_matrices=False)[2][: self.n_components].T
        # The sign of a component is arbitrary: let it be that of its largest weight.
        directions *= np.sign(directions[np.abs(directions).argmax(axis=0), np.arange(directions.shape[1])])
        scores: FloatArray = (self.raw - centre) @ directions
        return scores


def simulated(
    n_train: int,
    n_test: int,
    p: int,
    q: int,
    *,
    layers: int = 1,
    true_layer: int = 0,
    noise: float = 2.0,
    seed: int = 0,
) -> tuple[list[FloatArray], FloatArray]:
    """Return the features of each layer and responses driven by one of them."""
    rng = np.random.default_rng(seed)
    X = [rng.standard_normal((n_train + n_test, p)) * np.geomspace(2, 0.5, p) + 1 for _ in range(layers)]
    Y = X[true_layer][:n_train, :3] @ rng.standard_normal((3, q)) + noise * rng.standard_normal((n_train, q)) + 5
    return X, Y


def layer_names(n: int) -> Sequence[str]:
    """Return the names of n layers."""
    return [f"layer {k}" for k in range(n)]


def search(
    Y: FloatArray,
    spaces: Sequence[FeatureSpace],
    encoders: Sequence[Encoder],
    fold_ids: IntArray,
    *,
    log: EvaluationLog | None = None,
    **options: Any,
) -> PairResult:
    """Search with the options of `PairSettings`, `SearchSettings` and `PairContext`, named without a section."""

    def of(cls: Any) -> dict[str, Any]:
        return {name: options.pop(name) for name in [field.name for field in fields(cls)] if name in options}

    found = SearchSettings(**of(SearchSettings))
    settings, context = PairSettings(search=found, **of(PairSettings)), PairContext(**of(PairContext))
    assert not options
    return search_pair(Y, spaces, encoders, fold_ids, settings, context=context, log=log)
