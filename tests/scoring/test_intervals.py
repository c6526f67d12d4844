"""Intervals against explicit deletion, Fisher's z and what they promise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm, t, ttest_1samp

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.scoring import intervals as module
from voxelcast.scoring.correlation import cross_validated_r, olkin_pratt
from voxelcast.scoring.intervals import (
    Judged,
    difference_interval,
    few_stimuli,
    influence_weights,
    judge_difference,
    score_interval,
    score_without,
)

FOLDS = np.arange(48) % 4
GROUPS = [f"g{row % 4}{row // 8}" for row in range(48)]


def pair(n: int = 48, q: int = 5, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    P = rng.standard_normal((n, q)) + 2
    return 0.6 * P + rng.standard_normal((n, q)), P


def standardised(Y: FloatArray, P: FloatArray) -> tuple[FloatArray, FloatArray]:
    y, p = np.empty_like(Y), np.empty_like(P)
    for fold in range(4):
        held = fold == FOLDS
        known = Y[~held].mean(axis=0)
        y[held], p[held] = Y[held] - known, P[held] - known
        p[held] /= np.sqrt((p[held] ** 2).mean(axis=0))
    return y, p


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["stimuli", "groups"])
def test_the_jackknife_equals_explicit_deletion(groups: list[str] | None, monkeypatch: pytest.MonkeyPatch) -> None:
    Y, P = pair()
    y, p = standardised(Y, P)
    names = np.array(GROUPS if groups else [str(row) for row in range(48)])
    without = []
    for name in np.unique(names):
        kept = names != name
        r = (y * p)[kept].sum(axis=0) / np.sqrt((y**2)[kept].sum(axis=0) * (p**2)[kept].sum(axis=0))
        without.append(r.mean())
    n = len(without)
    variance = (n - 1) / n * np.sum((np.array(without) - np.mean(without)) ** 2) * 2 * 48 / (48 - 4)
    score = cross_validated_r(Y, P, FOLDS).mean()
    half = t.ppf(0.95, n - 1) * np.sqrt(variance) / (1 - score**2)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 1)  # a voxel at a time
    found = score_interval(Y, P, Judged(FOLDS, groups), level=0.9)
    np.testing.assert_allclose((found.low, found.high), np.tanh(np.arctanh(score) + np.array([-half, half])), rtol=1e-9)
    assert found.reason == ""


def test_what_folds_share_follows_from_models_that_leave_out_one_more() -> None:
    Y, P = pair()
    (y, p), rng = standardised(Y, P), np.random.default_rng(1)
    y /= np.sqrt((y**2).mean(axis=0))
    r = (y * p).mean(axis=0)
    scale = np.ones_like(P)
    for fold in range(4):
        held = fold == FOLDS
        scale[held] = np.sqrt(((P[held] - Y[~held].mean(axis=0)) ** 2).mean(axis=0))
    models = P + 0.5 * rng.standard_normal((4, *P.shape))  # the prediction without a fold more
    weights = influence_weights(Y, P, Judged(FOLDS))
    np.testing.assert_allclose(weights, (y - r * p) / scale, atol=1e-12)
    inner = np.einsum("iv,jiv->ij", weights, models)
    U = (y * p - r / 2 * (y**2 + p**2)).mean(axis=1)
    V_e = 0.0
    for i in range(48):
        u = np.array([np.mean(weights[i] * models[j, i]) for j in range(4) if j != FOLDS[i]])
        V_e += 2 / 3 * np.sum((u - u.mean()) ** 2)
    e = V_e / np.sum((U - U.mean()) ** 2)
    assert 0.05 < e < 0.95
    plain, known = (score_interval(Y, P, Judged(FOLDS), inner=one) for one in (None, inner))
    width = [np.arctanh(one.high) - np.arctanh(one.low) for one in (plain, known)]
    assert width[1] / width[0] == pytest.approx(np.sqrt((1 + e) ** 2 * (2 - e) / 2 / 2))
    same = np.repeat((weights * P).sum(axis=1)[:, None], 4, axis=1)  # models that do not vary share nothing
    narrow = score_interval(Y, P, Judged(FOLDS), inner=same)
    assert (np.arctanh(narrow.high) - np.arctanh(narrow.low)) / width[0] == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_held_out_stimuli_of_one_voxel_have_fishers_interval(rho: float) -> None:
    rng = np.random.default_rng(3)
    P = rng.standard_normal((4000, 1))
    Y = rho * P + np.sqrt(1 - rho**2) * rng.standard_normal((4000, 1)) + 5
    found = score_interval(Y, P, Judged(np.zeros(4000, dtype=int)))
    r = np.corrcoef(Y[:, 0], P[:, 0])[0, 1]
    expected = np.tanh(np.arctanh(r) + norm.ppf([0.025, 0.975]) / np.sqrt(4000 - 3))
    np.testing.assert_allclose((found.low, found.high), expected, atol=0.002)


def test_held_out_deletion_takes_the_mean_away_too() -> None:
    Y, P = pair(30, 3)
    one = np.zeros(30, dtype=int)
    without = [
        np.mean([np.corrcoef(np.delete(Y[:, v], i), np.delete(P[:, v], i))[0, 1] for v in range(3)]) for i in range(30)
    ]
    score = np.mean([olkin_pratt(np.corrcoef(Y[:, v], P[:, v])[0, 1], 30) for v in range(3)])
    half = t.ppf(0.975, 29) * np.sqrt(29 / 30 * np.sum((without - np.mean(without)) ** 2)) / (1 - score**2)
    found = score_interval(Y, P, Judged(one))
    np.testing.assert_allclose((found.low, found.high), np.tanh(np.arctanh(score) + np.array([-half, half])))


def test_the_interval_of_a_difference_is_paired() -> None:
    rng = np.random.default_rng(0)
    Y = rng.standard_normal((120, 6))
    shared = Y + 2 * rng.standard_normal(Y.shape)
    P, Q, judged = shared + 0.1 * Y, shared, Judged(np.arange(120) % 4)
    found = difference_interval(Y, P, Q, judged)
    assert 0 < found.low < found.high
    alone = score_interval(Y, Q, judged)  # what both share cancels: each score by itself is known far less well
    assert found.high - found.low < 0.2 * (alone.high - alone.low)
    difference = (cross_validated_r(Y, P, judged.fold_ids) - cross_validated_r(Y, Q, judged.fold_ids)).mean()
    assert (found.low + found.high) / 2 == pytest.approx(difference)
    back = difference_interval(Y, Q, P, judged)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    none = difference_interval(Y, np.ones_like(Y), Q, judged)
    assert np.isnan([none.low, none.high]).all()
    assert none.reason == "no voxel has both scores"


def test_no_interval_without_two_groups_in_every_fold() -> None:
    Y, P = pair()
    runs = score_interval(Y, P, Judged(FOLDS, [f"run {fold}" for fold in FOLDS], own_baseline=True))
    assert np.isnan([runs.low, runs.high]).all()
    assert runs.reason == "4 of 4 folds have one group, and an interval over groups needs two in every fold"
    one = score_interval(Y, P, Judged(np.zeros(48, dtype=int), ["run"] * 48))
    assert one.reason.startswith("all stimuli are one group")


def test_a_fold_of_constant_predictions_is_as_wide_as_the_score_varies() -> None:
    # One fold in four is known to be 0: r of the others, times 3/4, varies as in 36 stimuli, times 3/4.
    rng = np.random.default_rng(3)
    Y, P = rng.standard_normal((2, 48, 4000))
    P[FOLDS == 1] = 7.0
    scores = cross_validated_r(Y, P, FOLDS)
    without, _ = module._replicates(Y, P, Judged(FOLDS), module.units_of(Judged(FOLDS)), np.ones(4000, dtype=bool))
    one = [score_without(Y[:, [k]], P[:, [k]], Judged(FOLDS), [str(row) for row in range(48)]) for k in range(300)]
    se = [np.sqrt(47 / 48 * np.square(o.without - o.without.mean()).sum() * 48 / 44) for o in one if o is not None]
    assert np.sqrt(np.mean(np.square(se))) == pytest.approx(scores.std(), rel=0.08)
    assert abs(without.mean() - scores.mean()) < 0.003
    assert (influence_weights(Y, P, Judged(FOLDS))[FOLDS == 1] == 0).all()


def test_voxels_without_a_score_are_left_out() -> None:
    Y, P = pair()
    expected = score_interval(Y[:, :3], P[:, :3], Judged(FOLDS))
    Y[:, 3], P[:, 4] = 1.0, 0.0
    found = score_interval(Y, P, Judged(FOLDS))
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (influence_weights(Y, P, Judged(FOLDS))[:, 3:] == 0).all()
    assert score_interval(Y, np.ones_like(P), Judged(FOLDS)).reason == "no voxel has a score"
    perfect = score_interval(P, 3 * P, Judged(np.zeros(48, dtype=int)))
    assert (perfect.low, perfect.high) == pytest.approx((1.0, 1.0))


def test_refuses_bad_input() -> None:
    Y, P = pair()
    with pytest.raises(ShapeError, match=r"\(48, 5\) and \(48, 3\)"):
        score_interval(Y, P[:, :3], Judged(FOLDS))
    with pytest.raises(ShapeError, match="groups"):
        score_interval(Y, P, Judged(FOLDS, ["a", "b"]))
    P[0, 0] = np.nan
    with pytest.raises(DataError, match="predictions must be finite"):
        score_interval(Y, P, Judged(FOLDS))


def test_small_folds_are_named() -> None:
    assert few_stimuli(np.arange(80) % 10) == ""
    assert few_stimuli(np.arange(79) % 10).startswith("The smallest fold has 7 stimuli")


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    from benchmarks.honesty.intervals import Cell, measure

    chosen = (
        Cell(60, 10, 50, 0.3),
        Cell(60, 5, 8, 0.0),
        Cell(100, 5, 8, 0.7),
        Cell(120, 5, 8, 0.3, groups=20, allowed=(0.91, 0.98)),
    )
    for cell in chosen:
        for check in measure(cell, 120, seed=1):
            assert check.holds, check


def test_a_judged_difference_of_means_is_students_test() -> None:
    d = np.random.default_rng(3).normal(0.2, 1.0, 40)
    without = (d.sum() - d) / (len(d) - 1)
    found = judge_difference(float(d.mean()), without, n_folds=1, level=0.9)
    known = ttest_1samp(d, 0.0)
    assert found.p == pytest.approx(known.pvalue)
    assert (found.low, found.high) == pytest.approx(tuple(known.confidence_interval(0.9)))


def test_differences_from_kept_scores_are_those_of_the_predictions() -> None:
    Y, P = pair(30, 3)
    Q = 0.5 * P + np.random.default_rng(5).standard_normal(P.shape)
    judged = Judged(FOLDS[:30])
    kept = [score_without(Y, part, judged, [f"s{k}" for k in range(30)]) for part in (P, Q)]
    assert kept[0] is not None
    assert kept[1] is not None
    scores = [np.mean(cross_validated_r(Y, part, judged.fold_ids)) for part in (P, Q)]
    found = judge_difference(scores[0] - scores[1], kept[0].without - kept[1].without, kept[0].n_folds)
    whole = difference_interval(Y, P, Q, judged)
    assert (found.low, found.high) == pytest.approx((whole.low, whole.high))
    assert len(set(kept[0].units.tolist())) == 30
    assert kept[0].units.tolist() == kept[1].units.tolist()
    assert score_without(Y, P, Judged(FOLDS[:30], ["one"] * 30), ["x"] * 30) is None
