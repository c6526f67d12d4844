"""Searches over encoders without a path, against fits and scores by hand; banded ridge over layers."""

from __future__ import annotations

import numpy as np
import pytest

from tests.search.spaces import search
from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError
from voxelcast.encoders.base import Encoder
from voxelcast.encoders.mlp import MLP
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.registry import get_encoder
from voxelcast.scoring.correlation import fold_pearson_r, mean_pearson_r
from voxelcast.search.folds import make_folds
from voxelcast.search.settings import EnsembleSettings

from .spaces import Fixed, Refitted, simulated


@pytest.mark.parametrize(("name", "method"), [("boosted_trees", "bayes"), ("kernel_ridge_rbf", "bayes")])
def test_scores_are_those_of_fits_by_hand(name: str, method: str) -> None:
    features, Y = simulated(40, 5, 6, 1)
    folds = make_folds(40, 3, 0)
    space = Refitted(features[0], folds, 4)
    encoder = get_encoder(name, seed=3)
    assert isinstance(encoder, Encoder)
    result = search(Y, [space], [encoder], folds, method=method, trials=2)
    for candidate in result.candidates:
        for fold in range(3):
            X, kept = space.scores((fold,))[:40], folds != fold
            predicted = encoder.fit(X[kept], Y[kept], candidate.params).predict(X[~kept])
            assert candidate.fold_scores[fold] == pytest.approx(mean_pearson_r(Y[~kept], predicted), abs=1e-9)
    final = space.scores(())
    expected = encoder.fit(final[:40], Y, result.chosen.params).predict(final[40:])
    np.testing.assert_allclose(result.predictions, expected, atol=1e-9)
    assert result.out_of_fold is not None
    for outer, choice in enumerate(result.nested_choices):
        X, kept = space.scores((outer,))[:40], folds != outer
        predicted = encoder.fit(X[kept], Y[kept], choice.params).predict(X[~kept])
        np.testing.assert_allclose(result.out_of_fold[~kept], predicted, atol=1e-9)


def test_the_exact_search_shares_what_one_training_part_gives_two_folds() -> None:
    features, Y = simulated(60, 5, 5, 3)
    folds = make_folds(60, 3, 0)
    encoder = get_encoder("kernel_ridge_linear")
    assert isinstance(encoder, Encoder)
    result = search(Y, [Fixed(features[0])], [encoder], folds)
    for outer, choice in enumerate(result.nested_choices):
        best = -np.inf
        for setting in encoder.param_grid(ProblemSize(20, 5, 3)):
            scores = []
            for fold in (f for f in range(3) if f != outer):
                kept = (folds != outer) & (folds != fold)
                X = features[0][:60]
                predicted = encoder.fit(X[kept], Y[kept], setting).predict(X[folds == fold])
                scores.append(mean_pearson_r(Y[folds == fold], predicted))
            best = max(best, float(np.mean(scores)))
        assert choice.score == pytest.approx(best, abs=1e-9)


def test_exact_search_refuses_what_cannot_be_listed() -> None:
    features, Y = simulated(40, 5, 4, 2)
    with pytest.raises(OptionError, match="must be bayes or random for mlp"):
        search(Y, [Fixed(features[0])], [MLP()], make_folds(40, 4, 0))


def test_an_encoder_that_chooses_for_itself_is_tried_once() -> None:
    class Mean(Encoder):
        name = "mean"
        fits = 0

        def search_space(self, size: ProblemSize) -> dict[str, object]:  # type: ignore[override]
            return {}

        def fit(self, X: FloatArray, Y: FloatArray, setting: object):  # type: ignore[no-untyped-def,override]
            Mean.fits += 1
            return get_encoder("ridge").fit(X, Y, {"relative_alpha": 1.0})

    features, Y = simulated(40, 5, 4, 2)
    folds = make_folds(40, 4, 0)
    result = search(Y, [Fixed(features[0])], [Mean()], folds, method="bayes", trials=9, nested=False)
    assert len(result.candidates) == 1
    assert Mean.fits == 4 + 1
    assert dict(result.chosen.params) == {}


def test_banded_ridge_joins_two_planted_layers_and_leaks_nothing() -> None:
    rng = np.random.default_rng(0)
    layers = [rng.standard_normal((130, 8)) for _ in range(3)]
    signal = layers[0][:120] @ rng.standard_normal((8, 6)) + layers[1][:120] @ rng.standard_normal((8, 6))
    Y = signal + 3 * rng.standard_normal(signal.shape)
    folds = make_folds(120, 4, 0)
    spaces = [Fixed(X, f"layer {k}") for k, X in enumerate(layers)]
    ensemble = EnsembleSettings("banded_ridge", draws=6)
    found = search(Y, spaces, [get_encoder("ridge")], folds, ensemble=ensemble)
    assert found.out_of_fold is not None
    assert found.single_out_of_fold is not None
    joint, single = (fold_pearson_r(Y, P, folds).mean() for P in (found.out_of_fold, found.single_out_of_fold))
    assert joint > 1.1 * single
    assert found.layer_weights[2].mean() < 0.15
    # The parts make the predictions.
    rebuilt = (1 - sum(p.weights for p in found.parts)) * Y.mean(axis=0) + sum(
        part.weights * part.model.predict(X[120:]) for part, X in zip(found.parts, layers, strict=True)
    )
    np.testing.assert_allclose(found.predictions, rebuilt, atol=1e-9)
    # What an outer fold's responses are makes no difference to its predictions.
    shuffled = Y.copy()
    shuffled[folds == 2] = rng.permutation(shuffled[folds == 2])
    again = search(shuffled, spaces, [get_encoder("ridge")], folds, ensemble=ensemble)
    assert again.out_of_fold is not None
    np.testing.assert_allclose(again.out_of_fold[folds == 2], found.out_of_fold[folds == 2], atol=1e-9)
