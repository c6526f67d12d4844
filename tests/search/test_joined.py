"""All layers joined: against scikit-learn on layers side by side, and as one layer more in stacking and averages."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import nnls
from sklearn.linear_model import Ridge

from tests.search.spaces import search
from voxelcast.core.arrays import BoolArray, FloatArray, IntArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.base import FeatureSpace, PairResult
from voxelcast.search.folds import make_folds
from voxelcast.search.joined import JOINED, JoinedSpace, joined_scores
from voxelcast.search.settings import EnsembleSettings, SelectionSettings

from .spaces import Fixed, Refitted, layer_names, simulated

N_FOLDS = 4


def _side_by_side(layers: Sequence[FloatArray], train: BoolArray) -> FloatArray:
    """Centre each layer on its training means, bring it to a mean squared norm of 1 there, and put all side by side."""
    centred = [X - X[train].mean(axis=0) for X in layers]
    return np.hstack([X / np.sqrt(np.square(X[train]).sum() / train.sum()) for X in centred])


def _layers(n: int) -> list[FloatArray]:
    rng = np.random.default_rng(n)
    sizes = [(10, 1.0, 0.0), (25, 100.0, 1e4), (4, 0.01, 3.0)]
    return [unit * rng.standard_normal((n, p)) * np.geomspace(3, 0.1, p) + mean for p, unit, mean in sizes]


@pytest.mark.parametrize("n", [30, 80])  # fewer and more stimuli than features
@pytest.mark.parametrize("alpha", [1e-2, 1.0, 1e2])
def test_ridge_on_joined_features_is_ridge_on_layers_side_by_side(n: int, alpha: float) -> None:
    layers, train = _layers(n), np.arange(n) % 5 != 0
    Y = np.random.default_rng(0).standard_normal((n, 3))
    side_by_side, joined = _side_by_side(layers, train), joined_scores(layers, np.flatnonzero(train))
    assert joined.shape[1] == min(int(train.sum()) - 1, side_by_side.shape[1])
    expected, found = (Ridge(alpha).fit(X[train], Y[train]).predict(X) for X in (side_by_side, joined))
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_a_layer_counts_no_more_for_its_unit_and_a_constant_one_for_nothing() -> None:
    layers, train = _layers(40), np.arange(30)
    expected = joined_scores(layers, train)
    changed = [layers[0] * 1000, np.full((40, 5), 0.1), *layers[1:]]
    np.testing.assert_allclose(joined_scores(changed, train), expected, atol=1e-9)


def test_held_out_stimuli_have_no_part_in_what_others_become() -> None:
    layers, train = _layers(40), np.arange(30)
    changed = [np.vstack([X[:35], 50 * X[35:]]) for X in layers]
    np.testing.assert_allclose(joined_scores(changed, train)[:35], joined_scores(layers, train)[:35], atol=1e-10)


@pytest.mark.parametrize(
    ("layers", "error", "message"),
    [
        ([np.ones((9, 2)), np.ones((8, 2))], ShapeError, r"features of each layer must have shape \(n_stimuli=9, p\)"),
        ([np.ones((9, 2)), np.ones((9, 3))], DataError, "features of all layers joined must vary"),
        ([np.ones((9, 2)), np.full((9, 3), np.nan)], DataError, "features of all layers joined must be finite"),
    ],
)
def test_joining_refuses_bad_layers(layers: list[FloatArray], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        joined_scores(layers, np.arange(6))


def _spaces(raw: Sequence[FloatArray], folds: IntArray, *, refitted: bool, joined: bool = True) -> list[FeatureSpace]:
    spaces: list[FeatureSpace] = [
        Refitted(X, folds, 6, name) if refitted else Fixed(X, name)
        for X, name in zip(raw, layer_names(len(raw)), strict=True)
    ]
    return [*spaces, JoinedSpace(spaces, folds)] if joined else spaces


@pytest.mark.parametrize("refitted", [False, True])
@pytest.mark.parametrize("per", ["roi", "voxel"])
def test_nested_stacking_with_all_layers_joined_equals_plain_loops(
    per: str, refitted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = get_encoder("ridge")
    # A single setting, so that the loops below need no search.
    monkeypatch.setattr(type(encoder), "param_grid", lambda *_: ({"relative_alpha": 0.5},))
    monkeypatch.setattr(type(encoder), "refined", lambda *_: ())
    raw, Y = simulated(60, 5, 30, 3, layers=3, noise=5.0)
    folds = make_folds(60, N_FOLDS, 0)
    ensemble = EnsembleSettings("stacking", per, sum_to_one=False, joined=True)
    result = search(Y, _spaces(raw, folds, refitted=refitted), [encoder], folds, ensemble=ensemble)
    layers = _spaces(raw, folds, refitted=refitted, joined=False)
    n_joined = 18 if refitted else 59  # the rank of all layers on all training stimuli

    def predict(excluded: tuple[int, ...], rows: BoolArray) -> FloatArray:
        train = np.append(~np.isin(folds, excluded), np.zeros(5, dtype=bool))
        Xs = [space.scores(tuple(sorted(excluded))) for space in layers]
        fitted = [encoder.fit(X[train], Y[train[:60]], {"relative_alpha": 0.5}).predict(X[rows]) for X in Xs]
        Z = _side_by_side(Xs, train)
        alpha = 0.5 * np.square(Z[train]).sum() / n_joined
        return np.stack([*fitted, Ridge(alpha).fit(Z[train], Y[train[:60]]).predict(Z[rows])])

    def of_fold(fold: int) -> BoolArray:
        return np.append(folds == fold, np.zeros(5, dtype=bool))

    def weights(others: Sequence[int], outer: tuple[int, ...]) -> FloatArray:
        P = [predict((fold, *outer), of_fold(fold)) for fold in others]
        centred = np.concatenate([p - p.mean(axis=1, keepdims=True) for p in P], axis=1)
        y = np.concatenate([Y[folds == fold] - Y[folds == fold].mean(axis=0) for fold in others])
        if per == "roi":
            unit = Y[~np.isin(folds, outer)].std(axis=0)
            return np.tile(nnls((centred / unit).reshape(4, -1).T, (y / unit).reshape(-1))[0], (3, 1)).T
        return np.stack([nnls(centred[:, :, v].T, y[:, v])[0] for v in range(3)], axis=1)

    expected = np.empty_like(Y)
    for outer in range(N_FOLDS):
        W = weights([fold for fold in range(N_FOLDS) if fold != outer], (outer,))
        mean = Y[folds != outer].mean(axis=0)
        expected[folds == outer] = mean + np.einsum("lv,lnv->nv", W, predict((outer,), of_fold(outer)) - mean)
    assert result.out_of_fold is not None
    np.testing.assert_allclose(result.out_of_fold, expected, atol=1e-8)
    W, test = weights(range(N_FOLDS), ()), np.arange(65) >= 60
    np.testing.assert_allclose(result.layer_weights, W, atol=1e-8)
    mean = Y.mean(axis=0)
    np.testing.assert_allclose(
        result.predictions, mean + np.einsum("lv,lnv->nv", W, predict((), test) - mean), atol=1e-8
    )
    assert result.layer_weights[3].any()


def _search(Y: FloatArray, spaces: Sequence[FeatureSpace], folds: IntArray, ensemble: EnsembleSettings) -> PairResult:
    return search(Y, spaces, [get_encoder("ridge")], folds, selection=SelectionSettings("voxel"), ensemble=ensemble)


@pytest.mark.parametrize("method", ["stacking", "average"])
def test_what_it_is_compared_with_stays_the_best_single_layer(method: str) -> None:
    raw, Y = simulated(60, 5, 6, 4, layers=3, noise=1.0)
    Y += simulated(60, 5, 6, 4, layers=3, true_layer=1, noise=1.0)[1]  # two layers drive it
    folds = make_folds(60, N_FOLDS, 0)
    plain = _search(Y, _spaces(raw, folds, refitted=False, joined=False), folds, EnsembleSettings(method))
    joined = _search(Y, _spaces(raw, folds, refitted=False), folds, EnsembleSettings(method, joined=True))
    assert joined.single_out_of_fold is not None
    np.testing.assert_array_equal(joined.single_out_of_fold, plain.single_out_of_fold)
    assert joined.chosen.layer == plain.chosen.layer
    assert {choice.network for choice in joined.nested_choices} == {"network"}
    best = max(joined.candidates, key=lambda candidate: candidate.score)
    assert best.network == JOINED, "the test needs a joined model that would be chosen if it could"
    assert joined.layer_weights.shape == (4, 4)
    assert JOINED in {part.network for part in joined.parts}
    assert JOINED in {share.candidate.network for share in joined.shares}


@pytest.mark.parametrize("method", ["stacking", "average"])
def test_responses_of_a_fold_have_no_part_in_its_prediction(method: str) -> None:
    raw, Y = simulated(60, 5, 6, 4, layers=3, noise=6.0)
    folds = make_folds(60, N_FOLDS, 0)
    changed = Y.copy()
    changed[folds == 1] = 50 * np.random.default_rng(0).standard_normal((int((folds == 1).sum()), 4))
    before, after = (
        _search(part, _spaces(raw, folds, refitted=True), folds, EnsembleSettings(method, joined=True)).out_of_fold
        for part in (Y, changed)
    )
    assert before is not None
    assert after is not None
    np.testing.assert_allclose(after[folds == 1], before[folds == 1], atol=1e-7)
    assert not np.allclose(after[folds == 0], before[folds == 0], atol=1e-3)


def test_joined_features_are_asked_for_without_the_folds_judged() -> None:
    raw, _ = simulated(60, 5, 6, 4, layers=2)
    folds = make_folds(60, N_FOLDS, 0)
    layers = [Refitted(X, folds, 3) for X in raw]
    joined = JoinedSpace(layers, folds)
    for excluded in [(), (1,), (0, 2)]:
        changed = [Refitted(X.copy(), folds, 3) for X in raw]
        left_out = np.append(np.isin(folds, excluded), np.zeros(5, dtype=bool))
        for space in changed:
            space.raw[left_out] *= 10
        found = JoinedSpace(changed, folds).scores(excluded)
        np.testing.assert_allclose(found[~left_out], joined.scores(excluded)[~left_out], atol=1e-9)


def test_settings_are_checked() -> None:
    raw, Y = simulated(60, 5, 6, 4, layers=2)
    folds = make_folds(60, N_FOLDS, 0)
    with pytest.raises(OptionError, match=r"joined needs method stacking or .*, got method none"):
        EnsembleSettings(joined=True)
    with pytest.raises(OptionError, match="joining takes at least two layers; got 1"):
        JoinedSpace([Fixed(raw[0])], folds)
    with pytest.raises(OptionError, match=r"ensemble\.joined needs two layers and the space that joins them"):
        _search(Y, [Fixed(X) for X in raw], folds, EnsembleSettings("stacking", joined=True))
