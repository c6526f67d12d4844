"""Features that outnumber the stimuli: from the n x n products of stimuli, the same models as from p x p moments."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from tests.search.spaces import Fixed, search
from voxelcast.core.arrays import FloatArray
from voxelcast.encoders.registry import ENCODERS, get_encoder
from voxelcast.search.folds import make_folds


def _data(p: int, n: int = 48) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n + 5, 6)) @ rng.standard_normal((6, p)) + 0.5 * rng.standard_normal((n + 5, p)) + 3
    X[1] = X[0]  # the same stimulus twice
    return X, X[:n, :4] @ rng.standard_normal((4, 5)) + 4 * rng.standard_normal((n, 5))


@pytest.fixture(params=["ols", "ridge", "ridge_per_voxel", "pls"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_equals_the_primal(name: str, device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (X, Y), folds = _data(130), make_folds(48, 4)
    dual = search(Y, [Fixed(X)], [get_encoder(name)], folds, device=device)
    fitted = get_encoder(name).fit(X[:48], Y, dual.chosen.params).predict(X[48:])
    monkeypatch.setattr(ENCODERS.get(name), "rotates", False)
    primal = search(Y, [Fixed(X)], [get_encoder(name)], folds)
    assert dual.chosen.params == pytest.approx(primal.chosen.params, rel=1e-6)
    np.testing.assert_allclose(dual.chosen.fold_scores, primal.chosen.fold_scores, rtol=0, atol=1e-8)
    for found in (dual.predictions, fitted):
        np.testing.assert_allclose(found, primal.predictions, rtol=0, atol=1e-6 * np.abs(Y).max())


def test_memory_grows_with_stimuli_squared(name: str) -> None:
    (X, Y), folds = _data(20_000), make_folds(48, 4)
    tracemalloc.start()
    search(Y, [Fixed(X)], [get_encoder(name)], folds, nested=False)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * X.nbytes  # p x p numbers are 377 times as much
