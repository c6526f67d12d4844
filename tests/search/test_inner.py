"""What the interval asks of the search, against refits: models of each fold that leave out one fold more."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from voxelcast.core.arrays import FloatArray, IntArray
from voxelcast.encoders.registry import get_encoder
from voxelcast.encoders.ridge import ridge_penalty
from voxelcast.scoring.intervals import Judged, influence_weights
from voxelcast.search.base import GivenFeatures, PairResult
from voxelcast.search.pair import search_pair
from voxelcast.search.settings import EnsembleSettings, PairSettings, SelectionSettings

FOLDS = np.arange(40) % 4
RNG = np.random.default_rng(0)
XS = [RNG.standard_normal((40, 6)) for _ in range(3)]
Y = XS[0] @ RNG.standard_normal((6, 5)) + XS[1] @ RNG.standard_normal((6, 5)) + 2 * RNG.standard_normal((40, 5)) + 3


def searched(ensemble: EnsembleSettings, per: str = "roi", times: int = 1, folds: IntArray = FOLDS) -> PairResult:
    spaces = [GivenFeatures("net", f"layer {k}", np.tile(X, (times, 1))) for k, X in enumerate(XS)]
    settings = PairSettings(selection=SelectionSettings(per=per), ensemble=ensemble)  # type: ignore[arg-type]
    return search_pair(np.tile(Y, (times, 1)), spaces, [get_encoder("ridge")], folds, settings)


def ridge(layer: str, params: dict[str, float], kept: np.ndarray, held: np.ndarray) -> FloatArray:
    X = XS[int(layer[-1])]
    centred = X[kept] - X[kept].mean(axis=0)
    alpha = ridge_penalty(centred.T @ centred, params["relative_alpha"])
    return Ridge(alpha=alpha).fit(X[kept], Y[kept]).predict(X[held])


@pytest.mark.parametrize("ensemble", [EnsembleSettings(), EnsembleSettings("average", top=2)], ids=["one", "average"])
def test_equals_refits(ensemble: EnsembleSettings) -> None:
    result = searched(ensemble)
    assert result.out_of_fold is not None
    assert result.inner is not None
    weights = influence_weights(Y, result.out_of_fold, Judged(FOLDS))
    for i in range(4):
        held = i == FOLDS
        for j in set(range(4)) - {i}:
            kept = ~np.isin(FOLDS, (i, j))
            chosen = result.nested_shares[i]
            P = sum(one.weight * ridge(one.candidate.layer, one.candidate.params, kept, held) for one in chosen)
            np.testing.assert_allclose(result.inner[held, j], (weights[held] * P).sum(axis=1), atol=1e-8)
        assert (result.inner[held, i] == 0).all()


@pytest.mark.parametrize("per", ["roi", "voxel"])
@pytest.mark.parametrize("sum_to_one", [True, False])
def test_models_that_see_the_same_say_the_same(per: str, sum_to_one: bool) -> None:
    # With every row there eight times, in each fold twice, a model without one fold more is the same model.
    folds = np.repeat(np.arange(8) % 4, 40)
    result = searched(EnsembleSettings("stacking", sum_to_one=sum_to_one), per, 8, folds)
    assert result.inner is not None
    assert result.out_of_fold is not None
    weights = influence_weights(np.tile(Y, (8, 1)), result.out_of_fold, Judged(folds))
    expected = (weights * result.out_of_fold).sum(axis=1)
    for j in range(4):
        np.testing.assert_allclose(result.inner[folds != j, j], expected[folds != j], atol=1e-6)


def test_none_of_banded_ridge() -> None:
    assert searched(EnsembleSettings("banded_ridge", draws=1)).inner is None
