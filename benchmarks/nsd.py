"""Whole subjects of the size of the Natural Scenes Dataset, one after the other: many layers, voxel-wise, nested."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.peers import Penalties
from benchmarks.simulation import simulate_features, simulate_responses
from voxelcast.search.base import GivenFeatures
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings, SelectionSettings


@dataclass(frozen=True)
class Subjects:
    """What is simulated: each subject's voxels follow one of the layers, a tenth of them each, say, of ten layers."""

    subjects: int = 8
    layers: int = 10
    stimuli: int = 9000
    features: int = 1000
    voxels: int = 20_000
    folds: int = 5
    device: str = "cpu"
    seed: int = 0


def benchmark_subjects(size: Subjects) -> Iterator[str]:
    """Give a line for each subject as soon as it is done, and their sum.

    Each voxel chooses its layer and one of 20 penalties by cross-validation, and is scored by nested cross-validation.
    """
    settings = PairSettings(selection=SelectionSettings("voxel"), device=size.device)
    layers = [simulate_features(size.stimuli, size.features, size.seed, k) for k in range(size.layers)]
    spaces = [GivenFeatures("simulated", f"layer{k}", X) for k, X in enumerate(layers)]
    fold_ids = make_folds(size.stimuli, size.folds, size.seed)
    driver = np.arange(size.voxels) * size.layers // size.voxels
    seconds = []
    for subject in range(size.subjects):
        parts = [simulate_responses(X, int((driver == k).sum()), size.seed + subject) for k, X in enumerate(layers)]
        Y = np.concatenate(parts, axis=1)
        started = time.perf_counter()
        found = search_pair(Y, spaces, [Penalties()], fold_ids, settings)
        seconds.append(time.perf_counter() - started)
        assert found.voxel_scores is not None
        right = (found.layer_weights.argmax(axis=0) == driver).mean()
        yield (
            f"subject {subject + 1}: {seconds[-1]:.2f} s, nested r {np.nanmean(found.voxel_scores):.4f}, "
            f"the true layer in {100 * right:.1f} % of voxels"
        )
    yield (
        f"{size.subjects} subjects x {size.layers} layers, {size.stimuli} x {size.features} features, {size.voxels} "
        f"voxels, nested in {size.folds} folds, {size.device}: {sum(seconds):.1f} s"
    )
