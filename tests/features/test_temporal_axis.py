from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from voxelcast.core.errors import DataError, ShapeError
from voxelcast.features.compress import compress_folds
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.settings import CompressionSettings
from voxelcast.features.temporal_axis import temporal_axis

TRAIN = np.arange(3, 30)


def _activations(seed: int = 0, n_times: int = 6) -> np.ndarray:
    rng = np.random.default_rng(seed)
    shape = np.sin(np.linspace(0.3, 3, n_times))
    signal = rng.standard_normal((36, 1, 40)) * shape[:, None]
    return (signal + 0.3 * rng.standard_normal((36, n_times, 40)) + rng.uniform(0, 5, (n_times, 40))).astype(np.float32)


def _matrix(activations: np.ndarray) -> FeatureMatrix:
    return FeatureMatrix([activations[:10], activations[10:]])


@pytest.mark.parametrize("memory", [1.0, 1e9])
def test_it_is_the_first_principal_component_over_time(memory):
    activations = _activations()
    weights, explained = temporal_axis(_matrix(activations), TRAIN, memory=memory)
    centred = activations[TRAIN].astype(float) - activations[TRAIN].astype(float).mean(axis=0)
    pca = PCA().fit(centred.transpose(0, 2, 1).reshape(-1, 6))
    np.testing.assert_allclose(weights, pca.components_[0] * np.sign(pca.components_[0].sum()), atol=1e-9)
    assert explained == pytest.approx(pca.explained_variance_ratio_[0])
    assert weights.sum() > 0
    np.testing.assert_allclose(weights @ weights, 1)


def test_no_other_weights_make_training_stimuli_differ_more():
    activations = _activations()
    weights, _ = temporal_axis(_matrix(activations), TRAIN)
    rng = np.random.default_rng(1)
    others = rng.standard_normal((200, 6))
    others /= np.linalg.norm(others, axis=1, keepdims=True)
    variance = [np.tensordot(w, activations[TRAIN], axes=(0, 1)).var(axis=0).sum() for w in (weights, *others)]
    assert variance[0] == max(variance)


def test_held_out_stimuli_change_no_weight_and_no_training_score():
    activations = _activations()
    changed = activations.copy()
    held_out = np.setdiff1d(np.arange(36), TRAIN)
    changed[held_out] = 50 * np.random.default_rng(7).standard_normal(changed[held_out].shape)
    assert np.array_equal(temporal_axis(_matrix(activations), TRAIN)[0], temporal_axis(_matrix(changed), TRAIN)[0])
    for method in ("pca", "none"):
        compression = CompressionSettings(method=method, components=5)
        (before,) = compress_folds(_matrix(activations), [TRAIN], compression, axis=True)
        (after,) = compress_folds(_matrix(changed), [TRAIN], compression, axis=True)
        assert np.array_equal(before.scores[TRAIN], after.scores[TRAIN])


def test_features_are_weighted_sums_over_time_fitted_to_each_training_set():
    activations = _activations()
    subsets = [TRAIN, np.arange(20)]
    got = list(compress_folds(_matrix(activations), subsets, CompressionSettings(method="none"), axis=True))
    for rows, one in zip(subsets, got, strict=True):
        weights, _ = temporal_axis(_matrix(activations), rows)
        np.testing.assert_allclose(one.scores, np.einsum("t,itd->id", weights, activations.astype(float)), atol=1e-10)
    assert not np.array_equal(got[0].scores, got[1].scores)


def test_one_step_of_time_is_itself():
    activations = _activations(n_times=1)
    (got,) = compress_folds(_matrix(activations), [TRAIN], CompressionSettings(method="none"), axis=True)
    np.testing.assert_array_equal(got.scores, activations[:, 0])


def test_time_kept_flattens_step_by_step():
    activations = _activations()
    matrix = _matrix(activations)
    assert matrix.shape == (36, 240)
    assert matrix.stored_shape == (36, 6, 40)
    np.testing.assert_array_equal(matrix.columns(35, 90), activations.reshape(36, -1)[:, 35:90])


def test_what_cannot_be():
    with pytest.raises(ShapeError, match=r"same number of time steps; got 5, 6; set frames: \{n: \.\.\.\}"):
        FeatureMatrix([_activations(), _activations(n_times=5)])
    with pytest.raises(ShapeError, match="same number of features; got 3, 4"):
        FeatureMatrix([np.zeros((2, 6, 3)), np.zeros((2, 6, 4))])
    with pytest.raises(DataError, match="needs activations with their time of layer x; got pooled ones"):
        temporal_axis(FeatureMatrix([np.ones((5, 4))]), np.arange(5), where=" of layer x")
    still = np.repeat(np.arange(12.0).reshape(1, 4, 3), 6, axis=0)
    with pytest.raises(DataError, match="must vary over the 5 training stimuli"):
        temporal_axis(FeatureMatrix([still]), np.arange(5))
    still[2, 1, 1] = np.inf
    with pytest.raises(DataError, match="must be finite"):
        temporal_axis(FeatureMatrix([still]), np.arange(5))
