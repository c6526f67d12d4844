"""Noise ceilings against brute force and against simulations of known truth."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest

from voxelcast.core.arrays import FloatArray
from voxelcast.core.errors import OptionError, ShapeError
from voxelcast.scoring.ceiling import half_splits, noise_ceiling_r


def _simulated(n: int, repetitions: int, q: int, snr: float, seed: int = 0) -> FloatArray:
    rng = np.random.default_rng(seed)
    values: FloatArray = rng.standard_normal((n, 1, q)) * np.sqrt(snr) + rng.standard_normal((n, repetitions, q)) + 10
    return values


def _brute(values: FloatArray) -> FloatArray:
    """Loop over ordered pairs of disjoint halves and voxels, with the means over what is present."""
    _, repetitions, q = values.shape
    h = repetitions // 2
    ceiling = np.full(q, np.nan)
    for voxel in range(q):
        reliabilities = []
        for first in combinations(range(repetitions), h):
            rest = [k for k in range(repetitions) if k not in first]
            for second in combinations(rest, h):
                halves = np.stack([np.nanmean(values[:, list(half), voxel], axis=1) for half in (first, second)])
                r = np.corrcoef(halves[:, np.isfinite(halves).all(axis=0)])[0, 1]
                factor = repetitions / h
                reliabilities.append(factor * r / (1 + (factor - 1) * r))
        ceiling[voxel] = np.sqrt(max(np.mean(reliabilities), 0))
    return ceiling


@pytest.mark.parametrize("repetitions", [2, 3, 4, 5, 6, 10])
def test_equals_brute_force(repetitions: int) -> None:
    values = _simulated(40, repetitions, 5, 0.7)
    np.testing.assert_allclose(noise_ceiling_r(values), _brute(values), atol=1e-12)


@pytest.mark.filterwarnings("ignore:Mean of empty slice")
def test_missing_repetitions_equal_brute_force() -> None:
    values = _simulated(40, 4, 5, 0.7)
    values[np.random.default_rng(1).random(values.shape) < 0.3] = np.nan
    np.testing.assert_allclose(noise_ceiling_r(values), _brute(values), atol=1e-12)


@pytest.mark.parametrize(("repetitions", "snr"), [(2, 1.0), (3, 0.3), (5, 0.2), (10, 0.1)])
def test_recovers_the_true_ceiling(repetitions: int, snr: float) -> None:
    # The correlation of the noiseless response with the mean of R repetitions is sqrt(snr / (snr + 1 / R)).
    ceiling = noise_ceiling_r(_simulated(4000, repetitions, 20, snr))
    assert ceiling.mean() == pytest.approx(np.sqrt(snr / (snr + 1 / repetitions)), abs=0.01)


def test_is_the_score_of_the_true_response() -> None:
    rng = np.random.default_rng(3)
    signal = rng.standard_normal((3000, 1, 30))
    values = signal + 2 * rng.standard_normal((3000, 4, 30))
    reached = [np.corrcoef(signal[:, 0, k], values[:, :, k].mean(axis=1))[0, 1] for k in range(30)]
    assert noise_ceiling_r(values).mean() == pytest.approx(np.mean(reached), abs=0.01)


@pytest.mark.parametrize("repetitions", [2, 3, 4, 5, 7, 10])
def test_splits_are_all_there_once(repetitions: int) -> None:
    h = repetitions // 2
    splits = half_splits(repetitions, 10_000)
    assert len({frozenset([frozenset(a.tolist()), frozenset(b.tolist())]) for a, b in splits}) == len(splits)
    assert len(splits) == comb(repetitions, 2 * h) * comb(2 * h, h) // 2
    assert all(len(a) == len(b) == h and not set(a.tolist()) & set(b.tolist()) for a, b in splits)


def test_ten_repetitions_have_126_splits() -> None:
    assert len(half_splits(10, 200)) == 126


def test_sampled_splits_are_distinct_seeded_and_close_to_all() -> None:
    splits = half_splits(10, 30, seed=4)
    assert len({frozenset([frozenset(a.tolist()), frozenset(b.tolist())]) for a, b in splits}) == 30
    values = _simulated(300, 10, 8, 0.3)
    sampled = noise_ceiling_r(values, max_splits=30, seed=4)
    np.testing.assert_array_equal(sampled, noise_ceiling_r(values, max_splits=30, seed=4))
    assert not np.array_equal(sampled, noise_ceiling_r(values, max_splits=30, seed=5))
    np.testing.assert_allclose(sampled, noise_ceiling_r(values), atol=0.02)


def test_edges() -> None:
    values = _simulated(50, 2, 3, 1.0)
    values[:, 1, 0] = -values[:, 0, 0]
    values[:, :, 1] = 0.1
    ceiling = noise_ceiling_r(values)
    assert ceiling[0] == 0
    assert np.isnan(ceiling[1])
    assert 0 < ceiling[2] <= 1
    assert np.isnan(noise_ceiling_r(values[:, :1])).all()
    with np.errstate(all="raise"):
        missing = values.copy()
        missing[:, 1] = np.nan
        assert np.isnan(noise_ceiling_r(missing)).all()


def test_blocks_of_voxels_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    values = _simulated(30, 3, 11, 1.0)
    expected = noise_ceiling_r(values)
    monkeypatch.setattr("voxelcast.scoring.ceiling._BLOCK_BYTES", 8 * 30 * 3 * 4)
    np.testing.assert_array_equal(noise_ceiling_r(values), expected)


def test_refuses_bad_input() -> None:
    with pytest.raises(ShapeError, match="n_repetitions"):
        noise_ceiling_r(np.ones((3, 4)))
    with pytest.raises(OptionError, match="max_splits"):
        noise_ceiling_r(np.ones((3, 4, 5)), max_splits=0)
