"""Dependence between folds: found where it was put in, and not on exchangeable stimuli."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.signal import lfilter

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import ShapeError
from voxelcast.scoring.exchangeability import dependence_warnings, response_warnings, sketch

HRF = [0.0, 0.2, 1.0, 0.8, 0.4, 0.1, -0.1, -0.1]


def _series(n: int, q: int, ar: float, rng: np.random.Generator) -> FloatArray:
    """Stationary noise whose neighbours correlate by ``ar``."""
    noise = rng.standard_normal((n + 100, q))
    return np.asarray(lfilter([np.sqrt(1 - ar**2)], [1, -ar], noise, axis=0)[100:])


@pytest.mark.parametrize(("n", "ar", "blurred"), [(120, 0.95, False), (60, 0.5, True), (400, 0.3, False)])
def test_neighbours_in_time_are_found(n: int, ar: float, blurred: bool) -> None:
    rng = np.random.default_rng(n)
    Y, X, folds = _series(n, 15, ar, rng), _series(n, 8, ar, rng), rng.permutation(n) % 5
    if blurred:
        Y = np.asarray(lfilter(HRF, [1], Y, axis=0)) + rng.standard_normal(Y.shape)
    (said, *_) = dependence_warnings(Y, X, folds)
    measured = np.mean([np.corrcoef(Y[:-1, v], Y[1:, v])[0, 1] for v in range(15)])
    found = float(said.split("responses (r = ")[1].split(" ")[0])
    assert found == pytest.approx(measured, abs=0.1)  # of those neighbours that lie in different folds
    assert "kind: time_series" in said
    assert "groups" in said
    # What leaks are neighbours in different folds: of unbroken stretches there are few.
    assert dependence_warnings(Y, X, np.arange(n) * 5 // n) == []


def test_one_of_both_harms_nothing() -> None:
    rng = np.random.default_rng(1)
    slow, fast, folds = _series(120, 15, 0.8, rng), rng.standard_normal((120, 15)), rng.permutation(120) % 5
    assert dependence_warnings(slow, fast, folds) == dependence_warnings(fast, slow, folds) == []
    (said,) = response_warnings(slow, folds)
    assert "if their features are alike too" in said
    assert response_warnings(fast, folds) == []


def test_numbers_in_ids_give_an_order_too() -> None:
    rng = np.random.default_rng(2)
    Y, X, folds, order = _series(120, 15, 0.8, rng), _series(120, 8, 0.8, rng), np.arange(120) % 5, rng.permutation(120)
    ids = [f"frame_{k}" for k in range(120)]
    assert dependence_warnings(Y[order], X[order], folds[order]) == []
    (said,) = dependence_warnings(Y[order], X[order], folds[order], [ids[k] for k in order])
    assert "numbers in their ids" in said


def test_rows_sorted_by_content_are_told_how_to_know() -> None:
    rng = np.random.default_rng(3)
    category = np.repeat(np.arange(8), 20)
    X = rng.standard_normal((8, 30))[category] + rng.standard_normal((160, 30))
    Y, folds = X @ rng.standard_normal((30, 10)) + rng.standard_normal((160, 10)), rng.permutation(160) % 5
    (said,) = dependence_warnings(Y, X, folds)
    assert "sorted by content" in said
    assert "nothing is wrong" in said


@pytest.mark.parametrize("jitter", [0.0, 0.01])
def test_pictures_under_several_ids_are_found(jitter: float) -> None:
    rng = np.random.default_rng(4)
    shown, folds = rng.permutation(np.r_[:180, :20]), rng.permutation(200) % 5
    X = rng.standard_normal((180, 20))[shown] + jitter * rng.standard_normal((200, 20))
    twins = {tuple(sorted(np.flatnonzero(shown == k))) for k in range(20)}
    apart = 2 * sum(folds[a] != folds[b] for a, b in twins)
    Y = rng.standard_normal((200, 5))
    (said,) = dependence_warnings(Y, X, folds, [f"p{k}" for k in range(200)])
    assert said.startswith(f"{apart} of 200 stimuli look almost the same")
    named = said.split("(")[1].split(",")[0].replace("p", "").split(" as ")
    assert tuple(sorted(map(int, named))) in twins
    together = np.array([folds[np.flatnonzero(shown == k)[0]] for k in shown])
    assert dependence_warnings(Y, X, together) == []


def test_labels_are_no_look_alikes() -> None:
    rng = np.random.default_rng(5)
    Y, folds = rng.standard_normal((120, 5)), rng.permutation(120) % 5
    assert dependence_warnings(Y, np.eye(8)[rng.integers(0, 8, 120)], folds) == []
    words = rng.integers(0, 2, (120, 10)).astype(float)  # by chance some stimuli have the same
    assert dependence_warnings(Y, words, folds) == []


def _exchangeable(kind: str, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Responses that follow features, and features of exchangeable stimuli."""
    if kind == "normal":
        X = rng.standard_normal((n, 20)) / np.arange(1, 21)
    elif kind == "one feature":
        X = rng.standard_normal((n, 1))
    elif kind == "heavy tails":
        X = rng.chisquare(1, (n, 10)) ** 1.5
    else:
        X = 0.7 * rng.standard_normal((8, 30))[rng.integers(0, 8, n)] + 0.7 * rng.standard_normal((n, 30))
    return X @ rng.standard_normal((X.shape[1], 10)) + rng.standard_normal((n, 10)), X


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["normal", "one feature", "heavy tails", "categories"])
@pytest.mark.parametrize(("n", "draws"), [(40, 200), (200, 150)])
def test_false_alarms_are_at_most_one_in_a_hundred(kind: str, n: int, draws: int) -> None:
    alarms = 0
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        Y, X = _exchangeable(kind, n, rng)
        alarms += bool(dependence_warnings(Y, X, rng.permutation(n) % 5))
    assert alarms / draws <= 0.01 + 2 * np.sqrt(0.01 * 0.99 / draws)


def test_neither_scale_nor_projection_matters() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        X, Y, folds = rng.standard_normal((48, 8)), rng.standard_normal((48, 6)), np.arange(48) % 3
        for scale in (1e-6, 1.0, 1e6):
            assert dependence_warnings(Y, scale * X, folds) == []
            assert dependence_warnings(Y, sketch([scale * X[:, :4], X[:, 4:]]), folds) == []


def test_sketch_keeps_distances() -> None:
    rng = np.random.default_rng(6)
    few = rng.standard_normal((30, 12))
    assert sketch([few]) is few
    layers = [rng.standard_normal((30, 300)), 50 * rng.standard_normal((30, 200))]
    equal = [layer - layer.mean(axis=0) for layer in (layers[0], layers[1] / 50)]
    whole = np.hstack([layer / np.sqrt(layer.shape[1]) for layer in equal])
    reduced = sketch(iter(layers))
    assert reduced.shape == (30, 64)
    far = np.linalg.norm(whole[:, None] - whole, axis=2)
    found = np.linalg.norm(reduced[:, None] - reduced, axis=2)
    ratio = (found / np.where(far > 0, far, 1))[np.triu_indices(30, 1)]
    assert ratio.mean() == pytest.approx(1, abs=0.1)
    assert ratio.std() == pytest.approx(1 / np.sqrt(2 * 64), abs=0.03)


def test_refuses_other_numbers_of_stimuli() -> None:
    with pytest.raises(ShapeError, match=r"features .*n_stimuli=30"):
        dependence_warnings(np.zeros((30, 2)), np.zeros((29, 2)), np.arange(30) % 3)
