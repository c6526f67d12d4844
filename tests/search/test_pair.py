"""The search of a pair against plain loops over scikit-learn, and its honesty."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.cross_decomposition import PLSRegression

from tests.search.spaces import search
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, OptionError, ShapeError, VoxelcastError
from voxelcast.encoders.moments import moments
from voxelcast.encoders.params import Params, ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.ridge import ridge_penalty
from voxelcast.scoring.correlation import METRICS, cross_validated_r
from voxelcast.search.base import FeatureSpace, PairResult
from voxelcast.search.folds import make_folds

from .spaces import Fixed, Refitted, layer_names, simulated

N_FOLDS = 4


def _sklearn_predictions(encoder: str, setting: Params, X: FloatArray, Y: FloatArray, X_new: FloatArray) -> FloatArray:
    if encoder == "ridge":
        alpha = ridge_penalty(moments(X, Y).S, float(setting["relative_alpha"]))
        predicted: FloatArray = linear_model.Ridge(alpha=alpha, solver="cholesky").fit(X, Y).predict(X_new)
    else:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PLSRegression(int(setting["n_components"]), scale=False, tol=1e-22, max_iter=5000).fit(X, Y)
        predicted = model.predict(X_new)
    return predicted.reshape(len(X_new), Y.shape[1])


def _brute_force(
    encoder: str, settings: tuple[Params, ...], spaces: list[FeatureSpace], Y: FloatArray, folds: IntArray, metric: str
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return plain fold scores, the test predictions and the nested predictions, by loops over everything."""
    n = len(Y)
    candidates = [(space, setting) for space in spaces for setting in settings]

    def fold_score(space: FeatureSpace, setting: Params, fold: int, excluded: tuple[int, ...]) -> float:
        X, train, out = space.scores(excluded)[:n], ~np.isin(folds, excluded), folds == fold
        return METRICS[metric](Y[out], _sklearn_predictions(encoder, setting, X[train], Y[train], X[out]))

    plain = np.array([[fold_score(*c, i, (i,)) for i in range(N_FOLDS)] for c in candidates])
    space, setting = candidates[int(plain.mean(axis=1).argmax())]
    X = space.scores(())
    test = _sklearn_predictions(encoder, setting, X[:n], Y, X[n:])
    nested = np.empty_like(Y)
    for outer in range(N_FOLDS):
        others = [i for i in range(N_FOLDS) if i != outer]
        inner = [[fold_score(*c, i, (min(i, outer), max(i, outer))) for i in others] for c in candidates]
        space, setting = candidates[int(np.mean(inner, axis=1).argmax())]
        X, train = space.scores((outer,))[:n], folds != outer
        nested[~train] = _sklearn_predictions(encoder, setting, X[train], Y[train], X[~train])
    return plain, test, nested


@pytest.mark.parametrize("metric", ["pearson_r", "pooled_2021"])
@pytest.mark.parametrize("refitted", [False, True])
@pytest.mark.parametrize("encoder", ["pls", "ridge"])
def test_equals_plain_loops_over_sklearn(
    encoder: str, refitted: bool, metric: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Only the listed settings: what is tried between them depends on their scores.
    monkeypatch.setattr(type(get_encoder(encoder)), "refined", lambda *_: ())
    features, Y = simulated(50, 6, 5, 4, layers=2, true_layer=1, noise=5.0)
    folds = make_folds(50, N_FOLDS, 3)
    spaces: list[FeatureSpace] = [
        Refitted(X, folds, 4, name) if refitted else Fixed(X[:, :4], name)
        for X, name in zip(features, layer_names(2), strict=True)
    ]
    result = search(Y, spaces, [get_encoder(encoder)], folds, metric=metric)
    settings = get_encoder(encoder).param_grid(ProblemSize(24, 4, Y.shape[1]))
    plain, test, nested = _brute_force(encoder, settings, spaces, Y, folds, metric)
    np.testing.assert_allclose([c.fold_scores for c in result.candidates], plain, atol=1e-9)
    assert [(c.layer, c.params) for c in result.candidates] == [(s.layer, k) for s in spaces for k in settings]
    assert result.chosen is result.candidates[int(plain.mean(axis=1).argmax())]
    assert result.out_of_fold is not None
    assert result.voxel_scores is not None
    np.testing.assert_allclose(result.predictions, test, atol=1e-9)
    np.testing.assert_allclose(result.out_of_fold, nested, atol=1e-9)
    np.testing.assert_allclose(result.voxel_scores, cross_validated_r(Y, nested, folds), atol=1e-9)


def _search(Y: FloatArray, folds: IntArray, features: list[FloatArray], **options: object) -> PairResult:
    spaces = [Fixed(X, name) for X, name in zip(features, layer_names(len(features)), strict=True)]
    encoders = [get_encoder("pls"), get_encoder("ridge")]
    return search(Y, spaces, encoders, folds, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("method", ["exact", "bayes"])
def test_responses_of_a_fold_have_no_part_in_its_prediction(method: str) -> None:
    features, Y = simulated(60, 5, 6, 4, layers=3, noise=6.0)
    folds = make_folds(60, N_FOLDS, 0)
    before = _search(Y, folds, features, method=method, trials=5)
    rng = np.random.default_rng(0)
    for fold in range(N_FOLDS):
        changed = Y.copy()
        changed[folds == fold] = 100 * rng.standard_normal((int((folds == fold).sum()), 4))
        after = _search(changed, folds, features, method=method, trials=5)
        assert before.out_of_fold is not None
        assert after.out_of_fold is not None
        out = folds == fold
        assert dict(after.nested_choices[fold].params) == pytest.approx(dict(before.nested_choices[fold].params))
        assert after.nested_choices[fold].layer == before.nested_choices[fold].layer
        np.testing.assert_allclose(
            after.nested_choices[fold].fold_scores, before.nested_choices[fold].fold_scores, atol=1e-10
        )
        np.testing.assert_allclose(after.out_of_fold[out], before.out_of_fold[out], atol=1e-9)
        assert not np.allclose(after.out_of_fold[~out], before.out_of_fold[~out], atol=1e-3)


def test_features_fitted_in_folds_are_asked_for_without_the_folds_judged() -> None:
    features, Y = simulated(60, 5, 6, 4)
    folds = make_folds(60, N_FOLDS, 0)
    space = Refitted(features[0], folds, 3)
    search(Y, [space], [get_encoder("pls")], folds)
    pairs = {(i, j) for i in range(N_FOLDS) for j in range(i + 1, N_FOLDS)}
    assert set(space.asked) == {()} | {(i,) for i in range(N_FOLDS)} | pairs


def test_noise_scores_nothing_although_the_selected_score_is_high() -> None:
    selected, nested = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        features = [rng.standard_normal((100, 8)) for _ in range(6)]
        result = _search(rng.standard_normal((100, 5)), make_folds(100, 5, seed), features)
        assert result.voxel_scores is not None
        selected.append(result.chosen.score)
        nested.append(result.voxel_scores.mean())
    assert np.mean(selected) > 0.04
    # Standard error of a mean over 30 draws of 5 voxels is about .01; some negative bias is known of nested folds.
    assert abs(np.mean(nested)) < 0.03
    assert np.mean(nested) < np.mean(selected) - 0.04


@pytest.mark.parametrize("method", ["exact", "bayes"])
@pytest.mark.parametrize("true_layer", [0, 2, 4])
def test_finds_the_planted_layer(true_layer: int, method: str) -> None:
    features, Y = simulated(120, 20, 10, 8, layers=5, true_layer=true_layer, noise=3.0, seed=true_layer)
    result = _search(Y, make_folds(120, 5, 0), features, method=method, trials=5)
    assert result.chosen.layer == f"layer {true_layer}"
    assert {choice.layer for choice in result.nested_choices} == {f"layer {true_layer}"}
    assert result.predictions.shape == (20, 8)
    assert result.voxel_scores is not None
    assert result.voxel_scores.mean() > 0.3


def test_is_deterministic() -> None:
    features, Y = simulated(60, 5, 6, 4, layers=2)
    folds = make_folds(60, N_FOLDS, 0)
    for method in ("exact", "bayes"):
        first, second = (_search(Y, folds, features, method=method, trials=6, names=("s", "V1")) for _ in range(2))
        np.testing.assert_array_equal(first.predictions, second.predictions)
        np.testing.assert_array_equal(first.out_of_fold, second.out_of_fold)
        assert [c.params for c in first.candidates] == [c.params for c in second.candidates]


def test_without_nesting_nothing_is_reported_as_performance() -> None:
    features, Y = simulated(60, 5, 6, 4)
    folds = make_folds(60, N_FOLDS, 0)
    plain, nested = _search(Y, folds, features, nested=False), _search(Y, folds, features)
    assert plain.out_of_fold is None
    assert plain.voxel_scores is None
    assert plain.nested_choices == ()
    assert len(nested.nested_choices) == N_FOLDS
    assert all(choice.fold_scores.shape == (N_FOLDS - 1,) for choice in nested.nested_choices)
    assert plain.chosen.params == nested.chosen.params
    np.testing.assert_array_equal(plain.predictions, nested.predictions)


def test_ties_go_to_the_candidate_tried_first() -> None:
    features, Y = simulated(60, 5, 6, 4)
    folds = make_folds(60, N_FOLDS, 0)
    result = _search(Y, folds, [features[0], features[0].copy()])
    assert result.chosen.layer == "layer 0"
    # Features of rank 3: more components are the same model, so fewer are chosen.
    flat = np.hstack([features[0][:, :3], np.zeros((65, 3))])
    result = search(Y, [Fixed(flat)], [get_encoder("pls")], folds)
    scores = [c.score for c in result.candidates]
    assert scores[2:] == [scores[2]] * 4
    assert int(result.chosen.params["n_components"]) <= 3


def test_a_dead_layer_never_wins() -> None:
    features, Y = simulated(60, 5, 6, 4, noise=30.0)
    folds = make_folds(60, N_FOLDS, 0)
    result = _search(Y, folds, [np.full((65, 6), 0.1), features[0]])
    assert np.isnan([c.score for c in result.candidates if c.layer == "layer 0"]).all()
    assert result.chosen.layer == "layer 1"


def test_constant_voxels_score_nan_and_leave_the_others_alone() -> None:
    features, Y = simulated(60, 5, 6, 4)
    folds = make_folds(60, N_FOLDS, 0)
    with_constant = np.insert(Y, 2, 7.3, axis=1)
    expected, result = _search(Y, folds, features), _search(with_constant, folds, features)
    assert result.voxel_scores is not None
    assert expected.voxel_scores is not None
    assert np.isnan(result.voxel_scores).tolist() == [False, False, True, False, False]
    np.testing.assert_allclose(np.delete(result.voxel_scores, 2), expected.voxel_scores, atol=1e-9)
    assert result.chosen.score == pytest.approx(expected.chosen.score, abs=1e-10)


def test_fewer_stimuli_than_features() -> None:
    features, Y = simulated(24, 5, 40, 6)
    folds = make_folds(24, N_FOLDS, 0)
    result = _search(Y, folds, features)
    tried = [int(c.params["n_components"]) for c in result.candidates if c.encoder == "pls"]
    # Two folds of six are left out in nested cross-validation: 12 training stimuli have rank 11.
    assert tried == list(range(1, 12))
    assert np.isfinite(result.predictions).all()


def test_chosen_model_is_that_of_the_predictions() -> None:
    features, Y = simulated(60, 5, 6, 4)
    result = _search(Y, make_folds(60, N_FOLDS, 0), features)
    (part,) = result.parts
    np.testing.assert_allclose(part.model.predict(features[0][60:]), result.predictions, atol=1e-12)
    again = get_encoder(result.chosen.encoder).fit(features[0][:60], Y, result.chosen.params)
    np.testing.assert_allclose(part.model.arrays()["coefficients"], again.coefficients, atol=1e-10)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"method": "newton"}, OptionError, "method must be one of exact, bayes, random, grid; got 'newton'"),
        ({"metric": "r2"}, OptionError, "metric must be one of pearson_r, pooled_2021"),
        ({"method": "bayes", "trials": 0}, OptionError, "trials must be at least 1"),
        ({"Y": np.full((60, 4), np.nan)}, DataError, "responses must be finite; got 240 of 240"),
        ({"Y": np.ones((60, 4))}, DataError, "no candidate has a score"),
        ({"Y": np.ones((60, 0))}, ShapeError, "at least one voxel"),
        ({"folds": np.repeat([0, 1], 30)}, OptionError, "at least 3 folds; got 2"),
        ({"folds": np.repeat([0, 1, 2], 10)}, ShapeError, "fold_ids"),
        ({"features": []}, OptionError, "got 0 layers"),
        ({"features": [np.ones((50, 3))]}, ShapeError, "n_train=60"),
        ({"features": [np.full((65, 3), np.inf)]}, DataError, "features of network layer 0 must be finite"),
    ],
)
def test_refuses_bad_input(change: dict[str, object], error: type[VoxelcastError], message: str) -> None:
    features, Y = simulated(60, 5, 6, 4)
    given: dict[str, object] = {"Y": Y, "folds": make_folds(60, N_FOLDS, 0), "features": features} | change
    with pytest.raises(error, match=message):
        _search(**given)  # type: ignore[arg-type]


def test_more_layers_can_only_raise_the_selected_score() -> None:
    features, Y = simulated(60, 5, 6, 4, layers=4, noise=8.0)
    folds = make_folds(60, N_FOLDS, 0)
    scores = [_search(Y, folds, features[: k + 1], nested=False).chosen.score for k in range(4)]
    assert all(later >= earlier for earlier, later in pairwise(scores))
