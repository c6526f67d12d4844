"""Scores from sums against scores of the predictions themselves."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.linear import LinearEncoder
from voxelcast.encoders.moments import HeldOut, Moments, held_out, moments, roi_scores
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.path_scores import _penalty_weights, path_scores
from voxelcast.encoders.paths import LinearPath, ShrinkagePath, SolutionPath, VoxelPath
from voxelcast.encoders.registry import ENCODERS, get_encoder, list_encoders
from voxelcast.scoring.correlation import METRICS, pearson_r


def _fold(p: int = 12, q: int = 7) -> tuple[Moments, FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((90, p)) * np.geomspace(3, 0.3, p) + 4
    Y = X @ rng.standard_normal((p, q)) + 4 * rng.standard_normal((90, q)) + 100
    stats = moments(X[:60], Y[:60])
    return stats, X[60:] - stats.x_mean, Y[60:]


LINEAR = [name for name in list_encoders() if issubclass(ENCODERS.get(name), LinearEncoder)]


def path_pearson_r(path: SolutionPath, X: FloatArray, responses: HeldOut) -> FloatArray:
    """Pearson r of all parameters and voxels."""
    return path_scores(path, [X], np.zeros(1), [responses])[0]


def score_path(path: SolutionPath, X: FloatArray, y_mean: FloatArray, responses: HeldOut, metric: str) -> FloatArray:
    """Score of the ROI."""
    return roi_scores(path_scores(path, [X], y_mean, [responses], metric)[0], responses)


def _predictions(path: SolutionPath, index: int, stats: Moments, X: FloatArray) -> FloatArray:
    predictions: FloatArray = stats.y_mean + X @ path.coefficients(index)
    return predictions


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("q", [1, 7, 40])
def test_equals_the_correlation_of_predictions(name: str, q: int) -> None:
    stats, X, Y = _fold(q=q)
    path = get_encoder(name).path(stats, get_encoder(name).param_grid(ProblemSize(60, 12, Y.shape[1])))
    r = path_pearson_r(path, X, held_out(Y))
    assert r.shape == (len(path.params_list), q)
    for index in range(len(path.params_list)):
        np.testing.assert_allclose(r[index], pearson_r(Y, _predictions(path, index, stats, X)), atol=1e-11)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("metric", sorted(METRICS))
def test_every_metric_equals_that_of_predictions(name: str, metric: str) -> None:
    stats, X, Y = _fold()
    Y[:, 2] = 100.0
    path = get_encoder(name).path(stats, get_encoder(name).param_grid(ProblemSize(60, 12, Y.shape[1])))
    scores = score_path(path, X, stats.y_mean, held_out(Y), metric)
    expected = [METRICS[metric](Y, _predictions(path, index, stats, X)) for index in range(len(path.params_list))]
    np.testing.assert_allclose(scores, expected, atol=1e-11)


def test_settings_in_any_order() -> None:
    stats, X, Y = _fold()
    settings = [{"n_components": k} for k in (5, 1, 12, 5)]
    path = get_encoder("pls").path(stats, settings)
    r = path_pearson_r(path, X, held_out(Y))
    for index in range(4):
        np.testing.assert_allclose(r[index], pearson_r(Y, _predictions(path, index, stats, X)), atol=1e-11)


def test_blocks_of_voxels_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    stats, X, Y = _fold(q=23)
    path = get_encoder("ridge").path(stats, get_encoder("ridge").param_grid(ProblemSize(60, 12, Y.shape[1])))
    expected = path_pearson_r(path, X, held_out(Y))
    monkeypatch.setattr("voxelcast.encoders.path_scores._BLOCK_BYTES", 8 * 78 * 5)
    np.testing.assert_allclose(path_pearson_r(path, X, held_out(Y)), expected, atol=1e-13)


@pytest.mark.parametrize("kind", ["zero filter", "constant features", "no latent variable", "parts that cancel"])
def test_constant_predictions_have_no_score(kind: str) -> None:
    stats, X, Y = _fold()
    path = get_encoder("ridge").path(stats, get_encoder("ridge").param_grid(ProblemSize(60, 12, Y.shape[1])))
    if kind == "zero filter":
        path = LinearPath(path.params_list, path.directions, np.zeros_like(path.filters), path.loadings)
    elif kind == "constant features":
        X = np.tile(X[:1], (30, 1)) + 0.1
    elif kind == "parts that cancel":
        direction, loading = path.directions[:, :1], path.loadings[:1]
        both = np.array([[1.0, 1.0], [0.5, 0.5]])
        path = LinearPath(
            path.params_list[:2], np.hstack([direction, 3 * direction]), both, np.vstack([loading, -loading / 3])
        )
    else:
        path = LinearPath(({},), np.empty((12, 0)), np.empty((1, 0)), np.empty((0, 7)))
    assert np.isnan(path_pearson_r(path, X, held_out(Y))).all()
    assert np.isnan(score_path(path, X, stats.y_mean, held_out(Y), "pearson_r")).all()


def test_large_offsets_cost_no_digits() -> None:
    stats, X, Y = _fold()
    path = get_encoder("pls").path(stats, get_encoder("pls").param_grid(ProblemSize(60, 12, Y.shape[1])))
    expected = path_pearson_r(path, X, held_out(Y))
    np.testing.assert_allclose(path_pearson_r(path, X + 1e5, held_out(Y)), expected, atol=1e-8)
    np.testing.assert_allclose(path_pearson_r(path, X, held_out(Y + 1e6)), expected, atol=1e-8)


def test_refuses_an_unknown_metric() -> None:
    stats, X, Y = _fold()
    path = get_encoder("pls").path(stats, [{"n_components": 1}])
    with pytest.raises(OptionError, match="pearson_r, pooled_2021; got 'r2'"):
        score_path(path, X, stats.y_mean, held_out(Y), "r2")


@pytest.mark.parametrize("name", ["pls", "ridge", "omp", "elastic_net"])
@pytest.mark.parametrize("metric", sorted(METRICS))
def test_two_folds_at_once_equal_one_by_one(name: str, metric: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stats, X, Y = _fold(q=23)
    path = get_encoder(name).path(stats, get_encoder(name).param_grid(ProblemSize(60, 12, 23)))
    parts = [(X[:17], held_out(Y[:17])), (X[17:], held_out(Y[17:]))]
    expected = np.stack([score_path(path, part, stats.y_mean, fold, metric) for part, fold in parts], axis=1)
    monkeypatch.setattr("voxelcast.encoders.paths._BLOCK_BYTES", 8 * len(path.params_list) * 12 * 5)
    features, responses = zip(*parts, strict=True)
    scores = path_scores(path, features, stats.y_mean, responses, metric)
    found = np.stack([roi_scores(some, fold) for some, fold in zip(scores, responses, strict=True)], axis=1)
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("kind", ["zero coefficients", "constant features", "parts that cancel"])
def test_constant_predictions_of_voxels_have_no_score(kind: str) -> None:
    _, X, Y = _fold()
    path = VoxelPath(({},), (12, Y.shape[1]), lambda voxels: np.ones((1, voxels.stop - voxels.start, 12)))
    if kind == "zero coefficients":
        path = VoxelPath(({},), (12, Y.shape[1]), lambda voxels: np.zeros((1, voxels.stop - voxels.start, 12)))
    elif kind == "constant features":
        X = np.tile(X[:1], (30, 1)) + 0.1
    else:
        X[:, 6:] = -X[:, :6]
    assert np.isnan(path_pearson_r(path, X, held_out(Y))).all()


@pytest.mark.parametrize("weakest", [1.0, 1e-6])
@pytest.mark.parametrize("smallest", [1.0, 1e-5])
def test_penalties_are_scored_to_rounding_whatever_the_scales(smallest: float, weakest: float) -> None:
    rng = np.random.default_rng(0)
    units, gains = np.geomspace(1, smallest, 20), np.geomspace(1, weakest, 15)
    X = rng.standard_normal((120, 20)) * units
    Y = (X / units @ rng.standard_normal((20, 15)) + 3 * rng.standard_normal((120, 15)) + 5) * gains
    stats = moments(X[:80], Y[:80])
    path = get_encoder("ridge").path(stats, get_encoder("ridge").param_grid(ProblemSize(80, 20, 15)))
    r = path_pearson_r(path, X[80:] - stats.x_mean, held_out(Y[80:]))
    for index in range(len(path.params_list)):
        expected = pearson_r(Y[80:], _predictions(path, index, stats, X[80:] - stats.x_mean))
        np.testing.assert_allclose(r[index], expected, atol=1e-11)


@pytest.mark.parametrize("kind", ["equal variances", "nearly equal", "spread"])
def test_penalties_share_products_whatever_the_distance_of_eigenvalues(kind: str) -> None:
    rng = np.random.default_rng(1)
    X = np.linalg.qr(rng.standard_normal((90, 16)) - 0.0)[0]
    X = np.linalg.qr(X - X.mean(axis=0))[0]
    X *= {"equal variances": 1.0, "nearly equal": 1 + 0.02 * np.arange(16) / 16, "spread": np.geomspace(1, 0.02, 16)}[
        kind
    ]
    Y = X @ rng.standard_normal((16, 9)) + 0.1 * rng.standard_normal((90, 9))
    stats = moments(X, Y)
    held = rng.standard_normal((40, 16))
    path = get_encoder("ridge").path(stats, get_encoder("ridge").param_grid(ProblemSize(90, 16, 9)))
    assert isinstance(path, ShrinkagePath)
    T = held @ path.directions
    T -= T.mean(axis=0)
    shared = _penalty_weights(path, T.T @ T) is not None
    assert shared == (kind == "spread" or kind == "nearly equal")
    responses = rng.standard_normal((40, 9))
    r = path_pearson_r(path, held, held_out(responses))
    for index in range(len(path.params_list)):
        expected = pearson_r(responses, _predictions(path, index, stats, held))
        np.testing.assert_allclose(r[index], expected, atol=1e-11)
