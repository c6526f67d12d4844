"""Principal components without a matrix of stimuli x stimuli: from the covariance, and by block Krylov iteration."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tests.features.test_compress import SUBSETS, _assert_same_up_to_sign, _features, _reference
from voxelcast.core.errors import DataError, OptionError
from voxelcast.features import compress, covariance, krylov
from voxelcast.features.compress import compress_folds
from voxelcast.features.compressors import make_compressor
from voxelcast.features.covariance import covariance_coordinates, covariance_scores
from voxelcast.features.krylov import krylov_scores
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import PCAOptions, gram_matrices, pca_scores
from voxelcast.features.settings import CompressionSettings


def _by_covariance(features, subsets, k, **settings):
    return [covariance_scores(FeatureMatrix([features]), rows, PCAOptions(k, **settings)) for rows in subsets]


def _by_krylov(features, subsets, k, **settings):
    return list(krylov_scores(FeatureMatrix([features]), subsets, PCAOptions(k, **settings)))


WAYS = [pytest.param(_by_covariance, id="covariance"), pytest.param(_by_krylov, id="krylov")]
ROWS = [np.arange(220), np.arange(25, 220), np.random.default_rng(7).permutation(260)[:200]]


def _narrow() -> np.ndarray:
    return _features(n=260, n_features=70)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("k", [3, 20, 40, "max"])  # picked eigenvectors, and all of them
def test_covariance_equals_full_svd_refitted(scale, k):
    features = _narrow()
    for rows, got in zip(ROWS, _by_covariance(features, ROWS, k, scale=scale), strict=True):
        scores, ratio = _reference(features, rows, 70 if k == "max" else k, scale)
        _assert_same_up_to_sign(got.scores, scores)
        np.testing.assert_allclose(got.explained_variance_ratio, ratio, rtol=1e-8, atol=1e-14)


@pytest.mark.parametrize("scale", [False, True])
@pytest.mark.parametrize("k", [1, 3, 30])
@pytest.mark.parametrize("n_features", [150, 900])
def test_krylov_equals_full_svd_refitted(scale, k, n_features):
    features = _features(n=260, n_features=n_features)
    for rows, got in zip(ROWS, _by_krylov(features, ROWS, k, scale=scale), strict=True):
        scores, ratio = _reference(features, rows, k, scale)
        _assert_same_up_to_sign(got.scores, scores)
        np.testing.assert_allclose(got.explained_variance_ratio, ratio, rtol=1e-9)


def _with_variances(variances: np.ndarray, n: int, n_features: int) -> np.ndarray:
    """Features whose principal components have given variances, exactly, up to rounding."""
    rng = np.random.default_rng(3)
    left = np.linalg.qr(np.c_[np.ones(n), rng.standard_normal((n, len(variances)))])[0][:, 1:]
    right = np.linalg.qr(rng.standard_normal((n_features, len(variances))))[0]
    return (left * np.sqrt(variances * n)) @ right.T


@pytest.mark.parametrize(
    "variances",
    [
        np.arange(1, 301.0) ** -0.5,  # falls slowly
        np.r_[1e6, np.linspace(2, 1, 299)],  # one component dwarfs the others
        np.r_[np.linspace(3, 2, 9), np.linspace(1.9, 1.899, 20), np.linspace(1, 0.5, 271)],  # k lies in a cluster
    ],
)
def test_krylov_finds_components_that_hardly_differ(variances):
    features = _with_variances(variances, 600, 500)
    (got,) = _by_krylov(features, [np.arange(600)], 10)
    np.testing.assert_allclose(got.explained_variance_ratio, variances[:10] / variances.sum(), rtol=1e-10)
    wanted = pca_scores(features @ features.T, np.arange(600), PCAOptions(10))
    # As exact as a full decomposition: what both lose is rounding, magnified where variances are close.
    tolerance = max(1e-8, 1e-12 * variances[0] / -np.diff(variances[:11]).max())
    assert np.abs(got.scores - wanted.scores).max() <= tolerance * np.abs(wanted.scores).max()


def test_krylov_shares_passes_but_not_results(monkeypatch):
    features = _features(n=260, n_features=300)
    together = list(_by_krylov(features, ROWS, 5))
    monkeypatch.setattr(krylov, "BASIS_BYTES", 32 * 260 * 60)
    for rows, one in zip(ROWS, together, strict=True):
        # Room for one training set at a time.
        (alone,) = _by_krylov(features, [rows], 5)
        np.testing.assert_allclose(alone.scores, one.scores, atol=1e-9 * np.abs(one.scores).max())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [False, True])
def test_held_out_stimuli_leave_training_scores_untouched(way, scale):
    features, train = _narrow(), ROWS[2]
    held_out = np.setdiff1d(np.arange(260), train)
    changed = features.copy()
    changed[held_out] = np.random.default_rng(9).standard_normal((len(held_out), 70)) * 30
    (before,), (after,) = (way(values, [train], 6, scale=scale) for values in (features, changed))
    assert np.array_equal(before.scores[train], after.scores[train])
    assert np.array_equal(before.explained_variance_ratio, after.explained_variance_ratio)
    assert not np.allclose(before.scores[held_out], after.scores[held_out])


@pytest.mark.parametrize("way", WAYS)
def test_features_far_from_zero_are_as_exact(way):
    features = _features(n=260, n_features=70, offset=0.0).astype(np.float64) + 3e5
    (got,) = way(features, ROWS[1:2], 10)
    _assert_same_up_to_sign(got.scores, _reference(features, ROWS[1], 10, False)[0], 1e-8)


@pytest.mark.parametrize("way", WAYS)
def test_constant_features_become_zero_under_scaling(way):
    features = _narrow()
    padded = np.hstack([features, np.full((260, 40), 0.1), np.zeros((260, 3))])
    padded[240:, 70:] = 7  # constant over the training stimuli only
    (plain,), (with_constants,) = (way(values, ROWS[:1], 10, scale=True) for values in (features, padded))
    np.testing.assert_allclose(with_constants.scores, plain.scores, atol=1e-9 * np.abs(plain.scores).max())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("scale", [False, True])
def test_rank_is_found_and_named(way, scale):
    rng = np.random.default_rng(2)
    features = rng.standard_normal((260, 7)) @ rng.standard_normal((7, 90)) + 1
    with pytest.raises(OptionError) as raised:
        way(features, [np.arange(200)], 9, scale=scale, where=" of layer features.3")
    assert str(raised.value) == (
        "compress.components must be at most 7, the rank of the 200 training stimuli of layer features.3; got 9; "
        "lower it, or set compress.fewer=allow"
    )
    (allowed,) = way(features, [np.arange(200)], 9, scale=scale, fewer="allow")
    assert allowed.scores.shape == (260, 7)
    assert allowed.explained_variance_ratio.sum() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_features_that_do_not_vary_are_refused(way, value):
    features = np.full((260, 50), value)
    features[220:] += 1  # held-out stimuli do vary
    with pytest.raises(DataError, match=r"of layer motion\.1 must vary over the 220 training stimuli"):
        way(features, ROWS[:1], 3, where=" of layer motion.1")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_features_that_are_not_finite_are_refused(way, bad):
    features = _narrow()
    features[3, 4] = bad
    with pytest.raises(DataError, match="of layer x must be finite"):
        way(features, ROWS[:1], 3, where=" of layer x")


def test_coordinates_from_the_covariance_keep_every_distance():
    features = _narrow().astype(np.float64)
    places = covariance_coordinates(FeatureMatrix([features]), ROWS[0], PCAOptions())
    assert places.shape == (260, 71)
    np.testing.assert_allclose(cdist(places, places[ROWS[0]]), cdist(features, features[ROWS[0]]), rtol=1e-6, atol=1e-5)
    assert not places[ROWS[0], -1].any()


def test_the_smallest_matrix_is_chosen(monkeypatch):
    wide, narrow = _features(), _features(n_features=40)
    grams = [next(gram_matrices(FeatureMatrix([features]), [None])) for features in (wide, narrow)]
    wanted = [pca_scores(gram, SUBSETS[0], PCAOptions(5)).scores for gram in grams]

    def largest(features, method="pca", components=4):
        square = []
        with monkeypatch.context() as patched:
            for name in ("covariance_scores", "krylov_scores", "pca_scores"):
                used = getattr(compress, name)
                patched.setattr(
                    compress, name, lambda *a, _name=name, _used=used, **k: square.append(_name) or _used(*a, **k)
                )
            (got,) = compress_folds(
                FeatureMatrix([features]), SUBSETS[:1], CompressionSettings(method, components=components)
            )
        return square, got.scores

    assert largest(wide)[0] == ["pca_scores"]
    assert largest(narrow)[0] == ["covariance_scores"]
    monkeypatch.setattr(compress, "MOST_SQUARE", 45)
    used, scores = largest(wide)
    assert used == ["krylov_scores"]
    _assert_same_up_to_sign(scores, wanted[0][:, :4])
    used, scores = largest(narrow)
    assert used == ["covariance_scores"]
    _assert_same_up_to_sign(scores, wanted[1][:, :4])


def test_what_needs_too_large_a_matrix_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(compress, "MOST_SQUARE", 45)
    wide = FeatureMatrix([_features()])
    for method in ("mds", "umap", "autoencoder"):
        with pytest.raises(OptionError, match=rf"method={method} allows at most 45 stimuli, .* got 60 of layer x"):
            list(compress_folds(wide, SUBSETS[:1], CompressionSettings(method, components=3), layer="x"))
    narrow = FeatureMatrix([_features(n_features=30)])
    with pytest.raises(OptionError, match="method=mds allows at most 45 stimuli"):
        list(compress_folds(narrow, SUBSETS[:1], CompressionSettings("mds", components=3)))
    quick = CompressionSettings("autoencoder", components=3, options={"epochs": 2, "hidden": 4})
    (placed,) = compress_folds(narrow, SUBSETS[:1], quick)
    assert placed.scores.shape == (60, 3)
    for components in (6, "max"):
        with pytest.raises(OptionError, match=r"components must be at most 4, what 2\.5 GB .* 60 stimuli of 700 feat"):
            list(compress_folds(wide, SUBSETS[:1], CompressionSettings(components=components)))


@pytest.mark.parametrize("way", WAYS)
def test_no_square_of_stimuli_is_held(way, monkeypatch):
    features = np.random.default_rng(0).standard_normal((4000, 300)).astype(np.float32)
    for module in (covariance, krylov):
        monkeypatch.setattr(module, "BLOCK_BYTES", 2**20)
    monkeypatch.setattr(krylov, "BASIS_BYTES", 32 * 4000 * 100)
    tracemalloc.start()
    try:
        way(features, [np.arange(3900)], 3)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * 4000**2 / 3  # three blocks of at most 9.6 MB, and little else


def test_the_estimator_works_on_the_smaller_matrix():
    features = _narrow().astype(np.float64)
    estimator = make_compressor("pca", 5)
    train = estimator.fit_transform(features[ROWS[0]])
    (wanted,) = _by_covariance(features, ROWS[:1], 5)
    np.testing.assert_allclose(train, wanted.scores[ROWS[0]], atol=1e-9 * np.abs(train).max())
    np.testing.assert_allclose(estimator.transform(features), wanted.scores, atol=1e-9 * np.abs(train).max())
