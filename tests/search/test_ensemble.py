"""Stacking against general-purpose optimisers and plain loops; what it gains where two layers are planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize, nnls

from benchmarks.selection import Simulation, noise_scores, planted_choices, two_layers
from tests.search.spaces import search
from voxelcast.core.arrays import FloatArray, put, to_numpy
from voxelcast.core.errors import OptionError
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import cross_validated_r
from voxelcast.search.ensemble import StackingSums, average_weights, stacking_weights
from voxelcast.search.folds import make_folds
from voxelcast.search.settings import EnsembleSettings, SelectionSettings

from .spaces import Fixed, Refitted, layer_names, simulated

N_FOLDS = 4


def _problem(seed: int, n: int = 40, n_layers: int = 5) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n)
    return rng.uniform(-0.5, 1, n_layers) * y[:, None] * 10 + 8 * rng.standard_normal((n, n_layers)), y


def _weights(P: FloatArray, y: FloatArray, *, sum_to_one: bool = False) -> FloatArray:
    found = stacking_weights((P.T @ P)[None], (P.T @ y)[None], np.array([y @ y]), sum_to_one=sum_to_one)
    return np.asarray(found[0])


@pytest.mark.parametrize("seed", range(5))
def test_weights_are_those_of_non_negative_least_squares(seed: int) -> None:
    P, y = _problem(seed)
    np.testing.assert_allclose(_weights(P, y), nnls(P, y)[0], atol=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_weights_that_sum_to_one_are_the_best_of_all_such(seed: int) -> None:
    P, y = _problem(seed)
    found = _weights(P, y, sum_to_one=True)
    assert found.min() >= 0
    assert found.sum() == pytest.approx(1)
    best = minimize(
        lambda w: np.square(y - P @ w).sum(),
        np.full(5, 0.2),
        bounds=[(0, 1)] * 5,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14},
    )
    np.testing.assert_allclose(found, best.x, atol=1e-5)


def test_equal_and_constant_layers_do_no_harm() -> None:
    P, y = _problem(0)
    twice = np.column_stack([P, P[:, 0], np.zeros(len(P))])
    found = _weights(twice, y)
    assert found[-1] == 0
    np.testing.assert_allclose(twice @ found, P @ nnls(P, y)[0], atol=1e-8)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_many_units_of_any_scale_lose_nothing_to_a_solver_of_one(device: str) -> None:
    rng = np.random.default_rng(0)
    n, n_layers, units = 30, 7, 300
    y = rng.standard_normal((units, n)) * np.geomspace(1e-3, 1e3, units)[:, None]
    noise = np.geomspace(1e-3, 10, units)[:, None, None]
    P = (y[:, :, None] * rng.uniform(-0.5, 1, n_layers) + noise * rng.standard_normal((units, n, n_layers))) * 10.0
    P[:, :, 2], P[:50, :, 3], P[50, :, :], y[51] = 0.5 * P[:, :, 1], 0.0, 0.0, 0.0
    G, c, squares = np.swapaxes(P, 1, 2) @ P, np.einsum("uni,un->ui", P, y), np.square(y).sum(axis=1)
    found = to_numpy(stacking_weights(put(G, device), put(c, device), put(squares, device)))
    assert found.min() == 0
    assert not found[50:52].any()
    for k in range(units):
        loss = np.square(y[k] - P[k] @ found[k]).sum()
        assert loss <= nnls(P[k], y[k])[1] ** 2 + 1e-12 * squares[k]


def test_average_takes_the_best_layers_of_each_voxel() -> None:
    scores = np.array([[0.1, 0.5], [0.3, 0.5], [0.2, -np.inf]])
    np.testing.assert_array_equal(average_weights(scores, 2), [[0, 0.5], [0.5, 0.5], [0.5, 0]])
    np.testing.assert_array_equal(average_weights(scores, 9)[:, 1], [0.5, 0.5, 0])


@pytest.mark.parametrize("per", ["roi", "voxel"])
def test_nested_stacking_equals_plain_loops(per: str, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = get_encoder("ridge")
    # A single setting, so that the loops below need no search.
    monkeypatch.setattr(type(encoder), "param_grid", lambda *_: ({"relative_alpha": 0.5},))
    monkeypatch.setattr(type(encoder), "refined", lambda *_: ())
    raw, Y = simulated(60, 5, 8, 3, layers=3, noise=5.0)
    folds = make_folds(60, N_FOLDS, 0)
    spaces = [Refitted(X, folds, 4, name) for X, name in zip(raw, layer_names(3), strict=True)]
    result = search(Y, spaces, [encoder], folds, ensemble=EnsembleSettings("stacking", per, sum_to_one=False))

    def predict(excluded: tuple[int, ...], fold: int) -> FloatArray:
        train = ~np.isin(folds, excluded)
        Xs = [space.scores(tuple(sorted(excluded)))[:60] for space in spaces]
        fitted = [encoder.fit(X[train], Y[train], {"relative_alpha": 0.5}).predict(X[folds == fold]) for X in Xs]
        return np.stack(fitted)

    expected = np.empty_like(Y)
    for outer in range(N_FOLDS):
        others = [fold for fold in range(N_FOLDS) if fold != outer]
        P = [predict((fold, outer), fold) for fold in others]
        centred = np.concatenate([p - p.mean(axis=1, keepdims=True) for p in P], axis=1)
        y = np.concatenate([Y[folds == fold] - Y[folds == fold].mean(axis=0) for fold in others])
        if per == "roi":
            deviations = Y[folds != outer].std(axis=0)
            P_unit, y_unit = centred / deviations, y / deviations
            weights = np.tile(nnls(P_unit.reshape(3, -1).T, y_unit.reshape(-1))[0], (3, 1)).T
        else:
            weights = np.stack([nnls(centred[:, :, v].T, y[:, v])[0] for v in range(3)], axis=1)
        mean = Y[folds != outer].mean(axis=0)
        expected[folds == outer] = mean + np.einsum("lv,lnv->nv", weights, predict((outer,), outer) - mean)
    assert result.out_of_fold is not None
    np.testing.assert_allclose(result.out_of_fold, expected, atol=1e-8)
    np.testing.assert_allclose(result.voxel_scores, cross_validated_r(Y, expected, folds), atol=1e-8)
    final = sum(part.weights for part in result.parts)
    np.testing.assert_allclose(final, result.layer_weights.sum(axis=0), atol=1e-12)


@pytest.mark.parametrize(
    "ensemble", [EnsembleSettings("stacking"), EnsembleSettings("average"), EnsembleSettings("none")]
)
def test_responses_of_a_fold_have_no_part_in_weights_or_choices(ensemble: EnsembleSettings) -> None:
    raw, Y = simulated(60, 5, 6, 4, layers=3, noise=6.0)
    folds = make_folds(60, N_FOLDS, 0)
    changed = Y.copy()
    changed[folds == 1] = 50 * np.random.default_rng(0).standard_normal((int((folds == 1).sum()), 4))
    before, after = (
        search(
            part,
            [Fixed(X, name) for X, name in zip(raw, layer_names(3), strict=True)],
            [get_encoder("pls"), get_encoder("ridge")],
            folds,
            selection=SelectionSettings("voxel"),
            ensemble=ensemble,
        )
        for part in (Y, changed)
    )
    assert before.out_of_fold is not None
    assert after.out_of_fold is not None
    np.testing.assert_allclose(after.out_of_fold[folds == 1], before.out_of_fold[folds == 1], atol=1e-7)
    assert not np.allclose(after.out_of_fold[folds == 0], before.out_of_fold[folds == 0], atol=1e-3)


def test_a_voxel_that_no_layer_predicts_takes_its_best_layer() -> None:
    sums = StackingSums(2, 1, "voxel", np.ones(1))
    y = np.arange(6.0)[:, None] - 2.5
    sums.add(np.stack([-y, -2 * y]), y)
    np.testing.assert_array_equal(sums.weights(False, np.array([1])), [[0], [1]])


def test_settings_are_checked() -> None:
    with pytest.raises(OptionError, match=r"top must be at least 1; got 0"):
        EnsembleSettings("average", top=0)
    with pytest.raises(OptionError, match=r"method must be one of none, stacking"):
        EnsembleSettings("bagging")


def test_two_planted_layers_are_worth_more_together() -> None:
    alone, stacked = (
        two_layers(way, Simulation(2, layers=5, voxels=8)).values for way in ("best candidate of the ROI", "stacking")
    )
    assert min(np.subtract(stacked, alone)) > 0.05


def test_a_planted_layer_and_its_penalty_are_found_again() -> None:
    found, ratios = planted_choices(Simulation(3, voxels=10))
    assert found == 1
    assert 0.3 < np.median(ratios) < 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "way",
    [
        "best candidate of the ROI",
        "best candidate of each voxel",
        "stacking",
        "stacking with all layers joined",
    ],
)
def test_noise_scores_nothing_once_nested(way: str) -> None:
    selection, nested = noise_scores(way, Simulation())
    low, high = nested.interval
    assert low < 0 < high
    assert selection.interval[0] > 0.02
