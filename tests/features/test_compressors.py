"""Every compression keeps the contract, and each is what its literature says it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist
from sklearn.decomposition import PCA
from sklearn.manifold import smacof
from sklearn.random_projection import SparseRandomProjection

from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.features.compress import compress_folds
from voxelcast.features.compressors import COMPRESSORS, list_compressors, make_compressor
from voxelcast.features.matrix import FeatureMatrix
from voxelcast.features.pca import coordinates
from voxelcast.features.settings import CompressionSettings

QUICK = {"autoencoder": {"epochs": 15, "hidden": 16}}
# umap-learn compiles itself in every new process, which takes up to a minute.
METHODS = [pytest.param(name, marks=pytest.mark.slow if name == "umap" else ()) for name in list_compressors()]
TRAIN = np.arange(4, 40)
HELD_OUT = np.setdiff1d(np.arange(48), TRAIN)


@pytest.fixture(scope="module")
def X() -> np.ndarray:
    rng = np.random.default_rng(3)
    signal = (rng.standard_normal((48, 6)) * np.linspace(4, 1, 6)) @ rng.standard_normal((6, 90))
    return (signal + 0.5 * rng.standard_normal((48, 90)) + 1).astype(np.float32)


@pytest.fixture(autouse=True)
def _umap_where_asked(request: pytest.FixtureRequest) -> None:
    if "umap" in request.node.name and request.node.get_closest_marker("slow"):
        pytest.importorskip("umap")


def _make(name: str, components: int = 3, seed: int = 0):
    return make_compressor(name, components, seed=seed, options=QUICK.get(name))


def _fold(X: np.ndarray, name: str, rows: np.ndarray = TRAIN, **settings) -> np.ndarray:
    settings = {"components": 3, "options": QUICK.get(name)} | settings
    (got,) = compress_folds(FeatureMatrix([X]), [rows], CompressionSettings(method=name, **settings))
    return got.scores


@pytest.mark.parametrize("name", METHODS)
def test_the_contract(X, name):
    compressor = _make(name)
    train = compressor.fit_transform(X[TRAIN])
    others = compressor.transform(X[HELD_OUT])
    assert train.shape == (len(TRAIN), 3)
    assert others.shape == (len(HELD_OUT), 3)
    assert train.dtype == others.dtype == np.float64
    assert np.isfinite(train).all()
    assert np.isfinite(others).all()
    again = _make(name).fit(X[TRAIN])
    np.testing.assert_array_equal(again.transform(X[HELD_OUT]), others)
    # No stimulus' place depends on those placed with it; UMAP's samples are shared.
    if name != "umap":
        np.testing.assert_allclose(again.transform(X[HELD_OUT[:1]]), others[:1], rtol=1e-9, atol=1e-9)
    assert again.transform(X[:0]).shape == (0, 3)
    other_seed = _make(name, seed=1).fit_transform(X[TRAIN])
    assert np.array_equal(other_seed, train) != COMPRESSORS.get(name).chance


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("scale", [False, True])
def test_held_out_stimuli_change_no_training_score(X, name, scale):
    changed = X.copy()
    changed[HELD_OUT] = 9 * np.random.default_rng(5).standard_normal((len(HELD_OUT), 90))
    before, after = _fold(X, name, scale=scale), _fold(changed, name, scale=scale)
    assert before.shape == (48, 3)
    np.testing.assert_array_equal(before[TRAIN], after[TRAIN])
    assert not np.allclose(before[HELD_OUT], after[HELD_OUT])
    # Each held-out stimulus is placed for itself.
    changed[HELD_OUT[1:]] = X[HELD_OUT[1:]]
    if name != "umap":
        np.testing.assert_allclose(_fold(changed, name, scale=scale)[HELD_OUT[1:]], before[HELD_OUT[1:]], atol=1e-8)


@pytest.mark.parametrize("name", METHODS)
def test_folds_are_fitted_apart(X, name):
    subsets = [TRAIN, TRAIN[:-9]]
    compression = CompressionSettings(method=name, components=3, options=QUICK.get(name, {}))
    first, second = (c.scores for c in compress_folds(FeatureMatrix([X]), subsets, compression))
    np.testing.assert_array_equal(second, _fold(X, name, TRAIN[:-9]))
    assert np.array_equal(first, second) != compression.learns


@pytest.mark.parametrize(("name", "tolerance"), [("pca", 1e-9), ("random_projection", 1e-12), ("mds", 1e-6)])
def test_wide_features_by_blocks_are_the_estimator_on_all_of_them(X, name, tolerance):
    compressor = _make(name)
    scores = _fold(X, name)
    size = np.abs(scores).max()
    np.testing.assert_allclose(scores[TRAIN], compressor.fit_transform(X[TRAIN]), atol=tolerance * size)
    np.testing.assert_allclose(scores[HELD_OUT], compressor.transform(X[HELD_OUT]), atol=tolerance * size)


@pytest.mark.parametrize(
    ("name", "tolerance"), [("pca", 1e-9), ("random_projection", 1e-12), ("autoencoder", 1e-6), ("mds", 1e-2)]
)
def test_a_training_stimulus_is_placed_where_it_was(X, name, tolerance):
    compressor = _make(name)
    places = compressor.fit_transform(X[TRAIN])
    np.testing.assert_allclose(compressor.transform(X[TRAIN]), places, atol=tolerance * np.abs(places).max())


@pytest.mark.slow
def test_umap_places_twins_near_their_twins(X):
    umap = _make("umap")
    places = umap.fit_transform(X[TRAIN])
    twins = umap.transform(X[TRAIN] + np.float32(1e-3))
    assert np.median(np.linalg.norm(twins - places, axis=1)) < 0.5 * np.median(pdist(places))


def test_principal_components_are_scikit_learns(X):
    pca = PCA(5, svd_solver="full").fit(X[TRAIN].astype(float))
    compressor = make_compressor("pca", 5).fit(X[TRAIN])
    got, wanted = compressor.transform(X), pca.transform(X.astype(float))
    np.testing.assert_allclose(got * np.sign((got * wanted).sum(axis=0)), wanted, atol=1e-9 * np.abs(wanted).max())
    assert compressor.explained_variance == pytest.approx(pca.explained_variance_ratio_.sum())
    few = make_compressor("pca", 2).fit_transform(X[TRAIN])
    np.testing.assert_allclose(few, got[TRAIN, :2], atol=1e-9 * np.abs(got).max())


def test_random_projection_is_scikit_learns_and_keeps_distances(X):
    got = make_compressor("random_projection", 80, seed=4).fit_transform(X)
    np.testing.assert_allclose(got, SparseRandomProjection(80, random_state=4).fit_transform(X), rtol=1e-5, atol=1e-4)
    wide = np.random.default_rng(0).standard_normal((20, 3000))
    ratio = pdist(make_compressor("random_projection", 1500).fit_transform(wide)) / pdist(wide)
    assert abs(ratio.mean() - 1) < 0.02
    assert ratio.std() < 0.05


def test_mds_finds_scikit_learns_stress_and_classical_places_where_they_are_exact(X):
    mds = make_compressor("mds", 3)
    places = mds.fit_transform(X[TRAIN])
    wanted = cdist(X[TRAIN], X[TRAIN])
    start = PCA(3, svd_solver="full").fit_transform(X[TRAIN].astype(float))
    theirs, _ = smacof(wanted, n_components=3, init=start, n_init=1, max_iter=3000, eps=1e-12, normalized_stress=False)
    stress, least = (((wanted - cdist(Y, Y)) ** 2).sum() for Y in (places, theirs))
    assert stress == pytest.approx(least, rel=1e-4)
    assert stress < 0.999 * ((wanted - cdist(start, start)) ** 2).sum()
    # Points that do lie in three dimensions are found, and others among them too.
    flat = X[:, :3].astype(float)
    mds = make_compressor("mds", 3)
    np.testing.assert_allclose(pdist(mds.fit_transform(flat[TRAIN])), pdist(flat[TRAIN]), rtol=1e-6)
    to_train = cdist(mds.transform(flat[HELD_OUT]), mds.fit_transform(flat[TRAIN]))
    np.testing.assert_allclose(to_train, cdist(flat[HELD_OUT], flat[TRAIN]), rtol=1e-2)


def test_mds_places_others_where_the_stress_is_least(X):
    from scipy.optimize import minimize

    mds = make_compressor("mds", 3)
    places = mds.fit_transform(X[TRAIN])
    for row, x in zip(HELD_OUT[:4], mds.transform(X[HELD_OUT[:4]]), strict=True):
        wanted = np.linalg.norm(X[row] - X[TRAIN], axis=1)

        def stress(x, wanted=wanted):
            return ((wanted - np.linalg.norm(x - places, axis=1)) ** 2).sum()

        assert stress(x) <= minimize(stress, x, method="Nelder-Mead", options={"xatol": 1e-8}).fun * (1 + 1e-4)


def test_a_linear_autoencoder_finds_the_principal_subspace(X):
    """Baldi & Hornik (1989): the least error of a linear autoencoder is that of the first principal components."""
    centred = coordinates((X @ X.T).astype(np.float64), TRAIN)[TRAIN]
    best = PCA(3).fit(centred).explained_variance_ratio_.sum()
    linear = make_compressor("autoencoder", 3, options={"hidden": 0, "epochs": 400, "learning_rate": 0.01})
    linear.fit(centred)
    assert best - 0.01 < linear.explained_variance <= best + 1e-6


def test_an_autoencoder_bends_where_principal_components_cannot():
    t = np.random.default_rng(0).uniform(-1, 1, 300)
    curve = np.column_stack([t, t**2, t**3])
    bent = make_compressor("autoencoder", 1, options={"hidden": 32, "epochs": 150, "learning_rate": 0.01}).fit(curve)
    assert 1 - bent.explained_variance < 0.3 * (1 - PCA(1).fit(curve).explained_variance_ratio_.sum())


def test_an_autoencoder_leaves_pytorch_as_it_was(X):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    _make("autoencoder").fit(X)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads


def test_coordinates_keep_every_distance_to_training_stimuli(X):
    wide = X.astype(np.float64)
    places = coordinates(wide @ wide.T, TRAIN)
    assert places.shape == (48, len(TRAIN))
    np.testing.assert_allclose(cdist(places, places[TRAIN]), cdist(wide, wide[TRAIN]), rtol=1e-7, atol=1e-6)
    assert not places[TRAIN, -1].any()


@pytest.mark.parametrize(
    ("name", "most"), [("pca", 35), ("mds", 35), ("autoencoder", 35), ("random_projection", 90), ("umap", 34)]
)
def test_too_many_components(X, name, most):
    with pytest.raises(OptionError, match=f"must be at most {most}, .*; got 91; lower it, or set compress.fewer=allow"):
        _make(name, 91).fit(X[TRAIN])
    with pytest.raises(OptionError, match=f"must be at most {most}"):
        _fold(X, name, components=91)
    if name != "umap":
        assert _fold(X, name, components=91, fewer="allow").shape == (48, most)


@pytest.mark.parametrize("name", list_compressors())
def test_features_that_cannot_be_compressed(X, name):
    bad = X.copy()
    bad[2, 3] = np.nan
    with pytest.raises(DataError, match="features must be finite"):
        _make(name).fit(bad)
    with pytest.raises(ShapeError, match=r"shape \(n_stimuli, n_features\); got \(48,\)"):
        _make(name).fit(X[:, 0])
    with pytest.raises(DataError, match="at least 2 training stimuli; got 1"):
        _make(name).fit(X[:1])


def test_another_number_of_features_than_in_the_fit(X):
    with pytest.raises(ShapeError, match=r"n_features=90\); got \(48, 89\)"):
        _make("pca").fit(X).transform(X[:, :89])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"method": "tsne"}, OptionError, "compress.method must be one of none, autoencoder, .*; got 'tsne'"),
        ({"method": "umap", "components": "max"}, OptionError, "components=max goes with method pca alone"),
        ({"method": "umap", "options": {"neighbors": 3}}, OptionError, "must be one of min_dist, n_neighbors"),
        ({"method": "umap", "options": {"n_neighbors": 1}}, OptionError, "n_neighbors of at least 2"),
        ({"method": "umap", "options": {"n_neighbors": 2.5}}, OptionError, "must be a whole number; got 2.5"),
        ({"method": "pca", "options": {"whiten": 1}}, OptionError, "must be one of none; got 'whiten'"),
        ({"method": "mds", "options": {"tolerance": -1}}, OptionError, "tolerance of at least 0"),
        ({"method": "autoencoder", "options": {"epochs": 0}}, OptionError, "epochs and batch of at least 1"),
        ({"method": "none", "options": {"epochs": 3}}, OptionError, "must be empty for method none"),
        ({"method": "mds", "components": 0}, OptionError, "at least 1, or max; got 0"),
    ],
)
def test_settings_that_cannot_be(settings, error, message):
    with pytest.raises(error, match=message):
        CompressionSettings(**settings)
