"""A voxel that is constant in a training part though not in the fold left out: nothing is read from rounding."""

from __future__ import annotations

import numpy as np
import pytest

from tests.search.spaces import LINEAR, Fixed, Refitted, search
from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.registry import get_encoder
from voxelcast.search.settings import EnsembleSettings, SelectionSettings
from voxelcast.search.training import PairData, training

VOXEL = 3


def _pair(constant: float) -> tuple[FloatArray, FloatArray, IntArray]:
    """Return features, responses and runs; one voxel responds in the first run alone and is constant elsewhere."""
    rng = np.random.default_rng(0)
    runs = np.repeat(np.arange(5), 16)
    X = rng.standard_normal((80, 6)) + 1
    Y = X @ rng.standard_normal((6, 9)) + 3 * rng.standard_normal((80, 9))
    own = Y[:, VOXEL] - Y[:, VOXEL].mean()
    Y[:, VOXEL] = np.where(runs == 0, own + constant, constant)
    return X, Y, runs


@pytest.mark.parametrize("refitted", [False, True])
@pytest.mark.parametrize("constant", [0.0, 4.2, 100.0])
def test_its_moments_are_exact(refitted: bool, constant: float) -> None:
    X, Y, runs = _pair(constant)
    data = PairData(Y, runs, 5)
    source = training(Refitted(X, runs, 4) if refitted else Fixed(X), data)
    for excluded in ((0,), (0, 2)):
        stats = source.moments(excluded)
        assert stats.y_mean[VOXEL] == constant
        assert stats.y_squares[VOXEL] == 0
        assert not stats.C[:, VOXEL].any()
        assert not stats.responses()[:, VOXEL].any()
        assert not stats.response_squares()[VOXEL].any()
        assert not stats.response_squares()[:, VOXEL].any()
    assert source.moments((1,)).y_squares[VOXEL] > 1


@pytest.mark.parametrize("refitted", [False, True])
@pytest.mark.parametrize("per", ["roi", "voxel"])
@pytest.mark.parametrize("name", LINEAR)
def test_no_score_depends_on_the_constant(name: str, per: str, refitted: bool) -> None:
    found = []
    for constant in (0.0, 4.2, 100.0):
        X, Y, runs = _pair(constant)
        space = Refitted(X, runs, 4) if refitted else Fixed(X)
        found.append(search(Y, [space], [get_encoder(name)], runs, selection=SelectionSettings(per)))
    others = np.arange(Y.shape[1]) != VOXEL
    for result in found:
        assert result.voxel_scores is not None
        assert np.isnan(result.voxel_scores[VOXEL])  # it is predicted in one run, where it is not known to vary
        assert result.selection_score == pytest.approx(found[0].selection_score, abs=1e-6)
        # The constant moves the voxel's mean, and with it the last digits of what is common to the voxels.
        np.testing.assert_allclose(result.voxel_scores[others], found[0].voxel_scores[others], atol=1e-5)


def test_nor_does_a_stack() -> None:
    found = []
    for constant in (0.0, 4.2):
        X, Y, runs = _pair(constant)
        spaces = [Fixed(X[:, :3], "early"), Fixed(X[:, 3:], "late")]
        found.append(search(Y, spaces, [get_encoder("ridge")], runs, ensemble=EnsembleSettings("stacking")))
    for result in found:
        assert result.voxel_scores is not None
        assert np.isnan(result.voxel_scores[VOXEL])
        np.testing.assert_allclose(result.voxel_scores, found[0].voxel_scores, atol=1e-8)
