"""How much room saved models take, and what half precision costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.linear import LinearModel
from voxelcast.experiment.steps.axes import MOST_ROUNDING, _axes
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import PCAOptions, gram_matrices, pca_scores
from voxelcast.models.card import LayerCard
from voxelcast.models.device import Device
from voxelcast.models.layers import Layer
from voxelcast.models.pair import FittedPart, take_apart
from voxelcast.models.tensors import write_tensors


def _subject(n_layers: int, p: int, q: int, kept: float) -> list[FittedPart]:
    rng = np.random.default_rng(0)
    model = LinearModel({}, np.ones((p, q), dtype=np.float32), np.ones(q))
    weights: FloatArray = rng.random((n_layers, q)) * (rng.random((n_layers, q)) < kept)
    return [FittedPart(f"layer{k}", "ridge", model, weights[k], p) for k in range(n_layers)]


@pytest.mark.slow
def test_a_whole_brain_and_a_region(tmp_path: Path) -> None:
    """Of 18,222 voxels with weights on all of 25 layers, the most that there can be; and an ROI's best layer."""
    q = 18_222
    _, arrays = take_apart(_subject(25, 50, q, 1.0), np.ones(q, bool), np.zeros(q), np.zeros(q))
    write_tensors(tmp_path / "whole.safetensors", arrays)
    assert (tmp_path / "whole.safetensors").stat().st_size < 120e6
    _, arrays = take_apart(_subject(25, 50, q, 0.2), np.ones(q, bool), np.zeros(q), np.zeros(q))
    write_tensors(tmp_path / "sparse.safetensors", arrays)  # stacking gives few layers of a voxel a weight
    assert (tmp_path / "sparse.safetensors").stat().st_size < 30e6
    _, arrays = take_apart(_subject(1, 50, 500, 1.0), np.ones(500, bool), np.zeros(500), np.zeros(500))
    write_tensors(tmp_path / "roi.safetensors", arrays)
    assert (tmp_path / "roi.safetensors").stat().st_size < 1e6


@pytest.mark.slow
@pytest.mark.parametrize("scale", [False, True])
def test_half_precision_is_taken_where_it_changes_next_to_nothing(scale: bool) -> None:
    """Scores and predictions of stimuli that the axes never saw, against those of the exact decomposition."""
    rng = np.random.default_rng(0)
    n_train, n, D, p = 60, 90, 30_000, 40
    X = np.maximum(rng.standard_normal((n, 20)) @ rng.standard_normal((20, D)) + rng.standard_normal((n, D)), 0) * 3 + 1
    X = X.astype(np.float32).astype(np.float64)
    matrix, rows = FeatureMatrix([X]), np.arange(n_train)
    (gram,) = gram_matrices(matrix, [rows], scale=scale)
    exact = pca_scores(gram, rows, PCAOptions(p)).scores
    arrays, facts = _axes(matrix, rows, exact[:n_train], "cpu", scale=scale)
    assert facts["half"]
    assert arrays["axes"].dtype == np.float16
    assert facts["rounding"] < MOST_ROUNDING
    card = LayerCard(input="", network="n", layer="l", kind="axes", n_features=D, n_components=p, half=True)
    found = Layer.of("l", card, arrays, Device()).components(X[n_train:].astype(np.float32))
    deviations = exact[:n_train].std(axis=0)
    assert (np.abs(found - exact[n_train:]) / deviations).max() < MOST_ROUNDING
    B = rng.standard_normal((p, 50)) / deviations[:, None]
    change = (found - exact[n_train:]) @ B
    assert (np.sqrt(np.square(change).mean(axis=0)) / (exact[n_train:] @ B).std(axis=0)).max() < 1e-3
