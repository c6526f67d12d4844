"""Permutation tests against explicit permutation, all permutations and SciPy; false positives on pure noise."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from scipy.signal import lfilter

from tests.scoring.permuted import explicit_p_values
from tests.search.spaces import Fixed, search
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.core.errors import DataError, OptionError, ShapeError
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import fold_pearson_r
from voxelcast.scoring.permutation import (
    Exchange,
    benjamini_hochberg,
    cross_validated_widening,
    permutation_grid,
    permutation_orders,
    permutation_p_values,
)
from voxelcast.search.folds import make_folds
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import PairSettings, SelectionSettings


def _pair(n: int, q: int, effect: float = 0.2, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    P = rng.standard_normal((n, q)) + 4
    return effect * P + rng.standard_normal((n, q)), P


@pytest.mark.parametrize("grouped", [False, True])
def test_equals_explicit_permutation(grouped: bool) -> None:
    Y, P = _pair(60, 7)
    folds = np.repeat([0, 1, 2], 20)
    Y += 10 * folds[:, None]
    groups = [f"movie {k // 4}" for k in range(60)] if grouped else None
    expected = explicit_p_values(Y, P, folds, 50, 3, groups)
    np.testing.assert_array_equal(permutation_p_values(Y, P, Exchange(folds, groups), 50, 3), expected)
    wider = explicit_p_values(Y, -P, folds, 50, 3, groups, np.sqrt(2))
    np.testing.assert_array_equal(
        permutation_p_values(Y, -P, Exchange(folds, groups), 50, 3, widening=np.sqrt(2)), wider
    )


@pytest.mark.parametrize("asked", [1, 2, 3, 8, 50, 99, 1000])
def test_there_are_at_least_as_many_permutations_as_asked(asked: int) -> None:
    first, second = permutation_grid(Exchange(np.zeros(9, dtype=int)), asked)
    assert asked <= len(first) * len(second) - 1 < asked + len(first)
    assert (first[0] == np.arange(9)).all()
    assert (second[0] == np.arange(9)).all()


def test_p_is_uniform_under_the_null() -> None:
    # 20 x 5000 tests of noise: P(p <= k / 16) is k / 16 for every k, or the grid would not do as a set of permutations.
    p = np.concatenate(
        [permutation_p_values(*_pair(12, 5000, 0.0, s), Exchange(np.zeros(12, dtype=int)), 15, s) for s in range(20)]
    )
    share = [(p <= k / 16 + 1e-9).mean() for k in range(1, 17)]
    np.testing.assert_allclose(share, np.arange(1, 17) / 16, atol=0.02)


def test_agrees_with_all_permutations() -> None:
    Y, P = _pair(6, 3, 0.8)
    folds = np.zeros(6, dtype=int)
    observed = fold_pearson_r(Y, P, folds)
    everyone = np.array([fold_pearson_r(Y, P[list(order)], folds) for order in permutations(range(6))])
    exact = (everyone >= observed - 1e-12).mean(axis=0)
    np.testing.assert_allclose(permutation_p_values(Y, P, Exchange(folds), 20_000, 1), exact, atol=0.012)


def test_ties_count_as_reached() -> None:
    # Responses and predictions of two values each: many permutations give the very same correlation.
    rng = np.random.default_rng(0)
    Y, P = rng.integers(0, 2, (12, 20)).astype(float) * 0.1, rng.integers(0, 2, (12, 20)).astype(float) / 3
    folds = np.zeros(12, dtype=int)
    of_responses, of_predictions = permutation_grid(Exchange(folds), 399, 5)
    overlap = np.array([((Y[a] > 0) & (P[b] > 0)).sum(axis=0) for a in of_responses for b in of_predictions])
    expected = (overlap >= overlap[0]).mean(axis=0)
    np.testing.assert_array_equal(permutation_p_values(Y, P, Exchange(folds), 399, 5), expected)


def test_threads_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    Y, P = _pair(30, 23)
    folds = np.arange(30) % 3
    expected = permutation_p_values(Y, P, Exchange(folds), 99)
    monkeypatch.setattr("voxelcast.scoring.permutation._BLOCK_BYTES", 1)
    np.testing.assert_array_equal(permutation_p_values(Y, P, Exchange(folds), 99, workers=3), expected)
    assert not np.array_equal(permutation_p_values(Y, P, Exchange(folds), 99, 1), expected)


def test_finds_what_is_there_and_nothing_else() -> None:
    Y, P = _pair(200, 40, 0.5)
    Y[:, 20:] = np.random.default_rng(9).standard_normal((200, 20))
    p = permutation_p_values(Y, P, Exchange(np.arange(200) % 4), 999)
    assert (p[:20] == 1 / 1024).all()
    q = benjamini_hochberg(p)
    assert (q[:20] < 0.05).all()
    assert (q[20:] < 0.05).sum() <= 2


def test_voxels_without_a_score_are_no_tests() -> None:
    Y, P = _pair(30, 4)
    folds = np.arange(30) % 3
    expected = permutation_p_values(Y[:, :1], P[:, :1], Exchange(folds), 99)
    Y[:, 1], P[:, 2] = 1.0, folds
    p = permutation_p_values(Y, P, Exchange(folds), 99)
    assert np.isnan(p).tolist() == [False, True, True, False]
    assert p[0] == expected[0]
    np.testing.assert_array_equal(benjamini_hochberg(p)[[0, 3]], benjamini_hochberg(p[[0, 3]]))


def test_a_fold_of_constant_responses_is_left_out_as_in_the_score() -> None:
    Y, P = _pair(60, 3, 0.3)
    folds = np.repeat([0, 1, 2], 20)
    Y[folds == 1, 0] = 5.0
    np.testing.assert_array_equal(
        permutation_p_values(Y, P, Exchange(folds), 80, 0), explicit_p_values(Y, P, folds, 80, 0)
    )


def test_stimuli_stay_in_their_fold_and_groups_stay_whole() -> None:
    folds = np.repeat([0, 1], [9, 8])
    groups = list("aaabbbccc" + "xxxyyyzz")
    rows = permutation_orders(Exchange(folds, groups), 200)
    assert (np.sort(rows, axis=1) == np.arange(17)).all()
    assert (folds[rows] == folds).all()
    for order in rows:
        runs = "".join(groups[k] for k in order)
        assert all(name * groups.count(name) in runs for name in "abcxyz")
        assert all((np.diff(order[[runs[k] == name for k in range(17)]]) == 1).all() for name in "abcxyz")
    assert len(np.unique(rows[:, :9], axis=0)) == 6
    assert (permutation_orders(Exchange(folds, groups), 200) == rows).all()
    assert len({tuple(order) for order in permutation_orders(Exchange(np.zeros(4, dtype=int)), 2000)}) == 24


def test_groups_need_not_be_neighbours() -> None:
    groups = ["a", "b", "a", "b"]
    orders = {tuple(order) for order in permutation_orders(Exchange(np.zeros(4, dtype=int), groups), 50)}
    assert orders == {(0, 1, 2, 3), (1, 0, 3, 2)}


def test_runs_as_folds_change_places_whole() -> None:
    folds = np.repeat([0, 1, 2], 4)
    groups = [f"run {fold}" for fold in folds]
    rows = permutation_orders(Exchange(folds, groups), 100)
    assert {tuple(order[::4] // 4) for order in rows} == set(permutations(range(3)))
    assert (rows.reshape(100, 3, 4) % 4 == np.arange(4)).all()
    uneven = np.repeat([0, 1, 2], [4, 4, 3])
    assert Exchange(folds, groups).n_arrangements == 6
    assert Exchange(uneven, [f"run {fold}" for fold in uneven]).n_arrangements == 1
    with pytest.raises(DataError, match="3 folds of one group each, of 3 to 4 stimuli"):
        permutation_orders(Exchange(uneven, [f"run {fold}" for fold in uneven]), 1)


def test_grouped_responses_need_grouped_permutation() -> None:
    # Responses and predictions of one movie are alike; nothing ties predictions to responses.
    rng = np.random.default_rng(4)
    groups = [f"movie {k // 10}" for k in range(120)]
    Y, P = (np.repeat(rng.standard_normal((12, 400)), 10, axis=0) for _ in range(2))
    Y, P = Y + 0.3 * rng.standard_normal(Y.shape), P + 0.3 * rng.standard_normal(P.shape)
    one_fold = np.zeros(120, dtype=int)
    assert (permutation_p_values(Y, P, Exchange(one_fold), 200) < 0.05).mean() > 0.2
    assert (permutation_p_values(Y, P, Exchange(one_fold, groups), 200) < 0.05).mean() == pytest.approx(0.05, abs=0.03)


def test_benjamini_hochberg_is_the_step_up_rule() -> None:
    p = np.array([0.01, 0.04, 0.03, 0.005, 0.8])
    q = benjamini_hochberg(p)
    for alpha in (0.01, 0.025, 0.04, 0.05, 0.06, 0.9):
        ordered = np.sort(p)
        passing = np.flatnonzero(ordered <= alpha * np.arange(1, 6) / 5)
        rejected = p <= ordered[passing.max()] if passing.size else np.zeros(5, dtype=bool)
        assert ((q <= alpha + 1e-15) == rejected).all()
    assert np.isnan(benjamini_hochberg(np.array([np.nan]))).all()


def test_refuses_bad_input() -> None:
    Y, P = _pair(30, 4)
    folds = np.arange(30) % 3
    with pytest.raises(ShapeError, match=r"\(30, 4\) and \(30, 3\)"):
        permutation_p_values(Y, P[:, :3], Exchange(folds))
    with pytest.raises(OptionError, match="n_permutations"):
        permutation_p_values(Y, P, Exchange(folds), 0)
    with pytest.raises(OptionError, match="workers"):
        permutation_p_values(Y, P, Exchange(folds), 5, workers=0)
    with pytest.raises(OptionError, match="widening"):
        permutation_p_values(Y, P, Exchange(folds), 5, widening=0.9)
    with pytest.raises(DataError, match="between 0 and 1"):
        benjamini_hochberg(np.array([1.5]))
    Y[0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        permutation_p_values(Y, P, Exchange(folds), 5)


def _nested_on_noise(encoder: str, roi: int) -> tuple[FloatArray, FloatArray, IntArray]:
    """Responses that are noise, partly shared by the voxels, and their nested cross-validated predictions."""
    rng = np.random.default_rng(1000 + roi)
    X, shared = rng.standard_normal((100, 8)), rng.standard_normal((100, 1))
    Y = rng.standard_normal((100, 50)) + 0.5 * shared
    folds = make_folds(100, 5, roi, None)
    predicted = search(Y, [Fixed(X)], [get_encoder(encoder)], folds).out_of_fold
    assert predicted is not None
    return Y, predicted, folds


@pytest.mark.slow
@pytest.mark.parametrize("encoder", ["ridge", "pls"])
def test_false_positives_on_pure_noise_are_at_most_the_stated_rate(encoder: str) -> None:
    alpha, any_found, found_before = 0.05, 0, 0.0
    for roi in range(200):
        Y, predicted, folds = _nested_on_noise(encoder, roi)
        exchange = Exchange(folds)
        p = permutation_p_values(Y, predicted, exchange, 1000, roi, widening=cross_validated_widening(exchange))
        any_found += bool((benjamini_hochberg(p) <= alpha).any())
        found_before += (p <= alpha).mean() / 200
    # Everything found is false, so an ROI with any discovery has a false discovery proportion of 1: at most alpha of
    # the ROIs may have one.
    assert any_found / 200 <= alpha
    assert 0.02 <= found_before <= alpha


def test_every_arrangement_counts_once_where_there_are_few() -> None:
    folds, groups = np.repeat([0, 1], 6), list("aabbccxxyyzz")
    exchange = Exchange(folds, groups)
    assert exchange.n_arrangements == 36
    _, orders = permutation_grid(exchange, 1000)
    assert (orders[0] == np.arange(12)).all()
    assert len({tuple(order) for order in orders}) == len(orders) == 36
    Y, P = _pair(12, 4, 0.5)
    everyone = [fold_pearson_r(Y, P[list(a + b)], folds) for a in _laid(0, 2) for b in _laid(6, 2)]
    expected = (np.array(everyone) >= fold_pearson_r(Y, P, folds) - 1e-12).mean(axis=0)
    np.testing.assert_allclose(permutation_p_values(Y, P, exchange, 1000), expected)
    runs = Exchange(folds, [f"run {fold}" for fold in folds], circular=True)
    assert len({tuple(order) for order in permutation_grid(runs, 1000)[1]}) == runs.n_arrangements == 36


def _laid(first: int, size: int) -> list[tuple[int, ...]]:
    """List all orders of three groups of a size that begin at a row."""
    parts = [tuple(range(first + size * k, first + size * (k + 1))) for k in range(3)]
    return [a + b + c for a, b, c in permutations(parts)]


def test_what_cannot_be_significant_is_said_with_the_reason() -> None:
    folds = np.repeat([0, 1, 2], 4)
    whole = Exchange(folds, [f"run {fold}" for fold in folds])
    assert whole.smallest_p(1000) == pytest.approx(1 / 6)
    assert "6 arrangements of whole folds" in whole.warning(1000, 0.05)
    assert "0.17" in whole.warning(1000, 0.05)
    assert whole.warning(1000, 0.2) == whole.warning(0, 0.05) == ""
    uneven = np.repeat([0, 1, 2], [4, 4, 3])
    assert "different sizes" in Exchange(uneven, [f"run {fold}" for fold in uneven]).warning(1000, 0.05)
    single = Exchange(folds)
    assert single.warning(1000, 0.05) == ""
    assert "ask for more permutations" in single.warning(10, 0.05)
    # No p-value falls below what was said.
    Y, P = _pair(12, 200, 3.0)
    assert permutation_p_values(Y, P, whole, 1000).min() == pytest.approx(1 / 6)


@pytest.mark.parametrize(
    ("groups", "circular", "said"),
    [
        (None, False, "single stimuli within each of 3 folds; intervals resample single stimuli"),
        (list("aabbccddeeff"), False, "whole groups within each of 3 folds; intervals resample whole groups, of which"),
        (list("aaaabbbbcccc"), False, "whole folds, each one group; intervals resample whole groups, of which there"),
        (list("aaaabbbbcccc"), True, "rotate each of 3 runs in time; intervals resample whole runs"),
    ],
)
def test_says_what_is_exchanged(groups: list[str] | None, circular: bool, said: str) -> None:
    assert said in Exchange(np.repeat([0, 1, 2], 4), groups, circular).units


@pytest.mark.slow
@pytest.mark.parametrize(("n_groups", "n_folds"), [(24, 4), (8, 8)], ids=["groups in folds", "leave one group out"])
def test_false_positives_of_whole_groups_are_as_many_as_stated(n_groups: int, n_folds: int) -> None:
    # Features and responses of a group follow each other in time; nothing ties the one to the other.
    found = []
    for draw in range(60):
        rng = np.random.default_rng(draw)
        size = 120 // n_groups if n_folds < n_groups else 40
        noise = rng.standard_normal((n_groups, size + 20, 70))
        X, Y = np.split(lfilter([0.8], [1, -0.6], noise, axis=1)[:, 20:].reshape(-1, 70), [20], axis=1)
        groups = [f"{k:02d}" for k in range(n_groups) for _ in range(size)]
        folds = make_folds(len(X), n_folds, draw, groups) if n_folds < n_groups else np.array(list(map(int, groups)))
        predicted = search(Y, [Fixed(X)], [get_encoder("ridge")], folds).out_of_fold
        assert predicted is not None
        exchange = Exchange(folds, groups)
        widening = cross_validated_widening(exchange)
        found.append((permutation_p_values(Y, predicted, exchange, 500, draw, widening=widening) <= 0.05).mean())
    assert 0.035 <= np.mean(found) <= 0.065


@pytest.mark.slow
@pytest.mark.parametrize("n_folds", [5, 10])
def test_false_positives_of_voxels_that_choose_are_within_what_is_said(n_folds: int) -> None:
    found = []
    settings = PairSettings(selection=SelectionSettings(per="voxel"))
    for draw in range(15):
        rng = np.random.default_rng(draw)
        layers = [Fixed(rng.standard_normal((100, 10)), layer=f"l{k}") for k in range(4)]
        Y, folds = rng.standard_normal((100, 60)), make_folds(100, n_folds, draw)
        predicted = search_pair(Y, layers, [get_encoder("ridge")], folds, settings).out_of_fold
        assert predicted is not None
        widening = cross_validated_widening(Exchange(folds), voxels_choose=settings.voxels_choose)
        found.append((permutation_p_values(Y, predicted, Exchange(folds), 500, draw, widening=widening) <= 0.05).mean())
    assert 0.03 <= np.mean(found) <= 0.08


@pytest.mark.slow
def test_fixed_predictions_would_find_too_much() -> None:
    found = []
    for roi in range(40):
        Y, predicted, folds = _nested_on_noise("ridge", roi)
        p = permutation_p_values(Y, predicted, Exchange(folds), 200, roi)
        found.append((p <= 0.05).mean())
    # P(z > 1.645 / sqrt(2)) = 12 %.
    assert np.mean(found) == pytest.approx(0.12, abs=0.03)
