"""Training moments against those of the training rows themselves."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.encoders.moments import moments
from voxelcast.search.folds import make_folds
from voxelcast.search.training import PairData, training

from .spaces import Fixed, Refitted, simulated


@pytest.mark.parametrize("refitted", [False, True])
@pytest.mark.parametrize("excluded", [(), (2,), (0, 3)])
@pytest.mark.parametrize("offset", [0.0, 1e4])
def test_moments_equal_those_of_the_training_rows(refitted: bool, excluded: tuple[int, ...], offset: float) -> None:
    features, Y = simulated(60, 10, 8, 5)
    Y = Y + offset
    folds = make_folds(60, 4, 0)
    raw = features[0] + offset
    space = Refitted(raw, folds, 5) if refitted else Fixed(raw)
    source = training(space, PairData(Y, folds, 4))
    train = ~np.isin(folds, excluded)
    X = space.scores(excluded)[:60]
    expected, got = moments(X[train], Y[train]), source.moments(excluded)
    assert got.n == expected.n
    for name in ("x_mean", "y_mean", "S", "C"):
        wanted = getattr(expected, name)
        tolerance = 1e-11 * max(np.abs(wanted).max(), 1.0) * (1 if offset == 0 else 100)
        np.testing.assert_allclose(getattr(got, name), wanted, atol=tolerance, rtol=0)
    np.testing.assert_allclose(got.responses(), expected.responses(), atol=1e-10 * (1 if offset == 0 else 100))
    squares = expected.responses().T @ expected.responses()
    np.testing.assert_allclose(got.response_squares(), squares, atol=1e-10 * (1 if offset == 0 else 100))
    np.testing.assert_allclose(got.y_squares, np.diag(squares), atol=1e-10 * (1 if offset == 0 else 100))
    for fold in excluded:
        np.testing.assert_array_equal(source.features(excluded, fold), X[folds == fold])


def test_missing_components_of_a_training_part_are_zeros() -> None:
    features, Y = simulated(60, 10, 8, 5)
    folds = make_folds(60, 4, 0)

    class Shrinking(Refitted):
        def scores(self, excluded: tuple[int, ...] = ()) -> np.ndarray:
            found = super().scores(excluded)
            return found[:, :3] if excluded == (1,) else found

    space = Shrinking(features[0], folds, 5)
    source = training(space, PairData(Y, folds, 4))
    assert source.moments((1,)).S.shape == (5, 5)
    assert not source.moments((1,)).S[3:].any()
    assert not source.features((1,), 1)[:, 3:].any()
    assert source.moments((2,)).S[4, 4] > 0
