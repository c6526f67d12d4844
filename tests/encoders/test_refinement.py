"""The peak between the settings of a list, against curves whose peak is known."""

from __future__ import annotations

import numpy as np
import pytest

from voxelcast.encoders.elastic_net import ElasticNet, Lasso
from voxelcast.encoders.linear import peak
from voxelcast.encoders.params import ProblemSize
from voxelcast.encoders.ridge import Ridge


@pytest.mark.parametrize("top", [0.13, 2.61, 4.87])
def test_finds_the_peak_of_a_smooth_curve(top: float) -> None:
    places = np.linspace(0, 5, 26)
    found = peak(places, 0.3 / np.cosh(places - top))
    assert found is not None
    assert found[0] == pytest.approx(top, abs=2e-4)
    assert found[1] == pytest.approx(0.3, abs=1e-5)


def test_order_and_missing_scores_do_not_matter() -> None:
    places, order = np.linspace(0, 5, 11), np.random.default_rng(0).permutation(11)
    scores = -np.square(places - 2.2)
    scores[9] = np.nan
    found = peak(places[order], scores[order])
    assert found is not None
    np.testing.assert_allclose(found, (2.2, 0.0), atol=1e-9)


@pytest.mark.parametrize(
    "scores", [[1.0, 2.0, 3.0, 4.0], [4.0, 3.0, 2.0, 1.0], [1.0, 1.0, 1.0, 1.0], [1.0, 2.0], [np.nan] * 4, []]
)
def test_there_is_no_peak_where_the_curve_falls_from_an_end_or_is_flat(scores: list[float]) -> None:
    assert peak(range(len(scores)), scores) is None


def test_the_peak_itself_is_not_proposed_again() -> None:
    places = np.array([0.0, 1.0, 2.0, 2.2, 3.0, 4.0])
    assert peak(places, -np.square(places - 2.2)) is None


@pytest.mark.parametrize("encoder", [Ridge(), Lasso()])
def test_penalties_are_refined_in_their_logarithm(encoder: Ridge | Lasso) -> None:
    settings = encoder.param_grid(ProblemSize(100, 10, 5))
    scores = np.array([np.exp(-np.square(np.log(setting["relative_alpha"] / 0.037)) / 50) for setting in settings])
    (refined,) = encoder.refined(settings, scores)
    assert refined["relative_alpha"] == pytest.approx(0.037, rel=1e-3)
    assert encoder.order(settings[0]) < encoder.order(refined) < encoder.order(settings[-1])


def test_elastic_net_is_refined_in_both_hyper_parameters() -> None:
    encoder = ElasticNet()

    def score(setting: dict[str, float]) -> float:
        alpha, ratio = np.log(setting["relative_alpha"] / 0.02), setting["l1_ratio"] - 0.61
        return float(0.3 - alpha**2 / 100 - ratio**2 / 10 - alpha * ratio / 50)

    settings = list(encoder.param_grid(ProblemSize(100, 10, 5)))
    for _ in range(4):
        settings += encoder.refined(settings, np.array([score(setting) for setting in settings]))
    assert max(map(score, settings)) == pytest.approx(0.3, abs=1e-6)
