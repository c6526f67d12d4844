"""New subjects from few stimuli: against scikit-learn in loops, and in simulation with and without shared structure."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge, RidgeCV

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import DataError, ShapeError
from voxelcast.encoders.banded_ridge import ALPHAS
from voxelcast.scoring.correlation import pearson_r
from voxelcast.scoring.intervals import Judged
from voxelcast.search.transfer import SHARES, Transfer, fit_shared_ridge, transfer

FEATURES, SHARED, NEW = 100, 8, 40
SCALES = np.arange(1, FEATURES + 1) ** -0.4


def unit_signals(B: FloatArray) -> FloatArray:
    """Scale coefficients so that their responses have variance 1."""
    return np.asarray(B / np.linalg.norm(SCALES[:, None] * B, axis=0))


def simulated(
    rng: np.random.Generator, n: int, structure: str, *, signal: float = 0.5, per_other: int = 500
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return features, other subjects' predictions and responses; the signal is this share of the variance.

    Three quarters of the signal's variance of four other subjects lie in eight dimensions that they share; the new
    subject's, too (``"shared"``), or with the sign reversed, or in others, or it has none.
    """
    noise = np.sqrt((1 - signal) / signal)
    common, elsewhere = rng.standard_normal((2, FEATURES, SHARED))

    def coefficients(of: FloatArray, q: int) -> FloatArray:
        mixed = unit_signals(of @ rng.standard_normal((SHARED, q)))
        return np.asarray(np.sqrt(0.75) * mixed + np.sqrt(0.25) * unit_signals(rng.standard_normal((FEATURES, q))))

    others = []
    for _ in range(4):
        X = rng.standard_normal((per_other, FEATURES)) * SCALES
        B = coefficients(common, 60)
        Y = X @ B + noise * rng.standard_normal((per_other, 60))
        others.append(RidgeCV(np.geomspace(1, 1e3, 10)).fit(X, Y).coef_.T)
    X = rng.standard_normal((n, FEATURES)) * SCALES
    B = coefficients(elsewhere if structure == "none" else common, NEW)
    B *= {"opposite": -1.0, "noise": 0.0}.get(structure, 1.0)
    return X, X @ np.hstack(others), X @ B + noise * rng.standard_normal((n, NEW))


def gains(structure: str, n: int, *, draws: int, signal: float) -> FloatArray:
    """Return the r of new stimuli with the others, and of subject-only fits to n and to three times n, of each draw."""
    found = []
    for draw in range(draws):
        rng = np.random.default_rng([draw, n])
        X, P, Y = simulated(rng, 3 * n + 500, structure, signal=signal)
        few, many, new = np.s_[:n], np.s_[: 3 * n], np.s_[3 * n :]
        models = [
            fit_shared_ridge([X[few]], [P[few]], Y[few], np.arange(n) % 5),
            fit_shared_ridge([X[few]], [P[few]], Y[few], np.arange(n) % 5, (0.0,)),
            fit_shared_ridge([X[many]], [P[many]], Y[many], np.arange(3 * n) % 5, (0.0,)),
        ]
        found.append([np.nanmean(pearson_r(Y[new], model.predict([X[new]], [P[new]]))) for model in models])
    return np.array(found)


def test_equals_ridge_regressions_in_loops() -> None:
    """Share and penalty by brute force over scikit-learn's ridge on both bands side by side."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((30, 50)), rng.standard_normal((30, 3)) * [1, 10, 100]
    P = X @ rng.standard_normal((50, 4)) + 3
    Y += 4 * P @ rng.standard_normal((4, 3)) + 6 * X @ rng.standard_normal((50, 3))
    folds = np.arange(30) % 3
    Xc, Pc, unit = X - X.mean(axis=0), P - P.mean(axis=0), (Y - Y.mean(axis=0)) / Y.std(axis=0)

    def joined(share: float) -> FloatArray:
        bands = [Xc * np.sqrt((1 - share) * 30 / np.square(Xc).sum()), Pc * np.sqrt(share * 30 / np.square(Pc).sum())]
        return np.hstack(bands)

    errors = {}
    for share in SHARES:
        for alpha in ALPHAS:
            Z, left = joined(share), np.empty(Y.shape)
            for fold in range(3):
                held = folds == fold
                left[held] = unit[held] - Ridge(alpha).fit(Z[~held], unit[~held]).predict(Z[held])
            errors[share, alpha] = float(np.square(left).mean())
    share, alpha = min(errors, key=lambda both: errors[both])
    found = fit_shared_ridge([X], [P], Y, folds)
    assert (found.share, found.alpha) == (share, pytest.approx(alpha))
    assert 0 < found.share < 1
    expected = Ridge(alpha).fit(joined(share), Y).predict(joined(share))
    np.testing.assert_allclose(found.predict([X], [P]), expected, rtol=1e-8)


def test_without_others_it_is_the_fit_to_the_subject_alone() -> None:
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((40, 6)), rng.standard_normal((40, 2))
    found = transfer([X], [np.zeros((40, 3))], Y, Judged(np.arange(40) % 4))
    assert found.model.share == 0
    np.testing.assert_array_equal(found.out_of_fold, found.alone)
    assert found.difference == 0


def test_a_fold_that_is_predicted_takes_no_part() -> None:
    rng = np.random.default_rng(2)
    folds = np.arange(40) % 4
    X, P, Y = (rng.standard_normal((40, k)) for k in (9, 7, 3))

    def predicted(Y: FloatArray) -> Transfer:
        return transfer([X], [P], Y, Judged(folds))

    before, other = predicted(Y), Y.copy()
    other[folds == 2] = 100 * rng.standard_normal((10, 3))
    after = predicted(other)
    for name in ("out_of_fold", "alone"):
        of_before, of_after = getattr(before, name), getattr(after, name)
        np.testing.assert_array_equal(of_before[folds == 2], of_after[folds == 2])
        assert not np.allclose(of_before[folds == 1], of_after[folds == 1])


def test_shared_structure_is_used_and_the_gain_is_judged() -> None:
    """The interval of the nested difference holds the gain for new stimuli."""
    X, P, Y = simulated(np.random.default_rng(3), 400, "shared")
    few, new = np.s_[:50], np.s_[50:]
    found = transfer([X[few]], [P[few]], Y[few], Judged(np.arange(50) % 5))
    alone = fit_shared_ridge([X[few]], [P[few]], Y[few], np.arange(50) % 5, (0.0,))
    with_others, by_itself = (pearson_r(Y[new], m.predict([X[new]], [P[new]])).mean() for m in (found.model, alone))
    assert found.interval.low < with_others - by_itself < found.interval.high
    assert found.interval.low > 0
    assert min(found.fold_shares) > 0.5
    assert found.difference == pytest.approx((found.scores - found.scores_alone).mean())


@pytest.mark.slow
@pytest.mark.parametrize("structure", ["shared", "opposite"])
def test_fifty_stimuli_do_what_a_hundred_and_fifty_do_alone(structure: str) -> None:
    with_others, alone, three_times = gains(structure, 50, draws=8, signal=0.5).mean(axis=0)
    assert alone + 0.05 < three_times <= with_others


@pytest.mark.slow
@pytest.mark.parametrize("signal", [0.5, 0.2])
@pytest.mark.parametrize("structure", ["none", "noise"])
def test_others_that_tell_nothing_cost_nothing(structure: str, signal: float) -> None:
    with_others, alone, _ = gains(structure, 50, draws=12, signal=signal).mean(axis=0)
    assert with_others > alone - 0.005


def test_units_of_layers_and_subjects_do_not_matter() -> None:
    rng = np.random.default_rng(4)
    Xs, Ps = ([rng.standard_normal((40, k)) for k in sizes] for sizes in ((5, 8), (6, 3)))
    Y = np.hstack(Xs) @ rng.standard_normal((13, 2)) + np.hstack(Ps) @ rng.standard_normal((9, 2))
    plain = fit_shared_ridge(Xs, Ps, Y, np.arange(40) % 4)
    others = [Xs[0], 100 * Xs[1] + 7], [1e-3 * Ps[0] - 1, Ps[1]]
    scaled = fit_shared_ridge(*others, Y, np.arange(40) % 4)
    assert scaled.share == plain.share
    np.testing.assert_allclose(scaled.predict(*others), plain.predict(Xs, Ps), rtol=1e-8)


def test_refuses_bad_input() -> None:
    X = np.random.default_rng(5).standard_normal((30, 4))
    with pytest.raises(DataError, match="at least 3 folds"):
        transfer([X], [X], X, Judged(np.arange(30) % 2))
    with pytest.raises(ShapeError, match="predictions of the other subjects"):
        transfer([X], [X[:-1]], X, Judged(np.arange(30) % 3))
    with pytest.raises(DataError, match="predictions of the other subjects"):
        transfer([X], [np.full(X.shape, np.nan)], X, Judged(np.arange(30) % 3))
