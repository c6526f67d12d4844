"""Ten subjects in one model: nested scores of ridge regression on a layer, on trunks of single subjects, and of all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.seeds import generator
from voxelcast.encoders.learned.trunk import Streams, train_trunk
from voxelcast.encoders.learned.trunk_settings import TRUNK, TrunkSettings
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.base import FeatureSpace, GivenFeatures
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair

_N_FEATURES, _SHARED = 40, 6


@dataclass(frozen=True)
class SubjectsSize:
    """Subjects, stimuli and voxels of each, the noise's standard deviation (the signal's is 1), and folds."""

    subjects: int = 10
    stimuli: int = 100
    voxels: int = 30
    noise: float = 2.0
    folds: int = 5


@dataclass(frozen=True)
class TrunkSpace:
    """The outputs of a trunk that is trained anew without the folds left out."""

    features: FloatArray
    responses: Sequence[FloatArray]
    fold_ids: IntArray
    settings: TrunkSettings
    network: str = TRUNK
    layer: str = "outputs"
    pool: str = ""
    fitted_in_folds: bool = True
    trained: dict[tuple[int, ...], FloatArray] = field(default_factory=dict)

    def scores(self, excluded: tuple[int, ...] = ()) -> FloatArray:
        """Return outputs, ndarray of shape (n_stimuli, n_outputs)."""
        if excluded not in self.trained:
            rows, streams = np.flatnonzero(~np.isin(self.fold_ids, excluded)), Streams((self.features,))
            trunk = train_trunk(streams, rows, [Y[rows] for Y in self.responses], self.settings)
            self.trained[excluded] = trunk.features(streams)
        return self.trained[excluded]


def benchmark_trunks(size: SubjectsSize, settings: TrunkSettings, seed: int = 0) -> tuple[list[str], dict[str, float]]:
    """Simulate subjects whose voxels mix what six directions of 40 features drive; return lines, and mean nested r."""
    rng = generator(seed, "trunks")
    X = rng.standard_normal((size.stimuli, _N_FEATURES)) * np.linspace(2, 0.3, _N_FEATURES)
    shared = X @ rng.standard_normal((_N_FEATURES, _SHARED))
    responses = []
    for _ in range(size.subjects):
        signal = shared @ rng.standard_normal((_SHARED, size.voxels))
        responses.append(signal / signal.std(axis=0) + size.noise * rng.standard_normal(signal.shape))
    fold_ids = make_folds(size.stimuli, size.folds, seed)
    joint = TrunkSpace(X, responses, fold_ids, settings)
    scores: dict[str, list[float]] = {"ridge on the features": [], "one subject's trunk": [], "all subjects' trunk": []}
    for Y in responses:
        own = TrunkSpace(X, [Y], fold_ids, settings)
        spaces: list[FeatureSpace] = [GivenFeatures("given", "features", X), own, joint]
        for name, space in zip(scores, spaces, strict=True):
            result = search_pair(Y, [space], [get_encoder("ridge")], fold_ids)
            assert result.voxel_scores is not None
            scores[name].append(float(result.voxel_scores.mean()))
    found = {name: float(np.mean(values)) for name, values in scores.items()}
    gain = found["all subjects' trunk"] / found["one subject's trunk"] - 1
    head = (
        f"{size.subjects} subjects, {size.stimuli} stimuli, {size.voxels} voxels each, {settings.kind} trunk; nested r:"
    )
    lines = [f"{name}: {value:.4f}" for name, value in found.items()]
    return [head, *lines, f"all above one: {gain:+.1%}"], found
