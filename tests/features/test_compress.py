from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from voxelcast.core.errors import DataError, OptionError
from voxelcast.features.compress import compress_folds
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import PCAOptions, gram_matrices, pca_scores
from voxelcast.features.settings import CompressionSettings


def _pca(matrix, subsets, components, layer="", **settings):
    compression = CompressionSettings(components=components, **settings)
    return compress_folds(matrix, subsets, compression, layer=layer)


def _features(n: int = 60, n_features: int = 700, offset: float = 2.0) -> np.ndarray:
    rng = np.random.default_rng(1)
    spectrum = np.linspace(5, 0.5, 80)
    signal = (rng.standard_normal((n, 80)) * spectrum) @ rng.standard_normal((80, n_features)) / 9
    deviations = np.exp(rng.standard_normal(n_features))
    return (signal * deviations + offset * rng.random(n_features)).astype(np.float32)


def _reference(features: np.ndarray, train: np.ndarray, k: int, scale: bool) -> tuple[np.ndarray, np.ndarray]:
    features = features.astype(np.float64)
    if scale:
        features = StandardScaler().fit(features[train]).transform(features)
    pca = PCA(k, svd_solver="full").fit(features[train])
    return pca.transform(features), pca.explained_variance_ratio_


def _assert_same_up_to_sign(scores: np.ndarray, wanted: np.ndarray, tolerance: float = 1e-9) -> None:
    signs = np.sign((scores * wanted).sum(0))
    assert np.abs(scores * signs - wanted).max() <= tolerance * np.abs(wanted).max()


SUBSETS = [np.arange(50), np.arange(5, 50), np.r_[0:30, 42:50], np.array([49, 3, 17, 5, 20, 33, 1, 8, 44, 12])]


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("k", [3, 9, "max"])
def test_folds_equal_full_svd_refitted(scale, k):
    features = _features()
    for rows, got in zip(SUBSETS, _pca(FeatureMatrix([features]), SUBSETS, k, scale=scale), strict=True):
        n = len(rows) - 1 if k == "max" else k
        scores, ratio = _reference(features, rows, n, scale)
        assert got.scores.shape == (60, n)
        _assert_same_up_to_sign(got.scores, scores)
        assert got.explained_variance == pytest.approx(ratio.sum(), rel=1e-9)


@pytest.mark.parametrize("k", [10, 44])  # picked eigenvectors, and all of them
def test_features_far_from_zero_are_as_exact(k):
    features = _features(offset=0.0).astype(np.float64) + 3e5
    (got,) = _pca(FeatureMatrix([features]), SUBSETS[1:2], k)
    _assert_same_up_to_sign(got.scores, _reference(features, SUBSETS[1], k, False)[0], 1e-8)


@pytest.mark.parametrize("scale", [False, True])
def test_held_out_stimuli_leave_training_scores_untouched(scale):
    features, train = _features(), SUBSETS[2]
    held_out = np.setdiff1d(np.arange(60), train)
    changed = features.copy()
    changed[held_out] = np.random.default_rng(9).standard_normal((len(held_out), 700)) * 30
    (before,) = _pca(FeatureMatrix([features]), [train], 20, scale=scale)
    (after,) = _pca(FeatureMatrix([changed]), [train], 20, scale=scale)
    assert np.array_equal(before.scores[train], after.scores[train])
    assert before.explained_variance == after.explained_variance
    assert not np.allclose(before.scores[held_out], after.scores[held_out])


def test_order_of_training_rows_changes_nothing_beyond_rounding():
    features, train = _features(), SUBSETS[1]
    first, second = _pca(FeatureMatrix([features]), [train, train[::-1].copy()], 10)
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-9 * np.abs(first.scores).max())


def test_memory_bound_changes_nothing(monkeypatch):
    monkeypatch.setattr("voxelcast.features.pca.COLUMNS", 64)
    matrix = FeatureMatrix([_features()])
    one_by_one = list(gram_matrices(matrix, SUBSETS, scale=True, memory=1.0))
    at_once = list(gram_matrices(matrix, SUBSETS, scale=True))
    for a, b in zip(one_by_one, at_once, strict=True):
        assert np.array_equal(a, b)


def test_constant_features_become_zero_under_scaling():
    features = _features()
    # A mean of 0.1 rounds: its computed deviation is about 1e-17, and dividing by that would make noise of it.
    padded = np.hstack([features, np.full((60, 40), 0.1, np.float32), np.zeros((60, 3), np.float32)])
    padded[55:, 700:] = 7  # constant over the training stimuli only
    (plain,) = _pca(FeatureMatrix([features]), SUBSETS[:1], 10, scale=True)
    (with_constants,) = _pca(FeatureMatrix([padded]), SUBSETS[:1], 10, scale=True)
    np.testing.assert_allclose(with_constants.scores, plain.scores, atol=1e-9 * np.abs(plain.scores).max())


@pytest.mark.parametrize("scale", [False, True])
def test_rank_is_found_and_named(scale):
    rng = np.random.default_rng(2)
    features = (rng.standard_normal((40, 7)) @ rng.standard_normal((7, 900)) + 1).astype(np.float64)
    matrix, rows = FeatureMatrix([features]), [np.arange(40)]
    with pytest.raises(OptionError) as raised:
        list(_pca(matrix, rows, 9, scale=scale, layer="features.3"))
    assert str(raised.value) == (
        "compress.components must be at most 7, the rank of the 40 training stimuli of layer features.3; got 9; "
        "lower it, or set compress.fewer=allow"
    )
    (allowed,) = _pca(matrix, rows, 50, scale=scale, fewer="allow")
    (most,) = _pca(matrix, rows, "max", scale=scale)
    assert allowed.scores.shape == most.scores.shape == (40, 7)
    assert allowed.explained_variance == pytest.approx(1, abs=1e-5)


def test_more_components_than_stimuli():
    with pytest.raises(OptionError, match="at most 39, the rank of the 40 training stimuli; got 50"):
        list(_pca(FeatureMatrix([_features()]), [np.arange(40)], 50))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_features_that_do_not_vary_are_refused(value):
    features = np.full((20, 300), value, np.float32)
    features[15:] += 1  # held-out stimuli do vary
    with pytest.raises(DataError, match=r"of layer motion\.1 must vary over the 15 training stimuli"):
        list(_pca(FeatureMatrix([features]), [np.arange(15)], 3, layer="motion.1"))


def test_centred_and_raw_gram_matrices_give_the_same_components():
    features = _features().astype(np.float64)
    centred = features - features[:50].mean(0)
    raw = pca_scores(next(gram_matrices(FeatureMatrix([features]), [None])), np.arange(45), PCAOptions(8))
    twice = pca_scores(centred @ centred.T, np.arange(45), PCAOptions(8))
    np.testing.assert_allclose(raw.scores, twice.scores, atol=1e-10 * np.abs(raw.scores).max())


def test_bad_options():
    matrix = FeatureMatrix([_features()])
    with pytest.raises(OptionError, match="at least 1, or max; got 0"):
        list(_pca(matrix, SUBSETS[:1], 0))
    with pytest.raises(DataError, match="at least 2 stimuli; got 1"):
        list(compress_folds(matrix, [np.array([3])], 1))
    with pytest.raises(OptionError, match="different numbers from 0 to 59"):
        list(compress_folds(matrix, [np.array([3, 60])], 1))


def test_features_that_are_not_finite_are_refused():
    features = _features()
    features[3, 4] = np.nan
    with pytest.raises(DataError, match="of layer x must be finite"):
        list(_pca(FeatureMatrix([features]), SUBSETS[:1], 3, "x"))
    for method in ("none", "random_projection", "mds"):
        with pytest.raises(DataError, match="of layer x must be finite"):
            list(_pca(FeatureMatrix([features]), SUBSETS[:1], 3, "x", method=method))


def test_no_compression_gives_the_features_up_to_a_limit():
    features = _features()
    (plain,) = _pca(FeatureMatrix([features]), SUBSETS[:1], 3, method="none")
    np.testing.assert_array_equal(plain.scores, features)
    with pytest.raises(OptionError, match="at most 20000 features; got 20001 of layer conv1; set "):
        list(_pca(FeatureMatrix([np.zeros((2, 20001))]), [np.arange(2)], 3, "conv1", method="none"))


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("n_features", [700, 40])
def test_whitened_components_are_those_of_scikit_learns_scaler(apart, n_features):
    """Wide features go by the Gram matrix, few by the covariance."""
    features, train = _features(n_features=n_features).astype(np.float64), SUBSETS[2]
    others = np.setdiff1d(np.arange(60), train)
    settings = {"scale": True, "whiten": True, "fit": "once", "scale_apart": apart}
    (got,) = _pca(FeatureMatrix([features]), [train], 9, **settings)
    first = StandardScaler().fit(features[train])
    pca = PCA(9, svd_solver="full").fit(first.transform(features[train]))
    expected = np.empty((60, 9))
    scores = StandardScaler().fit(pca.transform(first.transform(features[train])))
    expected[train] = scores.transform(pca.transform(first.transform(features[train])))
    if apart:
        seen = pca.transform(StandardScaler().fit_transform(features[others]))
        expected[others] = StandardScaler().fit_transform(seen)
    else:
        expected[others] = scores.transform(pca.transform(first.transform(features[others])))
    _assert_same_up_to_sign(got.scores, expected)


@pytest.mark.parametrize("method", ["none", "random_projection"])
@pytest.mark.parametrize("apart", [False, True])
def test_scaling_holds_for_every_method(method, apart):
    features, train = _features(n_features=30).astype(np.float64), SUBSETS[1]
    settings = CompressionSettings(method, 8, "once", scale=True, scale_apart=apart)
    (got,) = compress_folds(FeatureMatrix([features]), [train], settings)
    scaled = StandardScaler().fit(features[train]).transform(features)
    if apart:
        others = np.setdiff1d(np.arange(60), train)
        scaled[others] = StandardScaler().fit_transform(features[others])
    plain = CompressionSettings(method, 8, "once")
    (expected,) = compress_folds(FeatureMatrix([scaled]), [train], plain)
    np.testing.assert_allclose(got.scores, expected.scores, atol=1e-12)


def test_held_out_stimuli_are_scaled_apart_only_where_the_compression_is_fitted_once():
    for settings in ({"fit": "folds", "scale": True}, {"fit": "once"}):
        with pytest.raises(OptionError, match="scale_apart needs fit=once, and scale or whiten"):
            CompressionSettings(scale_apart=True, **settings)


@pytest.mark.parametrize("n_features", [30, 90])
@pytest.mark.parametrize("scale", [False, True])
def test_components_on_a_device_are_those_of_the_cpu(n_features: int, scale: bool) -> None:
    """Of torch's CPU here, as a GPU is not there; of fewer features than stimuli, and of more."""
    features = np.random.default_rng(3).standard_normal((60, n_features)) * np.geomspace(3, 0.3, n_features)
    subsets = [np.arange(50), np.arange(10, 60)]
    settings = CompressionSettings(components=7, scale=scale)
    found = [list(compress_folds(FeatureMatrix([features]), subsets, settings, device=at)) for at in ("cpu", "cpu:0")]
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-10)
        assert one.explained_variance == pytest.approx(other.explained_variance, abs=1e-12)
