"""RDMs against loops and against simulations whose true distances are known."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest
from scipy.spatial.distance import squareform

from voxelcast.core.errors import DataError, ShapeError
from voxelcast.scoring.rdm import correlation_rdm, crossnobis_rdm, euclidean_rdm, noise_covariance


def test_correlation_and_euclidean_equal_the_loop() -> None:
    values = np.random.default_rng(0).standard_normal((7, 20)) + 5
    pairs = list(combinations(range(7), 2))
    r = [1 - np.corrcoef(values[i], values[j])[0, 1] for i, j in pairs]
    distance = [np.sqrt(((values[i] - values[j]) ** 2).mean()) for i, j in pairs]
    np.testing.assert_allclose(correlation_rdm(values), r, atol=1e-12)
    np.testing.assert_allclose(euclidean_rdm(values), distance, atol=1e-12)
    assert squareform(correlation_rdm(values))[2, 5] == pytest.approx(r[pairs.index((2, 5))])


@pytest.mark.parametrize("whitened", [False, True])
def test_crossnobis_equals_the_loop(whitened: bool) -> None:
    rng = np.random.default_rng(1)
    values = rng.standard_normal((5, 3, 8)) + 100
    root = rng.standard_normal((8, 8))
    covariance = root @ root.T + np.eye(8) if whitened else np.eye(8)
    inverse = np.linalg.inv(covariance)
    expected = [
        np.mean(
            [
                (values[i, a] - values[j, a]) @ inverse @ (values[i, b] - values[j, b]) / 8
                for a, b in permutations(range(3), 2)
            ]
        )
        for i, j in combinations(range(5), 2)
    ]
    found = crossnobis_rdm(values, covariance if whitened else None)
    np.testing.assert_allclose(found, expected, atol=1e-10)


def test_crossnobis_is_unbiased_where_other_distances_are_not() -> None:
    rng = np.random.default_rng(2)
    patterns = np.repeat(rng.standard_normal((3, 400)), 2, axis=0)  # stimuli 0 and 1 have the same pattern, and so on
    mixing = np.eye(400) + 0.01 * rng.standard_normal((400, 400))
    covariance = mixing @ mixing.T
    delta = [patterns[i] - patterns[j] for i, j in combinations(range(6), 2)]
    truth = np.array([d @ np.linalg.solve(covariance, d) / 400 for d in delta])
    noise = rng.standard_normal((60, 6, 4, 400)) @ mixing.T
    found = np.mean([crossnobis_rdm(patterns[:, None] + part, covariance) for part in noise], axis=0)
    np.testing.assert_allclose(found, truth, atol=0.05)
    assert abs(found[truth == 0]).max() < 0.02
    naive = np.mean([euclidean_rdm((patterns[:, None] + part).mean(axis=1)) ** 2 for part in noise[:5]], axis=0)
    assert naive[truth == 0].min() > 0.3


def test_noise_covariance_recovers_the_truth() -> None:
    rng = np.random.default_rng(3)
    mixing = rng.standard_normal((5, 5))
    values = 10 * rng.standard_normal((2000, 1, 5)) + rng.standard_normal((2000, 3, 5)) @ mixing.T
    truth = mixing @ mixing.T
    np.testing.assert_allclose(noise_covariance(values), truth, atol=0.06 * truth.max())
    few = noise_covariance(values[:4, :2])  # 4 independent deviations for 5 voxels
    assert np.linalg.eigvalsh(few).min() > 0
    crossnobis_rdm(values[:4, :2], few)


def test_refuses_bad_input() -> None:
    values = np.random.default_rng(4).standard_normal((4, 3, 5))
    with pytest.raises(ShapeError, match="n_features"):
        correlation_rdm(values)
    flat = values[:, 0].copy()
    flat[2] = 0.1
    with pytest.raises(DataError, match="number 2"):
        correlation_rdm(flat)
    assert np.isfinite(euclidean_rdm(flat)).all()
    with pytest.raises(DataError, match="at least 2; got 1"):
        crossnobis_rdm(values[:, :1])
    with pytest.raises(ShapeError, match="n_voxels=5"):
        crossnobis_rdm(values, np.eye(4))
    with pytest.raises(DataError, match="positive definite"):
        crossnobis_rdm(values, np.zeros((5, 5)))
    values[0, 0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        crossnobis_rdm(values)
